import TemperCatalogue
import TemperCore
import TemperNetworks

/// Models as GGUF files: their parameters and running statistics by name, and metadata that says how to build them.
///
/// Matrices are stored in a type of few bits; what is no matrix, or has no whole blocks, in another one. A matrix whose
/// rows are no whole blocks, and which as (outputs, everything else) has some, is stored in that shape.
extension GGUF {
  private static let shapesKey = "temper.shapes"

  /// The type that `wanted` becomes where rows of `columns` are no whole blocks, as llama.cpp has it.
  static func fallback(for wanted: GGUFType, columns: Int) throws(TemperError) -> GGUFType {
    if columns % wanted.block == 0 { return wanted }
    let substitutes = ["Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"]
    let others = ["IQ4_XS": "IQ4_NL", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0", "NVFP4": "MXFP4"]
    let smaller = try GGUFType(named: substitutes[wanted.name] ?? others[wanted.name] ?? "F32")
    return columns % smaller.block == 0 ? smaller : .float32
  }

  /// Writes a model with its matrices in this type; everything else in float32.
  package static func write(
    _ model: Model, to path: String, type: GGUFType, workers: Workers
  ) throws(TemperError) {
    try write(
      model, to: path, workers: workers,
      report: { _ in },
      output: { (variable) throws(TemperError) in
        guard let tensor = variable.tensor else {
          throw TemperError(.wrongState, "The model's weights are packed already; this type is for float models.")
        }
        let isMatrix = variable.isPackable
        return try GGUF.output(variable.name, variable.shape, isMatrix ? type : .float32) { _, _ in GGUFNumbers(tensor)
        }
      })
  }

  /// Writes a quantized model; each weight in the type that holds its codes, or comes nearest to them.
  package static func write(_ model: QuantizedModel, to path: String, workers: Workers) throws(TemperError) {
    try write(
      model.model, to: path, workers: workers, report: { _ in },
      output: { (variable) throws(TemperError) in
        guard let matrix = model.matrix(variable.name) else {
          return try GGUF.output(variable.name, variable.shape, .float32) { (_, _) throws(TemperError) in
            if let tensor = variable.tensor { return GGUFNumbers(tensor) }
            return GGUFNumbers(try Tensor(zeros: variable.shape))
          }
        }
        return try GGUF.output(variable.name, variable.shape, try matrix.ggufType()) {
          (type, _) throws(TemperError) in
          try matrix.ggufNumbers(type, workers: workers)
        }
      })
  }

  /// `values`: of the type and shape that are stored.
  static func output(
    _ name: String, _ own: Shape, _ wanted: GGUFType,
    _ values: @escaping (_ type: GGUFType, _ shape: Shape) throws(TemperError) -> GGUFNumbers
  ) throws(TemperError) -> GGUFOutput {
    let (type, shape) = try place(own, wanted)
    return try GGUFOutput(name, type, shape) { () throws(TemperError) in try values(type, shape) }
  }

  /// The type and the shape in which a tensor is stored.
  static func place(_ own: Shape, _ wanted: GGUFType) throws(TemperError) -> (type: GGUFType, shape: Shape) {
    let rows = own.rank > 1 ? own[0] : 1
    let columns = own.count / max(rows, 1)
    var type = try fallback(for: wanted, columns: own.rank > 0 ? own.last : 1)
    var shape = own
    if type != wanted, wanted != .float32, rows > 1 {
      let flat = try fallback(for: wanted, columns: columns)
      if flat == wanted || (type == .float32 && flat != .float32) { (type, shape) = (flat, [rows, columns]) }
    }
    if shape.rank > maximumRank || shape.rank == 0 { shape = [rows, columns] }
    return (type, shape)
  }

  private static func write(
    _ model: Model, to path: String, workers: Workers, report: (GGUFOutput) throws(TemperError) -> Void,
    output: (Variable) throws(TemperError) -> GGUFOutput
  ) throws(TemperError) {
    var outputs: [GGUFOutput] = []
    var shapes: [JSON.Member] = []
    for variable in model.parameters + model.buffers {
      let made = try output(variable)
      outputs.append(made)
      if made.shape != variable.shape {
        shapes.append(JSON.Member(variable.name, .array(variable.shape.sizes.map { .integer($0) })))
      }
    }
    try write(
      to: path, metadata: modelMetadata(model.fileMetadata, shapes), tensors: outputs, workers: workers, report: report)
  }

  /// `shapes`: of what is stored in another one.
  static func modelMetadata(_ model: String, _ shapes: [JSON.Member]) -> [(key: String, value: Value)] {
    var metadata: [(key: String, value: Value)] = [
      ("general.architecture", .text("temper")), ("general.quantization_version", .unsigned(2)),
      (Model.metadataName, .text(model)),
    ]
    if !shapes.isEmpty { metadata.append((shapesKey, .text(JSON.object(shapes).serialized))) }
    return metadata
  }

  /// The shapes of parameters that are stored in other ones.
  func shapesOfModel() throws(TemperError) -> [String: Shape] {
    guard case .text(let text)? = self[GGUF.shapesKey], case .object(let members) = try JSON(parsing: text) else {
      return [:]
    }
    var shapes: [String: Shape] = [:]
    for member in members {
      guard case .array(let extents) = member.value else { continue }
      var sizes: [Int] = []
      for case .integer(let size) in extents { sizes.append(size) }
      shapes[member.name] = try Shape(validating: sizes)
    }
    return shapes
  }

  /// The metadata that are texts; of a model only its description.
  var texts: [String: String] {
    if case .text(let model)? = self[Model.metadataName] { return [Model.metadataName: model] }
    var texts: [String: String] = [:]
    for (key, value) in metadata { if case .text(let text) = value { texts[key] = text } }
    return texts
  }

  /// The model that the file describes, with float parameters.
  package func model(catalogue: Catalogue, workers: Workers) throws(TemperError) -> Model {
    guard case .text(let text)? = self[Model.metadataName] else {
      throw TemperError(
        .malformedFile, "The file holds no Temper model: its metadata has no \"\(Model.metadataName)\".")
    }
    let shapes = try shapesOfModel()
    var contents = Safetensors(metadata: [Model.metadataName: text])
    for entry in tensors {
      var tensor = try tensor(entry, workers: workers)
      if let shape = shapes[entry.name] { tensor = try tensor.reshaped(shape) }
      contents.tensors.append((entry.name, tensor))
    }
    return try Model(restoring: contents, catalogue: catalogue)
  }
}

extension QuantizedMatrix {
  /// The type whose blocks hold these codes exactly, but for scales rounded to float16; else one of as many bits.
  func ggufType() throws(TemperError) -> GGUFType {
    guard adjustment.offsets == nil else {
      throw TemperError(
        .unsupported, "GGUF files hold weights; what this method adds to a layer's outputs has no place there.")
    }
    if let blocks = form as? GGUFBlocks, adjustment.isNone { return blocks.type }
    let name: String
    // One scale for each 256 neighbours, or 32.
    let size = packed?.groupSize ?? 0
    let isWide = columns % 256 == 0 && (size % 256 == 0 || size >= columns)
    switch (packed?.grid.name, Int(bits.rounded(.up))) {
    case ("symmetric", 2): name = isWide ? "TQ2_0" : "Q4_0"
    case ("symmetric", 3): name = isWide ? "Q3_K" : "Q4_0"
    case ("symmetric", 6): name = isWide ? "Q6_K" : "Q8_0"
    case ("asymmetric", 2): name = isWide ? "Q2_K" : "Q4_1"
    case ("asymmetric", 3), ("asymmetric", 4): name = "Q4_1"
    case ("asymmetric", 5): name = "Q5_1"
    case ("ternary", _): name = isWide ? "TQ2_0" : "Q4_0"
    case ("binary", _), ("symmetric", 4): name = "Q4_0"
    case ("symmetric", 5): name = "Q5_0"
    case ("fp4_e2m1", _): name = "MXFP4"
    case ("nf4", _): name = "IQ4_NL"
    case (_, ...2): name = "Q2_K"
    case (_, 3): name = "Q3_K"
    case (_, 4): name = "Q4_K"
    case (_, 5): name = "Q5_K"
    case (_, 6): name = "Q6_K"
    case (_, 7...8): name = "Q8_0"
    case (_, 9...16): name = "F16"
    default: name = "F32"
    }
    return try GGUFType(named: name)
  }

