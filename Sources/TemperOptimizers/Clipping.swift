import TemperGraph

/// Bounds on gradients, over expressions: a trainer fuses them into its step.
package enum Clipping {
  /// Every element into [-bound, bound].
  package static func byValue(_ gradients: [Expression], _ bound: Double) -> [Expression] {
    gradients.map { clamp($0, -bound, bound) }
  }

  /// g min(1, bound / |g|), |g| the norm of all gradients together. Pascanu, Mikolov and Bengio, 2013, arXiv 1211.5063.
  package static func byGlobalNorm(_ gradients: [Expression], _ bound: Double) -> [Expression] {
    let norm = globalNorm(gradients)
    let factor = Expression.select(norm .<= bound, .constant(1), bound / norm)
    return gradients.map { factor * $0 }
  }

  package static func globalNorm(_ gradients: [Expression]) -> Expression {
    sqrt(gradients.reduce(.constant(0)) { $0 + square($1).sumAll() })
  }
}
