import TemperCore

/// A node of an ONNX graph (NodeProto).
struct ONNXNode {
  /// AttributeProto: what it holds is by its name.
  struct Attribute {
    var integer = 0
    var real = 0.0
    var text = ""
    var integers: [Int] = []
    var reals: [Double] = []
    /// Where a tensor's message is.
    var tensor: Range<Int>?
  }

  var name = ""
  var operation = ""
  var inputs: [String] = []
  var outputs: [String] = []
  var attributes: [String: Attribute] = [:]

  init(_ bytes: [UInt8], _ range: Range<Int>) throws(TemperError) {
    var reader = ProtobufReader(bytes, range)
    var domain = ""
    while let field = try reader.next() {
      guard let range = field.range else { continue }
      switch field.number {
      case 1: inputs.append(try reader.text(range))
      case 2: outputs.append(try reader.text(range))
      case 3: name = try reader.text(range)
      case 4: operation = try reader.text(range)
      case 5: try attribute(bytes, range)
      case 7: domain = try reader.text(range)
      default: break
      }
    }
    if !domain.isEmpty, domain != "ai.onnx" { operation = domain + "." + operation }
  }

  private mutating func attribute(_ bytes: [UInt8], _ range: Range<Int>) throws(TemperError) {
    var reader = ProtobufReader(bytes, range)
    var (name, read) = ("", Attribute())
    func real(_ bits: Int) -> Double { Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits))) }
    while let field = try reader.next() {
      switch (field.number, field.range) {
      case (1, let range?): name = try reader.text(range)
      case (2, _): read.real = real(field.value)
      case (3, _): read.integer = field.value
      case (4, let range?): read.text = try reader.text(range)
      case (5, let range?): read.tensor = range
      case (7, let range?):
        read.reals += stride(from: range.lowerBound, to: range.upperBound - 3, by: 4).map { start in
          real((0..<4).reduce(0) { $0 | Int(bytes[start + $1]) << (8 * $1) })
        }
      case (7, nil): read.reals.append(real(field.value))
      case (8, let range?): read.integers += try ProtobufReader(bytes, range).integers()
      case (8, nil): read.integers.append(field.value)
      default: break
      }
    }
    attributes[name] = read
  }

  func integer(_ name: String, _ initial: Int = 0) -> Int { attributes[name]?.integer ?? initial }
  func real(_ name: String, _ initial: Double) -> Double { attributes[name]?.real ?? initial }
  func integers(_ name: String, _ initial: [Int]) -> [Int] { attributes[name]?.integers ?? initial }

  /// How errors call it.
  var title: String { name.isEmpty ? "\(operation) -> \(outputs.first ?? "")" : "\(operation) \"\(name)\"" }
}

/// What an ONNX graph consists of, as far as models need it.
struct ONNXProgram {
  /// Graphs of models have thousands of nodes at most.
  private static let maximumNodes = 20_000

  var nodes: [ONNXNode] = []
  var inputs: [(name: String, type: Int, sizes: [Int?])] = []
  var outputs: [String] = []
  var operatorSet = 1

  init(_ bytes: [UInt8]) throws(TemperError) {
    var model = ProtobufReader(bytes, 0..<bytes.count)
    while let field = try model.next() {
      guard let range = field.range else { continue }
      if field.number == 8 {
        var (entry, domain, version) = (ProtobufReader(bytes, range), "", 1)
        while let field = try entry.next() {
          if field.number == 1, let range = field.range { domain = try entry.text(range) }
          if field.number == 2 { version = field.value }
        }
        if domain.isEmpty { operatorSet = version }
      }
      if field.number == 7 { try graph(bytes, range) }
    }
  }

  private mutating func graph(_ bytes: [UInt8], _ range: Range<Int>) throws(TemperError) {
    var graph = ProtobufReader(bytes, range)
    while let field = try graph.next() {
      guard let range = field.range else { continue }
      switch field.number {
      case 1:
        guard nodes.count < ONNXProgram.maximumNodes else {
          throw TemperError(.unsupported, "The graph has more than \(ONNXProgram.maximumNodes) nodes.")
        }
        nodes.append(try ONNXNode(bytes, range))
      case 11: inputs.append(try ONNXProgram.value(bytes, range))
      case 12: outputs.append(try ONNXProgram.value(bytes, range).name)
      default: break
      }
    }
  }

  /// ValueInfoProto: name, element type, and sizes, nil where they are open.
  private static func value(
    _ bytes: [UInt8], _ range: Range<Int>
  ) throws(TemperError) -> (name: String, type: Int, sizes: [Int?]) {
    var (name, type, sizes): (String, Int, [Int?]) = ("", 0, [])
    var value = ProtobufReader(bytes, range)
    while let field = try value.next() {
      guard let range = field.range else { continue }
      if field.number == 1 { name = try value.text(range) }
      guard field.number == 2, let tensor = try ProtobufReader(bytes, range).message(1) else { continue }
      var reader = ProtobufReader(bytes, tensor)
      while let field = try reader.next() {
        if field.number == 1 { type = field.value }
        guard field.number == 2, let range = field.range else { continue }
        var shape = ProtobufReader(bytes, range)
        while let dimension = try shape.next() {
          guard dimension.number == 1, let range = dimension.range else { continue }
          var (reader, size): (ProtobufReader, Int?) = (ProtobufReader(bytes, range), nil)
          while let field = try reader.next() { if field.number == 1 { size = field.value } }
          sizes.append(size)
        }
      }
    }
    return (name, type, sizes)
  }
}

extension ProtobufReader {
  /// Where the message of a field is; nil if there is none.
  func message(_ number: Int) throws(TemperError) -> Range<Int>? {
    var reader = self
    while let field = try reader.next() { if field.number == number, let range = field.range { return range } }
    return nil
  }
}
