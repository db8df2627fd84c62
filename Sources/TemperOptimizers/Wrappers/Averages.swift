import TemperCatalogue
import TemperCore
import TemperGraph

/// Averages of parameters around any optimizer.
extension Optimizers {
  static let averageWrappers = [lookahead, exponentialMovingAverage, stochasticWeightAveraging]

  /// Every k steps: slow <- slow + alpha (w - slow); w <- slow.
  static let lookahead = Method.around(
    "lookahead", "Goes k steps ahead and takes a share of the way.",
    Reference(
      "Zhang, Lucas, Hinton and Ba", 2019, "Lookahead Optimizer: k steps forward, 1 step back", arXiv: "1907.08610"),
    [
      .integer("k", 5, in: 1 ... .max, "Steps ahead."), .real("alpha", 0.5, in: .unit, "The share of the way."),
    ], base: "adam"
  ) { (x, base) throws(TemperError) in
    let (k, alpha) = (x.integer("k"), x.real("alpha"))
    let fast = try x.inner(base)
    let old = x.stateFromParameter("slow")
    let isDue = x.number("is_due") { $0.step % k == 0 ? 1 : 0 }
    let slow = Expression.select(isDue, old + alpha * (fast - old), old)
    x.set("slow", to: slow)
    x.evaluate(at: old)
    return .select(isDue, slow, fast)
  }

  /// a <- d a + (1 - d) w, at the first step a = w; with warm-up d = min(decay, (1 + t) / (10 + t)).
  static let exponentialMovingAverage = Method.around(
    "ema", aliases: ["exponential_moving_average"], "Keeps an average of the parameters to evaluate with.",
    Reference("Polyak and Juditsky", 1992, "Acceleration of stochastic approximation by averaging"),
    [
      .real("decay", 0.999, in: .unit, "How much of the average is kept."),
      .boolean("warmup", false, "Forget faster in the first steps."),
    ], base: "adam"
  ) { (x, base) throws(TemperError) in
    let (decay, isWarm) = (x.real("decay"), x.boolean("warmup"))
    let w = try x.inner(base)
    let average = x.stateFromParameter("average")
    let kept = x.number("kept") { n in
      let t = Double(n.step)
      return n.step == 1 ? 0 : isWarm ? min(decay, (1 + t) / (10 + t)) : decay
    }
    x.set("average", to: kept * average + (1 - kept) * w)
    x.evaluate(at: average)
    return w
  }

  /// From step `start` on, every `interval` steps a <- a + (w - a) / (n + 1), n the points averaged so far.
  static let stochasticWeightAveraging = Method.around(
    "swa", aliases: ["stochastic_weight_averaging"], "Averages the parameters of the last part of training.",
    Reference(
      "Izmailov, Podoprikhin, Garipov, Vetrov and Wilson", 2018,
      "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv: "1803.05407"),
    [
      .integer("start", 0, in: 0 ... .max, "Steps before the average begins."),
      .integer("interval", 1, in: 1 ... .max, "Steps from one point of the average to the next."),
    ]
  ) { (x, base) throws(TemperError) in
    let (start, interval) = (x.integer("start"), x.integer("interval"))
    let w = try x.inner(base)
    let average = x.stateFromParameter("average")
    // Before its start the average follows the parameter.
    let share = x.number("share") { n in
      let since = n.step - start
      if since <= 0 { return 1 }
      return since % interval == 0 ? 1 / Double(since / interval) : (since < interval ? 1 : 0)
    }
    x.set("average", to: average + share * (w - average))
    x.evaluate(at: average)
    return w
  }
}
