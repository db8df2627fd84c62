import Glibc
import TemperCatalogue

extension Optimizers {
  static let warmups = [linearWarmup, exponentialWarmup]

  /// lr (start + (1 - start) t / T) up to t = T, lr afterwards.
  static let linearWarmup = schedule(
    "linear_warmup", aliases: ["warmup"], "Rises along a line, then stays.",
    [
      .integer("warmup_steps", 10, in: 0 ... .max, "The step at which the full value is reached."),
      .real("start_factor", 0, in: .unit, "The share of the value at step 0."),
    ],
    Reference(
      "Goyal et al.", 2017, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", arXiv: "1706.02677")
  ) { x in
    let (rate, total, start) = (x.real("learning_rate"), Double(x.integer("warmup_steps")), x.real("start_factor"))
    return { $0 >= total ? rate : rate * (start + (1 - start) * $0 / total) }
  }

  /// lr (1 - exp(-(t + 1) / tau)).
  static let exponentialWarmup = schedule(
    "exponential_warmup", "Rises towards its value, by a share of what is missing at every step.",
    [.real("tau", 1000, in: .positive, "Steps in which the missing part falls to 1 / e.")],
    Reference("Ma and Yarats", 2019, "On the adequacy of untuned warmup for adaptive optimization", arXiv: "1910.04209")
  ) { x in
    let (rate, tau) = (x.real("learning_rate"), x.real("tau"))
    return { -rate * expm1(-($0 + 1) / tau) }
  }
}
