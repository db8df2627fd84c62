import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Pre-training on images times a mask that a small policy network chooses for each: cells m ~ Beta(exp a, exp b) on a
/// coarse grid, enlarged to the image and smoothed. a and b are mixed from running maps and the policy's own.
///
/// The policy moves by the score function, (loss - mean loss) times the mean of ln Beta(m; exp a, exp b) over the cells;
/// the classifier by its loss. `coupled` has the released form, one step on the mean of ln(sum of densities) loss. After
/// `masked_share` of the epochs the images come as they are.
final class NoiseMaskPolicy: RecordedProcedure {
  static let method = Method.procedure(
    "policy_gradient_noise_mask", area: "regularize",
    summary: "Pre-trains on images whose noise a policy network learns to choose.",
    reference: Reference("Cetin", 2024, "Policy Gradient-Driven Noise Mask", arXiv: "2406.14568"),
    parameters: [
      .integer("grid", 4, in: 1...256, "Cells along each side."),
      .real("blur_sigma", 0, in: .nonNegative, "Of the smoothing, in pixels; 0: none."),
      .real("instance_decay", 0.9, in: .unit, "The share of the running maps in a and b."),
      .real("base_decay", 0.99, in: .unit, "How slowly the running maps move."),
      .real("policy_lr", 0.001, in: .nonNegative, "Adam's learning rate of the policy."),
      .integer("policy_width", 32, in: 1...65_536, "Of its hidden layers."),
      .real("masked_share", 0.5, in: .unit, "The share of the epochs that see masked images."),
      .boolean("coupled", false, "The released objective, which also scales the classifier's gradient."),
    ], replaces: [.objective], NoiseMaskPolicy.self)

  let arguments: Arguments
  private let cells: Int

  init(_ arguments: Arguments) {
    self.arguments = arguments
    cells = arguments.integer("grid") * arguments.integer("grid")
  }

