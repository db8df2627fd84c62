import TemperCore

/// Element by element, with NumPy's broadcasting. Masks are 0 and 1.
extension Expression {
  static func unary(_ operation: Unary, _ x: Expression) -> Expression {
    if let value = x.constantValue, let folded = operation.fold(value) { return .constant(folded, x.shape) }
    if let simple = operation.simplify(x) { return simple }
    return Expression(.unary(operation), [x], x.shape)
  }

  static func binary(_ operation: Binary, _ a: Expression, _ b: Expression) -> Expression {
    guard let shape = Shape.broadcast(a.shape, b.shape) else {
      if a.error != nil { return a }
      if b.error != nil { return b }
      return .invalid(.invalidShape, "\(operation): shapes \(a.shape) and \(b.shape) do not broadcast together.")
    }
    if let simple = operation.simplify(a, b, shape) { return simple }
    return Expression(.binary(operation), [a.broadcast(to: shape), b.broadcast(to: shape)], shape)
  }

  /// mask != 0 ? a : b. The branch not taken never leaks, in value or gradient.
  package static func select(_ mask: Expression, _ a: Expression, _ b: Expression) -> Expression {
    guard let ab = Shape.broadcast(a.shape, b.shape), let shape = Shape.broadcast(mask.shape, ab) else {
      if let broken = [mask, a, b].first(where: { $0.error != nil }) { return broken }
      return .invalid(
        .invalidShape, "select: shapes \(mask.shape), \(a.shape) and \(b.shape) do not broadcast together.")
    }
    if let value = mask.constantValue { return (value != 0 ? a : b).broadcast(to: shape) }
    if let simple = simplifiedSelection(mask, a, b, shape) { return simple }
    return Expression(
      .select, [mask.broadcast(to: shape), a.broadcast(to: shape), b.broadcast(to: shape)], shape)
  }

  package static func + (a: Expression, b: Expression) -> Expression { binary(.add, a, b) }
  package static func - (a: Expression, b: Expression) -> Expression { binary(.subtract, a, b) }
  package static func * (a: Expression, b: Expression) -> Expression { binary(.multiply, a, b) }
  package static func / (a: Expression, b: Expression) -> Expression { binary(.divide, a, b) }
  package static func + (a: Expression, b: Double) -> Expression { a + .constant(b) }
  package static func - (a: Expression, b: Double) -> Expression { a - .constant(b) }
  package static func * (a: Expression, b: Double) -> Expression { a * .constant(b) }
  package static func / (a: Expression, b: Double) -> Expression { a / .constant(b) }
  package static func + (a: Double, b: Expression) -> Expression { .constant(a) + b }
  package static func - (a: Double, b: Expression) -> Expression { .constant(a) - b }
  package static func * (a: Double, b: Expression) -> Expression { .constant(a) * b }
  package static func / (a: Double, b: Expression) -> Expression { .constant(a) / b }
  package static prefix func - (a: Expression) -> Expression { unary(.negate, a) }

  package static func .== (a: Expression, b: Expression) -> Expression { binary(.equal, a, b) }
  package static func .!= (a: Expression, b: Expression) -> Expression { binary(.notEqual, a, b) }
  package static func .< (a: Expression, b: Expression) -> Expression { binary(.less, a, b) }
  package static func .<= (a: Expression, b: Expression) -> Expression { binary(.lessEqual, a, b) }
  package static func .> (a: Expression, b: Expression) -> Expression { binary(.less, b, a) }
  package static func .>= (a: Expression, b: Expression) -> Expression { binary(.lessEqual, b, a) }
  package static func .== (a: Expression, b: Double) -> Expression { a .== .constant(b) }
  package static func .!= (a: Expression, b: Double) -> Expression { a .!= .constant(b) }
  package static func .< (a: Expression, b: Double) -> Expression { a .< .constant(b) }
  package static func .<= (a: Expression, b: Double) -> Expression { a .<= .constant(b) }
  package static func .> (a: Expression, b: Double) -> Expression { a .> .constant(b) }
  package static func .>= (a: Expression, b: Double) -> Expression { a .>= .constant(b) }
  package static func .& (a: Expression, b: Expression) -> Expression { binary(.and, a, b) }
  package static func .| (a: Expression, b: Expression) -> Expression { binary(.or, a, b) }
}

package func pow(_ a: Expression, _ b: Expression) -> Expression { .binary(.power, a, b) }
package func pow(_ a: Expression, _ b: Double) -> Expression { .binary(.power, a, .constant(b)) }
package func maximum(_ a: Expression, _ b: Expression) -> Expression { .binary(.maximum, a, b) }
package func maximum(_ a: Expression, _ b: Double) -> Expression { .binary(.maximum, a, .constant(b)) }
package func minimum(_ a: Expression, _ b: Expression) -> Expression { .binary(.minimum, a, b) }
package func minimum(_ a: Expression, _ b: Double) -> Expression { .binary(.minimum, a, .constant(b)) }
package func remainder(_ a: Expression, _ b: Expression) -> Expression { .binary(.remainder, a, b) }
package func clamp(_ x: Expression, _ low: Double, _ high: Double) -> Expression { minimum(maximum(x, low), high) }
package func abs(_ x: Expression) -> Expression { .unary(.abs, x) }
package func sign(_ x: Expression) -> Expression { .unary(.sign, x) }
package func square(_ x: Expression) -> Expression { .unary(.square, x) }
package func sqrt(_ x: Expression) -> Expression { .unary(.sqrt, x) }
package func reciprocal(_ x: Expression) -> Expression { .unary(.reciprocal, x) }
package func exp(_ x: Expression) -> Expression { .unary(.exp, x) }
package func expm1(_ x: Expression) -> Expression { .unary(.expm1, x) }
package func log(_ x: Expression) -> Expression { .unary(.log, x) }
package func log1p(_ x: Expression) -> Expression { .unary(.log1p, x) }
package func tanh(_ x: Expression) -> Expression { .unary(.tanh, x) }
package func sigmoid(_ x: Expression) -> Expression { .unary(.sigmoid, x) }
package func softplus(_ x: Expression) -> Expression { .unary(.softplus, x) }
package func erf(_ x: Expression) -> Expression { .unary(.erf, x) }
package func erfInverse(_ x: Expression) -> Expression { .unary(.inverseErf, x) }
package func normalCDF(_ x: Expression) -> Expression { .unary(.normalCDF, x) }
package func sin(_ x: Expression) -> Expression { .unary(.sin, x) }
package func cos(_ x: Expression) -> Expression { .unary(.cos, x) }
package func atan(_ x: Expression) -> Expression { .unary(.atan, x) }
package func floor(_ x: Expression) -> Expression { .unary(.floor, x) }
package func ceil(_ x: Expression) -> Expression { .unary(.ceil, x) }
package func round(_ x: Expression) -> Expression { .unary(.round, x) }
package func logGamma(_ x: Expression) -> Expression { .unary(.logGamma, x) }
package func digamma(_ x: Expression) -> Expression { .unary(.digamma, x) }
package func not(_ x: Expression) -> Expression { .unary(.not, x) }
package func isFinite(_ x: Expression) -> Expression { .unary(.isFinite, x) }
extension Expression {
  /// ±1e30 for what is farther from 0: as good as infinite, and still with products, differences and their slopes.
  package var bounded: Expression { clamp(self, -1e30, 1e30) }
}

/// NaN stays NaN.
package func relu(_ x: Expression) -> Expression { .select(x .<= 0, .constant(0), x) }
