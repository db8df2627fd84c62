import TemperCore
import TemperGraph
import TemperNetworks

/// Models as ONNX graphs: the expression of a forward pass, operation by operation.
///
/// The expression is made for batches of 2 and of 3. Where the two differ, a size is the batch's, so that the graph takes
/// batches of any size. Indices are int64; masks, which are 0 or 1, are numbers.
struct ONNXExport {
  private static let batches = (2, 3)

  private let model: Model
  private let packed: QuantizedModel?
  private let workers: Workers
  private let real: ONNXType
  private var graph = ONNXGraph()
  private var names: [ObjectIdentifier: String] = [:]
  private var batchSize: String?

  /// Writes the file whole or not at all.
  static func write(
    _ model: Model, packed: QuantizedModel?, to path: String, workers: Workers
  ) throws(TemperError) {
    var export = ONNXExport(model, packed, workers)
    let bytes = try export.run()
    try File.replace(path) { (writer) throws(TemperError) in try writer.write(bytes) }
  }

  private init(_ model: Model, _ packed: QuantizedModel?, _ workers: Workers) {
    (self.model, self.packed, self.workers) = (model, packed, workers)
    real = model.dtype == .float64 ? .double : .float
  }

  private mutating func run() throws(TemperError) -> [UInt8] {
    let (first, second) = (try forward(ONNXExport.batches.0), try forward(ONNXExport.batches.1))
    graph.input("x", type(model.input.kind), [.batch] + model.input.shape.sizes.map { .number($0) })
    if model.needsMask { graph.input("mask", real, [.batch, .number(model.input.shape[0])]) }
    for (a, b) in try ONNXExport.inOrder(first, second) {
      do throws(TemperError) { names[ObjectIdentifier(a)] = try emit(a, b) } catch {
        throw error.from("ONNX")
      }
    }
    _ = graph.node("Identity", [try name(first)], named: "output")
    graph.output("output", real, [.batch] + model.output.sizes.map { .number($0) })
    return try graph.model(metadata: [(Model.metadataName, model.fileMetadata)])
  }

  private func type(_ kind: Kind) -> ONNXType { kind == .index ? .int64 : real }

  private func forward(_ batch: Int) throws(TemperError) -> Node {
    var values: [String: Expression] = [:]
    for variable in model.parameters { values[variable.name] = .input(variable.name, variable.shape) }
    let mask: Expression? = model.needsMask ? .input("mask", [batch, model.input.shape[0]]) : nil
    let x = Expression.input("x", Shape([batch] + model.input.shape.sizes), model.input.kind)
    let y = model.forward(x, model.pass(.inference, values: values, mask: mask))
    if let error = y.error { throw error }
    return y.node
  }

  /// Both graphs node by node, inputs before what uses them.
  private static func inOrder(_ first: Node, _ second: Node) throws(TemperError) -> [(Node, Node)] {
    var order: [(Node, Node)] = []
    var done: Set<ObjectIdentifier> = []
    var pending: [(a: Node, b: Node, isReady: Bool)] = [(first, second, false)]
    while let (a, b, isReady) = pending.popLast() {
      if isReady {
        if done.insert(ObjectIdentifier(a)).inserted { order.append((a, b)) }
        continue
      }
      if done.contains(ObjectIdentifier(a)) { continue }
      guard a.operation == b.operation, a.inputs.count == b.inputs.count, a.shape.rank == b.shape.rank else {
        throw TemperError(.unsupported, "A layer computes otherwise for other batch sizes; ONNX has no form for it.")
      }
      pending.append((a, b, true))
      for (c, d) in zip(a.inputs, b.inputs) { pending.append((c, d, false)) }
    }
    return order
  }

  private func name(_ node: Node) throws(TemperError) -> String {
    guard let name = names[ObjectIdentifier(node)] else {
      throw TemperError(.internalFault, "An operation comes before its input.")
    }
    return name
  }

  /// The input of a node as a number.
  private mutating func number(_ node: Node) throws(TemperError) -> String {
    let name = try name(node)
    return node.kind == .index ? cast(name, real) : name
  }

  private mutating func cast(_ name: String, _ type: ONNXType) -> String {
    graph.node("Cast", [name], [("to", .integer(type.rawValue))])
  }

