import TemperCore

/// What the body of a call over arrays sees: parameters, inputs and kept state under their declared names, random
/// numbers and threads; and where it puts its results.
package final class ArrayWork {
  package let arguments: Arguments
  package let workers: Workers
  private let seed: UInt64
  private let tensors: [String: Tensor]
  private(set) var results: [(name: String, tensor: Tensor)] = []
  /// What the method will keep when the body ends without an error.
  private(set) var kept: [String: Tensor]?

  init(_ arguments: Arguments, _ tensors: [String: Tensor], seed: UInt64, workers: Workers) {
    (self.arguments, self.tensors, self.seed, self.workers) = (arguments, tensors, seed, workers)
  }

  package func real(_ name: String) -> Double { arguments.real(name) }
  package func optionalReal(_ name: String) -> Double? { arguments.optionalReal(name) }
  package func integer(_ name: String) -> Int { arguments.integer(name) }
  package func boolean(_ name: String) -> Bool { arguments.boolean(name) }
  package func text(_ name: String) -> String { arguments.text(name) }

  package func has(_ input: String) -> Bool { tensors[input] != nil }

  package func tensor(_ input: String) throws(TemperError) -> Tensor {
    guard let tensor = tensors[input] else {
      throw TemperError(.internalFault, "The method reads an input \"\(input)\" that did not come.")
    }
    return tensor
  }

  /// The numbers of an input in row-major order, all of them finite.
  package func reals(_ input: String) throws(TemperError) -> [Double] {
    let values = try tensor(input).array(of: Double.self)
    if let at = values.firstIndex(where: { !$0.isFinite }) {
      throw TemperError(.notFinite, "Input \(input) must hold finite numbers; element \(at) is \(values[at]).")
    }
    return values
  }

  /// One number.
  package func number(_ input: String) throws(TemperError) -> Double { try reals(input)[0] }

  /// Whole numbers; the record says where they lie.
  package func ids(_ input: String) throws(TemperError) -> [Int] {
    try tensor(input).array(of: Int64.self).map { Int($0) }
  }

  /// A mask; anything but 0 counts as 1.
  package func mask(_ input: String) throws(TemperError) -> [Bool] {
    try tensor(input).array(of: Double.self).map { $0 != 0 }
  }

  package func random(_ stream: String) -> Random { Random(seed: seed, stream: stream) }

  /// From the seed in a parameter; where that is 0, from the context's.
  package func random(_ stream: String, seed parameter: String) -> Random {
    let own = UInt64(integer(parameter))
    return Random(seed: own == 0 ? seed : own, stream: stream)
  }

  package func give(_ name: String, _ tensor: Tensor) { results.append((name, tensor)) }
  package func give(_ name: String, _ values: [Double], _ shape: Shape? = nil) throws(TemperError) {
    give(name, try Tensor(values, shape: shape))
  }
  package func give(_ name: String, _ values: [Int], _ shape: Shape? = nil) throws(TemperError) {
    give(name, try Tensor(values.map { Int64($0) }, shape: shape))
  }
  package func give(_ name: String, _ values: [Bool]) throws(TemperError) {
    give(name, try Tensor(values.map { $0 ? UInt8(1) : 0 }).copy(as: .bool))
  }
  /// Texts as rows of bytes, padded with zeros to the longest.
  package func give(_ name: String, texts: [String]) throws(TemperError) {
    let width = texts.reduce(1) { Swift.max($0, $1.utf8.count) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(texts.count * width)
    for text in texts {
      bytes += text.utf8
      bytes += [UInt8](repeating: 0, count: width - text.utf8.count)
    }
    give(name, try Tensor(bytes, shape: [texts.count, width]))
  }

  package func keep(_ name: String, _ tensor: Tensor) {
    if kept == nil { kept = [:] }
    kept?[name] = tensor
  }
  package func keep(_ name: String, _ values: [Double], _ shape: Shape? = nil) throws(TemperError) {
    keep(name, try Tensor(values, shape: shape))
  }
  package func keep(_ name: String, _ values: [Int], _ shape: Shape? = nil) throws(TemperError) {
    keep(name, try Tensor(values.map { Int64($0) }, shape: shape))
  }
}
