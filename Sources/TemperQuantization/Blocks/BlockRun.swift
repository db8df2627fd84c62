import TemperCore
import TemperGraph
import TemperNetworks

/// A model quantized block after block: a block is a layer with weights to pack and the layers without that follow it.
final class BlockRun {
  struct Block {
    let layers: Range<Int>
    let weights: [Variable]
  }

  let run: ModelRun
  /// A copy of the float model.
  let model: Model
  private(set) var blocks: [Block] = []
  private(set) var finished: [(name: String, result: QuantizedWeight)] = []

  init(_ run: ModelRun) throws(TemperError) {
    self.run = run
    model = try run.copyOfModel()
    let count = model.description.layers.count
    func weights(_ layer: Int) -> [Variable] { run.chosen.filter { $0.name.hasPrefix("\(layer).") } }
    var start = 0
    for layer in 1...max(count, 1) where layer == count || !weights(layer).isEmpty {
      let held = (start..<layer).flatMap { weights($0) }
      // Layers before the first with weights belong to its block.
      guard !held.isEmpty || layer == count else { continue }
      blocks.append(Block(layers: start..<layer, weights: held))
      start = layer
    }
  }

  /// What `layers` give for x, the input of the first of them: with the weights packed so far, or with floats.
  func outputs(_ layers: Range<Int>, _ x: Tensor, isPacked: Bool) throws(TemperError) -> Tensor {
    var replacements: [String: Pass.Replacement] = [:]
    if isPacked {
      for (name, result) in finished {
        guard let variable = model.variable(name) else { continue }
        replacements[name] = try result.matrix.replacement(of: variable)
      }
    }
    var parts: [Tensor] = []
    for start in stride(from: 0, to: x.shape[0], by: Model.calibrationBatch) {
      let part = try x.slice(start..<min(start + Model.calibrationBatch, x.shape[0])).dense()
      let y = forward(
        .input("x", part.shape, part.dtype.isFloating ? .real : .index), layers, replacements)
      if let error = y.error { throw error }
      let execution = try Execution(try Plan([Output(y)], type: model.dtype), workers: run.workers)
      try bind(execution, ["x": part])
      try execution.run()
      parts.append(try execution.output(0).copy())
    }
    return try Tensor.stacked(parts)
  }

  func forward(_ x: Expression, _ layers: Range<Int>, _ replacements: [String: Pass.Replacement] = [:]) -> Expression {
    model.forward(x, pass(x.shape[0], replacements), layers: layers)
  }

  func pass(_ count: Int, _ replacements: [String: Pass.Replacement] = [:]) -> Pass {
    model.replacements = replacements
    defer { model.replacements = [:] }
    return model.pass(.inference, mask: model.needsMask ? .input("mask", [count, model.input.shape[0]]) : nil)
  }

  /// Binds the model's own arrays, a mask of ones, and `tensors`.
  func bind(_ execution: Execution, _ tensors: [String: Tensor]) throws(TemperError) {
    try model.bind(to: execution)
    for input in execution.plan.inputs {
      if let tensor = tensors[input.name] {
        try execution.bind(input.name, to: tensor)
      } else if input.name == "mask" {
        let ones = try Tensor(zeros: input.shape, model.dtype)
        try ones.fill(1)
        try execution.bind("mask", to: ones)
      }
    }
  }

  /// Every block in turn: what a cancelled run has finished is taken from the session, the others from `pack`.
  func packBlocks(
    _ pack: (_ index: Int, _ block: Block) throws(TemperError) -> [(name: String, matrix: QuantizedMatrix)]
  ) throws(TemperError) {
    for (index, block) in blocks.enumerated() {
      let session = run.session
      if block.weights.contains(where: { session.finished[$0.name] == nil }) {
        for (name, matrix) in try pack(index, block) {
          guard let variable = model.variable(name) else { continue }
          let report = try matrix.report(
            of: try run.weight(variable), inputs: run.inputs[name], workers: run.workers)
          session.finished[name] = QuantizedWeight(matrix: matrix, report: report)
        }
      }
      for variable in block.weights {
        if let result = session.finished[variable.name] { finished.append((variable.name, result)) }
      }
      if let last = finished.last, !block.weights.isEmpty {
        try session.report(last.name, last.result.report, done: finished.count, of: run.chosen.count)
      }
    }
  }

  func result() throws(TemperError) -> (model: QuantizedModel, reports: [(String, QuantizationReport)]) {
    (try run.quantized(finished.map { ($0.name, $0.result.matrix) }), finished.map { ($0.name, $0.result.report) })
  }
}

extension Tensor {
  /// Rows of `table`, of the same type and dense as this array, row after row.
  func gather(_ rows: [Int], of table: Tensor) {
    let size = table.byteCount / max(table.shape[0], 1)
    for (place, row) in rows.enumerated() {
      unsafe (pointer + place * size).copyMemory(from: table.pointer + row * size, byteCount: size)
    }
    withExtendedLifetime((self, table)) {}
  }
}
