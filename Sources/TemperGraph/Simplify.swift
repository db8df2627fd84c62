import Glibc
import TemperCore

/// Simplification while expressions are built: constants fold, neutral elements vanish.
///
/// x * 0 becomes 0: gradients that are not wanted must not be computed. Where x may be infinite that is the
/// mathematical derivative's value, not IEEE's NaN.
extension Unary {
  func fold(_ x: Double) -> Double? {
    switch self {
    case .negate: -x
    case .abs: Swift.abs(x)
    case .sign: x > 0 ? 1 : x < 0 ? -1 : x
    case .square: x * x
    case .sqrt: x.squareRoot()
    case .reciprocal: 1 / x
    case .exp: Glibc.exp(x)
    case .expm1: Glibc.expm1(x)
    case .log: Glibc.log(x)
    case .log1p: Glibc.log1p(x)
    case .tanh: Glibc.tanh(x)
    case .sigmoid: 1 / (1 + Glibc.exp(-x))
    case .floor: x.rounded(.down)
    case .ceil: x.rounded(.up)
    case .round: x.rounded(.toNearestOrEven)
    case .not: x == 0 ? 1 : 0
    default: nil
    }
  }
}

extension Binary {
  func simplify(_ a: Expression, _ b: Expression, _ shape: Shape) -> Expression? {
    if let x = a.constantValue, let y = b.constantValue { return .constant(fold(x, y), shape) }
    if let simple = simplifyPlaces(a, b, shape) ?? simplifySigns(a, b) ?? simplifySelections(a, b, shape)
      ?? simplifyMultiples(a, b, shape)
    {
      return simple
    }
    switch (self, a.constantValue, b.constantValue) {
    case (.add, 0?, _): return b.broadcast(to: shape)
    case (.add, _, 0?), (.subtract, _, 0?): return a.broadcast(to: shape)
    case (.subtract, 0?, _): return (-b).broadcast(to: shape)
    case (.multiply, 0?, _), (.multiply, _, 0?): return .constant(0, shape)
    case (.multiply, 1?, _): return b.broadcast(to: shape)
    case (.multiply, _, 1?), (.divide, _, 1?): return a.broadcast(to: shape)
    case (.multiply, .some(-1), _): return (-b).broadcast(to: shape)
    case (.multiply, _, .some(-1)): return (-a).broadcast(to: shape)
    case (.divide, 1?, _): return reciprocal(b).broadcast(to: shape)
    case (.divide, 0?, _): return .constant(0, shape)
    case (.divide, _, let y?) where y != 0 && y.isFinite && y.significand == 1:
      return a.broadcast(to: shape) * (1 / y)  // exact: a power of two
    case (.and, _, let y?) where y == 0 || a.isTruth: return y == 0 ? .constant(0, shape) : a.broadcast(to: shape)
    case (.and, let x?, _) where x == 0 || b.isTruth: return x == 0 ? .constant(0, shape) : b.broadcast(to: shape)
    case (.power, _, 1?): return a.broadcast(to: shape)
    case (.power, _, 2?): return square(a).broadcast(to: shape)
    case (.power, _, 0?): return .constant(1, shape)
    case (.power, _, 0.5?): return sqrt(a).broadcast(to: shape)
    case (.power, _, .some(-1)): return reciprocal(a).broadcast(to: shape)
    default: return nil
    }
  }

  func fold(_ x: Double, _ y: Double) -> Double {
    switch self {
    case .add: x + y
    case .subtract: x - y
    case .multiply: x * y
    case .divide: x / y
    case .power: Glibc.pow(x, y)
    case .maximum: x.isNaN ? x : y.isNaN ? y : Swift.max(x, y)
    case .minimum: x.isNaN ? x : y.isNaN ? y : Swift.min(x, y)
    case .remainder: x - (x / y).rounded(.down) * y
    case .equal: x == y ? 1 : 0
    case .notEqual: x != y ? 1 : 0
    case .less: x < y ? 1 : 0
    case .lessEqual: x <= y ? 1 : 0
    case .and: x != 0 && y != 0 ? 1 : 0
    case .or: x != 0 || y != 0 ? 1 : 0
    }
  }
}

