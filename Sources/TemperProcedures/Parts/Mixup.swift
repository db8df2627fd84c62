import TemperCore
import TemperData
import TemperGraph
import TemperTraining

extension Random {
  /// Gamma(shape, 1), by Marsaglia and Tsang's method.
  mutating func gamma(_ shape: Double) -> Double {
    // Gamma(a) is Gamma(a + 1) u^(1 / a).
    let boost = shape < 1 ? power(uniform(), 1 / shape) : 1
    let d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3
    while true {
      let x = normal()
      let v = power(1 + x / (9 * d).squareRoot(), 3)
      if v > 0, logarithm(1 - uniform()) < 0.5 * x * x + d * (1 - v + logarithm(v)) { return boost * d * v }
    }
  }
}

extension StepGraph {
  /// The share of a sample in its mixture with the next one of the batch, at least a half: Beta(alpha, alpha), one number
  /// for each step; 1 where alpha is 0.
  func mixingShare(_ alpha: Double) -> Expression {
    number("mixing share") { [training] position in
      guard alpha > 0 else { return 1 }
      var random = training.random("mixup").stream(position.steps)
      let share = random.beta(alpha, alpha)
      return max(share, 1 - share)
    }
  }
}

extension Expression {
  /// Each row with the next one; the last with the first.
  func mixed(_ share: Expression) -> Expression {
    guard shape[0] > 1 else { return self }
    let next = Expression.concatenate([slice(1..<shape[0]), slice(0..<1)])
    return share * self + (1 - share) * next
  }

  /// p^(1/T), of sum 1.
  func sharpened(_ temperature: Double) -> Expression {
    let sharp = pow(self, 1 / temperature)
    return sharp / TemperGraph.maximum(sharp.sum(), 1e-12)
  }
}
