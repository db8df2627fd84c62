import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// Before a block is quantized, learns a change T of the model's inputs such that a block that is tuned on T(x) does well
/// on inputs left as they are; then tunes the block on both.
///
/// Inner step, θ the choices and steps of the block: θ' = θ − Adam(∂L_Q / ∂θ), L_Q = |B(T x) − B_θ(T x)|² + round term.
/// Outer step, through it: L_T(θ') = c₁ KL(softmax(f(x') / 4) ‖ softmax(f_θ'(x') / 4)) + c₂ relu(e − mean (T x − x)²) + c₃ L_DP
/// with x' another batch. L_DP compares who is like whom before and after: rows of (1 + cos) / 2 between the float model's
/// features of mixed samples, as probabilities, mean over pairs of P_x log(P_x / P_Tx).
package struct MetaAugmentation: ModelQuantizer {
  package var name: String { "metaaug_ptq" }
  let tuning: BlockTuning
  let arguments: Arguments
  package var needsInputs: Bool { true }

  init(_ arguments: Arguments) {
    (tuning, self.arguments) = (BlockTuning(arguments, prediction: nil), arguments)
  }

  package var base: any Quantizer { get throws(TemperError) { try tuning.alone } }

  package func pack(
    _ run: ModelRun
  ) throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    guard run.model.input.kind == .real else {
      throw TemperError(.unsupported, "It changes inputs, which must be numbers; the model takes indices.")
    }
    let stage = try BlockRun(run)
    let x = try run.inputRows(atMost: arguments.integer("calib"))
    let all = 0..<stage.model.description.layers.count
    let logits = try stage.outputs(all, x, isPacked: false)
    var transform = try InputTransform(run.model.input.shape, seed: tuning.seed)
    try stage.packBlocks { index, block throws(TemperError) in
      let own = tuning.of(index, stage, arguments.integer("end_bits"))
      if index > 0, index < stage.blocks.count - 1 {
        let loop = try MetaLoop(self, own, stage, block, x, logits)
        try loop.run(&transform, index)
      }
      // Samples as they are, and as T makes them.
      var (inputs, outputs) = (x, logits)
      if !transform.isIdentity {
        inputs = try Tensor.stacked([x, try stage.transformed(x, transform)])
        outputs = try stage.outputs(all, inputs, isPacked: false)
      }
      let before = 0..<block.layers.lowerBound
      let rounded = try before.isEmpty ? inputs : stage.outputs(before, inputs, isPacked: true)
      let float = try before.isEmpty ? inputs : stage.outputs(before, inputs, isPacked: false)
      let target = try stage.outputs(block.layers, float, isPacked: false)
      return try own.pack(
        block, index, stage, .init(rounded: rounded, float: float, target: target, logits: outputs))
    }
    return try stage.result()
  }

  static let method = Method(
    "metaaug_ptq", kind: .quantizer, area: "quant",
    summary: "Learns how to change calibration inputs such that blocks tuned on them do well on untouched ones.",
    reference: Reference(
      "Pham et al.", 2024, "MetaAug: Meta-Data Augmentation for Post-Training Quantization", arXiv: "2407.14726"),
    parameters: BlockTuning.parameters + [
      .real("c1", 5, in: .nonNegative, "Of the prediction on untouched inputs."),
      .real("c2", 0.5, in: .nonNegative, "Of the margin that keeps the change from being none."),
      .real("c3", 30_000, in: .nonNegative, "Of who is like whom."),
      .real("margin_e", 0.1, in: .nonNegative, "Mean squared change asked for."),
      .real("kl_temperature", 4, in: .positive, "Of predictions."),
      .real("lr_T", 5e-6, in: .nonNegative, "Learning rate of the change."),
      .real("lr_w_step", 1e-4, in: .nonNegative, "Learning rate of the weights' steps in inner steps."),
      .real("lr_inner_round", 1e-3, in: .nonNegative, "Learning rate of the rounding in inner steps."),
      .integer("alternating_iters", 500, in: 0...1_000_000, "Inner and outer steps for each block but first and last."),
      .boolean("second_order", true, "Gradients through the inner step; otherwise the step counts as a constant."),
    ],
    implementation: .component(QuantizerMaker { arguments throws(TemperError) in MetaAugmentation(arguments) }))
}

/// Inner and outer steps of one block, as one plan.
private final class MetaLoop {
  private let stage: BlockRun
  private let block: BlockRun.Block
  private let arguments: Arguments
  private let tuning: BlockTuning
  private let (x, logits): (Tensor, Tensor)
  /// What comes to the block from rounded layers, for x as it is.
  private let rounded: Tensor
  private var soft: [SoftWeight] = []

