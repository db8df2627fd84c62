import Glibc
import TemperCore
import TemperGraph
import TemperNetworks

/// How a block's rounding is learned.
struct BlockTuning {
  var bits: Int
  /// nil leaves inputs floats.
  var inputBits: Int?
  /// Weight of the model's prediction in the objective over 1; nil leaves it out.
  var predictionWeight: Double?
  var temperature: Double
  var roundWeight: Double
  var warmUp: Double
  var drop: Double
  var iterations: Int
  var batch: Int
  var rates: (rounding: Double, input: Double)
  var seed: UInt64

  /// What a block sees, one row a sample: its inputs from rounded and from float layers, what it is to give, and what the
  /// float model gives.
  struct Samples {
    let rounded: Tensor
    let float: Tensor
    let target: Tensor
    let logits: Tensor
  }

  /// The packed weights of a block: soft choices are learned by Adam until each is on a side.
  func pack(
    _ block: BlockRun.Block, _ index: Int, _ stage: BlockRun, _ samples: Samples
  ) throws(TemperError) -> [(name: String, matrix: QuantizedMatrix)] {
    var soft: [SoftWeight] = []
    var packed: [(name: String, matrix: QuantizedMatrix)] = []
    for variable in block.weights {
      let weight = try stage.run.weight(variable)
      if variable.use == .table || weight.columns == 0 {
        let uniform = try UniformGrid(bits: bits, .minMax)
        packed.append(
          (variable.name, try QuantizedMatrix(try uniform.nearest(weight, workers: stage.run.workers))))
      } else {
        soft.append(
          try SoftWeight(
            variable, weight, bits: bits, inputBits: inputBits, inputs: stage.run.inputs[variable.name],
            workers: stage.run.workers))
      }
    }
    try learn(&soft, block, index, stage, samples)
    for weight in soft { packed.append((weight.variable.name, try weight.packed(workers: stage.run.workers))) }
    return packed
  }

  private func learn(
    _ soft: inout [SoftWeight], _ block: BlockRun.Block, _ index: Int, _ stage: BlockRun, _ samples: Samples
  ) throws(TemperError) {
    guard !soft.isEmpty, iterations > 0 else { return }
    let count = min(batch, samples.target.shape[0])
    let type = stage.model.dtype
    var tensors: [String: Tensor] = [
      "x": try Tensor(zeros: Shape([count] + samples.rounded.shape.sizes.dropFirst()), samples.rounded.dtype),
      "float x": try Tensor(zeros: Shape([count] + samples.float.shape.sizes.dropFirst()), samples.float.dtype),
      "target": try Tensor(zeros: Shape([count] + samples.target.shape.sizes.dropFirst()), type),
      "logits": try Tensor(zeros: Shape([count] + samples.logits.shape.sizes.dropFirst()), type),
      "beta": try Tensor(zeros: [], type), "round weight": try Tensor(zeros: [], type),
      "clock": try Tensor(zeros: [4], .int32),
    ]
    let names = soft.indices.map { "soft\($0)" }
    let symbols = zip(soft, names).map { $0.symbols($1) }
    for (weight, name) in zip(soft, names) { try tensors.merge(weight.tensors(name, type)) { $1 } }
    let objective = try objective(soft, symbols, block, stage, tensors)
    // Steps of weights stay as they are.
    let wanted = symbols.flatMap { [$0.rounding, $0.inputStep] }
    let gradients = try Differentiate.gradients(of: objective, withRespectTo: wanted)
    let execution = try Execution(
      try Plan(gradients.map { Output($0) }, type: type), workers: stage.run.workers)
    try stage.bind(execution, tensors)
    var random = Random(seed: seed, stream: "blocks").stream(index)
    let key = random.stream("drop").key
    var adam = soft.map { (AdamState(count: $0.rounding.count), AdamState(count: 1)) }
    for iteration in 0..<iterations {
      let chosen = (0..<count).map { _ in random.below(samples.target.shape[0]) }
      for (name, table) in [
        ("x", samples.rounded), ("float x", samples.float), ("target", samples.target), ("logits", samples.logits),
      ] { tensors[name]?.gather(chosen, of: table) }
      let share = (Double(iteration) / Double(iterations) - warmUp) / max(1 - warmUp, 1e-9)
      tensors["beta"]?.store(20 - 18 * min(max(share, 0), 1))
      tensors["round weight"]?.store(share < 0 ? 0 : roundWeight)
      tensors["clock"]?.setWords(key, UInt64(iteration))
      try execution.run()
      let rate = rates.input * 0.5 * (1 + cos(Double.pi * Double(iteration) / Double(iterations)))
      for place in soft.indices {
        adam[place].0.step(
          &soft[place].rounding, try execution.output(2 * place).array(of: Float.self), rate: Float(rates.rounding))
        adam[place].1.step(
          &soft[place].inputStep, try execution.output(2 * place + 1).array(of: Float.self), rate: Float(rate))
        soft[place].inputStep[0] = max(soft[place].inputStep[0], 1e-6)
        let (name, weight) = (names[place], soft[place])
        try tensors[name + ".rounding"]?.assign(
          from: try Tensor(weight.rounding, shape: [weight.weight.rows, weight.weight.columns]))
        tensors[name + ".input"]?.store(Double(weight.inputStep[0]))
      }
      if iteration % 100 == 99 {
        try stage.run.step("block \(index)", done: stage.finished.count, of: stage.run.chosen.count)
      }
    }
  }

