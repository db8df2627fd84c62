import Glibc
import TemperCatalogue
import TemperGraph

/// Methods that find the length of their steps themselves.
extension Optimizers {
  static let parameterFreeMethods = [distanceOverGradients, dAdaptAdam, prodigy, universalDistanceOverGradients]

  private static let relativeStart = Parameter.real(
    "r_eps_rel", 1e-6, in: .positive, "The first distance from the start, over 1 + its norm.")

  /// lr_t = r_t / sqrt(sum of |g|^2 so far), r_t the largest distance from the start so far, at least
  /// r_eps_rel (1 + |w_0|). The result is an average that forgets the first steps.
  static let distanceOverGradients = Method.optimizer(
    "dog", "Steps as long as the distance gone, over the root of the sum of squared gradients.",
    Reference(
      "Ivgi, Hinder and Carmon", 2023, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule",
      arXiv: "2302.12022"),
    [
      .real("learning_rate", 1, in: .nonNegative, "A factor of the step; 1 is the method's own.").named(also: "lr"),
      relativeStart, .eps(1e-8),
      .real("averaging_power", 8, in: .nonNegative, "How fast the average forgets."),
      .weightDecay(), .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: false)
    let (relative, eps, power) = (x.real("r_eps_rel"), x.real("eps"), x.real("averaging_power"))
    let start = x.stateFromParameter("start")
    x.totals([
      ("distance", square(w - start).sumAll()), ("square", square(g).sumAll()), ("size", square(start).sumAll()),
    ])
    let reach: @Sendable (StepNumbers) -> Double = {
      max($0["reach"], $0["distance"].squareRoot(), relative * (1 + $0["size"].squareRoot()))
    }
    x.scalar("reach", initial: 0, next: reach)
    x.scalar("square_sum", initial: 0) { $0["square_sum"] + $0["square"] }
    let size = x.number("step_size") {
      $0.learningRate * reach($0) / ($0["square_sum"] + $0["square"] + eps).squareRoot()
    }
    let new = w - size * g
    let average = x.stateFromParameter("average")
    let share = x.number("average_share") { (power + 1) / (power + Double($0.step)) }
    x.set("average", to: average + share * (new - average))
    x.evaluate(at: average)
    return new
  }

  private static let estimate: [Parameter] = [
    .real("learning_rate", 1, in: .nonNegative, "A factor of the step; 1 is the method's own.").named(also: "lr"),
    .real("d0", 1e-6, in: .positive, "The first guess of the distance."),
    .real(
      "growth_rate", .infinity, in: Interval(1, .infinity), "The most that the guess may grow by in one step."),
    .boolean("bias_correction", false, "Correct the averages for their start at 0, as Adam does."),
  ]

  /// r <- sqrt(b2) r + (1 - sqrt(b2)) lr d <g, s / (sqrt(v) + eps)>; s <- sqrt(b2) s + (1 - sqrt(b2)) lr d g;
  /// d <- max(d, r / ((1 - sqrt(b2)) |s|_1)); w <- w - m / (sqrt(v) + eps) with m an average of lr d g.
  static let dAdaptAdam = Method.optimizer(
    "dadapt_adam", "Adam that learns its learning rate from how gradients and steps agree.",
    Reference(
      "Defazio and Mishchenko", 2023, "Learning-Rate-Free Learning by D-Adaptation", arXiv: "2301.07733"),
    estimate + Parameter.betas() + [.eps(1e-8), .weightDecay(), .decoupled, .maximize]
  ) { x in
    let (beta1, beta2) = (x.real("beta1"), x.real("beta2"))
    let (first, growth, decay) = (x.real("d0"), x.real("growth_rate"), x.real("weight_decay"))
    let (isCorrected, isDecoupled) = (x.boolean("bias_correction"), x.boolean("decoupled_weight_decay"))
    let root = beta2.squareRoot()
    let length: @Sendable (StepNumbers) -> Double = {
      let t = Double($0.step)
      return $0["d"] * $0.learningRate
        * (isCorrected ? (1 - pow(beta2, t)).squareRoot() / (1 - pow(beta1, t)) : 1)
    }
    let size = x.number("length", length)
    let g = isDecoupled ? x.slope : x.slope + decay * x.parameter
    let m = beta1 * x.state("first_moment") + (1 - beta1) * size * g
    let v = beta2 * x.state("second_moment") + (1 - beta2) * square(g)
    let old = x.state("step_sum")
    let s = root * old + (1 - root) * size * g
    for (name, value) in [("first_moment", m), ("second_moment", v), ("step_sum", s)] { x.set(name, to: value) }
    let denominator = sqrt(v) + x.real("eps")
    x.totals([("agreement", (g * old / denominator).sumAll()), ("sum", abs(s).sumAll())])
    let numerator: @Sendable (StepNumbers) -> Double = {
      root * $0["numerator"] + (1 - root) * length($0) * $0["agreement"]
    }
    x.scalar("numerator", initial: 0, next: numerator)
    x.scalar("d", initial: first) { n in
      guard n["sum"] > 0, n.learningRate > 0 else { return n["d"] }
      return max(n["d"], min(numerator(n) / ((1 - root) * n["sum"]), n["d"] * growth))
    }
    let kept = isDecoupled ? x.number("kept") { 1 - decay * length($0) } : .constant(1)
    return kept * x.parameter - m / denominator
  }