  init(
    _ method: MetaAugmentation, _ tuning: BlockTuning, _ stage: BlockRun, _ block: BlockRun.Block, _ x: Tensor,
    _ logits: Tensor
  ) throws(TemperError) {
    (self.stage, self.block, self.tuning, arguments) = (stage, block, tuning, method.arguments)
    (self.x, self.logits) = (x, logits)
    rounded = try stage.outputs(0..<block.layers.lowerBound, x, isPacked: true)
    for variable in block.weights where variable.use != .table {
      soft.append(
        try SoftWeight(
          variable, try stage.run.weight(variable), bits: tuning.bits, inputBits: tuning.inputBits,
          inputs: stage.run.inputs[variable.name], workers: stage.run.workers))
    }
  }

  private static let (beta1, beta2) = (0.9, 0.999)

  func run(_ transform: inout InputTransform, _ index: Int) throws(TemperError) {
    let (iterations, type) = (arguments.integer("alternating_iters"), stage.model.dtype)
    guard iterations > 0, !soft.isEmpty else { return }
    let count = min(tuning.batch, x.shape[0])
    func rows(_ table: Tensor) throws(TemperError) -> Tensor {
      try Tensor(zeros: Shape([count] + table.shape.sizes.dropFirst()), table.dtype)
    }
    var tensors = try transform.tensors(type)
    tensors["x"] = try rows(x)
    tensors["other"] = try rows(rounded)
    tensors["logits"] = try rows(logits)
    tensors["order"] = try Tensor(zeros: [count], .int32)
    for name in ["share", "beta", "round weight", "first", "second"] { tensors[name] = try Tensor(zeros: [], type) }
    let names = soft.indices.map { "soft\($0)" }
    let symbols = zip(soft, names).map { $0.symbols($1) }
    for (weight, name) in zip(soft, names) { try tensors.merge(weight.tensors(name, type)) { $1 } }
    let rates = [arguments.real("lr_inner_round"), arguments.real("lr_w_step"), tuning.rates.input]

    func named(_ name: String, _ kind: Kind) -> Expression { .input(name, tensors[name]?.shape ?? [], kind) }
    func input(_ name: String) -> Expression { named(name, .real) }
    let phi = transform.symbols
    let changed = transform(input("x"), phi)
    let inner = innerLoss(changed, symbols, named)
    let learned = symbols.flatMap(\.learned)
    let slopes = try Differentiate.gradients(of: inner, withRespectTo: learned)
    var moved: [Expression] = []
    var outputs: [Output] = []
    var targets: [Tensor] = []
    for (place, (value, slope)) in zip(learned, slopes).enumerated() {
      let (first, second) = ("first\(place)", "second\(place)")
      tensors[first] = try Tensor(zeros: value.shape, type)
      tensors[second] = try Tensor(zeros: value.shape, type)
      let g = arguments.boolean("second_order") ? slope : slope.stopGradient
      let m = MetaLoop.beta1 * input(first) + (1 - MetaLoop.beta1) * g
      let v = MetaLoop.beta2 * input(second) + (1 - MetaLoop.beta2) * square(g)
      // The root's slope at 0 is kept finite.
      let step = input("first") * m / (sqrt(input("second") * v + 1e-16) + 1e-8)
      moved.append(value - rates[place % 3] * step)
      for (name, value) in [(first, m), (second, v)] {
        guard let target = tensors[name] else { continue }
        outputs.append(Output(value.stopGradient))
        targets.append(target)
      }
    }
    let after = symbols.indices.map { index in
      var copy = symbols[index]
      copy.learned = Array(moved[(3 * index)..<(3 * index + 3)])
      return copy
    }
    let outer = try outerLoss(changed, after, named)
    let gradients = try Differentiate.gradients(of: outer, withRespectTo: phi)
    let parts = ["rounding", "steps", "input"]
    for (place, value) in moved.enumerated() {
      guard let target = tensors["\(names[place / 3]).\(parts[place % 3])"] else { continue }
      outputs.append(Output(value))
      targets.append(target)
    }
    let first = outputs.count
    outputs += gradients.map { Output($0) }
    let execution = try Execution(try Plan(outputs, type: type), workers: stage.run.workers)
    try stage.bind(execution, tensors)
    var random = Random(seed: tuning.seed, stream: "metaaug").stream(index)
    for iteration in 0..<iterations {
      let chosen = (0..<count).map { _ in random.below(x.shape[0]) }
      let others = (0..<count).map { _ in random.below(x.shape[0]) }
      tensors["x"]?.gather(chosen, of: x)
      tensors["other"]?.gather(others, of: rounded)
      tensors["logits"]?.gather(others, of: logits)
      try tensors["order"]?.assign(from: try Tensor(random.permutation(count).map { Int32($0) }))
      // Beta(4, 4) is the fourth of seven uniforms.
      let share = ascending((0..<7).map { _ in random.uniform() })[3]
      tensors["share"]?.store(max(share, 1 - share))
      let part = (Double(iteration) / Double(iterations) - tuning.warmUp) / max(1 - tuning.warmUp, 1e-9)
      tensors["beta"]?.store(20 - 18 * min(max(part, 0), 1))
      tensors["round weight"]?.store(part < 0 ? 0 : tuning.roundWeight)
      tensors["first"]?.store(1 / (1 - power(MetaLoop.beta1, iteration + 1)))
      tensors["second"]?.store(1 / (1 - power(MetaLoop.beta2, iteration + 1)))
      try execution.run()
      var slopes: [[Float]] = []
      for place in gradients.indices { slopes.append(try execution.output(first + place).array(of: Float.self)) }
      transform.step(slopes, rate: arguments.real("lr_T"), clip: 0.1)
      for (place, target) in targets.enumerated() { try target.assign(from: execution.output(place)) }
      for (name, tensor) in try transform.tensors(type) { try tensors[name]?.assign(from: tensor) }
    }
  }

