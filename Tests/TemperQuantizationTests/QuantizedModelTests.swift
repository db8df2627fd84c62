import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import Testing

@testable import TemperQuantization

private let catalogue = Catalogue(Layers.all + Activations.all + Quantizers.all)

private func network(_ text: String, input: Shape, dtype: DType = .float32) throws -> Model {
  try Model(try Description(parsing: text), input: input, dtype: dtype, seed: 3, catalogue: catalogue)
}

private let denseNetwork = #"[{"dense": 40}, "relu", {"dense": 33}, "relu", {"dense": 10}]"#

private func fourBits() throws -> any Quantizer {
  try quantizer("round_to_nearest", [("bits", .integer(4)), ("group_size", .integer(32))])
}

/// A float model with the values that the packed weights stand for.
private func decoded(_ quantized: QuantizedModel, of model: Model) throws -> Model {
  var file = model.fileContents
  for (name, matrix) in quantized.weights {
    let index = file.tensors.firstIndex { $0.name == name }!
    file.tensors[index].tensor = try matrix.dequantize(workers: workers)
  }
  return try Model(restoring: file, catalogue: catalogue)
}

private func temporaryFile() -> String {
  var template = Array("/tmp/temper-quantization-XXXXXX".utf8CString)
  close(mkstemp(&template))
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

private func largestDifference(_ a: Tensor, _ b: Tensor) -> Double {
  zip(doubles(a), doubles(b)).map { abs($0 - $1) }.max() ?? 0
}

@Suite struct QuantizedModelTests {
  @Test func predictsWithTheDecodedWeights() throws {
    for dtype in [DType.float32, .float64] {
      let model = try network(denseNetwork, input: [64], dtype: dtype)
      let quantized = try fourBits().quantize(model, catalogue: catalogue, workers: workers).model
      let reference = try decoded(quantized, of: model)
      for count in [1, 7, 300] {
        let x = try weights([count, 64], seed: 8, scale: 1).copy(as: dtype)
        let y = try quantized.model.predict(x, workers: workers)
        #expect(y.dtype == dtype)
        let expected = try reference.predict(x, workers: workers)
        #expect(largestDifference(y, expected) < (dtype == .float32 ? 1e-5 : 1e-14))
        // The codes matter: the float model's answers differ visibly.
        #expect(largestDifference(y, try model.predict(x, workers: workers)) > 1e-3)
      }
    }
  }

  private static let kinds: [(text: String, input: Shape, packed: [String])] = [
    (
      """
      [{"conv2d": {"channels": 6, "kernel": 3, "padding": "same", "stride": 2}}, "batch_norm", "relu",
       {"conv2d": {"channels": 4, "kernel": 2, "groups": 2}}, "flatten", {"dense": 5}]
      """,
      [3, 9, 8], ["0.weight", "3.weight", "5.weight"]
    ),
    (
      """
      [{"embedding": {"entries": 20, "size": 12}}, {"multi_head_attention": {"heads": 3}}, {"lstm": 7}, "flatten",
       {"dense": 3}]
      """,
      [5], ["0.weight", "1.in_proj_weight", "1.out_proj.weight", "2.weight_ih", "2.weight_hh", "4.weight"]
    ),
  ]

  @Test(arguments: 0..<2, [DType.float32, .float64]) func everyKindOfWeight(kind: Int, dtype: DType) throws {
    let (text, input, packed) = Self.kinds[kind]
    let model = try network(text, input: input, dtype: dtype)
    let quantized = try fourBits().quantize(model, catalogue: catalogue, workers: workers).model
    #expect(quantized.weights.map(\.name) == packed)
    let reference = try decoded(quantized, of: model)
    let count = 4
    let x =
      input.rank == 1
      ? try Tensor((0..<(count * input.count)).map { Int32($0 * 7 % 20) }, shape: [count, input.count])
      : try weights(Shape([count] + input.sizes), seed: 8, scale: 1).copy(as: dtype)
    let y = try quantized.model.predict(x, workers: workers)
    let expected = try reference.predict(x, workers: workers)
    #expect(largestDifference(y, expected) < (dtype == .float32 ? 1e-5 : 1e-14))
    #expect(largestDifference(y, try model.predict(x, workers: workers)) > 1e-4)
    let file = try quantized.fileContents(workers: workers)
    let loaded = try QuantizedModel(restoring: file, catalogue: catalogue, workers: workers)
    #expect(doubles(try loaded.model.predict(x, workers: workers)) == doubles(y))
    let serial = try loaded.model.predict(x, workers: Workers(count: 1))
    #expect(doubles(serial) == doubles(y))
  }

  @Test func lookUpsOutsideTheTable() throws {
    let matrix = try fourBits().quantize(weights([6, 5]), workers: workers).matrix
    for bad in [-1, 6, Int32.max, Int32.min] {
      let error = failure {
        try matrix.lookUp(try Tensor([0, bad]), into: try Tensor(zeros: [2, 5]), workers: workers)
      }
      #expect(error?.code == .outOfRange)
    }
  }

  @Test func packsWeightsAndLeavesTheRest() throws {
    let model = try network(denseNetwork, input: [64])
    let before = model.parameters.map { floats($0.tensor!) }
    let (quantized, report) = try fourBits().quantize(model, catalogue: catalogue, workers: workers)
    #expect(quantized.weights.map(\.name) == ["0.weight", "2.weight", "4.weight"])
    #expect(report.weights.map(\.name) == quantized.weights.map(\.name))
    for name in ["0.bias", "2.bias", "4.bias"] {
      #expect(floats(quantized.model.variable(name)!.tensor!) == floats(model.variable(name)!.tensor!))
    }
    #expect(quantized.model.variable("0.weight")!.tensor == nil)
    #expect(model.parameters.map { floats($0.tensor!) } == before, "the float model stays as it is")
    // 64, 40 and 33 columns are 2, 2 and 2 units of 16 bytes, with as many scales.
    let packed = (40 + 33 + 10) * (2 * 16 + 2 * 4)
    let biases = 4 * (40 + 33 + 10)
    #expect(report.byteCount == packed + biases)
    #expect(report.floatByteCount == 4 * (64 * 40 + 40 * 33 + 33 * 10) + biases)
    for (name, entry) in report.weights {
      #expect(entry.shape == model.variable(name)!.shape && entry.bits == 4 && entry.relativeError > 0)
    }
  }

  @Test func skipsWhatItIsTold() throws {
    let model = try network(denseNetwork, input: [64])
    let byLayer = try fourBits().quantize(model, skip: ["4"], catalogue: catalogue, workers: workers).model
    #expect(byLayer.weights.map(\.name) == ["0.weight", "2.weight"])
    let byName = try fourBits().quantize(
      model, skip: ["0.weight", "2.weight", "4.weight"], catalogue: catalogue, workers: workers
    ).model
    #expect(byName.weights.isEmpty && byName.byteCount == byName.floatByteCount)
    let x = weights([3, 64], seed: 2)
    #expect(
      floats(try byName.model.predict(x, workers: workers)) == floats(try model.predict(x, workers: workers)))
    let error = failure {
      _ = try fourBits().quantize(model, skip: ["40"], catalogue: catalogue, workers: workers)
    }
    #expect(error?.code == .unknownName)
  }

  @Test func modelsThatCannotBeQuantized() throws {
    let model = try network(denseNetwork, input: [64])
    let packed = try fourBits().quantize(model, catalogue: catalogue, workers: workers).model
    #expect(
      failure { _ = try fourBits().quantize(packed.model, catalogue: catalogue, workers: workers) }?.code
        == .wrongState)
    try model.variable("2.weight")!.tensor!.fill(.nan)
    let error = failure { _ = try fourBits().quantize(model, catalogue: catalogue, workers: workers) }
    #expect(error?.code == .notFinite && error?.message.contains("\"2.weight\"") == true)
  }

  /// Each layer of a model is calibrated with the inputs that the float model gives it.
  @Test(arguments: 0..<2) func calibrationReachesEveryLayer(kind: Int) throws {
    let (text, input, packed) = Self.kinds[kind]
    let model = try network(text, input: input)
    let count = 300
    let x =
      input.rank == 1
      ? try Tensor((0..<(count * input.count)).map { Int32($0 * $0 % 20) }, shape: [count, input.count])
      : try correlatedInputs(count, input.count).reshaped(Shape([count] + input.sizes))
    let three: [(name: String, value: Value)] = [("bits", .integer(3))]
    let plain = try quantizer("round_to_nearest", three + [("symmetric", .boolean(false))])
      .quantize(model, calibration: x, catalogue: catalogue, workers: workers)
    let found = try quantizer("gptq", three).quantize(model, calibration: x, catalogue: catalogue, workers: workers)
    #expect(found.report.weights.map(\.name) == packed)
    #expect(found.report.byteCount == plain.report.byteCount)
    for (one, other) in zip(found.report.weights, plain.report.weights) {
      // Tables and grouped convolutions have no inputs to look at.
      let hasInputs = !(kind == 0 && one.name == "3.weight" || kind == 1 && one.name == "0.weight")
      #expect((one.report.outputError != nil) == hasInputs, "\(one.name)")
      if let error = one.report.outputError { #expect(error < other.report.outputError!, "\(one.name)") }
    }
    #expect(model.replacements.isEmpty)
    #expect(
      failure { _ = try quantizer("gptq").quantize(model, catalogue: catalogue, workers: workers) }?.code
        == .invalidArgument)
    #expect(
      failure {
        _ = try quantizer("gptq").quantize(
          model, calibration: try x.slice(0..<0), catalogue: catalogue, workers: workers)
      }?.code == .invalidShape)
  }

  /// A convolution is the product of its weight with patches.
  @Test func patchesMakeConvolutions() throws {
    let convolution = Convolution(stride: [2, 1], padding: [1, 2], dilation: [1, 2])
    let (x, weight) = (weights([2, 3, 7, 8], seed: 1), weights([4, 3, 3, 2], seed: 2))
    let y = Expression.input("x", x.shape).convolved(with: .input("weight", weight.shape), convolution)
    let execution = try Execution(try Plan([Output(y)]), workers: workers)
    try execution.bind("x", to: x)
    try execution.bind("weight", to: weight)
    try execution.run()
    let expected = floats(execution.output(0))
    let patches = try convolution.patches(of: x, window: [3, 2])
    let positions = patches.shape[0] / 2
    let found = try Tensor(zeros: [2 * positions, 4])
    try MatrixProduct.run(
      patches, try weight.reshaped([4, 18]).permuted([1, 0]), into: found, workers: workers)
    let products = floats(found)
    #expect(expected.count == products.count)
    for (index, value) in expected.enumerated() {
      let (image, channel, position) = (index / (4 * positions), index / positions % 4, index % positions)
      #expect(abs(products[(image * positions + position) * 4 + channel] - value) < 1e-5)
    }
  }

  @Test func filesGiveTheSameBits() throws {
    for (bits, symmetric, granularity) in [(8, true, "channel"), (4, false, "channel"), (3, false, "tensor")] {
      for dtype in [DType.float32, .float64] {
        let model = try network(denseNetwork, input: [50], dtype: dtype)
        let method = try quantizer(
          "round_to_nearest",
          [("bits", .integer(bits)), ("symmetric", .boolean(symmetric)), ("granularity", .text(granularity))])
        let quantized = try method.quantize(model, catalogue: catalogue, workers: workers).model
        let path = temporaryFile()
        defer { unlink(path) }
        try quantized.save(to: path, workers: workers)
        #expect(QuantizedModel.isDescribed(by: try Safetensors(reading: path)))
        let loaded = try QuantizedModel(loading: path, catalogue: catalogue, workers: workers)
        let x = try weights([9, 50], seed: 8).copy(as: dtype)
        #expect(
          doubles(try loaded.model.predict(x, workers: workers))
            == doubles(try quantized.model.predict(x, workers: workers)))
        #expect(loaded.byteCount == quantized.byteCount)
        // Saving again gives the same file.
        let first = floats(try File.read(path))
        try loaded.save(to: path, workers: workers)
        #expect(floats(try File.read(path)) == first)
      }
    }
  }

  @Test func storedCodesAreBitsInOrder() throws {
    let model = try network(#"[{"dense": 2}]"#, input: [3])
    try model.restore([
      ("0.weight", try Tensor([7, -7, 1, 14, 0, -4] as [Float], shape: [2, 3])),
      ("0.bias", try Tensor([0, 0] as [Float])),
    ])
    let file = try quantizer("round_to_nearest", [("bits", .integer(4))])
      .quantize(model, catalogue: catalogue, workers: workers).model.fileContents(workers: workers)
    #expect(floats(file["0.weight.codes"]!) == [0x1f, 0x09, 0x8f, 0x06])
    #expect(floats(file["0.weight.scales"]!) == [1, 2])
    #expect(file["0.weight"] == nil && file["0.weight.zeros"] == nil)
    #expect(
      file.metadata["temper.quantization"]
        == #"{"version": 1, "weights": {"0.weight": {"shape": [2, 3], "bits": 4, "levels": "symmetric", "group_size": 3}}}"#
    )
  }

  @Test func threadsDoNotChangeBits() throws {
    let model = try network(#"[{"dense": 700}, "relu", {"dense": 300}]"#, input: [600])
    let quantized = try fourBits().quantize(model, catalogue: catalogue, workers: workers).model
    for count in [1, 64] {
      let x = weights([count, 600], seed: 8)
      let results = try [1, 2, 4].map { floats(try quantized.model.predict(x, workers: Workers(count: $0))) }
      #expect(results[1] == results[0] && results[2] == results[0])
    }
  }

  @Test func packedWeightsHaveNoGradients() throws {
    let model = try network(denseNetwork, input: [64])
    let quantized = try fourBits().quantize(model, catalogue: catalogue, workers: workers).model
    let x = Expression.input("x", [2, 64])
    let pass = quantized.model.pass(.training)
    let error = quantized.model.forward(x, pass).error
    #expect(error?.code == .unsupported && error?.message.contains("packed") == true)
  }
}