  /// r <- b3 r + lr d^2 / d0 <g, w_0 - w>; s <- b3 s + lr d^2 / d0 g; d <- max(d, r / |s|_1);
  /// w <- w - lr d m / (sqrt(v) + d eps) with m and v averages of d g and (d g)^2.
  static let prodigy = Method.optimizer(
    "prodigy", "Adam that learns its learning rate, faster than D-Adaptation.",
    Reference(
      "Mishchenko and Defazio", 2024, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner",
      arXiv: "2306.06101"),
    estimate + Parameter.betas() + [
      .optionalReal("beta3", in: .belowOne, "How slowly the estimate moves; none: the root of beta2."),
      .real("d_coef", 1, in: .positive, "A factor of the estimate."),
      .boolean("safeguard_warmup", false, "Leave the learning rate out of the sum that divides the estimate."),
      .eps(1e-8), .weightDecay(decoupled: true), .maximize,
    ]
  ) { x in
    let (beta1, beta2, growth) = (x.real("beta1"), x.real("beta2"), x.real("growth_rate"))
    let beta3 = x.optionalReal("beta3") ?? beta2.squareRoot()
    let (first, factor, decay) = (x.real("d0"), x.real("d_coef"), x.real("weight_decay"))
    let (isCorrected, isGuarded) = (x.boolean("bias_correction"), x.boolean("safeguard_warmup"))
    let length: @Sendable (StepNumbers) -> Double = {
      let t = Double($0.step)
      return $0["d"] * $0.learningRate
        * (isCorrected ? (1 - pow(beta2, t)).squareRoot() / (1 - pow(beta1, t)) : 1)
    }
    let (w, g) = (x.parameter, x.slope)
    let old = x.number("d") { $0["d"] }
    let m = beta1 * x.state("first_moment") + (1 - beta1) * old * g
    let v = beta2 * x.state("second_moment") + (1 - beta2) * square(old * g)
    let weight = x.number("weight") { $0["d"] / first * (isGuarded ? $0["d"] : length($0)) }
    let s = beta3 * x.state("gradient_sum") + weight * g
    for (name, value) in [("first_moment", m), ("second_moment", v), ("gradient_sum", s)] { x.set(name, to: value) }
    x.totals([("agreement", (g * (x.stateFromParameter("start") - w)).sumAll()), ("sum", abs(s).sumAll())])

    let numerator: @Sendable (StepNumbers) -> Double = {
      beta3 * $0["numerator"] + ($0.learningRate > 0 ? $0["d"] / first * length($0) * $0["agreement"] : 0)
    }
    let estimate: @Sendable (StepNumbers) -> Double = {
      $0["sum"] > 0 && $0.learningRate > 0 ? factor * numerator($0) / $0["sum"] : $0["d"]
    }
    let most: @Sendable (StepNumbers) -> Double = { max($0["largest"], estimate($0)) }
    let distance: @Sendable (StepNumbers) -> Double = {
      $0["sum"] > 0 ? min(most($0), ($0["d"] == first ? max($0["d"], estimate($0)) : $0["d"]) * growth) : $0["d"]
    }
    x.scalar("numerator", initial: 0, next: numerator)
    x.scalar("largest", initial: first, next: most)
    x.scalar("d", initial: first, next: distance)
    let eps = x.real("eps")
    let kept = x.number("kept") { 1 - decay * length($0) }
    return kept * w - x.number("length", length) * (m / (sqrt(v) + x.number("floor") { distance($0) * eps }))
  }

  /// UniXGrad's two gradients a step with DoG's lengths: weights alpha r = R, the sum of r so far; z between the
  /// average of the x and the leader y; x = y - R m / sqrt(G), then y <- y - R g / sqrt(G') with g at the new average and
  /// G' = G + alpha^2 |g - m|^2. Form a_dog takes one gradient a step.
  static let universalDistanceOverGradients = Method.optimizer(
    "u_dog", "An accelerated method without a learning rate.",
    Reference(
      "Kreisler, Ivgi, Hinder and Carmon", 2024, "Accelerated Parameter-Free Stochastic Optimization",
      arXiv: "2404.00666"),
    [
      .choice("form", ["u_dog", "a_dog"], "Two gradients a step, or one."),
      relativeStart, .eps(1e-8),
      .real("alpha_const", 0.5, in: .positive, "Scales the acceleration of form a_dog."),
      .boolean("stabilise", false, "Divide by more as steps go on: 1 + log(1 + t) times the sum of squares."),
    ]
  ) { x in x.text("form") == "u_dog" ? extragradient(x) : accelerated(x) }

