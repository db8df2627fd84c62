import TemperCatalogue
import TemperCore
import TemperNetworks

/// Each weight of a model packed at each of several levels (bits, or shares of zeros), coarsest first.
struct LevelDatabase {
  let names: [String]
  /// Weights in each.
  let sizes: [Int]
  /// By weight, then by level.
  let packed: [[QuantizedWeight]]
  /// Bits of all codes, by weight and level.
  var costs: [[Double]] { zip(sizes, packed).map { size, levels in levels.map { $0.matrix.bits * Double(size) } } }

  init(_ run: ModelRun, _ arguments: Arguments) throws(TemperError) {
    let levels = try Levels(arguments).quantizers
    var packed = [[QuantizedWeight]](repeating: [], count: run.chosen.count)
    for (index, quantizer) in levels.enumerated() {
      for (place, variable) in run.chosen.enumerated() {
        packed[place].append(try run.pack(variable, quantizer))
      }
      try run.step("level \(index + 1)", done: index + 1, of: levels.count)
    }
    self.packed = packed
    names = run.chosen.map(\.name)
    sizes = run.chosen.map(\.shape.count)
  }

  func matrices(_ levels: [Int]) -> [(name: String, matrix: QuantizedMatrix)] {
    names.indices.map { (names[$0], packed[$0][levels[$0]].matrix) }
  }

  func reports(_ levels: [Int]) -> [(String, QuantizationReport)] {
    names.indices.map { (names[$0], packed[$0][levels[$0]].report) }
  }
}

/// A float copy of a model into which decoded weights are put, to see what they do to its outputs.
final class TrialModel {
  private let model: Model
  private let names: [String]
  private let decoded: [[Tensor]]
  private let original: [Tensor]
  private var present: [Int?]
  private let workers: Workers

  init(_ run: ModelRun, _ database: LevelDatabase) throws(TemperError) {
    model = try Model(restoring: run.model.fileContents, catalogue: run.catalogue)
    (names, workers) = (database.names, run.workers)
    var decoded: [[Tensor]] = []
    for levels in database.packed {
      var tensors: [Tensor] = []
      for level in levels { tensors.append(try level.matrix.dequantize(workers: run.workers)) }
      decoded.append(tensors)
    }
    var original: [Tensor] = []
    for variable in run.chosen {
      if let tensor = variable.tensor { original.append(try tensor.copy()) }
    }
    (self.decoded, self.original) = (decoded, original)
    present = [Int?](repeating: nil, count: names.count)
  }

  /// The outputs with weight i at level levels[i], or as it was where that is nil.
  func outputs(_ x: Tensor, _ levels: [Int?]) throws(TemperError) -> Tensor {
    for (index, level) in levels.enumerated() where level != present[index] {
      try model.variable(names[index])?.tensor?.assign(from: level.map { decoded[index][$0] } ?? original[index])
      present[index] = level
    }
    return try model.predict(x, workers: workers)
  }
}
