import TemperCore
import TemperGraph

/// Random arrays of a pass beyond uniform ones.
extension Pass {
  /// N(0, 1) by Box and Muller, 1958. 1 - u is never 0.
  func normal(_ shape: Shape) -> Expression {
    let (radius, angle) = (uniform(shape), uniform(shape))
    return sqrt(-2 * log(1 - radius)) * cos(2 * Double.pi * angle)
  }

  /// -1 or +1, each with probability 1/2.
  func signs(_ shape: Shape) -> Expression { .select(uniform(shape) .< 0.5, .constant(-1), .constant(1)) }

  /// Beta(alpha, alpha): (1 + t / sqrt(2 alpha + t^2)) / 2 with t Student's of 2 alpha degrees of freedom, by Bailey's
  /// polar method (1994): t^2 / (2 alpha + t^2) = c^2 (1 - w) / (w + c^2 (1 - w)), w = u^(1 / alpha), c = cos of an angle.
  func symmetricBeta(_ alpha: Double, _ shape: Shape) -> Expression {
    let w = pow(1 - uniform(shape), 1 / alpha)
    let c = cos(2 * Double.pi * uniform(shape))
    let spread = square(c) * (1 - w)
    // Where both are 0 in the working type the middle is as good as any value.
    let ratio = Expression.select(spread .> 0, spread / (w + spread), .constant(0))
    return 0.5 + 0.5 * sign(c) * sqrt(ratio)
  }
}

extension Pass {
  /// How far training has come: step / steps up to 1, shape (1,); 1 in inference.
  func progress(over steps: Int) -> Expression {
    guard mode == .training, steps > 0 else { return .constant(1, [1]) }
    return minimum(step / Double(steps), 1)
  }
}
