import Glibc
import TemperCore
import Testing

@testable import TemperNetworks

@Suite struct SafetensorsTests {
  private let directory = TemporaryDirectory()

  /// A file of bytes: length, header, data.
  private func file(_ header: String, _ data: [UInt8] = [], length: Int? = nil) throws -> Tensor {
    let text = Array(header.utf8)
    let count = length ?? text.count
    return try Tensor((0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + text + data)
  }

  private func sample() throws -> Safetensors {
    Safetensors(
      metadata: ["format": "temper", "a \"quoted\" name": "line\nbreak, é"],
      tensors: [
        ("bytes", try Tensor([1, 2, 3] as [UInt8])),
        ("w", try Tensor([1.5, -2, .infinity, 4, 5, 6] as [Float], shape: [2, 3])),
        ("ids", try Tensor([-1, .max] as [Int32])), ("long", try Tensor([.min, 7] as [Int64], shape: [1, 2])),
        ("d", try Tensor([0.1] as [Double], shape: [])), ("empty", try Tensor(zeros: [0, 4])),
        ("flags", try Tensor([0, 1, 1] as [Double]).copy(as: .bool)),
        ("view", try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2]).permuted([1, 0])),
      ])
  }

  private func same(_ a: Tensor, _ b: Tensor) throws -> Bool {
    try a.shape == b.shape && a.dtype == b.dtype && a.array(of: Double.self) == b.array(of: Double.self)
  }

  @Test func everyTypeSurvives() throws {
    let path = directory.path + "/x.safetensors"
    let written = try sample()
    try written.write(to: path)
    let read = try Safetensors(reading: path)
    #expect(read.metadata == written.metadata)
    #expect(Set(read.tensors.map(\.name)) == Set(written.tensors.map(\.name)))
    for (name, tensor) in written.tensors { #expect(try same(tensor, try #require(read[name])), "\(name)") }
    for (_, tensor) in read.tensors { #expect(tensor.byteOffset % tensor.dtype.byteCount == 0) }
    #expect(directory.entries == ["x.safetensors"])
  }

  @Test func halfPrecisionBecomesFloat32() throws {
    let header =
      #"{"h":{"dtype":"F16","shape":[7],"data_offsets":[0,14]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[14,18]}}"#
    // 1, -2, 65504, the smallest subnormal, infinity, NaN, -0; then 1 and -3.140625
    let data: [UInt8] = [0, 0x3C, 0, 0xC0, 0xFF, 0x7B, 1, 0, 0, 0x7C, 0, 0x7E, 0, 0x80, 0x80, 0x3F, 0x49, 0xC0]
    let read = try Safetensors(parsing: try file(header, data))
    let h = try #require(read["h"]).array(of: Float.self)
    #expect(h[0] == 1 && h[1] == -2 && h[2] == 65504 && h[3] == 0x1p-24 && h[4] == .infinity && h[5].isNaN)
    #expect(h[6] == 0 && h[6].sign == .minus)
    #expect(try read["b"]!.array(of: Float.self) == [1, -3.140625])
  }

  @Test func unalignedDataIsCopied() throws {
    let read = try Safetensors(
      parsing: try file(
        #"{"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}"#,
        [9, 0, 0, 0x80, 0x3F]))
    #expect(try read["w"]!.array(of: Float.self) == [1])
    #expect(read["w"]!.byteOffset % 4 == 0)
  }

  private static let f32 = #""dtype":"F32","shape":[1],"data_offsets":"#

  @Test(
    arguments: [
      ("", [], 0, "not valid"),  // a header of no bytes
      ("{}", [1], nil, "take 0 bytes"),  // trailing bytes
      ("{}", [], 3, "said to have 3"), ("{}", [], 1 << 62, "said to have"), ("{}", [], -1, "said to have"),
      ("[]", [], nil, "not an object"), ("{", [], nil, "not valid"), ("{\"a\":1}", [], nil, "exactly the fields"),
      ("{\"a\":{\(f32)[0,4]}}", [], nil, "take 4 bytes"),  // truncated
      ("{\"a\":{\(f32)[0,8]}}", [0, 0, 0, 0, 0, 0, 0, 0], nil, "needs 4 bytes"),
      ("{\"a\":{\(f32)[4,0]}}", [0, 0, 0, 0], nil, "range is 4 to 0"),
      ("{\"a\":{\(f32)[-4,0]}}", [], nil, "range is -4"),
      ("{\"a\":{\(f32)[1,5]}}", [0, 0, 0, 0, 0], nil, "byte 0 comes next"),  // a gap
      ("{\"a\":{\(f32)[0,4]},\"b\":{\(f32)[0,4]}}", [0, 0, 0, 0], nil, "byte 4 comes next"),  // overlap
      ("{\"a\":{\(f32)[0,4]},\"b\":{\(f32)[2,6]}}", [0, 0, 0, 0, 0, 0], nil, "byte 4 comes next"),
      ("{\"a\":{\(f32)[0,4]},\"a\":{\(f32)[4,8]}}", [0, 0, 0, 0, 0, 0, 0, 0], nil, "has not occurred"),
      ("{\"a\":{\(f32)[0,4],\"x\":1}}", [0, 0, 0, 0], nil, "exactly the fields"),
      ("{\"a\":{\(f32)[0,4,4]}}", [0, 0, 0, 0], nil, "exactly the fields"),
      ("{\"a\":{\(f32)[0,4.5]}}", [0, 0, 0, 0], nil, "exactly the fields"),
      ("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", [0], nil, "F8_E4M3"),
      ("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", [0, 0, 0, 0], nil, "no possible shape"),
      (
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296],\"data_offsets\":[0,4]}}",
        [0, 0, 0, 0], nil, "no possible shape"
      ),
      (
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", [0, 0, 0, 0], nil,
        "at most 8"
      ),
      ("{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", [0, 0, 0, 0], nil, "whole numbers"),
      ("{\"a\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}", [2], nil, "byte 2"),
      ("{\"__metadata__\":{\"a\":1}}", [], nil, "not a text"),
      ("{\"__metadata__\":[]}", [], nil, "not an object of texts"),
      ("{\"a\":[[[[[[1]]]]]]}", [], nil, "nested"),
    ] as [(String, [UInt8], Int?, String)])
  func malformedFilesAreErrors(header: String, data: [UInt8], length: Int?, part: String) throws {
    let bytes = try file(header, data, length: length)
    let found = message { () throws(TemperError) in _ = try Safetensors(parsing: bytes) }
    #expect(found?.contains(part) == true, "\(header): \(found ?? "no error")")
  }

  /// Mutated and truncated files give an error or a file; never a crash. What is read again equals what is meant only
  /// where the header did not change.
  @Test func mutationsNeverCrash() throws {
    let path = directory.path + "/x.safetensors"
    try sample().write(to: path)
    let original = try File.read(path).array(of: UInt8.self)
    let headerEnd = 8 + Int(original[0]) + Int(original[1]) << 8
    var random = Random(seed: 2024)
    var (rejected, accepted) = (0, 0)
    for round in 0..<6000 {
      var bytes = original
      switch round % 4 {
      case 0: bytes.removeLast(1 + random.below(bytes.count))
      case 1: bytes[random.below(headerEnd)] = UInt8(random.below(256))
      case 2:
        // Digits for digits: the JSON stays valid and the meaning changes.
        let digits = (8..<headerEnd).filter { (0x30...0x39).contains(bytes[$0]) }
        bytes[digits[random.below(digits.count)]] = UInt8(0x30 + random.below(10))
      default:
        let at = random.below(bytes.count)
        bytes.insert(contentsOf: (0...random.below(4)).map { _ in UInt8(random.below(256)) }, at: at)
      }
      do throws(TemperError) {
        let read = try Safetensors(parsing: try Tensor(bytes))
        accepted += 1
        // Whatever was accepted covers the data exactly.
        let width = read.tensors.reduce(0) { $0 + $1.tensor.byteCount }
        #expect(width == bytes.count - 8 - (Int(bytes[0]) + Int(bytes[1]) << 8))
      } catch {
        rejected += 1
        #expect(error.code == .malformedFile || error.code == .unsupported)
      }
    }
    #expect(rejected > 4000 && accepted > 100)
  }

  @Test func namesMustDiffer() throws {
    let t = try Tensor(zeros: [1])
    #expect(throws: TemperError.self) {
      try Safetensors(tensors: [("a", t), ("a", t)]).write(to: directory.path + "/x")
    }
    #expect(throws: TemperError.self) {
      try Safetensors(tensors: [("__metadata__", t)]).write(to: directory.path + "/x")
    }
  }
}
