import Glibc
import TemperCore

@testable import TemperGraph

/// The definition of every operation, element by element in double precision: what plans are held against.
struct Reference {
  var inputs: [String: [Double]]
  private var known: [ObjectIdentifier: [Double]] = [:]

  init(_ inputs: [String: [Double]] = [:]) { self.inputs = inputs }

  mutating func callAsFunction(_ expression: Expression) -> [Double] { value(expression.node) }

  /// Index of every element, row-major.
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

  static func flat(_ index: [Int], _ shape: Shape) -> Int {
    zip(index, shape.denseStrides).reduce(0) { $0 + $1.0 * $1.1 }
  }

  private mutating func value(_ node: Node) -> [Double] {
    if let value = known[ObjectIdentifier(node)] { return value }
    let x = node.inputs.map { value($0) }
    let result = compute(node, x)
    precondition(result.count == node.shape.count)
    known[ObjectIdentifier(node)] = result
    return result
  }

  private func compute(_ node: Node, _ x: [[Double]]) -> [Double] {
    let shape = node.shape
    let from = node.inputs.first?.shape ?? []
    let indices = Reference.indices(shape)
    func rows(_ values: [Double], _ shape: Shape) -> [[Double]] {
      (0..<(shape.count / max(shape.last, 1))).map { Array(values[($0 * shape.last)..<(($0 + 1) * shape.last)]) }
    }
    switch node.operation {
    case .input(let name): return inputs[name]!
    case .constant(let value): return Array(repeating: value, count: shape.count)
    case .iota(let axis): return indices.map { Double($0[axis]) }
    case .unary(let unary): return x[0].map { Reference.apply(unary, $0) }
    case .binary(let binary): return zip(x[0], x[1]).map { binary.fold($0, $1) }
    case .select: return (0..<shape.count).map { x[0][$0] != 0 ? x[1][$0] : x[2][$0] }
    case .stopGradient, .withSlopes, .reshape: return x[0]
    case .reduce(let reduction): return rows(x[0], from).map { Reference.reduce(reduction, $0) }
    case .reduceAxis(let reduction, let axis):
      return indices.map { index in
        var index = index
        return Reference.reduce(
          reduction,
          (0..<from[axis]).map {
            index[axis] = $0
            return x[0][Reference.flat(index, from)]
          })
      }
    case .argument(let extremum):
      return rows(x[0], from).map { row in
        Double(row.firstIndex(of: extremum == .maximum ? row.max()! : row.min()!)!)
      }
    case .pick:
      return zip(rows(x[0], from), x[1]).map { row, at in row.indices.contains(Int(at)) ? row[Int(at)] : 0 }
    case .place(let columns):
      return zip(x[0], x[1]).flatMap { value, at in (0..<columns).map { $0 == Int(at) ? value : 0 } }
    case .broadcast:
      let lead = shape.rank - from.rank
      return indices.map { index in
        x[0][Reference.flat((0..<from.rank).map { from[$0] == 1 ? 0 : index[$0 + lead] }, from)]
      }
    case .permute(let axes):
      return indices.map { index in
        var source = index
        for (to, axis) in axes.enumerated() { source[axis] = index[to] }
        return x[0][Reference.flat(source, from)]
      }
    case .slice(let axis, let start):
      return indices.map { index in
        var index = index
        index[axis] += start
        return x[0][Reference.flat(index, from)]
      }
    case .concatenate(let axis):
      return indices.map { index in
        var (index, part) = (index, 0)
        while index[axis] >= node.inputs[part].shape[axis] {
          index[axis] -= node.inputs[part].shape[axis]
          part += 1
        }
        return x[part][Reference.flat(index, node.inputs[part].shape)]
      }
    case .cumulativeSum(let reverse):
      return rows(x[0], from).flatMap { row -> [Double] in
        var sum = 0.0
        let sums = (reverse ? row.reversed() : row).map { value -> Double in
          sum += value
          return sum
        }
        return reverse ? sums.reversed() : sums
      }
    case .sortOrder(let descending):
      return rows(x[0], from).flatMap { row in
        row.indices.sorted { row[$0] == row[$1] ? $0 < $1 : (row[$0] < row[$1]) != descending }.map(Double.init)
      }
    case .takeAlong:
      return zip(rows(x[0], from), rows(x[1], node.inputs[1].shape)).flatMap { row, at in at.map { row[Int($0)] } }
    case .scatterAlong(let columns):
      return zip(rows(x[0], from), rows(x[1], node.inputs[1].shape)).flatMap { row, at -> [Double] in
        var result = [Double](repeating: 0, count: columns)
        for (value, index) in zip(row, at) { result[Int(index)] += value }
        return result
      }
    case .gatherRows: return x[1].flatMap { rows(x[0], from)[Int($0)] }
    case .scatterRows:
      var result = [Double](repeating: 0, count: shape.count)
      for (row, at) in zip(rows(x[0], from), x[1]) {
        for (column, value) in row.enumerated() { result[Int(at) * shape.last + column] += value }
      }
      return result
    case .matmul(let ta, let tb):
      let (a, b) = (node.inputs[0].shape, node.inputs[1].shape)
      let k = ta ? a[a.rank - 2] : a.last
      return indices.map { index in
        let (lead, i, j) = (Array(index.dropLast(2)), index[index.count - 2], index[index.count - 1])
        return (0..<k).reduce(0) {
          $0 + x[0][Reference.flat(lead + (ta ? [$1, i] : [i, $1]), a)]
            * x[1][Reference.flat(lead + (tb ? [j, $1] : [$1, j]), b)]
        }
      }
    case .convolution(let c):
      var result = [Double](repeating: 0, count: shape.count)
      Reference.eachTap(c, node.inputs[0].shape, node.inputs[1].shape, shape) { i, w, o in
        result[o] += x[0][i] * x[1][w]
      }
      return result
    case .convolutionInput(let c, let input):
      var result = [Double](repeating: 0, count: shape.count)
      Reference.eachTap(c, input, node.inputs[1].shape, node.inputs[0].shape) { i, w, o in
        result[i] += x[0][o] * x[1][w]
      }
      return result
    case .convolutionWeight(let c, let weight):
      var result = [Double](repeating: 0, count: shape.count)
      Reference.eachTap(c, node.inputs[0].shape, weight, node.inputs[1].shape) { i, w, o in
        result[w] += x[0][i] * x[1][o]
      }
      return result
    case .poolMaximumIndices(let window):
      return indices.map { index in
        let inside = Reference.inside(window, index, from)
        return Double(inside.max { (x[0][$0.0], -$0.1) < (x[0][$1.0], -$1.1) }!.1)
      }
    case .poolAverage(let window):
      return indices.map { index in
        let inside = Reference.inside(window, index, from)
        return inside.reduce(0) { $0 + x[0][$1.0] } / Double(inside.count)
      }
    case .poolAverageGradient(let window, let input):
      var result = [Double](repeating: 0, count: shape.count)
      for (o, index) in Reference.indices(from).enumerated() {
        let inside = Reference.inside(window, index, input)
        for (i, _) in inside { result[i] += x[0][o] / Double(inside.count) }
      }
      return result
    case .uniform, .external, .custom, .invalid: preconditionFailure("has no reference")
    }
  }

