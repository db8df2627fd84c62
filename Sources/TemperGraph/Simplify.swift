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
