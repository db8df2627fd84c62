import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let adamVariants = [adabelief, yogi, adan, ademamix, sophia]

  /// Adam with the square of the surprise: s <- b2 s + (1 - b2) (g - m)^2 + eps.
  static let adabelief = Method.optimizer(
    "adabelief", "Adam that divides by how far gradients are from what was expected.",
    Reference(
      "Zhuang et al.", 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
      arXiv: "2010.07468"),
    [.learningRate(0.001)] + Parameter.betas() + [.eps(1e-16), .weightDecay(), .decoupled, .maximize]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    let m = x.average("first_moment", of: g, "beta1")
    let s =
      x.moving("beta2") * x.state("second_moment") + x.complement(of: "beta2") * square(g - m) + x.real("eps")
    x.set("second_moment", to: s)
    return w - x.adamStep(m, s)
  }

  /// Adam with v <- v - (1 - b2) sign(v - g^2) g^2: it forgets large squares slowly.
  static let yogi = Method.optimizer(
    "yogi", "Adam whose average of squares changes by no more than the new square.",
    Reference(
      "Zaheer, Reddi, Sachan, Kale and Kumar", 2018, "Adaptive Methods for Nonconvex Optimization"),
    [.learningRate(0.01)] + Parameter.betas() + [
      .eps(1e-3), .real("initial_accumulator", 1e-6, in: .nonNegative, "Where the average of squares begins."),
      .weightDecay(), .decoupled, .maximize,
    ]
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    let m = x.average("first_moment", of: g, "beta1")
    let old = x.state("second_moment", initial: x.real("initial_accumulator"))
    let v = old - x.complement(of: "beta2") * sign(old - square(g)) * square(g)
    x.set("second_moment", to: v)
    return w - x.adamStep(m, v)
  }

  /// With d = g - the last g: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) d, n <- b3 n + (1 - b3) (g + b2 d)^2,
  /// w <- (w - lr (m^ + b2 v^) / (sqrt(n^) + eps)) / (1 + lr wd).
  static let adan = Method.optimizer(
    "adan", "Nesterov's momentum for adaptive steps, from differences of gradients.",
    Reference(
      "Xie, Zhou, Li, Lin and Yan", 2022,
      "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models", arXiv: "2208.06677"),
    [
      .learningRate(0.001),
      .beta(1, 0.98, "How slowly the average of gradients moves."),
      .beta(2, 0.92, "How slowly the average of differences moves."),
      .beta(3, 0.99, "How slowly the average of squares moves."),
      .eps(1e-8), .weightDecay(decoupled: true), .maximize,
    ], isDecoupled: true
  ) { x in
    let g = x.slope
    let (beta2, beta3, decay) = (x.real("beta2"), x.real("beta3"), x.real("weight_decay"))
    let isFirst = x.number("is_first") { $0.step == 1 ? 1 : 0 }
    let difference = Expression.select(isFirst, .constant(0), g - x.state("last_gradient"))
    x.set("last_gradient", to: g)
    let m = x.average("first_moment", of: g, "beta1")
    let v = x.average("difference_moment", of: difference, beta2)
    let n = x.average("second_moment", of: square(g + beta2 * difference), beta3)
    let ofDifference = x.number("difference_size") { $0.learningRate * beta2 / (1 - pow(beta2, Double($0.step))) }
    let correction = x.number("square_correction") { 1 / (1 - pow(beta3, Double($0.step))).squareRoot() }
    let step = (x.firstStepSize * m + ofDifference * v) / (correction * sqrt(n) + x.real("eps"))
    return (x.parameter - step) * x.number("kept") { 1 / (1 + $0.learningRate * decay) }
  }

  /// Adam with a second, slower average: w <- w - lr ((m1^ + alpha_t m2) / (sqrt(v^) + eps) + wd w).
  static let ademamix = Method.optimizer(
    "ademamix", "Adam with a fast and a slow average of gradients.",
    Reference(
      "Pagliardini, Ablin and Grangier", 2024, "The AdEMAMix Optimizer: Better, Faster, Older", arXiv: "2409.03137"),
    [.learningRate(0.001)] + Parameter.betas() + [
      .beta(3, 0.9999, "How slowly the slow average moves."),
      .real("alpha", 5, in: .nonNegative, "The weight of the slow average."),
      .integer("warmup_steps", 0, in: 0 ... .max, "Steps over which alpha and beta3 rise to their values."),
      .eps(1e-8), .weightDecay(decoupled: true), .maximize,
    ], isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: true)
    let (beta1, beta3, alpha) = (x.real("beta1"), x.real("beta3"), x.real("alpha"))
    let warmup = Double(x.integer("warmup_steps"))
    // The half-life of the slow average rises along a line.
    let slow = x.number("slow_share") { n in
      guard Double(n.step) < warmup, beta1 > 0, beta3 > 0 else { return beta3 }
      let t = Double(n.step) / warmup
      return min(exp(log(beta1) * log(beta3) / ((1 - t) * log(beta3) + t * log(beta1))), beta3)
    }
    let weight = x.number("slow_weight") { warmup == 0 ? alpha : min(Double($0.step) * alpha / warmup, alpha) }
    let m = x.average("first_moment", of: g, beta1)
    let v = x.average("second_moment", of: square(g), "beta2")
    let s = slow * x.state("slow_moment") + (1 - slow) * g
    x.set("slow_moment", to: s)
    let root = x.rootCorrection * sqrt(v) + x.real("eps")
    return w - (x.firstStepSize * m + x.learningRate * weight * s) / root
  }

  /// m <- b1 m + (1 - b1) g; every k steps h <- b2 h + (1 - b2) u * H u, u random signs and H u a difference of
  /// gradients; w <- w (1 - lr wd) - lr clip(m / max(gamma h, eps), 1).
  static let sophia = Method.optimizer(
    "sophia", "Steps scaled by an estimate of the Hessian's diagonal, clipped in each coordinate.",
    Reference(
      "Liu, Li, Hall, Liang and Ma", 2023,
      "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training", arXiv: "2305.14342"),
    [
      .learningRate(1e-3),
      .beta(1, 0.96, "How slowly the average of gradients moves."),
      .beta(2, 0.99, "How slowly the estimate of the diagonal moves."),
      .real("gamma", 0.01, in: .positive, "Scales the estimate; the smaller, the more coordinates are clipped."),
      .real("eps", 1e-12, in: .positive, "The least curvature."),
      .integer("interval", 10, in: 1 ... .max, "Steps from one estimate of the diagonal to the next."),
      .real("difference", 1e-3, in: .positive, "How far from the parameter the second gradient is taken."),
      .weightDecay(0.1, decoupled: true), .seed,
    ], isDecoupled: true
  ) { x in
    let (w, g) = x.decayed(x.gradient, isDecoupled: true)
    let (beta2, distance, interval) = (x.real("beta2"), x.real("difference"), x.integer("interval"))
    let isDue: @Sendable (StepNumbers) -> Bool = { ($0.step - 1) % interval == 0 }
    let m = x.average("first_moment", of: g, "beta1")
    let signs = Expression.select(x.uniform(0) .< 0.5, .constant(-1), .constant(1))
    let beside = x.gradient("beside", at: x.parameter + distance * signs, when: isDue)
    let estimate = signs * (beside - g) / distance
    let old = x.state("diagonal")
    let diagonal = Expression.select(
      x.number("is_due") { isDue($0) ? 1 : 0 }, beta2 * old + (1 - beta2) * estimate, old)
    x.set("diagonal", to: diagonal)
    return w - x.learningRate * clamp(m / maximum(x.real("gamma") * diagonal, x.real("eps")), -1, 1)
  }
}
