import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// How an image is turned is a label that is never wrong: the encoder learns it beside the classes, and the classifier is
/// held to what a moving average of itself says of other views. The network that comes out is the average.
///
///     cross-entropy of the given label + w_rot mean_k cross-entropy(r(R_k x), k)
///     + w_cons ramp (|p(x') - p_ema(x'')|^2 + w_inv mean_{k > 0} |p(R_k x) - p_ema(x)|^2),  x', x'' with noise of their own
///
/// Networks: the average, then the one that learns.
final class RotationConsistency: RecordedProcedure {
  static let method = Method.procedure(
    "rotation_consistency_decoupling", aliases: ["rotation_aux"], area: "noisy-labels",
    summary: "The encoder also learns how images are turned; the classifier agrees with its own moving average.",
    reference: Reference(title: "Countering Noisy Labels By Learning From Auxiliary Clean Labels"),
    parameters: [
      .real("w_rot", 1, in: .nonNegative, "The weight of telling rotations."),
      .real("w_cons", 10, in: .nonNegative, "The weight of agreement, after the ramp."),
      .real("w_rot_invariance", 0, in: .nonNegative, "Of agreement on turned images; 1 where turning keeps the class."),
      .integer("ramp", 30, in: 1 ... .max, "Epochs until agreement has its weight."),
      .real("ema", 0.99, in: .belowOne, "How slowly the average follows."),
      .real("noise", 0.05, in: .nonNegative, "The standard deviation of the noise that makes a view."),
      .integer("head_hidden", 64, in: 1...65536, "The width of the head that tells rotations."),
      .real("head_lr", 0.001, in: .nonNegative, "The learning rate of that head, by Adam."),
    ], replaces: [.objective], RotationConsistency.self)

  let arguments: Arguments
  let networkCount = 2
  init(_ arguments: Arguments) { self.arguments = arguments }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    guard model.input.kind == .real, RotationConsistency.side(of: model.input.shape) != nil else {
      throw TemperError(
        .unsupported,
        "It turns square images, (…, S, S) or flat (S * S); the model takes samples of shape \(model.input.shape).")
    }
  }

  /// The side of the square images that samples of this shape are.
  static func side(of shape: Shape) -> Int? {
    if shape.rank >= 2 { return shape.last == shape.sizes[shape.rank - 2] ? shape.last : nil }
    let side = Int(Double(shape.count).squareRoot().rounded())
    return side * side == shape.count && side > 1 ? side : nil
  }

  func prepare(_ training: Training) throws(TemperError) {
    let step = StepGraph(count: 1, training: training, loss: training.loss)
    try head(step.features(of: try step.forward(1))).prepare(training)
  }

  private func head(_ features: Expression) -> SideNetwork {
    let width = features.shape.count / features.shape[0]
    return SideNetwork("rotations", widths: [width, arguments.integer("head_hidden"), 4])
  }

  func epochWillBegin(_ training: Training) throws(TemperError) {
    if training.position.steps == 0 { training.copy(0, to: 1) }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let (rot, cons, invariance) = (
      arguments.real("w_rot"), arguments.real("w_cons"), arguments.real("w_rot_invariance")
    )
    let x = try step.rows("x")
    let logits = try step.forward(1)
    var objective = try step.loss(of: logits).reduced(.mean)
    var turned: [Expression] = []
    if rot > 0 || (cons > 0 && invariance > 0) {
      for quarter in 1..<4 { turned.append(try step.forward(1, RotationConsistency.turn(x, quarter))) }
    }
    if rot > 0 {
      let side = head(try step.features(of: logits))
      let parameters = try side.parameters(step)
      var sum = Expression.constant(0)
      for (quarter, outputs) in ([logits] + turned).enumerated() {
        let features = try step.features(of: outputs)
        let flat = features.reshaped([step.count, features.shape.count / step.count])
        sum = sum - side.outputs(flat, parameters).logSoftmax().slice(quarter..<quarter + 1, axis: 1).meanAll() / 4
      }
      try side.moved(
        step, by: try Differentiate.gradients(of: sum, withRespectTo: parameters), rate: arguments.real("head_lr"))
      objective = objective + rot * sum
    }
    if cons > 0 {
      // exp(-5 (1 - t)^2)
      let ramp = step.number("ramp") { [arguments] in
        let left = 1 - min(Double($0.epoch) / Double(arguments.integer("ramp")), 1)
        return power(2.718281828459045, -5 * left * left)
      }
      let noise = arguments.real("noise")
      func view() -> Expression { noise > 0 ? x + noise * step.normal(x.shape) : x }
      let average = try step.forward(0, view(), mode: .inference).softmax().stopGradient
      var apart = square(try step.forward(1, view()).softmax() - average).meanAll()
      if invariance > 0 {
        let plain = try step.forward(0, mode: .inference).softmax().stopGradient
        for outputs in turned { apart = apart + invariance / 3 * square(outputs.softmax() - plain).meanAll() }
      }
      objective = objective + cons * ramp * apart
    }
    return objective
  }

  func stepDidEnd(_ training: Training) throws(TemperError) {
    training.average(0, toward: 1, decay: arguments.real("ema"))
  }

  /// So many quarter turns of images X: (X J)ᵀ each, J the mirror of columns.
  static func turn(_ x: Expression, _ quarters: Int) -> Expression {
    guard let side = side(of: Shape(Array(x.shape.sizes.dropFirst()))) else { return x }
    let count = x.shape.count / (side * side)
    let square: Shape = [side, side]
    let mirror = (Expression.iota(square, axis: 0) + Expression.iota(square, axis: 1)) .== Double(side - 1)
    func mirrored(_ image: Expression) -> Expression {
      Expression.matmul(image.reshaped([count * side, side]), mirror).reshaped([count, side, side])
    }
    var image = x.reshaped([count, side, side])
    switch quarters % 4 {
    case 1: image = mirrored(image).permuted([0, 2, 1])
    // (X^T J): three turns are one the other way.
    case 3: image = mirrored(image.permuted([0, 2, 1]))
    case 2: image = mirrored(mirrored(image).permuted([0, 2, 1])).permuted([0, 2, 1])
    default: break
    }
    return image.reshaped(x.shape)
  }
}