  /// Its blocks, if it is made of such; else the weights, or those of some rows, with the scales of the codes where the
  /// stored groups lie within those of the matrix.
  func ggufNumbers(
    _ type: GGUFType, rows part: Range<Int>? = nil, workers: Workers
  ) throws(TemperError) -> GGUFNumbers {
    if let blocks = form as? GGUFBlocks, adjustment.isNone, blocks.type == type, part == nil {
      return GGUFNumbers(blocks.codes, areBlocks: true)
    }
    let part = part ?? 0..<rows
    let weights = try dequantize(rows: part, workers: workers)
    guard let packed, columns % type.group == 0, packed.groupSize % type.group == 0 || packed.groupSize >= columns
    else { return GGUFNumbers(weights) }
    let groups = columns / type.group
    let perRow = packed.scales.shape[1]
    let isShared = packed.scales.shape[0] != rows
    func own(_ tensor: Tensor) throws(TemperError) -> Tensor { isShared ? tensor : try tensor.slice(part) }
    let given = try own(packed.scales).array(of: Float.self)
    let zeros = try packed.zeros.map(own)?.array(of: UInt8.self)
    var (scales, offsets) = ([Float](), [Float]())
    scales.reserveCapacity(part.count * groups)
    for row in part {
      let first = isShared ? 0 : (row - part.lowerBound) * perRow
      for group in 0..<groups {
        let place = first + group * type.group / packed.groupSize
        scales.append(given[place])
        if let zeros { offsets.append(given[place] * Float(zeros[place])) }
      }
    }
    let shape: Shape = [part.count * groups]
    return GGUFNumbers(
      weights, scales: try Tensor(scales, shape: shape),
      offsets: zeros == nil ? nil : try Tensor(offsets, shape: shape))
  }
}