  /// (flat index, index in the plane) of the elements of a pooling window.
  private static func inside(_ window: Window, _ index: [Int], _ from: Shape) -> [(Int, Int)] {
    var result: [(Int, Int)] = []
    for a in 0..<window.size[0] {
      for b in 0..<window.size[1] {
        let (r, c) = (
          index[2] * window.stride[0] + a - window.padding[0], index[3] * window.stride[1] + b - window.padding[1]
        )
        if r >= 0, c >= 0, r < from[2], c < from[3] {
          result.append((flat([index[0], index[1], r, c], from), r * from[3] + c))
        }
      }
    }
    return result
  }

  private static func eachTap(_ c: Convolution, _ x: Shape, _ w: Shape, _ y: Shape, _ body: (Int, Int, Int) -> Void) {
    let perGroup = w[0] / c.groups
    for index in indices(y) {
      for i in 0..<w[1] {
        for a in 0..<w[2] {
          for b in 0..<w[3] {
            let row = index[2] * c.stride[0] + a * c.dilation[0] - c.padding[0]
            let column = index[3] * c.stride[1] + b * c.dilation[1] - c.padding[1]
            guard row >= 0, column >= 0, row < x[2], column < x[3] else { continue }
            let channel = index[1] / perGroup * w[1] + i
            body(flat([index[0], channel, row, column], x), flat([index[1], i, a, b], w), flat(index, y))
          }
        }
      }
    }
  }

  static func reduce(_ reduction: Reduction, _ values: [Double]) -> Double {
    switch reduction {
    case .sum: values.reduce(0, +)
    case .maximum: values.max()!
    case .minimum: values.min()!
    case .product: values.reduce(1, *)
    }
  }

  static func apply(_ unary: Unary, _ x: Double) -> Double {
    if let value = unary.fold(x) { return value }
    switch unary {
    case .softplus: return max(x, 0) + Glibc.log1p(Glibc.exp(-Swift.abs(x)))
    case .erf: return Glibc.erf(x)
    case .sin: return Glibc.sin(x)
    case .cos: return Glibc.cos(x)
    case .isFinite: return x.isFinite ? 1 : 0
    case .logGamma: return Glibc.lgamma(x)
    case .digamma:
      var (z, sum) = (x, 0.0)
      while z < 12 {
        sum -= 1 / z
        z += 1
      }
      let r = 1 / (z * z)
      return sum + Glibc.log(z) - 0.5 / z - r
        * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))))
    case .atan: return Glibc.atan(x)
    case .inverseErf:
      var (low, high) = (-6.0, 6.0)
      for _ in 0..<200 {
        let m = (low + high) / 2
        if Glibc.erf(m) < x { low = m } else { high = m }
      }
      return (low + high) / 2
    case .normalCDF: return 0.5 * Glibc.erfc(-x / 2.0.squareRoot())
    default: preconditionFailure("\(unary)")
    }
  }
}
