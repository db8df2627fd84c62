import TemperGraph

/// The parameters of a network, or gradients of them, as one vector.
enum ParameterVector {
  /// Its Euclidean length, of shape ().
  static func norm(_ parts: [Expression], eps: Double = 0) -> Expression {
    let sum = parts.map { square($0).sumAll().reshaped([]) }.reduce(.constant(eps)) { $0 + $1 }
    return sqrt(sum)
  }

  /// parts + length * direction / |direction|, with a direction that is a constant; parts where it is 0.
  static func shifted(_ parts: [Expression], along direction: [Expression], by length: Double) -> [Expression] {
    let size = norm(direction)
    let scale = Expression.select(size .== 0, .constant(0), length / .select(size .== 0, .constant(1), size))
    return zip(parts, direction).map { $0 + (scale * $1).stopGradient }
  }
}
