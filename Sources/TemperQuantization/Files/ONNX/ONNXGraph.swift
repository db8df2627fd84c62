import TemperCore

/// Element types of ONNX tensors by their numbers in files.
enum ONNXType: Int {
  case float = 1, uint8, int8
  case int32 = 6, int64, text, boolean, float16, double
  case bfloat16 = 16
  case uint4 = 21, int4
}

/// An ONNX graph being written: nodes in order, constants, inputs and outputs (onnx.proto3).
struct ONNXGraph {
  enum Attribute {
    case integer(Int)
    case integers([Int])
  }

  /// A size that is the batch's, or a number.
  enum Size: Equatable {
    case batch
    case number(Int)
  }

  /// The version of the operators: the first with 4-bit numbers and scales of blocks.
  static let operatorSet = 21
  private static let fileVersion = 10

  private var nodes: [Protobuf] = []
  private var constants: [Protobuf] = []
  private var inputs: [Protobuf] = []
  private var outputs: [Protobuf] = []
  private var known: [String: String] = [:]

  /// A node with one result, which gets a name unless it has one.
  mutating func node(
    _ operation: String, _ inputs: [String], _ attributes: [(name: String, value: Attribute)] = [],
    named name: String? = nil
  ) -> String {
    var node = Protobuf()
    let result = name ?? "v\(nodes.count)"
    for input in inputs { node.put(1, input) }
    node.put(2, result)
    node.put(4, operation)
    for (name, value) in attributes {
      var attribute = Protobuf()
      attribute.put(1, name)
      switch value {
      case .integer(let value):
        attribute.put(3, value)
        attribute.put(20, 2)
      case .integers(let values):
        for value in values { attribute.put(8, value) }
        attribute.put(20, 7)
      }
      node.put(5, attribute)
    }
    nodes.append(node)
    return result
  }

  /// A tensor that is part of the file.
  mutating func constant(_ name: String, _ type: ONNXType, _ shape: [Int], _ data: [UInt8]) -> String {
    var tensor = Protobuf()
    for size in shape { tensor.put(1, size) }
    tensor.put(2, type.rawValue)
    tensor.put(8, name)
    tensor.put(9, data)
    constants.append(tensor)
    return name
  }

  mutating func constant(_ name: String, _ type: ONNXType, _ tensor: Tensor) throws(TemperError) -> String {
    constant(name, type, tensor.shape.sizes, try tensor.dense().rawBytes())
  }

  /// One number; the same number is the same constant.
  mutating func scalar(_ value: Double, _ type: ONNXType) throws(TemperError) -> String {
    let key = "\(type.rawValue) \(value.bitPattern)"
    if let name = known[key] { return name }
    let tensor = try Tensor([value], shape: []).copy(as: type == .double ? .float64 : .float32)
    let name = try constant("c\(known.count)", type, tensor)
    known[key] = name
    return name
  }

  /// A list of whole numbers, such as a shape.
  mutating func integers(_ values: [Int]) throws(TemperError) -> String {
    let key = "\(values)"
    if let name = known[key] { return name }
    let name = try constant("c\(known.count)", .int64, try Tensor(values.map { Int64($0) }))
    known[key] = name
    return name
  }

  mutating func input(_ name: String, _ type: ONNXType, _ shape: [Size]) {
    inputs.append(ONNXGraph.value(name, type, shape))
  }

  mutating func output(_ name: String, _ type: ONNXType, _ shape: [Size]) {
    outputs.append(ONNXGraph.value(name, type, shape))
  }

  private static func value(_ name: String, _ type: ONNXType, _ shape: [Size]) -> Protobuf {
    var sizes = Protobuf()
    for size in shape {
      var dimension = Protobuf()
      switch size {
      case .batch: dimension.put(2, "N")
      case .number(let number): dimension.put(1, number)
      }
      sizes.put(1, dimension)
    }
    var tensor = Protobuf()
    tensor.put(1, type.rawValue)
    tensor.put(2, sizes)
    var wrapped = Protobuf()
    wrapped.put(1, tensor)
    var value = Protobuf()
    value.put(1, name)
    value.put(2, wrapped)
    return value
  }

  /// The bytes of the file.
  func model(metadata: [(key: String, value: String)]) throws(TemperError) -> [UInt8] {
    var graph = Protobuf()
    for node in nodes { graph.put(1, node) }
    graph.put(2, "temper")
    for constant in constants { graph.put(5, constant) }
    for input in inputs { graph.put(11, input) }
    for output in outputs { graph.put(12, output) }
    var model = Protobuf()
    model.put(1, ONNXGraph.fileVersion)
    model.put(2, "temper")
    model.put(7, graph)
    var operators = Protobuf()
    operators.put(1, "")
    operators.put(2, ONNXGraph.operatorSet)
    model.put(8, operators)
    for (key, value) in metadata {
      var entry = Protobuf()
      entry.put(1, key)
      entry.put(2, value)
      model.put(14, entry)
    }
    guard model.bytes.count < 1 << 31 else {
      throw TemperError(
        .unsupported, "An ONNX file has less than 2 GB; the model's would have \(model.bytes.count) bytes.")
    }
    return model.bytes
  }
}

extension Tensor {
  /// The elements as they lie in memory; for dense tensors.
  func rawBytes() throws(TemperError) -> [UInt8] {
    try Tensor(
      storage: storage, byteOffset: byteOffset, dtype: .uint8, shape: [byteCount], strides: [1]
    ).array(of: UInt8.self)
  }
}
