import TemperCore
import TemperGraph

/// Expressions in float64, node by node, as plainly as they are defined: the oracle for plans.
package struct ReferenceInterpreter {
  private var values: [ObjectIdentifier: [Double]] = [:]
  /// Nodes seen: while they live no other node gets their identity.
  private var nodes: [Node] = []
  /// What `stopGradient` nodes gave at another point: derivatives hold them constant, so finite differences must too.
  private let frozen: [ObjectIdentifier: [Double]]
  private let inputs: [String: [Double]]

  package init(_ inputs: [String: [Double]], frozen: [ObjectIdentifier: [Double]] = [:]) {
    (self.inputs, self.frozen) = (inputs, frozen)
  }

  /// Elements of `expression` in row-major order.
  package mutating func evaluate(_ expression: Expression) throws -> [Double] {
    try evaluate(expression.node)
  }

  /// Values of the stopGradient nodes seen so far.
  package private(set) var stopped: [ObjectIdentifier: [Double]] = [:]

  private mutating func evaluate(_ node: Node) throws -> [Double] {
    let id = ObjectIdentifier(node)
    if let known = values[id] { return known }
    if let fixed = frozen[id] { return fixed }
    var arguments: [[Double]] = []
    for input in node.inputs { arguments.append(try evaluate(input)) }
    let result = try apply(node, arguments)
    precondition(result.count == node.shape.count, "\(node.operation)")
    values[id] = result
    nodes.append(node)
    if case .stopGradient = node.operation { stopped[id] = result }
    return result
  }

  private mutating func apply(_ node: Node, _ x: [[Double]]) throws -> [Double] {
    let shape = node.shape
    let columns = max(node.inputs.first?.shape.last ?? 1, 1)
    switch node.operation {
    case .input(let name):
      guard let value = inputs[name] else { throw TemperError(.invalidArgument, "no input \(name)") }
      return value
    case .constant(let value): return [Double](repeating: value, count: shape.count)
    case .iota(let axis): return Self.indices(shape).map { Double($0[axis]) }
    case .unary(let operation): return x[0].map { Self.unary(operation, $0) }
    case .binary(let operation): return zip(x[0], x[1]).map { Self.binary(operation, $0, $1) }
    case .select: return x[0].indices.map { x[0][$0] != 0 ? x[1][$0] : x[2][$0] }
    case .stopGradient, .withSlopes, .reshape: return x[0]
    case .reduce(let reduction): return rows(x[0], columns).map { Self.reduce(reduction, $0) }
    case .argument(let extremum):
      return rows(x[0], columns).map { row in
        var best = 0
        for (i, value) in row.enumerated() where extremum == .maximum ? value > row[best] : value < row[best] {
          best = i
        }
        return Double(best)
      }
    case .pick:
      return zip(rows(x[0], columns), x[1]).map { row, i in
        i >= 0 && i < Double(row.count) ? row[Int(i)] : 0
      }
    case .place(let width):
      return zip(x[0], x[1]).flatMap { value, i in (0..<width).map { Double($0) == i ? value : 0 } }
    case .broadcast:
      let from = node.inputs[0].shape
      return Self.indices(shape).map { index in
        let own = index.suffix(from.rank).enumerated().map { from[$0.offset] == 1 ? 0 : $0.element }
        return x[0][Self.offset(own, from)]
      }
    case .permute(let axes):
      let from = node.inputs[0].shape
      return Self.indices(shape).map { index in
        var own = index
        for (to, axis) in axes.enumerated() { own[axis] = index[to] }
        return x[0][Self.offset(own, from)]
      }
    case .slice(let axis, let start):
      return Self.indices(shape).map { index in
        var own = index
        own[axis] += start
        return x[0][Self.offset(own, node.inputs[0].shape)]
      }
    case .concatenate(let axis):
      return Self.indices(shape).map { index in
        var (own, part) = (index, 0)
        while own[axis] >= node.inputs[part].shape[axis] {
          own[axis] -= node.inputs[part].shape[axis]
          part += 1
        }
        return x[part][Self.offset(own, node.inputs[part].shape)]
      }
    case .reduceAxis(let reduction, let axis):
      let from = node.inputs[0].shape
      return Self.indices(shape).map { index in
        let lane = (0..<from[axis]).map { i in
          var own = index
          own[axis] = i
          return x[0][Self.offset(own, from)]
        }
        return Self.reduce(reduction, lane)
      }
    case .cumulativeSum(let reverse):
      return rows(x[0], columns).flatMap { row -> [Double] in
        var sum = 0.0
        let sums = (reverse ? row.reversed() : row).map { value in
          sum += value
          return sum
        }
        return reverse ? sums.reversed() : sums
      }
    case .sortOrder(let descending):
      return rows(x[0], columns).flatMap { row in
        row.indices.sorted { a, b in
          row[a] == row[b] ? a < b : descending ? row[a] > row[b] : row[a] < row[b]
        }.map(Double.init)
      }
    case .takeAlong:
      let width = shape.last
      return zip(rows(x[0], columns), rows(x[1], width)).flatMap { row, order in order.map { row[Int($0)] } }
    case .scatterAlong(let width):
      return zip(rows(x[0], columns), rows(x[1], columns)).flatMap { row, order in
        var result = [Double](repeating: 0, count: width)
        for (value, i) in zip(row, order) { result[Int(i)] += value }
        return result
      }
    case .gatherRows: return x[1].flatMap { i in Array(x[0][(Int(i) * columns)..<((Int(i) + 1) * columns)]) }
    case .scatterRows(let count):
      var result = [Double](repeating: 0, count: count * columns)
      for (row, i) in zip(rows(x[0], columns), x[1]) {
        for (j, value) in row.enumerated() { result[Int(i) * columns + j] += value }
      }
      return result
    case .matmul(let ta, let tb):
      let a = node.inputs[0].shape
      let (m, n) = (shape[shape.rank - 2], shape.last)
      let k = ta ? a[a.rank - 2] : a.last
      return (0..<(shape.count / max(m * n, 1))).flatMap { batch in
        (0..<(m * n)).map { element in
          let (i, j) = (element / n, element % n)
          return (0..<k).reduce(0.0) { sum, p in
            sum + x[0][batch * m * k + (ta ? p * m + i : i * k + p)]
              * x[1][batch * k * n + (tb ? j * k + p : p * n + j)]
          }
        }
      }
    case .external(let function, let output):
      var arrays: [Tensor] = []
      for (values, input) in zip(x, node.inputs) { arrays.append(try Tensor(values, shape: input.shape)) }
      var outputs = [Tensor?](repeating: nil, count: x.count + 1)
      outputs[output] = try Tensor(zeros: shape, .float64)
      if outputs[0] == nil { outputs[0] = try Tensor(zeros: [node.inputs[0].shape[0], 1], .float64) }
      try function.evaluate(arrays, outputs)
      return try outputs[output]!.array(of: Double.self)
    case .custom(let operation, let output):
      if let definition = operation.definition {
        return try evaluate(definition(node.inputs.map { Expression($0) })[output].node)
      }
      var arrays: [Tensor] = []
      for (values, input) in zip(x, node.inputs) {
        arrays.append(try Tensor(values, shape: input.shape).copy(as: input.kind == .index ? .int32 : .float64))
      }
      let result = try Tensor(zeros: shape, .float64)
      try operation.prepare(.float64, Workers(count: 1))(arrays, [result])
      return try result.array(of: Double.self)
    case .convolution(let convolution):
      return Self.taps(convolution, node.inputs[0].shape, node.inputs[1].shape, shape, shape.count) {
        ($0.output, x[0][$0.input] * x[1][$0.weight])
      }
    case .convolutionInput(let convolution, let input):
      return Self.taps(convolution, input, node.inputs[1].shape, node.inputs[0].shape, shape.count) {
        ($0.input, x[0][$0.output] * x[1][$0.weight])
      }
    case .convolutionWeight(let convolution, let weight):
      return Self.taps(convolution, node.inputs[0].shape, weight, node.inputs[1].shape, shape.count) {
        ($0.weight, x[0][$0.input] * x[1][$0.output])
      }
    case .poolMaximumIndices(let window):
      return Self.indices(shape).map { index in
        let inside = Self.inside(window, index, node.inputs[0].shape)
        return Double(inside.max { (x[0][$0.flat], -$0.inPlane) < (x[0][$1.flat], -$1.inPlane) }!.inPlane)
      }
    case .poolAverage(let window):
      return Self.indices(shape).map { index in
        let inside = Self.inside(window, index, node.inputs[0].shape)
        return inside.reduce(0) { $0 + x[0][$1.flat] } / Double(inside.count)
      }
    case .poolAverageGradient(let window, let input):
      var result = [Double](repeating: 0, count: shape.count)
      for (o, index) in Self.indices(node.inputs[0].shape).enumerated() {
        let inside = Self.inside(window, index, input)
        for element in inside { result[element.flat] += x[0][o] / Double(inside.count) }
      }
      return result
    case .invalid(let error): throw error
    case .uniform: throw TemperError(.unsupported, "The reference interpreter has no random numbers.")
    }
  }

  private func rows(_ values: [Double], _ columns: Int) -> [[Double]] {
    stride(from: 0, to: values.count, by: columns).map { Array(values[$0..<($0 + columns)]) }
  }

  static func indices(_ shape: Shape) -> [[Int]] {
    (0..<shape.count).map { flat in
      var (rest, index) = (flat, [Int](repeating: 0, count: shape.rank))
      for axis in stride(from: shape.rank - 1, through: 0, by: -1) {
        index[axis] = rest % shape[axis]
        rest /= shape[axis]
      }
      return index
    }
  }

  static func offset(_ index: [Int], _ shape: Shape) -> Int {
    zip(index, shape.sizes).reduce(0) { $0 * $1.1 + $1.0 }
  }
}
