import Glibc
import TemperCatalogue
import TemperCore

extension Optimizers {
  static let schedules = [
    constant, step, multistep, exponential, polynomial, linear, cosine, inverseSquareRoot, warmupStableDecay,
  ]

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

  /// lr gamma^n, n the milestones reached.
  static let multistep = schedule(
    "multistep", aliases: ["multi_step"], "Falls by a factor at each milestone.",
    [
      .text("milestones", "[30, 80]", "The steps at which it falls, as a list in JSON."),
      .real("gamma", 0.1, in: .nonNegative, "The factor."),
    ]
  ) { (x) throws(TemperError) in
    let (rate, gamma, places) = (x.real("learning_rate"), x.real("gamma"), try numbers(x.text("milestones")))
    return { t in rate * pow(gamma, Double(places.filter { $0 <= t }.count)) }
  }

  /// lr gamma^t.
  static let exponential = schedule(
    "exponential", aliases: ["exponential_decay"], "Falls by a factor at every step.",
    [.real("gamma", 0.95, in: .nonNegative, "The factor.")]
  ) { x in
    let (rate, gamma) = (x.real("learning_rate"), x.real("gamma"))
    return { rate * pow(gamma, $0) }
  }

  /// low + (lr - low) (1 - t / T)^power up to t = T, low afterwards.
  static let polynomial = schedule(
    "polynomial", aliases: ["polynomial_decay"], "Falls along a power of the steps that are left.",
    [.total, .real("power", 1, in: .nonNegative, "The power; 1 is a line."), .minimum]
  ) { x in
    let (rate, total, low, power) = (x.real("learning_rate"), x.total, x.real("minimum"), x.real("power"))
    return { $0 >= total ? low : low + (rate - low) * pow(1 - $0 / total, power) }
  }

  /// lr (start + (end - start) t / T) up to t = T, lr end afterwards.
  static let linear = schedule(
    "linear_lr", "Along a line from one factor to another.",
    [
      .total, .real("start_factor", 1.0 / 3, in: .nonNegative, "The factor at step 0."),
      .real("end_factor", 1, in: .nonNegative, "The factor from the last step on."),
    ]
  ) { x in
    let (rate, total) = (x.real("learning_rate"), x.total)
    let (start, end) = (x.real("start_factor"), x.real("end_factor"))
    return { rate * ($0 >= total ? end : start + (end - start) * $0 / total) }
  }

  /// low + (lr - low) (1 + cos(pi t / T)) / 2 up to t = T, low afterwards. Loshchilov and Hutter, 2017.
  static let cosine = schedule(
    "cosine", aliases: ["cosine_annealing"], "Falls along half a cosine.",
    [.total, .minimum],
    Reference(
      "Loshchilov and Hutter", 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv: "1608.03983")
  ) { x in
    let (rate, total, low) = (x.real("learning_rate"), x.total, x.real("minimum"))
    return { $0 >= total ? low : halfCosine(rate, low, $0 / total) }
  }

  /// lr min(1, t / warmup) up to t = warmup, lr sqrt(warmup / t) afterwards; t counts from 1 here.
  static let inverseSquareRoot = schedule(
    "inverse_sqrt", aliases: ["inverse_square_root", "noam"], "Rises along a line, then falls as 1 / sqrt(t).",
    [.integer("warmup_steps", 4000, in: 1 ... .max, "The step at which the full value is reached.")],
    Reference("Vaswani et al.", 2017, "Attention Is All You Need", arXiv: "1706.03762")
  ) { x in
    let (rate, warmup) = (x.real("learning_rate"), Double(x.integer("warmup_steps")))
    return { rate * min(($0 + 1) / warmup, (warmup / ($0 + 1)).squareRoot()) }
  }

  /// lr t / warmup, then lr, then over the last `decay_steps` down to the minimum.
  static let warmupStableDecay = schedule(
    "warmup_stable_decay", aliases: ["wsd", "trapezoidal"], "Rises, stays, and falls at the end.",
    [
      .integer("warmup_steps", 10, in: 0 ... .max, "Steps of the rise."), .total,
      .integer("decay_steps", 20, in: 0 ... .max, "Steps of the fall, the last ones."),
      .choice("decay", ["linear", "cosine", "sqrt"], "The form of the fall; sqrt is 1 - sqrt(share)."), .minimum,
    ],
    Reference(
      "Hu et al.", 2024, "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
      arXiv: "2404.06395")
  ) { x in
    let (rate, low, total) = (x.real("learning_rate"), x.real("minimum"), x.total)
    let (warmup, fall) = (Double(x.integer("warmup_steps")), Double(x.integer("decay_steps")))
    let form = x.text("decay")
    return { t in
      if t < warmup { return rate * t / warmup }
      if t >= total { return low }
      let share = (t - (total - fall)) / fall
      guard share > 0 else { return rate }
      switch form {
      case "cosine": return halfCosine(rate, low, share)
      case "sqrt": return low + (rate - low) * (1 - share.squareRoot())
      default: return low + (rate - low) * (1 - share)
      }
    }
  }

  static func schedule(
    _ name: String, aliases: [String] = [], _ summary: String, _ parameters: [Parameter],
    _ reference: Reference? = nil,
    _ rule: @escaping @Sendable (Arguments) throws(TemperError) -> @Sendable (Double) -> Double
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .schedule, area: "optim", summary: summary, reference: reference,
      parameters: [.learningRate(1)] + parameters, implementation: .schedule(rule))
  }

  /// A list of numbers in JSON.
  private static func numbers(_ text: String) throws(TemperError) -> [Double] {
    var values: [Double] = []
    if case .array(let items) = try JSON(parsing: text) {
      for item in items {
        switch item {
        case .integer(let value): values.append(Double(value))
        case .real(let value): values.append(value)
        default: throw TemperError(.outOfRange, "Milestones are numbers, such as [30, 80]; \(text) came.")
        }
      }
      return values
    }
    throw TemperError(.outOfRange, "Milestones are a list of numbers, such as [30, 80]; \(text) came.")
  }
}

/// From `high` at share 0 to `low` at share 1.
func halfCosine(_ high: Double, _ low: Double, _ share: Double) -> Double {
  low + (high - low) * (1 + cos(.pi * share)) / 2
}

extension Parameter {
  static let total = Parameter.integer("total_steps", 100, in: 1 ... .max, "The step at which the end is reached.")
  static let minimum = Parameter.real("minimum", 0, in: .nonNegative, "The last value.")
}

extension Arguments {
  var total: Double { Double(integer("total_steps")) }
}