  private static func extragradient(_ x: Update) -> Expression {
    let (relative, isStable) = (x.real("r_eps_rel"), x.boolean("stabilise"))
    let start = x.stateFromParameter("start")
    let (leader, sum) = (x.stateFromParameter("leader"), x.state("weighted_sum"))
    x.totals([("size", square(start).sumAll())])
    let reach: @Sendable (StepNumbers) -> Double = {
      $0.step == 1 ? relative * (1 + $0["size"].squareRoot()) : $0["reach"]
    }
    // alpha r = R: weights and step lengths are the sum of all reaches.
    let weight: @Sendable (StepNumbers) -> Double = { $0["reach_sum"] + reach($0) }
    let share = x.number("share") { weight($0) / ($0["weight_sum"] + weight($0)) }
    let scale = x.number("scale") { 1 / ($0["weight_sum"] + weight($0)) }
    let m = x.gradient("ahead", at: scale * sum + share * leader)
    x.totals([("ahead_square", square(m).sumAll())])
    let alpha: @Sendable (StepNumbers) -> Double = { weight($0) / reach($0) }
    let before: @Sendable (StepNumbers) -> Double = {
      $0.step == 1 ? alpha($0) * alpha($0) * $0["ahead_square"] : $0["square_sum"]
    }
    let length: @Sendable (StepNumbers, Double) -> Double = { n, squares in
      let sum = squares * (isStable ? 1 + log(1 + Double(n.step)) : 1)
      return sum > 0 ? weight(n) / sum.squareRoot() : 0
    }
    let ahead = leader - x.number("ahead_length") { length($0, before($0)) } * m
    let newSum = sum + x.number("weight", weight) * ahead
    x.set("weighted_sum", to: newSum)
    let average = scale * newSum
    let g = x.gradient("average", at: average)
    x.totals([("surprise", square(g - m).sumAll())])
    let after: @Sendable (StepNumbers) -> Double = { before($0) + alpha($0) * alpha($0) * $0["surprise"] }
    let newLeader = leader - x.number("leader_length") { length($0, after($0)) } * g
    x.set("leader", to: newLeader)
    x.totals([("ahead_distance", square(ahead - start).sumAll()), ("distance", square(newLeader - start).sumAll())])
    x.scalar("reach", initial: 0) { max(reach($0), $0["ahead_distance"].squareRoot(), $0["distance"].squareRoot()) }
    x.scalar("reach_sum", initial: 0, next: weight)
    x.scalar("weight_sum", initial: 0) { $0["weight_sum"] + weight($0) }
    x.scalar("square_sum", initial: 0, next: after)
    return average
  }

  /// y = x - eta g, w <- w - alpha eta g, x <- (1 - 1 / alpha) y + w / alpha with eta = r / sqrt(G + eps) and
  /// G the sum of alpha^2 |g|^2; the result is the average of the y with weights alpha r.
  private static func accelerated(_ x: Update) -> Expression {
    let (relative, eps, factor) = (x.real("r_eps_rel"), x.real("eps"), x.real("alpha_const"))
    let (g, start, leader) = (x.gradient, x.stateFromParameter("start"), x.stateFromParameter("leader"))
    x.totals([("size", square(start).sumAll()), ("square", square(g).sumAll())])
    let reach: @Sendable (StepNumbers) -> Double = {
      $0.step == 1 ? relative * (1 + $0["size"].squareRoot()) : $0["reach"]
    }
    let alpha: @Sendable (StepNumbers) -> Double = { max(1, factor * ($0["reach_sum"] + reach($0)) / reach($0)) }
    let squares: @Sendable (StepNumbers) -> Double = { $0["square_sum"] + alpha($0) * alpha($0) * $0["square"] }
    let length: @Sendable (StepNumbers) -> Double = { reach($0) / (squares($0) + eps).squareRoot() }
    let y = x.parameter - x.number("length", length) * g
    let newLeader = leader - x.number("leader_length") { alpha($0) * length($0) } * g
    x.set("leader", to: newLeader)
    let average = x.state("average")
    let share = x.number("share") { alpha($0) * reach($0) / ($0["weight_sum"] + alpha($0) * reach($0)) }
    x.set("average", to: average + share * (y - average))
    x.evaluate(at: average)
    x.totals([("distance", square(y - start).sumAll()), ("leader_distance", square(newLeader - start).sumAll())])
    let next: @Sendable (StepNumbers) -> Double = {
      max(reach($0), $0["distance"].squareRoot(), $0["leader_distance"].squareRoot())
    }
    x.scalar("reach", initial: 0, next: next)
    x.scalar("reach_sum", initial: 0) { $0["reach_sum"] + reach($0) }
    x.scalar("weight_sum", initial: 0) { $0["weight_sum"] + alpha($0) * reach($0) }
    x.scalar("square_sum", initial: 0, next: squares)
    // The next query mixes with the next alpha, which follows from this step.
    let mix = x.number("mix") { n in
      1 / max(1, factor * (n["reach_sum"] + reach(n) + next(n)) / next(n))
    }
    return (1 - mix) * y + mix * newLeader
  }
}

/// base^exponent for a whole exponent.
func power(_ base: Double, _ exponent: Int) -> Double { Glibc.pow(base, Double(exponent)) }