  /// The sizes of a node as a tensor.
  private mutating func shape(_ a: Node, _ b: Node) throws(TemperError) -> String {
    if a.shape == b.shape { return try graph.integers(a.shape.sizes) }
    var pieces: [String] = []
    for (m, n) in zip(a.shape.sizes, b.shape.sizes) {
      if m == n {
        pieces.append(try graph.integers([m]))
        continue
      }
      guard m % ONNXExport.batches.0 == 0, n == m / ONNXExport.batches.0 * ONNXExport.batches.1 else {
        throw TemperError(.unsupported, "A size is no multiple of the batch's; ONNX has no form for it.")
      }
      let factor = m / ONNXExport.batches.0
      let batch = try theBatchSize()
      pieces.append(factor == 1 ? batch : graph.node("Mul", [batch, try graph.integers([factor])]))
    }
    return pieces.count == 1 ? pieces[0] : graph.node("Concat", pieces, [("axis", .integer(0))])
  }

  /// The size of the batch, a list of one number.
  private mutating func theBatchSize() throws(TemperError) -> String {
    if let batchSize { return batchSize }
    let made = graph.node("Shape", ["x"], [("end", .integer(1))])
    batchSize = made
    return made
  }

  private mutating func reshape(_ x: String, _ a: Node, _ b: Node) throws(TemperError) -> String {
    let free = a.shape.sizes.indices.filter { a.shape[$0] != b.shape[$0] }
    if free.count == 1 {
      var sizes = a.shape.sizes
      sizes[free[0]] = -1
      return graph.node("Reshape", [x, try graph.integers(sizes)])
    }
    return graph.node("Reshape", [x, try shape(a, b)])
  }

  private mutating func emit(_ a: Node, _ b: Node) throws(TemperError) -> String {
    func x(_ index: Int) throws(TemperError) -> String { try name(a.inputs[index]) }
    switch a.operation {
    case .input(let name): return try input(name, a.shape)
    case .constant(let value):
      let scalar = try graph.scalar(value, real)
      return a.shape.rank == 0 ? scalar : graph.node("Expand", [scalar, try shape(a, b)])
    case .iota:
      guard a.shape == b.shape else {
        throw TemperError(.unsupported, "A layer counts along the batch; ONNX models take batches of any size.")
      }
      let numbers = (0..<a.shape.count).map { Double($0) }
      return try graph.constant(
        "iota\(names.count)", real, try Tensor(numbers, shape: a.shape).copy(as: model.dtype))
    case .unary(let operation): return try unary(operation, try number(a.inputs[0]))
    case .binary(let operation): return try binary(operation, a)
    case .select:
      let condition = cast(try number(a.inputs[0]), .boolean)
      return graph.node("Where", [condition, try number(a.inputs[1]), try number(a.inputs[2])])
    case .stopGradient, .withSlopes: return try x(0)
    case .reduce(let reduction): return try reduce(reduction, try number(a.inputs[0]), axis: -1)
    case .reduceAxis(let reduction, let axis): return try reduce(reduction, try number(a.inputs[0]), axis: axis)
    case .argument(let extremum):
      return graph.node(
        extremum == .maximum ? "ArgMax" : "ArgMin", [try number(a.inputs[0])], [("axis", .integer(-1))])
    case .broadcast: return graph.node("Expand", [try x(0), try shape(a, b)])
    case .reshape: return try reshape(try x(0), a, b)
    case .permute(let axes): return graph.node("Transpose", [try x(0)], [("perm", .integers(axes))])
    case .slice(let axis, let start):
      guard a.shape[axis] == b.shape[axis] else {
        throw TemperError(.unsupported, "A layer cuts the batch into pieces; ONNX models take batches of any size.")
      }
      return graph.node(
        "Slice",
        [
          try x(0), try graph.integers([start]), try graph.integers([start + a.shape[axis]]),
          try graph.integers([axis]),
        ])
    case .concatenate(let axis):
      var parts: [String] = []
      for input in a.inputs { parts.append(try name(input)) }
      return graph.node("Concat", parts, [("axis", .integer(axis))])
    case .cumulativeSum(let reverse):
      return graph.node(
        "CumSum", [try x(0), try graph.integers([a.shape.rank - 1])], [("reverse", .integer(reverse ? 1 : 0))])
    case .takeAlong:
      if let pooled = try maximumPool(a) { return try reshape(pooled, a, b) }
      return graph.node("GatherElements", [try x(0), try x(1)], [("axis", .integer(-1))])
    // Only its window is read, by the `takeAlong` above it.
    case .poolMaximumIndices: return try x(0)
    case .gatherRows: return graph.node("Gather", [try x(0), try x(1)])
    case .matmul(let transposeA, let transposeB):
      var (left, right) = (try x(0), try x(1))
      if transposeA { left = transposed(left, a.inputs[0].shape.rank) }
      if transposeB { right = transposed(right, a.inputs[1].shape.rank) }
      return graph.node("MatMul", [left, right])
    case .convolution(let convolution):
      return graph.node(
        "Conv", [try x(0), try x(1)],
        [
          ("strides", .integers(convolution.stride)), ("pads", .integers(convolution.padding + convolution.padding)),
          ("dilations", .integers(convolution.dilation)), ("group", .integer(convolution.groups)),
        ])
    case .poolAverage(let window): return graph.node("AveragePool", [try x(0)], ONNXExport.attributes(window))
    case .uniform:
      throw TemperError(.unsupported, "A layer draws random numbers in inference too; ONNX export has no form for it.")
    case .pick, .place, .sortOrder, .scatterAlong, .scatterRows, .convolutionInput, .convolutionWeight,
      .poolAverageGradient, .external, .custom:
      throw TemperError(
        .unsupported, "ONNX export has no form for the operation \(String("\(a.operation)".prefix(40))) of a layer.")
    case .invalid(let error): throw error
    }
  }

