import Glibc
import TemperCore

/// The operators whose results are known when all of what they read is: shapes, masks, weights that are rearranged.
///
/// Whole numbers and truth values are int64, other numbers float64; weights stay as they lie in the file.
struct ONNXConstants {
  /// What is longer is no shape, no mask, and no sample of an input.
  static let maximumCount = 1 << 24

  typealias Unary = @Sendable (Double) -> Double
  typealias Binary = @Sendable (Double, Double) -> Double

  static let unary: [String: Unary] = [
    "Neg": { -$0 }, "Abs": { Swift.abs($0) }, "Sqrt": { $0.squareRoot() }, "Exp": { exp($0) }, "Log": { log($0) },
    "Erf": { erf($0) }, "Tanh": { tanh($0) }, "Sigmoid": { 1 / (1 + exp(-$0)) }, "Reciprocal": { 1 / $0 },
    "Softplus": { max($0, 0) + log1p(exp(-Swift.abs($0))) }, "Relu": { max($0, 0) }, "Floor": { $0.rounded(.down) },
    "Ceil": { $0.rounded(.up) }, "Not": { $0 == 0 ? 1 : 0 },
  ]
  static let binary: [String: Binary] = [
    "Add": { $0 + $1 }, "Sub": { $0 - $1 }, "Mul": { $0 * $1 }, "Div": { $0 / $1 }, "Pow": { pow($0, $1) },
    "Min": { min($0, $1) }, "Max": { max($0, $1) }, "Mod": { $0 - $1 * ($0 / $1).rounded(.down) },
    "Equal": { $0 == $1 ? 1 : 0 }, "Less": { $0 < $1 ? 1 : 0 }, "LessOrEqual": { $0 <= $1 ? 1 : 0 },
    "Greater": { $0 > $1 ? 1 : 0 }, "GreaterOrEqual": { $0 >= $1 ? 1 : 0 }, "And": { $0 * $1 },
    "Or": { max($0, $1) },
  ]

  /// The results of a node; nil for an operator that is not known here.
  static func results(_ node: ONNXNode, _ x: [Tensor?], operatorSet: Int) throws(TemperError) -> [Tensor]? {
    if let moved = try layout(node, x, operatorSet: operatorSet) { return moved }
    let given = x.compactMap { $0 }
    if let function = unary[node.operation], let a = given.first {
      return [try numbers(a.array().map(function), a.shape, whole: !a.dtype.isFloating && node.operation != "Sqrt")]
    }
    if let function = binary[node.operation], given.count == 2 {
      let shape = try broadcast(given.map(\.shape))
      let (a, b) = (try given[0].broadcast(to: shape).array(), try given[1].broadcast(to: shape).array())
      let whole = given.allSatisfy { !$0.dtype.isFloating }
      return [try numbers(zip(a, b).map { function($0, $1) }, shape, whole: whole)]
    }
    switch (node.operation, given.count) {
    case ("Cast", 1):
      let isWhole = ![1, 10, 11, 16].contains(node.integer("to", 1))
      return [try given[0].copy(as: isWhole ? .int64 : .float64)]
    case ("Where", 3):
      let shape = try broadcast(given.map(\.shape))
      var parts: [[Double]] = []
      for part in given { parts.append(try part.broadcast(to: shape).array()) }
      let chosen = parts[0].indices.map { parts[0][$0] != 0 ? parts[1][$0] : parts[2][$0] }
      return [try numbers(chosen, shape, whole: !given[1].dtype.isFloating)]
    case ("Expand", 2):
      let shape = try broadcast([given[0].shape, try bounded(try given[1].integers())])
      return [try given[0].broadcast(to: shape).copy()]
    case ("ConstantOfShape", 1):
      return [try Tensor(zeros: try bounded(try given[0].integers()), .float64)]
    case ("Range", 3):
      let limits = try given.map { (x) throws(TemperError) in try x.array().first ?? 0 }
      let count = ((limits[1] - limits[0]) / limits[2]).rounded(.up)
      guard count >= 0, count < Double(maximumCount) else { throw tooLarge }
      return [try numbers((0..<Int(count)).map { limits[0] + Double($0) * limits[2] }, [Int(count)], whole: true)]
    case ("Trilu", 1...2):
      let (shape, shift) = (given[0].shape, given.count == 2 ? try given[1].integers().first ?? 0 : 0)
      guard shape.rank >= 2 else { return nil }
      let (rows, columns, isUpper) = (shape[shape.rank - 2], shape.last, node.integer("upper", 1) == 1)
      var values = try given[0].array()
      for index in values.indices {
        let above = index % columns - index / columns % rows
        if isUpper ? above < shift : above > shift { values[index] = 0 }
      }
      return [try numbers(values, shape, whole: !given[0].dtype.isFloating)]
    case ("DequantizeLinear", 2...3): return [try dequantized(node, given)]
    default: return nil
    }
  }

