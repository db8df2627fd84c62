import TemperCatalogue
import TemperCore
import TemperGraph

extension Parameter {
  /// How the elements of one sample become its value.
  static let elements = Parameter.choice("elements", ["mean", "sum"], "How the elements of a sample are put together.")
}

extension Formula {
  /// -sum_c t_c log softmax(z)_c for logits that were changed on the way, (N, 1).
  func crossEntropy(_ logits: Expression) -> Expression { logits.crossEntropy(of: targets) }

  /// -sum_c t_c log p_c, (N, 1).
  var crossEntropy: Expression { crossEntropy(logits) }

  /// The sum or mean over the elements of each sample, (N, M) to (N, 1).
  func overElements(_ values: Expression) -> Expression {
    text("elements") == "sum" ? values.sum() : values.mean()
  }

  /// sum_c t_c v_c, where classes with t_c = 0 count nothing even if v_c is infinite.
  func expectation(_ values: Expression) -> Expression { values.expectation(of: targets) }

  /// The mean over the targets of a loss that knows one class y, (N, 1): with probabilities sum_c t_c w_c L(c), for
  /// which the rows that the loss sees stand once for each class: N C^2 work, some samples at a time.
  func overTargets(
    _ arrays: [Expression], weights: Expression? = nil,
    _ loss: @escaping @Sendable (_ rows: [Expression], _ y: Expression) -> Expression
  ) -> Expression {
    let classes = classes
    guard targets.kind == .real else {
      let values = loss(arrays, targets)
      return weights.map { $0.broadcast(to: [values.shape[0], classes]).pick(targets) * values } ?? values
    }
    let values = Expression.byRowBlocks(rows: arrays, shared: [], width: classes * classes) { rows, _ in
      let pairs = [rows[0].shape[0], classes]
      let each = rows.map { row in
        row.expanded(1).broadcast(to: Shape(pairs + [row.shape.last])).reshaped([pairs[0] * classes, row.shape.last])
      }
      let y = Expression.iota(Shape(pairs + [1]), axis: 1).reshaped([pairs[0] * classes, 1])
      return loss(each, y).reshaped(Shape(pairs))
    }
    return expectation(weights.map { $0 * values } ?? values)
  }

  /// t yes + (1 - t) no for targets t of 0 to 1: what has no share counts nothing even if it is infinite.
  func ifTarget(_ yes: Expression, otherwise no: Expression) -> Expression {
    .select(targets .== 0, .constant(0), targets * yes) + .select(targets .== 1, .constant(0), (1 - targets) * no)
  }
}

extension Expression {
  /// -sum_c t_c log softmax(self)_c for class ids or probabilities t, (N, 1).
  func crossEntropy(of targets: Expression) -> Expression {
    if targets.kind == .index { return logSumExp() - pick(targets) }
    let (shifted, logSum) = shiftedWithLogSum()
    return targets.sum() * logSum - shifted.expectation(of: targets)
  }

  /// sum_c t_c v_c, where classes with t_c = 0 count nothing even if v_c is infinite.
  func expectation(of targets: Expression) -> Expression {
    targets.kind == .index
      ? pick(targets) : Expression.select(targets .== 0, .constant(0), targets * self).sum()
  }

  /// KL(softmax(self) || q) from log q, (..., 1). Where the softmax is 0 neither value nor gradient see an infinite log q.
  func divergence(from logq: Expression) -> Expression {
    let p = softmax()
    return (p * .select(p .== 0, .constant(0), logSoftmax() - logq)).sum()
  }

  /// KL(softmax(self) || softmax(other)), (..., 1): with z and z' less their maxima, p's mean of z - z' and the
  /// difference of the logs of their sums. Its gradient by the other is q - p, its own p (log p / q - KL). What is
  /// masked on one side or both has a finite gap, which a p of 0 takes out.
  func divergence(fromSoftmaxOf other: Expression) -> Expression {
    let ((own, ownLog), (others, othersLog)) = (shiftedWithLogSum(), other.shiftedWithLogSum())
    let exponentials = exp(own)
    let weighted = exponentials * TemperGraph.minimum(TemperGraph.maximum(own, -1e30) - others, 1e30)
    let inverse = reciprocal(exponentials.sum())
    let mean = weighted.sum() * inverse
    return (mean + (othersLog - ownLog)).withSlopes([
      (by: other, slope: other.softmax() - inverse * exponentials),
      (by: self, slope: inverse * weighted - (mean * inverse) * exponentials),
    ])
  }

  /// log of the sum of exp over the elements with mask != 0, along the last axis; -inf where there are none.
  func logSumExp(where mask: Expression) -> Expression {
    Expression.select(mask, self, .constant(-.infinity)).logSumExpOfAny().value
  }

  /// This with -inf at one column of each row.
  func without(_ column: Expression) -> Expression {
    self + .place(.constant(-.infinity, column.shape), at: column, columns: shape.last)
  }

  /// log of the sum of exp, -inf for rows of nothing but -inf, and the exponentials divided by their sum, 0 there.
  func logSumExpOfAny() -> (value: Expression, softmax: Expression) {
    let (value, exponentials, inverse) = exponentialsOfAny()
    return (value, exponentials * inverse)
  }

  /// log of the sum of exp, -inf for rows of nothing but -inf; exponentials in the softmax's ratio, 0 there, and what
  /// they are to be multiplied by.
  func exponentialsOfAny() -> (logSum: Expression, exponentials: Expression, inverse: Expression) {
    let top = maximum().stopGradient
    let isEmpty = top .== -.infinity
    let shift = Expression.select(isEmpty, .constant(0), top)
    let exponentials = TemperGraph.exp(self - shift)
    let sum = Expression.select(isEmpty, .constant(1), exponentials.sum())
    return (.select(isEmpty, .constant(-.infinity), shift + TemperGraph.log(sum)), exponentials, reciprocal(sum))
  }

  /// Rows of length 1; rows of zeros stay zeros.
  func normalizedRows() -> Expression {
    let squares = TemperGraph.square(self).sum()
    let isZero = squares .== 0
    return .select(isZero, .constant(0), self / TemperGraph.sqrt(.select(isZero, .constant(1), squares)))
  }

  /// |a_i - b_j|^2 for rows of two matrices, from differences: exact for near rows.
  static func squaredDistances(_ a: Expression, _ b: Expression) -> Expression {
    TemperGraph.square(a.expanded(1) - b.expanded(0)).sum().squeezed()
  }

  /// 1 on the diagonal of (n, n).
  static func identity(_ n: Int) -> Expression {
    .iota([n, n], axis: 0) .== .iota([n, n], axis: 1)
  }

  /// The diagonal of a square matrix, (n, 1).
  var diagonal: Expression { pick(.iota([shape[0], 1], axis: 0)) }
}
