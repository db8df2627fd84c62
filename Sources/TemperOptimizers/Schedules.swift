import Glibc
import TemperCatalogue

extension Optimizers {
  static let schedules = [constant, step, exponential, cosine, linearWarmup]

  static let constant = schedule("constant", "Always the same.", []) { x in
    let rate = x.real("learning_rate")
    return { _ in rate }
  }

  /// lr gamma^floor(t / step_size).
  static let step = schedule(
    "step", aliases: ["step_decay"], "Falls by a factor after every so many steps.",
    [
      .integer("step_size", 30, in: 1 ... .max, "Steps between two falls."),
      .real("gamma", 0.1, in: .nonNegative, "The factor."),
    ]
  ) { x in
    let (rate, size, gamma) = (x.real("learning_rate"), Double(x.integer("step_size")), x.real("gamma"))
    return { rate * pow(gamma, ($0 / size).rounded(.down)) }
  }

  /// lr gamma^t.
  static let exponential = schedule(
    "exponential", aliases: ["exponential_decay"], "Falls by a factor at every step.",
    [.real("gamma", 0.95, in: .nonNegative, "The factor.")]
  ) { x in
    let (rate, gamma) = (x.real("learning_rate"), x.real("gamma"))
    return { rate * pow(gamma, $0) }
  }

  /// low + (lr - low) (1 + cos(pi t / T)) / 2 up to t = T, low afterwards. Loshchilov and Hutter, 2017.
  static let cosine = schedule(
    "cosine", aliases: ["cosine_annealing"], "Falls along half a cosine.",
    [
      .integer("total_steps", 100, in: 1 ... .max, "The step at which the minimum is reached."),
      .real("minimum", 0, in: .nonNegative, "The last value."),
    ],
    Reference(
      "Loshchilov and Hutter", 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv: "1608.03983")
  ) { x in
    let (rate, total, low) = (x.real("learning_rate"), Double(x.integer("total_steps")), x.real("minimum"))
    return { $0 >= total ? low : low + (rate - low) * (1 + cos(.pi * $0 / total)) / 2 }
  }

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

  private static func schedule(
    _ name: String, aliases: [String] = [], _ summary: String, _ parameters: [Parameter],
    _ reference: Reference? = nil,
    _ rule: @escaping @Sendable (Arguments) -> @Sendable (Double) -> Double
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .schedule, area: "optim", summary: summary, reference: reference,
      parameters: [.learningRate(1)] + parameters, implementation: .schedule { rule($0) })
  }
}
