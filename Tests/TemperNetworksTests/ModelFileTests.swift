import TemperCore
import Testing

@testable import TemperNetworks

@Suite struct ModelFileTests {
  private let directory = TemporaryDirectory()
  private let text = #"[{"dense": 3}, {"leaky_relu": 0.1}, [{"dense": 2}]]"#

  @Test(arguments: [DType.float32, .float64]) func aModelSurvives(dtype: DType) throws {
    let path = directory.path + "/m.safetensors"
    let model = try makeModel(text, input: [4], dtype: dtype, seed: 3)
    try model.save(to: path)
    let loaded = try Model(loading: path, catalogue: testCatalogue)
    #expect(loaded.description == model.description && loaded.input == model.input && loaded.dtype == dtype)
    #expect(try loaded.flat.array(of: Double.self) == model.flat.array(of: Double.self))
    #expect(loaded.parameters.map(\.name) == model.parameters.map(\.name))
  }

  @Test func whatDoesNotFitIsAnError() throws {
    let model = try makeModel(text, input: [4])
    func found(_ change: (inout Safetensors) throws -> Void) throws -> String? {
      var file = model.fileContents
      try change(&file)
      let changed = file
      return message { () throws(TemperError) in _ = try Model(restoring: changed, catalogue: testCatalogue) }
    }
    #expect(try found { _ in } == nil)
    #expect(try found { $0.tensors.removeLast() }?.contains("holds no \"2.0.bias\"") == true)
    #expect(try found { $0.tensors.append(("x", try Tensor(zeros: [1]))) }?.contains("\"x\"") == true)
    #expect(try found { $0.tensors[0].tensor = try Tensor(zeros: [3, 5]) }?.contains("(3, 5)") == true)
    #expect(try found { $0.tensors[0].tensor = try Tensor(zeros: [3, 4], .int32) }?.contains("int32") == true)
    #expect(try found { $0.metadata = [:] }?.contains("no Temper model") == true)
    let good = model.fileMetadata
    func metadata(_ from: String, _ to: String) throws -> String? {
      let parts = good.split(separator: from, omittingEmptySubsequences: false)
      try #require(parts.count == 2)
      return try found { $0.metadata["temper.model"] = parts.joined(separator: to) }
    }
    #expect(try metadata("\"version\": 1", "\"version\": 2")?.contains("format 2") == true)
    #expect(try metadata("\"version\": 1", "\"v\": 1")?.contains("\"version\"") == true)
    #expect(try metadata("float64", "int32")?.contains("int32") == true)
    #expect(try metadata("float64", "double")?.contains("\"dtype\"") == true)
    #expect(try metadata("[4]", "[4.5]")?.contains("\"input\"") == true)
    #expect(try metadata("[4]", "[-4]")?.contains("above 0") == true)
    #expect(try metadata("leaky_relu", "leaky_rleu")?.contains("leaky_relu") == true)
    #expect(try metadata("\"layers\": [", "\"layers\": ")?.contains("JSON") == true)
  }

  @Test func aFailedRestoreChangesNothing() throws {
    let model = try makeModel(text, input: [4])
    let before = try model.flat.array(of: Double.self)
    var tensors = try makeModel(text, input: [4], seed: 9).fileContents.tensors
    tensors.removeLast()
    #expect(throws: TemperError.self) { try model.restore(tensors) }
    #expect(try model.flat.array(of: Double.self) == before)
  }

  /// A small file that describes a model of terabytes is refused before memory is asked for.
  @Test func sizesComeFromTheTensors() throws {
    var file = try makeModel(text, input: [4]).fileContents
    file.metadata["temper.model"] =
      #"{"version": 1, "layers": [{"dense": 1000000000}], "input": [1000], "dtype": "float64"}"#
    let hostile = file
    let found = message { () throws(TemperError) in _ = try Model(restoring: hostile, catalogue: testCatalogue) }
    #expect(found?.contains("\"0.weight\" has the shape (1000000000, 1000)") == true)
  }

  /// Files with bytes changed, lost and inserted: an error or a model, never a crash.
  @Test func mutationsNeverCrash() throws {
    let path = directory.path + "/m.safetensors"
    try makeModel(text, input: [4]).save(to: path)
    let original = try File.read(path).array(of: UInt8.self)
    let headerEnd = 8 + Int(original[0]) + Int(original[1]) << 8
    var random = Random(seed: 31)
    var (loaded, rejected) = (0, 0)
    for round in 0..<3000 {
      var bytes = original
      switch round % 3 {
      case 0: bytes[8 + random.below(headerEnd - 8)] = UInt8(0x20 + random.below(0x5F))
      case 1:
        let digits = (8..<headerEnd).filter { (0x30...0x39).contains(bytes[$0]) }
        bytes[digits[random.below(digits.count)]] = UInt8(0x30 + random.below(10))
      default: bytes.swapAt(8 + random.below(headerEnd - 8), 8 + random.below(headerEnd - 8))
      }
      do throws(TemperError) {
        let model = try Model(restoring: try Safetensors(parsing: try Tensor(bytes)), catalogue: testCatalogue)
        #expect(model.output.rank == 1)
        loaded += 1
      } catch {
        #expect(error.code != .internalFault && !error.message.isEmpty)
        rejected += 1
      }
    }
    #expect(rejected > 2000 && loaded > 20)
  }
}
