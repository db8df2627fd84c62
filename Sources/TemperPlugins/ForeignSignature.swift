import TemperCore
import TemperForeign

/// How a function of any library is called, as C writes it: "double huber(double predictions, double targets, double
/// delta)". Types are float, double, int (int32_t), int64_t (long long, long), void, and pointers to them; names say
/// what goes where:
///
/// - an input: its element by value, or, as a pointer, its array;
/// - a letter of the shapes (N, C, D, ...): that size;
/// - a parameter: its value;
/// - `values` (one for each sample), `value` (of one sample), `gradient_<input>`, or `gradient` of the first input that
///   has one: pointers to where results go;
/// - a number: itself.
///
/// What is passed as a pointer, and is no array, is passed by its address, as Fortran has it.
struct ForeignSignature: Sendable {
  enum Number: Int32, Sendable {
    case void, float, double, int32, int64

    var isReal: Bool { self == .float || self == .double }
  }

  struct Argument: Sendable {
    let number: Number
    let isPointer: Bool
    let name: String
  }

  let text: String
  let result: Number
  let arguments: [Argument]

  var names: Set<String> { Set(arguments.map(\.name)) }

  init(_ text: String) throws(TemperError) {
    self.text = text
    var parser = try SignatureParser(text)
    (result, arguments) = try parser.signature()
  }
}

private struct SignatureParser {
  private let text: String
  private var words: [(word: String, column: Int)] = []
  private var at = 0

  init(_ text: String) throws(TemperError) {
    self.text = text
    guard text.utf8.count <= 2048 else { throw error("it has more than 2048 characters", 1) }
    var word = "", start = 0
    let marks: Set<Character> = ["(", ")", ",", "*", ";"]
    for (index, character) in text.enumerated() {
      if character.isWhitespace || marks.contains(character) {
        if !word.isEmpty { words.append((word, start + 1)) }
        word = ""
        if !character.isWhitespace { words.append((String(character), index + 1)) }
      } else {
        if word.isEmpty { start = index }
        word.append(character)
      }
    }
    if !word.isEmpty { words.append((word, start + 1)) }
    words.append(("", text.count + 1))
  }

  private func error(_ what: String, _ column: Int? = nil) -> TemperError {
    TemperError(.invalidArgument, "Signature, column \(column ?? words[at].column): \(what), in \"\(text)\".")
  }

  private mutating func take(_ word: String) -> Bool {
    guard words[at].word == word else { return false }
    at += 1
    return true
  }

  mutating func signature() throws(TemperError) -> (ForeignSignature.Number, [ForeignSignature.Argument]) {
    let result = try number()
    guard words[at].word != "*" else { throw error("a pointer as the result cannot be used") }
    if words[at].word != "(" { at += words[at].word.isEmpty ? 0 : 1 }
    guard take("(") else { throw error("\"(\" was expected") }
    var arguments: [ForeignSignature.Argument] = []
    if words[at].word == "void", words[at + 1].word == ")" { at += 1 }
    while words[at].word != ")" {
      let number = try number()
      var isPointer = false
      if take("*") { isPointer = true }
      _ = take("const")
      let name = words[at].word
      let isName = name.utf8.first.map { $0 != UInt8(ascii: "(") && $0 != UInt8(ascii: ")") && $0 != UInt8(ascii: ",") }
      guard isName == true, name != "*" else { throw error("the name of an argument was expected") }
      guard number != .void else { throw error("an argument has a number's type, not void") }
      arguments.append(.init(number: number, isPointer: isPointer, name: name))
      at += 1
      guard take(",") || words[at].word == ")" else { throw error("\",\" or \")\" was expected") }
    }
    at += 1
    _ = take(";")
    guard words[at].word.isEmpty else { throw error("the end was expected") }
    guard (1...64).contains(arguments.count) else { throw error("1 to 64 arguments are possible") }
    return (result, arguments)
  }

  private mutating func number() throws(TemperError) -> ForeignSignature.Number {
    while take("const") {}
    let word = words[at].word
    // In order: the optimiser turns sorting the keys into what Tests/ABI/tail_copies.py looks for.
    let known: [(word: String, number: ForeignSignature.Number)] = [
      ("double", .double), ("float", .float), ("int", .int32), ("int32_t", .int32), ("int64_t", .int64),
      ("long", .int64), ("void", .void),
    ]
    guard let number = known.first(where: { $0.word == word })?.number else {
      throw error("a type was expected (\(known.map(\.word).joined(separator: ", ")))")
    }
    at += 1
    if word == "long" { while take("long") || take("int") {} }
    while take("const") {}
    return number
  }
}