// Signs, and values at one column of each row: what a gradient is full of.
extension Expression {
  /// What this is the negative of.
  var negated: Expression? {
    if case .unary(.negate) = node.operation { return Expression(node.inputs[0]) }
    return nil
  }

  /// The value and the column of what is 0 elsewhere.
  var placed: (value: Expression, column: Expression)? {
    guard case .place = node.operation else { return nil }
    return (Expression(node.inputs[0]), Expression(node.inputs[1]))
  }

  /// Whether an operation with this may be made one with its parts instead.
  var isSeenThrough: Bool {
    switch node.operation {
    case .unary, .binary, .select, .broadcast, .place: true
    default: false
    }
  }

  /// Whether every operation with this is.
  var isAlwaysSeenThrough: Bool { negated != nil || asSumWithPlace != nil }

  /// The value by row that is repeated along the rows of `shape`.
  func byRow(of shape: Shape) -> Expression? {
    let rows = Shape(shape.sizes.dropLast() + [1])
    if self.shape == rows { return self }
    guard case .broadcast = node.operation, node.inputs[0].shape == rows, self.shape == shape else {
      return self.shape.count == 1 && constantValue == nil ? broadcast(to: rows) : nil
    }
    return Expression(node.inputs[0])
  }
}

extension Unary {
  /// -(-x) = x, and the negative of a place is the place of the negative.
  func simplify(_ x: Expression) -> Expression? {
    guard self == .negate else { return nil }
    if let inner = x.negated { return inner }
    return x.placed.map { .place(-$0.value, at: $0.column, columns: x.shape.last) }
  }
}

extension Binary {
  fileprivate func simplifySigns(_ a: Expression, _ b: Expression) -> Expression? {
    switch self {
    case .add: b.negated.map { a - $0 } ?? a.negated.map { b - $0 }
    case .subtract: b.negated.map { a + $0 }
    default: nil
    }
  }

  /// Places at the same column are one; the place of a sum comes last, where it is one element for each row; a factor
  /// goes inside.
  fileprivate func simplifyPlaces(_ a: Expression, _ b: Expression, _ shape: Shape) -> Expression? {
    switch self {
    case .add:
      guard a.shape == shape, b.shape == shape else { return nil }
      if let p = b.placed {
        guard let sum = a.asSumWithPlace, sum.place.column.node === p.column.node else { return nil }
        let place = Expression.place(sum.place.value + p.value, at: p.column, columns: shape.last)
        return sum.rest.map { $0 + place } ?? place
      }
      if a.placed != nil { return b + a }
      guard let sum = a.asSumWithPlace ?? b.asSumWithPlace, let rest = sum.rest else { return nil }
      let other = a.asSumWithPlace == nil ? a : b
      return (rest + other) + .place(sum.place.value, at: sum.place.column, columns: shape.last)
    case .subtract: return b.placed != nil && a.shape == shape && b.shape == shape ? a + (-b) : nil
    case .multiply:
      for (factor, place) in [(a, b), (b, a)] where place.shape == shape {
        if let number = factor.constantValue, number.isFinite, number != 0, let sum = place.asSumWithPlace {
          let inside = Expression.place(number * sum.place.value, at: sum.place.column, columns: shape.last)
          return sum.rest.map { number * $0 + inside } ?? inside
        }
        guard let p = place.placed else { continue }
        if let row = factor.byRow(of: shape) { return .place(row * p.value, at: p.column, columns: shape.last) }
      }
      return nil
    default: return nil
    }
  }
}

extension Expression {
  /// This as a sum whose second part is a place; without a first part it is one itself.
  fileprivate var asSumWithPlace: (rest: Expression?, place: (value: Expression, column: Expression))? {
    if let p = placed { return (nil, p) }
    guard case .binary(.add) = node.operation, let p = Expression(node.inputs[1]).placed else { return nil }
    return (Expression(node.inputs[0]), p)
  }
}