  /// Height and width: the last two axes, or the sides of a square.
  private static func sides(_ shape: Shape) -> (height: Int, width: Int)? {
    if shape.rank >= 2 { return (shape[shape.rank - 2], shape[shape.rank - 1]) }
    let side = Int(Double(shape.count).squareRoot())
    return side * side == shape.count && side > 0 ? (side, side) : nil
  }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireClasses(model, loss)
    try requireValueBySample(loss)
    guard model.input.kind == .real, NoiseMaskPolicy.sides(model.input.shape) != nil else {
      throw TemperError(.unsupported, "It masks images: the model's input \(model.input.shape) is none.")
    }
  }

  private func policy(_ training: Training) -> SideNetwork {
    let width = arguments.integer("policy_width")
    return SideNetwork(
      "policy", widths: [training.networks[0].model.input.shape.count, width, width, 2 * cells])
  }

  func prepare(_ training: Training) throws(TemperError) {
    try policy(training).prepare(training)
    for name in ["base a", "base b"] {
      var random = training.random(name)
      try training.keep(name, [1, cells]).assign(
        from: try Tensor((0..<cells).map { _ in random.uniform() }, shape: [1, cells]))
    }
    let shape = training.networks[0].model.input.shape
    guard let (height, width) = NoiseMaskPolicy.sides(shape) else { return }
    try training.keep("enlarge", [cells, height * width]).assign(
      from: try Tensor(enlargement(height, width), shape: [cells, height * width]))
  }

  /// From cells to pixels: the cell that a pixel lies in, smoothed along both sides.
  private func enlargement(_ height: Int, _ width: Int) -> [Double] {
    let grid = arguments.integer("grid")
    func along(_ size: Int) -> [[Double]] {
      let near = (0..<grid).map { cell in (0..<size).map { $0 * grid / size == cell ? 1.0 : 0 } }
      let sigma = arguments.real("blur_sigma")
      if sigma == 0 { return near }
      return near.map { row in
        (0..<size).map { pixel in
          let weights = (0..<size).map { other in
            Glibc.exp(-0.5 * power(Double(other - pixel) / sigma, 2))
          }
          return zip(weights, row).reduce(0) { $0 + $1.0 * $1.1 } / weights.reduce(0, +)
        }
      }
    }
    let (rows, columns) = (along(height), along(width))
    var all: [Double] = []
    for cell in 0..<cells {
      for i in 0..<height { for j in 0..<width { all.append(rows[cell / grid][i] * columns[cell % grid][j]) } }
    }
    return all
  }

  func phase(_ position: Position) -> Int {
    Double(position.epoch) <= arguments.real("masked_share") * Double(position.epochs) ? 0 : 1
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    if step.phase == 1 { return try step.loss(of: try step.forward()).reduced(.mean) }
    let x = try step.rows("x")
    let flat = x.reshaped([step.count, x.shape.count / step.count])
    let policy = policy(step.training)
    let weights = try policy.parameters(step)
    let maps = policy.outputs(flat, weights)
    let (u, v) = (maps.slice(0..<cells, axis: 1), maps.slice(cells..<2 * cells, axis: 1))
    let (instance, decay) = (arguments.real("instance_decay"), arguments.real("base_decay"))
    func shape(_ name: String, _ own: Expression) throws(TemperError) -> Expression {
      let base = try step.whole(name)
      try step.update(name, to: decay * base + (1 - decay) * own.mean(axis: 0))
      return exp(instance * base + (1 - instance) * own)
    }
    let (a, b) = (try shape("base a", u), try shape("base b", v))
    let m = NoiseMaskPolicy.draws(a, b, step.uniform([step.count, cells]))
    let image = Expression.matmul(m, try step.whole("enlarge"))
    let channels = flat.shape[1] / image.shape[1]
    let mask = channels == 1 ? image : .concatenate(Array(repeating: image, count: channels), axis: 1)
    let loss = try step.loss(of: try step.forward(0, (flat * mask).reshaped(x.shape)))
    let values = loss.values
    let density = NoiseMaskPolicy.logDensity(m, a, b)
    let mean = loss.reduced(.mean).reshaped([])
    if arguments.boolean("coupled") {
      let coupled = (log(exp(density).sum()) * values).meanAll().reshaped([])
      let slopes = try Differentiate.gradients(of: coupled, withRespectTo: weights)
      try policy.moved(step, by: slopes, rate: arguments.real("policy_lr"))
      return coupled
    }
    let advantage = (values - values.meanAll().reshaped([])).stopGradient
    let score = (advantage * density.mean()).meanAll()
    let slopes = try Differentiate.gradients(of: score, withRespectTo: weights)
    try policy.moved(step, by: slopes, rate: arguments.real("policy_lr"))
    return mean
  }

  /// (a - 1) ln m + (b - 1) ln(1 - m) - ln G(a) - ln G(b) + ln G(a + b)
  static func logDensity(_ m: Expression, _ a: Expression, _ b: Expression) -> Expression {
    (a - 1) * log(m) + (b - 1) * log1p(-m) - logGamma(a) - logGamma(b) + logGamma(a + b)
  }

  /// Of Beta(a, b), kept from the ends; a function of the seeds. No gradient passes through a draw.
  static func draws(_ a: Expression, _ b: Expression, _ seeds: Expression) -> Expression {
    let draw = CustomOperation(name: "beta draws") { (inputs, output, _) throws(TemperError) in
      let (a, b) = (try inputs[0].array(of: Double.self), try inputs[1].array(of: Double.self))
      let seeds = try inputs[2].array(of: Double.self)
      let values = seeds.indices.map { place in
        var random = Random(seed: seeds[place].bitPattern).stream(place)
        return min(max(random.beta(a[place], b[place]), 1e-6), 1 - 1e-6)
      }
      try output.assign(from: try Tensor(values, shape: output.shape))
    }
    return Expression.custom(draw, [a.stopGradient, b.stopGradient, seeds], shape: a.shape).stopGradient
  }
}
