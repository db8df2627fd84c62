import TemperCatalogue
import TemperCore

/// Another quantizer that a method over whole models packs weights with.
struct BaseMethod {
  static let parameters: [Parameter] = [
    .text("base", "round_to_nearest", "The quantizer that packs each weight."),
    .integer("bits", 4, in: 1...8, "Bits of the base method, if it has such a parameter."),
    .integer("group_size", 0, in: 0...(1 << 30), "Group size of the base method, if it has such a parameter."),
  ]

  let method: Method
  private let groupSize: Int

  init(_ arguments: Arguments) throws(TemperError) {
    method = try Catalogue(Quantizers.all).find(arguments.text("base"), kinds: [.quantizer])
    groupSize = arguments.integer("group_size")
  }

  /// With `parameter` ("bits", "sparsity") at a value.
  func quantizer(_ parameter: String, _ value: Double) throws(TemperError) -> any Quantizer {
    var parameters: [(name: String, value: Value)] = []
    func add(_ name: String, _ value: Value) {
      if method.parameters.contains(where: { $0.isCalled(name) }) { parameters.append((name, value)) }
    }
    add(parameter, .real(value))
    if groupSize > 0 { add("group_size", .integer(groupSize)) }
    let made = try method.quantizer(parameters)
    if made is any ModelQuantizer {
      throw TemperError(.invalidArgument, "\"\(method.name)\" packs whole models; the base method packs one weight.")
    }
    return made
  }
}

/// Numbers in a text, "2, 3, 4".
func numbers(_ text: String, _ name: String, in range: ClosedRange<Double>) throws(TemperError) -> [Double] {
  var result: [Double] = []
  for part in text.split(separator: ",") {
    var word = part
    while word.first == " " { word.removeFirst() }
    while word.last == " " { word.removeLast() }
    guard let value = Double(word), range.contains(value) else {
      throw TemperError(
        .outOfRange, "\(name) lists numbers from \(range.lowerBound) to \(range.upperBound); \"\(word)\" came.")
    }
    result.append(value)
  }
  guard !result.isEmpty else { throw TemperError(.invalidArgument, "\(name) lists at least one number.") }
  return result
}
