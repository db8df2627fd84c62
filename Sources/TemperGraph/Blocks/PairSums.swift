import TemperCore

extension Expression {
  /// y_i = sum over j of w_j f(b_j - a_i) for a (n, 1), b (m, 1) and w (m, 1): shape (n, 1). Neither the value nor any derivative
  /// stores the (n, m) differences: each of them is again such a sum, over rows of its own.
  package static func pairSums(
    _ a: Expression, _ b: Expression, weights: Expression, _ f: @escaping @Sendable (Expression) -> Expression
  ) -> Expression {
    let operation = CustomOperation(
      name: "pair_sums", definition: { x in [plainPairSums(x, f)] },
      gradient: { _, inputs, _, dy in
        let (a, b, w) = (inputs[0], inputs[1], inputs[2])
        let slope: @Sendable (Expression) -> Expression = { derivative(of: f, at: $0) }
        return [
          -(dy * pairSums(a, b, weights: w, slope)), w * pairSums(b, a, weights: dy) { slope(-$0) },
          pairSums(b, a, weights: dy) { f(-$0) },
        ]
      },
      prepare: { (type, workers) throws(TemperError) in
        let plans = TilePlans<[Int]>(type, workers) { sizes in
          let inputs = [
            Expression.input("a", [sizes[0], 1]), .input("b", [sizes[1], 1]), .input("weights", [sizes[1], 1]),
          ]
          return [Output(plainPairSums(inputs, f))]
        }
        return { (x, outputs) throws(TemperError) in
          guard let output = outputs[0] else { return }
          try plans.run([x[0].count, x[1].count], ["a": x[0], "b": x[1], "weights": x[2]], [0: output])
        }
      })
    return Expression.custom(operation, [a, b, weights])[0]
  }

  /// Differences and their sums are one row program: they live in registers.
  private static func plainPairSums(_ x: [Expression], _ f: (Expression) -> Expression) -> Expression {
    let count = x[1].shape.count
    return (x[2].reshaped([1, count]) * f(x[1].reshaped([1, count]) - x[0])).sum()
  }

  /// f' at every element of u, a difference or its negative, for a function of single elements. Simplification looks
  /// through negatives, so there it is by what is negated: f'(-v) = -g'(v) with g(v) = f(-v).
  private static func derivative(of f: (Expression) -> Expression, at u: Expression) -> Expression {
    if let v = u.negated { return -derivative(of: { f(-$0) }, at: v) }
    do throws(TemperError) {
      return try Differentiate.gradients(of: f(u), withRespectTo: [u])[0]
    } catch { return .invalid(error) }
  }
}
