import TemperCore
import TemperNetworks

/// What a cancelled run over a model has finished, as a file: packed weights as in a quantized model's file, and what each
/// cost; it serves the same quantizer and the same model only.
extension QuantizationSession {
  private static let metadataName = "temper.session"

  /// The file appears whole or not at all.
  package func save(to path: String, settings: String, of model: Model, workers: Workers) throws(TemperError) {
    var file = Safetensors()
    var costs: [JSON.Member] = []
    var weights: [(name: String, matrix: QuantizedMatrix)] = []
    for (name, result) in finished.sorted(by: { $0.key < $1.key }) {
      weights.append((name, result.matrix))
      costs.append(JSON.Member(name, result.report.numbers))
    }
    try file.add(weights, workers: workers)
    file.metadata[QuantizationSession.metadataName] =
      JSON.object([
        JSON.Member("settings", .text(settings)), JSON.Member("model", .text(try model.identity)),
        JSON.Member("costs", .object(costs)),
      ]).serialized
    try file.write(to: path)
  }

  /// Takes over what `save` wrote for the same settings and model.
  package func load(
    _ path: String, settings: String, of model: Model, workers: Workers
  ) throws(TemperError) {
    let file = try Safetensors(reading: path)
    do throws(TemperError) {
      guard let text = file.metadata[QuantizationSession.metadataName],
        let described = file.metadata[QuantizedModel.metadataName],
        case .object(let weights)? = try JSON(parsing: described)["weights"]
      else { throw TemperError(.malformedFile, "The file holds no part of a quantization.") }
      let json = try JSON(parsing: text)
      guard json["settings"] == .text(settings), json["model"] == .text(try model.identity) else {
        throw TemperError(.wrongState, "The file is of another quantizer or another model; begin anew.")
      }
      for member in weights {
        let matrix = try QuantizedMatrix(stored: member.name, member.value, in: file, workers: workers)
        guard let variable = model.variable(member.name), variable.shape == matrix.shape,
          let report = QuantizationReport(json["costs"]?[member.name], shape: matrix.shape)
        else { throw TemperError(.malformedFile, "\"\(member.name)\" is not what the model has.") }
        finished[member.name] = QuantizedWeight(matrix: matrix, report: report)
      }
    } catch { throw error.from(path) }
  }
}

extension Model {
  /// Its description and a checksum of its parameters (FNV-1a over words).
  fileprivate var identity: String {
    get throws(TemperError) {
      var sum: UInt64 = 0xcbf2_9ce4_8422_2325
      for variable in parameters + buffers {
        guard let tensor = variable.tensor else { continue }
        for value in try tensor.array(of: Double.self) { sum = (sum ^ value.bitPattern) &* 0x100_0000_01b3 }
      }
      return "\(fileMetadata) \(sum)"
    }
  }
}

extension QuantizationReport {
  /// [bits, bytes, bytes as floats, mean squared, largest and relative error, and that of outputs or null]
  var numbers: JSON {
    .array([
      .real(bits), .integer(byteCount), .integer(floatByteCount), .real(meanSquaredError), .real(largestError),
      .real(relativeError), outputError.map { .real($0) } ?? .null,
    ])
  }

  init?(_ json: JSON?, shape: Shape) {
    guard case .array(let numbers)? = json, numbers.count == 7 else { return nil }
    let found = numbers.map { number -> Double? in
      switch number {
      case .real(let value): value
      case .integer(let value): Double(value)
      default: nil
      }
    }
    guard let bits = found[0], let bytes = found[1].flatMap({ Int(exactly: $0) }),
      let floats = found[2].flatMap({ Int(exactly: $0) }), let mean = found[3], let largest = found[4],
      let relative = found[5]
    else { return nil }
    self.init(
      shape: shape, bits: bits, byteCount: bytes, floatByteCount: floats, meanSquaredError: mean,
      largestError: largest, relativeError: relative, outputError: found[6])
  }
}