  private func power(_ base: Double, _ exponent: Int) -> Double {
    (0..<exponent).reduce(1) { value, _ in value * base }
  }

  /// L_Q: the float block and the soft one on what float layers make of T(x).
  private func innerLoss(
    _ changed: Expression, _ symbols: [SoftWeight.Symbols], _ input: (String, Kind) -> Expression
  ) -> Expression {
    let seen = stage.forward(changed, 0..<block.layers.lowerBound)
    let float = stage.forward(seen, block.layers)
    let own = stage.forward(
      seen, block.layers, BlockTuning.replacements(soft, symbols, drop: 0, stream: 0))
    let sides = symbols.map { SoftWeight.indecision($0.rounding, input("beta", .real)) }
    return BlockTuning.reconstruction(own, float) + input("round weight", .real)
      * sides.reduce(.constant(0)) { $0 + $1 }
  }

  private func outerLoss(
    _ changed: Expression, _ symbols: [SoftWeight.Symbols], _ input: (String, Kind) -> Expression
  ) throws(TemperError) -> Expression {
    let count = stage.model.description.layers.count
    let own = stage.forward(
      input("other", .real), block.layers, BlockTuning.replacements(soft, symbols, drop: 0, stream: 0))
    let logits = stage.forward(own, block.layers.upperBound..<count)
    let prediction = BlockTuning.divergence(input("logits", .real), logits, arguments.real("kl_temperature"))
    let x = input("x", .real)
    let margin = relu(arguments.real("margin_e") - square(changed - x).meanAll().reshaped([]))
    func likeness(_ samples: Expression) -> Expression {
      let flat = samples.reshaped([samples.shape[0], samples.shape.count / samples.shape[0]])
      let share = input("share", .real)
      let mixed = share * flat + (1 - share) * flat.gatherRows(input("order", .index))
      let features = stage.forward(mixed.reshaped(samples.shape), 0..<(count - 1))
      let rows = features.reshaped([features.shape[0], features.shape.count / features.shape[0]])
      let unit = rows / sqrt(square(rows).sum() + 1e-12)
      let alike = 0.5 * (1 + Expression.matmul(unit, unit, transposeB: true)) + 1e-8
      return alike / alike.sum()
    }
    let (before, after) = (likeness(x), likeness(changed))
    let pairs = (before * log(before / after)).meanAll().reshaped([])
    return arguments.real("c1") * prediction + arguments.real("c2") * margin + arguments.real("c3") * pairs
  }
}

extension BlockRun {
  fileprivate func transformed(_ x: Tensor, _ transform: InputTransform) throws(TemperError) -> Tensor {
    let y = transform(.input("x", x.shape), transform.symbols)
    let execution = try Execution(try Plan([Output(y)], type: model.dtype), workers: run.workers)
    var tensors = try transform.tensors(model.dtype)
    tensors["x"] = x
    try bind(execution, tensors)
    try execution.run()
    return try execution.output(0).copy()
  }
}

extension Tensor {
  /// One array after the other along the first axis.
  static func stacked(_ parts: [Tensor]) throws(TemperError) -> Tensor {
    let rows = parts.reduce(0) { $0 + $1.shape[0] }
    let whole = try Tensor(zeros: Shape([rows] + parts[0].shape.sizes.dropFirst()), parts[0].dtype)
    var start = 0
    for part in parts {
      try whole.slice(start..<(start + part.shape[0])).assign(from: part)
      start += part.shape[0]
    }
    return whole
  }
}
