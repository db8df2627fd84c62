import TemperCore
import Testing

@Suite struct JSONTests {
  @Test func readsEveryForm() throws {
    let text = #" {"a": [1, -2, 0.5, 1e3, -0, true, false, null, "x\n\u00e9\ud83d\ude00\"\\\/"], "b": {}, "c": []} "#
    let expected = JSON.object([
      JSON.Member(
        "a",
        .array([
          .integer(1), .integer(-2), .real(0.5), .real(1000), .integer(0), .boolean(true), .boolean(false), .null,
          .text("x\né😀\"\\/"),
        ])),
      JSON.Member("b", .object([])), JSON.Member("c", .array([])),
    ])
    #expect(try JSON(parsing: text) == expected)
    #expect(try JSON(parsing: expected.serialized) == expected)
  }

  @Test(arguments: [1.0, 0.1, 1e-300, -2.5e17, .leastNonzeroMagnitude, 1.7976931348623157e308, 1e20])
  func realsSurvive(value: Double) throws {
    #expect(try JSON(parsing: JSON.real(value).serialized) == .real(value))
  }

  @Test func controlCharactersAreEscaped() throws {
    let text = String(String.UnicodeScalarView((0..<0x30).map { Unicode.Scalar(UInt8($0)) }))
    #expect(JSON.text(text).serialized.utf8.allSatisfy { $0 >= 0x20 })
    #expect(try JSON(parsing: JSON.text(text).serialized) == .text(text))
  }

  @Test(arguments: [
    ("", "line 1, column 1"), ("[1,]", "column 4"), ("[1 2]", "column 4"), ("{\"a\" 1}", "column 6"),
    ("{\"a\": 1, \"a\": 2}", "column 10"), ("[01]", "column 3"), ("[1.]", "column 4"), ("[NaN]", "column 2"),
    ("[1e999]", "column 2"), ("[\"a\n\"]", "column 4"), ("[\"\\x\"]", "column 4"), ("[\"\\ud800\"]", "column 9"),
    ("[\n 1,\n  }", "line 3, column 3"), ("[] []", "column 4"), ("[tru]", "column 2"), ("\"abc", "column 5"),
    ("[+1]", "column 2"), ("{1: 2}", "column 2"), ("[\"\\u12g4\"]", "column 7"), ("// x\n[]", "column 1"),
  ])
  func mistakesAreFoundInTheirPlace(text: String, place: String) {
    let found = message(text)
    #expect(found?.contains(place) == true, "\(text): \(found ?? "no error")")
  }

  private func message(_ text: String) -> String? {
    do throws(TemperError) {
      _ = try JSON(parsing: text)
      return nil
    } catch {
      return error.message
    }
  }

  @Test func depthIsBounded() {
    let deep = [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)
    #expect(throws: TemperError.self) { try JSON(parsing: deep) }
    #expect(throws: TemperError.self) { try JSON(parsing: "[[[[1]]]]", maximumDepth: 3) }
    #expect(throws: Never.self) { try JSON(parsing: "[[[1]]]", maximumDepth: 3) }
  }

  @Test func textMustBeUTF8() {
    #expect(throws: TemperError.self) { try JSON(parsing: [0x22, 0xC3, 0x28, 0x22]) }
    #expect(throws: TemperError.self) { try JSON(parsing: [0x22, 0xED, 0xA0, 0x80, 0x22]) }
  }
}
