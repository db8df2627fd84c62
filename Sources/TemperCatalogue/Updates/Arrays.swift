import TemperCore

/// Parameters and gradients of a caller as dense arrays of one type each: the caller's own memory where it is so, a
/// copy where it is not. Empty ones are left out.
package struct Arrays {
  /// Positions of the parameters that have elements.
  let indices: [Int]
  /// Of all, empty ones too.
  let shapes: [(shape: Shape, type: DType)]
  let parameters: [Tensor]
  let gradients: [Tensor]
  /// Whether all of them are the caller's own memory.
  let areCallers: Bool
  private let foreignParameters: [Tensor]
  private let foreignGradients: [Tensor]

  package init(_ parameters: [Tensor], _ gradients: [Tensor]) throws(TemperError) {
    shapes = parameters.map { ($0.shape, $0.dtype) }
    let indices = parameters.indices.filter { parameters[$0].count > 0 }
    self.indices = indices
    foreignParameters = indices.map { parameters[$0] }
    foreignGradients = indices.map { gradients[$0] }
    var (ours, slopes): ([Tensor], [Tensor]) = ([], [])
    for (parameter, gradient) in zip(foreignParameters, foreignGradients) {
      ours.append(try parameter.dense())
      slopes.append(gradient.dtype == parameter.dtype ? try gradient.dense() : try gradient.copy(as: parameter.dtype))
    }
    (self.parameters, self.gradients) = (ours, slopes)
    areCallers =
      zip(ours, foreignParameters).allSatisfy { $0.storage === $1.storage }
      && zip(slopes, foreignGradients).allSatisfy { $0.storage === $1.storage }
  }

  var count: Int { shapes.count }

  func parts(_ group: (Int) -> Int) -> [UpdateEngine.Part] {
    indices.enumerated().map { UpdateEngine.Part(parameters[$0], gradients[$0], group: group($1)) }
  }

  /// To the caller's memory, where it is other memory.
  func writeParameters() throws(TemperError) {
    if areCallers { return }
    for (own, foreign) in zip(parameters, foreignParameters) where own.storage !== foreign.storage {
      try foreign.assign(from: own)
    }
  }

  func readGradients() throws(TemperError) {
    if areCallers { return }
    for (own, foreign) in zip(gradients, foreignGradients) where own.storage !== foreign.storage {
      try own.assign(from: foreign)
    }
  }

  /// Of all gradients together, in double precision.
  func gradientNorm() -> Double {
    gradients.reduce(0) { $0 + $1.sumOfSquares }.squareRoot()
  }
}
