import Glibc
import TemperCore

extension Expression {
  /// log of the sum of exp over this and all later entries of a row, in one pass; -inf where all are.
  package func suffixLogSumExp() -> Expression {
    Expression.custom(Expression.suffixes, [self])[0]
  }

  private static let suffixes = CustomOperation(
    name: "suffix_log_sum_exp",
    definition: { x in
      let (columns, z) = (x[0].shape.last, x[0].expanded(-2))
      let isLater = Expression.iota([columns, columns], axis: 1) .>= .iota([columns, columns], axis: 0)
      let top = Expression.select(isLater, z, .constant(-.infinity)).maximum().stopGradient
      let shift = Expression.select(top .== -.infinity, .constant(0), top)
      let sum = exp(Expression.select(isLater, z - shift, .constant(-.infinity))).sum()
      return [(shift + log(sum)).squeezed()]
    },
    gradient: { _, inputs, results, dy in Expression.custom(suffixShares, [inputs[0], results[0], dy]).map { $0 } },
    prepare: { (_, _) throws(TemperError) in
      { (x, outputs) throws(TemperError) in
        try eachRow(x, outputs[0]) { x, y in
          var total = -Double.infinity
          for k in x[0].indices.reversed() {
            let (z, top) = (x[0][k], max(x[0][k], total))
            total = top == -.infinity ? top : top + Glibc.log1p(Glibc.exp(min(z, total) - top))
            y[k] = z.isNaN ? z : total
          }
        }
      }
    })

  /// sum over k <= j of dy_k exp(z_j - total_k), by a recursion whose factors are at most 1: totals fall along the row.
  private static let suffixShares = CustomOperation(
    name: "suffix_shares",
    definition: { x in
      let columns = x[0].shape.last
      let isEarlier = Expression.iota([columns, columns], axis: 1) .<= .iota([columns, columns], axis: 0)
      let (z, total) = (x[0].expanded(-1), x[1].expanded(-2))
      let isThere = isEarlier .& (z .!= -.infinity)
      let shares = exp(Expression.select(isThere, z - total, .constant(-.infinity)))
      return [Expression.select(isThere, x[2].expanded(-2) * shares, .constant(0)).sum().squeezed()]
    },
    prepare: { (_, _) throws(TemperError) in
      { (x, outputs) throws(TemperError) in
        try eachRow(x, outputs[0]) { x, y in
          var sum = 0.0
          for j in x[0].indices {
            let (z, total) = (x[0][j], x[1][j])
            guard total != -.infinity else { continue }
            if j > 0 { sum *= Glibc.exp(total - x[1][j - 1]) }
            sum += x[2][j]
            y[j] = z == -.infinity ? 0 : Glibc.exp(z - total) * sum
          }
        }
      }
    })

  /// Rows of all inputs to a row of the output, in double.
  private static func eachRow(
    _ inputs: [Tensor], _ output: Tensor?, _ body: ([[Double]], inout [Double]) -> Void
  ) throws(TemperError) {
    guard let output, output.count > 0 else { return }
    var arrays: [[Double]] = []
    for input in inputs { arrays.append(try input.array(of: Double.self)) }
    var result: [Double] = []
    result.reserveCapacity(output.count)
    let columns = output.shape.last
    for start in stride(from: 0, to: output.count, by: columns) {
      var row = [Double](repeating: 0, count: columns)
      body(arrays.map { Array($0[start..<(start + columns)]) }, &row)
      result += row
    }
    try output.assign(from: try Tensor(result, shape: output.shape))
  }
}