  private static let tooLarge = TemperError(.unsupported, "A constant that the graph computes is too large.")

  static func bounded(_ sizes: [Int]) throws(TemperError) -> Shape {
    let shape = try Shape(validating: sizes)
    guard shape.count <= maximumCount else { throw tooLarge }
    return shape
  }

  private static func broadcast(_ shapes: [Shape]) throws(TemperError) -> Shape {
    var shape = shapes[0]
    for other in shapes.dropFirst() {
      guard let both = Shape.broadcast(shape, other) else {
        throw TemperError(.malformedFile, "Shapes \(shape) and \(other) do not fit together.")
      }
      shape = both
    }
    return try bounded(shape.sizes)
  }

  private static func numbers(_ values: [Double], _ shape: Shape, whole: Bool) throws(TemperError) -> Tensor {
    let tensor = try Tensor(values, shape: shape)
    // Whole numbers are cut off, as ONNX divides them.
    return whole ? try tensor.copy(as: .int64) : tensor
  }

  /// scale · (code − zero point), for the tensor, each place of an axis, or blocks along it.
  private static func dequantized(_ node: ONNXNode, _ x: [Tensor]) throws(TemperError) -> Tensor {
    let (codes, scales, shape) = (try x[0].array(), try x[1].array(), x[0].shape)
    let zeros = x.count == 3 ? try x[2].array() : [Double](repeating: 0, count: scales.count)
    let given = node.integer("axis", 1)
    let (axis, block) = (given < 0 ? given + shape.rank : given, node.integer("block_size"))
    guard zeros.count == scales.count, !scales.isEmpty, scales.count == 1 || (0..<shape.rank).contains(axis) else {
      throw TemperError(.malformedFile, "Scales and zero points of \(node.title) do not fit.")
    }
    if scales.count == 1 { return try Tensor(codes.map { Float(($0 - zeros[0]) * scales[0]) }, shape: shape) }
    let inner = shape.sizes[(axis + 1)...].reduce(1, *)
    let groups = block > 0 ? (shape[axis] + block - 1) / block : shape[axis]
    guard scales.count == (block > 0 ? shape.count / max(shape[axis], 1) * groups : groups) else {
      throw TemperError(.malformedFile, "Scales of \(node.title) do not fit its weights.")
    }
    let values = codes.indices.map { index -> Float in
      let (place, outer) = (index / inner % shape[axis], index / inner / shape[axis])
      let scale = block > 0 ? (outer * groups + place / block) * inner + index % inner : place
      return Float((codes[index] - zeros[scale]) * scales[scale])
    }
    return try Tensor(values, shape: shape)
  }
}

extension Tensor {
  func array() throws(TemperError) -> [Double] { try copy(as: .float64).array(of: Double.self) }
  func integers() throws(TemperError) -> [Int] { try copy(as: .int64).array(of: Int64.self).map { Int($0) } }
}
