import TemperCatalogue
import TemperCore
import TemperNetworks

/// Each weight of a model packed at each of several levels (bits, or shares of zeros), coarsest first.
struct LevelDatabase {
  static let parameters: [Parameter] =
    BaseMethod.parameters.filter { $0.name != "bits" } + [
      .text("levels", "2,3,4,5", "Bits of the base method, or shares of zeros for one that prunes."),
      .real("target_bits", 3, in: .positive, "Mean bits of a weight, without scales; at most these."),
    ]

  let names: [String]
  /// Weights in each.
  let sizes: [Int]
  /// By weight, then by level.
  let packed: [[QuantizedWeight]]
  /// Bits of all codes, by weight and level.
  var costs: [[Double]] { zip(sizes, packed).map { size, levels in levels.map { $0.matrix.bits * Double(size) } } }

  init(_ run: ModelRun, _ arguments: Arguments) throws(TemperError) {
    let base = try BaseMethod(arguments)
    let prunes = base.method.parameters.contains { $0.name == "sparsity" }
    let parameter = prunes ? "sparsity" : "bits"
    let values = try numbers(arguments.text("levels"), "levels", in: prunes ? 0...1 : 1...16)
    var packed = [[QuantizedWeight]](repeating: [], count: run.chosen.count)
    for (index, value) in values.sorted(by: prunes ? (>) : (<)).enumerated() {
      let quantizer = try base.quantizer(parameter, value)
      for (place, variable) in run.chosen.enumerated() {
        packed[place].append(try run.pack(variable, quantizer))
      }
      try run.step("level \(value)", done: index + 1, of: values.count)
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