  private static func attributes(_ window: Window) -> [(name: String, value: ONNXGraph.Attribute)] {
    [
      ("kernel_shape", .integers(window.size)), ("strides", .integers(window.stride)),
      ("pads", .integers(window.padding + window.padding)),
    ]
  }

  /// y = the largest of each window, where a node takes elements of an image at the places of its windows' maxima.
  private mutating func maximumPool(_ node: Node) throws(TemperError) -> String? {
    var places = node.inputs[1]
    while case .reshape = places.operation { places = places.inputs[0] }
    guard case .poolMaximumIndices(let window) = places.operation else { return nil }
    return graph.node("MaxPool", [try name(places.inputs[0])], ONNXExport.attributes(window))
  }

  /// With the last two axes exchanged.
  private mutating func transposed(_ x: String, _ rank: Int) -> String {
    var axes = Array(0..<rank)
    axes.swapAt(rank - 1, rank - 2)
    return graph.node("Transpose", [x], [("perm", .integers(axes))])
  }

  private mutating func reduce(_ reduction: Reduction, _ x: String, axis: Int) throws(TemperError) -> String {
    let operation =
      switch reduction {
      case .sum: "ReduceSum"
      case .maximum: "ReduceMax"
      case .minimum: "ReduceMin"
      case .product: "ReduceProd"
      }
    return graph.node(operation, [x, try graph.integers([axis])])
  }

  private mutating func unary(_ operation: Unary, _ x: String) throws(TemperError) -> String {
    let names: [Unary: String] = [
      .negate: "Neg", .abs: "Abs", .sign: "Sign", .sqrt: "Sqrt", .reciprocal: "Reciprocal", .exp: "Exp", .log: "Log",
      .tanh: "Tanh", .sigmoid: "Sigmoid", .softplus: "Softplus", .erf: "Erf", .sin: "Sin", .cos: "Cos",
      .floor: "Floor", .ceil: "Ceil", .round: "Round", .atan: "Atan",
    ]
    if let name = names[operation] { return graph.node(name, [x]) }
    func scalar(_ value: Double) throws(TemperError) -> String { try graph.scalar(value, real) }
    switch operation {
    case .square: return graph.node("Mul", [x, x])
    case .not: return graph.node("Sub", [try scalar(1), x])
    case .expm1: return graph.node("Sub", [graph.node("Exp", [x]), try scalar(1)])
    case .log1p: return graph.node("Log", [graph.node("Add", [x, try scalar(1)])])
    case .normalCDF:
      // (1 + erf(x / √2)) / 2
      let error = graph.node("Erf", [graph.node("Mul", [x, try scalar(0.5.squareRoot())])])
      return graph.node("Mul", [graph.node("Add", [error, try scalar(1)]), try scalar(0.5)])
    case .isFinite:
      let broken = graph.node("Or", [graph.node("IsNaN", [x]), graph.node("IsInf", [x])])
      return cast(graph.node("Not", [broken]), real)
    default: throw TemperError(.unsupported, "ONNX has no function \(operation).")
    }
  }

  private mutating func binary(_ operation: Binary, _ node: Node) throws(TemperError) -> String {
    let (left, right) = (try operand(node, 0), try operand(node, 1))
    switch operation {
    case .add: return graph.node("Add", [left, right])
    case .subtract: return graph.node("Sub", [left, right])
    case .multiply, .and: return graph.node("Mul", [left, right])
    case .divide: return graph.node("Div", [left, right])
    case .power: return graph.node("Pow", [left, right])
    case .maximum, .or: return graph.node("Max", [left, right])
    case .minimum: return graph.node("Min", [left, right])
    case .equal: return cast(graph.node("Equal", [left, right]), real)
    case .notEqual: return cast(graph.node("Not", [graph.node("Equal", [left, right])]), real)
    case .less: return cast(graph.node("Less", [left, right]), real)
    case .lessEqual: return cast(graph.node("LessOrEqual", [left, right]), real)
    case .remainder: throw TemperError(.unsupported, "ONNX export has no form for remainders.")
    }
  }