@Suite struct MalformedQuantizedFileTests {
  private static func sample() throws -> Safetensors {
    let model = try network(#"[{"dense": 4}]"#, input: [9])
    return try quantizer("round_to_nearest", [("bits", .integer(4)), ("symmetric", .boolean(false))])
      .quantize(model, catalogue: catalogue, workers: workers).model.fileContents(workers: workers)
  }

  private func error(_ change: (inout Safetensors) throws -> Void) throws -> TemperError? {
    var file = try Self.sample()
    try change(&file)
    return failure { _ = try QuantizedModel(restoring: file, catalogue: catalogue, workers: workers) }
  }

  private func describe(_ text: String) throws -> TemperError? {
    try error { $0.metadata[QuantizedModel.metadataName] = text }
  }

  private func replace(_ name: String, _ tensor: Tensor) throws -> TemperError? {
    try error { file in
      let index = file.tensors.firstIndex { $0.name == name }!
      file.tensors[index].tensor = tensor
    }
  }

  @Test func theSampleLoads() throws { #expect(try error { _ in } == nil) }

  @Test func descriptions() throws {
    let good = #"{"shape": [4, 9], "bits": 4, "levels": "asymmetric", "group_size": 9}"#
    func weight(_ from: String, _ to: String) throws -> TemperError? {
      let entry = good.replacing(from, with: to, maxReplacements: 1)
      return try describe(#"{"version": 1, "weights": {"0.weight": \#(entry)}}"#)
    }
    #expect(try weight("4, 9", "4, 9") == nil)
    let entries: [(String, String)] = [
      ("[4, 9]", "[9, 4]"), ("[4, 9]", "[36]"), ("[4, 9]", "[]"), ("[4, 9]", "[4, -9]"), ("[4, 9]", "4"),
      ("[4, 9]", "[4, 9.5]"), ("[4, 9]", "[4611686018427387904, 4611686018427387904]"),
      ("4, \"lev", "8, \"lev"), ("4, \"lev", "0, \"lev"), ("4, \"lev", "-4, \"lev"), ("4, \"lev", "\"4\", \"lev"),
      ("asymmetric", "symmetric"), ("asymmetric", "logarithmic"), ("_size\": 9", "_size\": 0"),
      ("_size\": 9", "_size\": 3"), ("_size\": 9", "_size\": -9223372036854775808"), ("group_size", "size"),
    ]
    for (from, to) in entries {
      #expect(try weight(from, to)?.code == .malformedFile, "\(from) became \(to)")
    }
    for text in ["", "[]", "{}", "1", #"{"version": 1}"#, #"{"version": "1", "weights": {}}"#] {
      #expect(try describe(text) != nil, "\(text)")
    }
    #expect(try describe(#"{"version": 2, "weights": {}}"#)?.code == .unsupported)
    // Described weights that the model lacks, that are no weights, and codes that nothing describes.
    #expect(try describe(#"{"version": 1, "weights": {"0.weight": \#(good), "1.weight": \#(good)}}"#) != nil)
    #expect(try describe(#"{"version": 1, "weights": {"0.bias": \#(good)}}"#) != nil)
    #expect(try describe(#"{"version": 1, "weights": {}}"#)?.code == .malformedFile)
    #expect(try error { $0.metadata[QuantizedModel.metadataName] = nil }?.code == .malformedFile)
    #expect(try error { $0.metadata[Model.metadataName] = nil }?.code == .malformedFile)
  }

  @Test func tensors() throws {
    for name in ["0.weight.codes", "0.weight.scales", "0.weight.zeros", "0.bias"] {
      let missing = try error { file in file.tensors.removeAll { $0.name == name } }
      #expect(missing?.code == .malformedFile, "\(name)")
    }
    #expect(try error { try $0.tensors.append(("0.weight", Tensor(zeros: [4, 9]))) }?.code == .malformedFile)
    #expect(try error { try $0.tensors.append(("other", Tensor(zeros: [1]))) }?.code == .malformedFile)
    for bad in [Float.nan, .infinity, 3e38] {
      let scales = try Tensor([1, 1, bad, 1] as [Float], shape: [4, 1])
      #expect(try replace("0.weight.scales", scales)?.code == .malformedFile)
    }
    #expect(try replace("0.weight.scales", try Tensor(zeros: [4])) != nil)
    #expect(try replace("0.weight.scales", try Tensor(zeros: [4, 1], .float64)) != nil)
    #expect(try replace("0.weight.zeros", try Tensor([1, 16, 1, 1] as [UInt8], shape: [4, 1])) != nil)
    #expect(try replace("0.weight.zeros", try Tensor(zeros: [4, 1])) != nil)
    #expect(try replace("0.weight.codes", try Tensor(zeros: [4, 4], .uint8)) != nil)
    #expect(try replace("0.weight.codes", try Tensor(zeros: [20], .uint8)) != nil)
    #expect(try replace("0.weight.codes", try Tensor(zeros: [4, 5])) != nil)
  }

  /// Every byte of a small file changed, and the file cut at every place: an error, or a model; never a trap.
  @Test func damagedFiles() throws {
    let path = temporaryFile()
    defer { unlink(path) }
    try Self.sample().write(to: path)
    let bytes = floats(try File.read(path)).map { UInt8($0) }
    func load(_ bytes: [UInt8]) -> TemperError? {
      failure {
        let file = try Safetensors(parsing: try Tensor(bytes))
        let loaded = try QuantizedModel(restoring: file, catalogue: catalogue, workers: workers)
        _ = try loaded.model.predict(try Tensor(zeros: [1, 9]), workers: workers)
      }
    }
    #expect(load(bytes) == nil)
    for length in stride(from: 0, to: bytes.count, by: 3) { #expect(load(Array(bytes[..<length])) != nil) }
    var failures = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      var damaged = bytes
      damaged[index] ^= UInt8(1 << (index / 2 % 8))
      if load(damaged) != nil { failures += 1 }
    }
    #expect(failures > bytes.count / 8)
  }
}