  /// What replaces the products of a block: with soft weights, and rounded inputs of which a share is left out.
  static func replacements(
    _ soft: [SoftWeight], _ symbols: [SoftWeight.Symbols], drop: Double, stream: UInt32
  ) -> [String: Pass.Replacement] {
    var found: [String: Pass.Replacement] = [:]
    for (place, weight) in soft.enumerated() {
      let symbols = symbols[place]
      found[weight.variable.name] = { x in
        let draws =
          drop > 0
          ? Expression.uniform(x.shape, clock: .input("clock", [4], .index), stream: stream + UInt32(place)) : nil
        let x = weight.roundedInput(x, symbols, draws: draws, drop: drop)
        let rounded = weight.rounded(symbols)
        guard case .convolution(let convolution) = weight.variable.use else {
          return .matmul(x, rounded, transposeB: true)
        }
        return x.convolved(with: rounded, convolution)
      }
    }
    return found
  }

  private func objective(
    _ soft: [SoftWeight], _ symbols: [SoftWeight.Symbols], _ block: BlockRun.Block, _ stage: BlockRun,
    _ tensors: [String: Tensor]
  ) throws(TemperError) -> Expression {
    func input(_ name: String) -> Expression {
      guard let tensor = tensors[name] else { return .invalid(.internalFault, "Nothing is called \(name).") }
      return .input(name, tensor.shape, tensor.dtype.isFloating ? .real : .index)
    }
    let x = input("x")
    var mixed = x
    if x.kind == .real {
      let draws = Expression.uniform(x.shape, clock: .input("clock", [4], .index), stream: 1 << 20)
      mixed = Expression.select(draws .< drop, x, input("float x"))
    }
    let y = stage.forward(
      mixed, block.layers, BlockTuning.replacements(soft, symbols, drop: drop, stream: 0))
    var result = BlockTuning.reconstruction(y, input("target"))
    if let predictionWeight {
      let own = stage.forward(
        x, block.layers, BlockTuning.replacements(soft, symbols, drop: drop, stream: 1 << 10))
      let logits = stage.forward(own, block.layers.upperBound..<stage.model.description.layers.count)
      result = result + predictionWeight * BlockTuning.divergence(input("logits"), logits, temperature)
    }
    let sides = symbols.map { SoftWeight.indecision($0.rounding, input("beta")) }
    return result + input("round weight") * sides.reduce(.constant(0)) { $0 + $1 }
  }

  /// The squared distance, summed over channels and averaged over everything else.
  static func reconstruction(_ y: Expression, _ target: Expression) -> Expression {
    let channels = y.shape.rank == 4 ? y.shape[1] : y.shape.last
    return Double(max(channels, 1)) * square(y - target).meanAll().reshaped([])
  }

  /// Mean over rows of KL(softmax(p / T) ‖ softmax(q / T)).
  static func divergence(_ p: Expression, _ q: Expression, _ temperature: Double) -> Expression {
    let (a, b) = ((p / temperature).logSoftmax(), (q / temperature).logSoftmax())
    return (exp(a) * (a - b)).sum().meanAll().reshaped([])
  }
}