  /// A side of an element-wise operation. ONNX repeats a smaller side itself, where the other has the whole shape.
  private mutating func operand(_ node: Node, _ side: Int) throws(TemperError) -> String {
    let (own, other) = (node.inputs[side], node.inputs[1 - side])
    if case .broadcast = own.operation, other.shape == node.shape {
      if case .broadcast = other.operation { return try number(own) }
      return try number(own.inputs[0])
    }
    return try number(own)
  }

  /// An input of the model, or a parameter: floats, or codes that are dequantized where they are used.
  private mutating func input(_ name: String, _ shape: Shape) throws(TemperError) -> String {
    if name == "x" || name == "mask" { return name }
    if let matrix = packed?.matrix(name) { return try weight(name, matrix, shape) }
    guard let tensor = model.variable(name)?.tensor else {
      throw TemperError(.unsupported, "ONNX export has no form for the input \"\(name)\" of a layer.")
    }
    return try graph.constant(name, real, tensor)
  }

  private mutating func weight(
    _ name: String, _ matrix: QuantizedMatrix, _ shape: Shape
  ) throws(TemperError) -> String {
    guard matrix.adjustment.offsets == nil else {
      throw TemperError(
        .unsupported, "ONNX export holds weights; what this method adds to a layer's outputs has no place there.")
    }
    let floats: String
    if let codes = matrix.packed, codes.grid.codebook == nil {
      floats = try dequantized(name, codes)
    } else {
      let weights = try matrix.dequantize(workers: workers).reshaped([matrix.rows, matrix.columns])
      floats = try graph.constant(name, .float, weights)
    }
    var result = floats
    if Shape([matrix.rows, matrix.columns]) != shape {
      result = graph.node("Reshape", [floats, try graph.integers(shape.sizes)])
    }
    return real == .float ? result : cast(result, real)
  }

  /// scale · (level − zero point), for each tensor, row, or block of a row. Levels of up to 4 bits take 4.
  private mutating func dequantized(_ name: String, _ matrix: PackedMatrix) throws(TemperError) -> String {
    let isSigned = !matrix.grid.hasZeroPoints
    let isNarrow = matrix.bits <= 4
    let type: ONNXType = isNarrow ? (isSigned ? .int4 : .uint4) : isSigned ? .int8 : .uint8
    let shift = isSigned ? matrix.grid.firstLevel : 0
    func stored(_ codes: [UInt8]) -> [UInt8] {
      let levels = codes.map { UInt8(truncatingIfNeeded: Int($0) + shift) }
      guard isNarrow else { return levels }
      return stride(from: 0, to: levels.count, by: 2).map { index in
        levels[index] & 15 | (index + 1 < levels.count ? levels[index + 1] << 4 : 0)
      }
    }
    let codes = try matrix.looseCodes(workers: workers).array(of: UInt8.self)
    var inputs = [graph.constant(name + ".codes", type, [matrix.rows, matrix.columns], stored(codes))]
    let groups = matrix.scales.shape[1]
    var (scales, zeros) = (matrix.scales, matrix.zeros)
    var sizes: [Int]
    var attributes: [(name: String, value: ONNXGraph.Attribute)] = []
    if matrix.scales.count == 1 {
      sizes = []
    } else if groups == 1 {
      sizes = [matrix.rows]
      attributes = [("axis", .integer(0))]
    } else {
      sizes = [matrix.rows, groups]
      attributes = [("axis", .integer(1)), ("block_size", .integer(matrix.groupSize))]
      scales = try scales.broadcast(to: Shape(sizes)).copy()
      zeros = try zeros?.broadcast(to: Shape(sizes)).copy()
    }
    inputs.append(try graph.constant(name + ".scales", .float, try scales.reshaped(Shape(sizes))))
    if let zeros {
      inputs.append(graph.constant(name + ".zeros", type, sizes, stored(try zeros.array(of: UInt8.self))))
    }
    return graph.node("DequantizeLinear", inputs, attributes)
  }
}

extension Model {
  /// As an ONNX graph that takes batches of any size; `packed`: what its quantized weights are. Written whole or not at
  /// all.
  package func exportONNX(to path: String, packed: QuantizedModel? = nil, workers: Workers) throws(TemperError) {
    try ONNXExport.write(self, packed: packed, to: path, workers: workers)
  }
}
