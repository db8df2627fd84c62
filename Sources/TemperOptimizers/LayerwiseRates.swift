import TemperCatalogue
import TemperGraph

extension Optimizers {
  static let layerwiseMethods = [lamb, lars]

  /// r = m^ / (sqrt(v^) + eps) + wd w; w <- w - lr |w| / |r| r, each norm over one parameter; the ratio is 1 where
  /// either is 0.
  static let lamb = Method.optimizer(
    "lamb", "Adam whose step in each parameter is as long as the parameter's own norm.",
    Reference(
      "You et al.", 2020, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
      arXiv: "1904.00962"),
    [.learningRate(0.001)] + Parameter.betas() + [
      .eps(1e-6), .optionalReal("max_trust_ratio", in: .positive, "The largest ratio of norms."),
      .weightDecay(decoupled: true), .maximize,
    ], isElementwise: false
  ) { x in
    let g = x.slope
    let m = x.average("first_moment", of: g, "beta1")
    let v = x.average("second_moment", of: square(g), "beta2")
    let beta1 = x.course(of: "beta1")
    let correction = x.number("first_correction") { 1 / (1 - power(beta1($0), $0.step)) }
    let r =
      correction * m / (x.rootCorrection * sqrt(v) + x.real("eps")) + x.moving("weight_decay") * x.parameter
    let (size, length) = (norm(x.parameter), norm(r))
    var trust = Expression.select((size .> 0) .& (length .> 0), size / length, .constant(1))
    if let most = x.optionalReal("max_trust_ratio") { trust = minimum(trust, most) }
    return x.parameter - x.learningRate * trust * r
  }

  /// b <- mu b + lr eta |w| / (|g| + wd |w| + eps) (g + wd w); w <- w - b.
  static let lars = Method.optimizer(
    "lars", "Momentum with a learning rate for each parameter, from its norm over that of its gradient.",
    Reference("You, Gitman and Ginsburg", 2017, "Large Batch Training of Convolutional Networks", arXiv: "1708.03888"),
    [
      .learningRate(0.1),
      .real("momentum", 0.9, in: .belowOne, "How much of the last direction is kept."),
      .real("trust_coefficient", 0.001, in: .positive, "The length of a step over the norm of the parameter."),
      .boolean("nesterov", false, "Look ahead along the direction."),
      .eps(1e-8), .weightDecay(), .maximize,
    ], isElementwise: false
  ) { x in
    let (w, decay, mu) = (x.parameter, x.real("weight_decay"), x.real("momentum"))
    let (size, slope) = (norm(w), norm(x.slope))
    let local = Expression.select(
      (size .> 0) .& (slope .> 0),
      x.real("trust_coefficient") * size / (slope + decay * size + x.real("eps")), .constant(1))
    let g = x.learningRate * local * (x.slope + decay * w)
    let b = mu * x.state("momentum") + g
    x.set("momentum", to: b)
    return w - (x.boolean("nesterov") ? g + mu * b : b)
  }
}
