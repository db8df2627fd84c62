import TemperCore

/// Parameters and gradients of a caller as dense arrays of one type each: the caller's own memory where it is so, a
/// copy where it is not. Empty ones are left out.
struct Arrays {
  /// Positions of the parameters that have elements.
  let indices: [Int]
  /// Of all, empty ones too.
  let shapes: [(shape: Shape, type: DType)]
  let parameters: [Tensor]
  let gradients: [Tensor]
  private let foreignParameters: [Tensor]
  private let foreignGradients: [Tensor]

  init(_ parameters: [Tensor], _ gradients: [Tensor]) throws(TemperError) {
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
  }

  var count: Int { shapes.count }

  /// Whether all of them are the caller's own memory.
  var areCallers: Bool {
    zip(parameters, foreignParameters).allSatisfy { $0.storage === $1.storage }
      && zip(gradients, foreignGradients).allSatisfy { $0.storage === $1.storage }
  }

  func parts(_ group: (Int) -> Int) -> [UpdateEngine.Part] {
    indices.enumerated().map { UpdateEngine.Part(parameters[$0], gradients[$0], group: group($1)) }
  }

  /// To the caller's memory, where it is other memory.
  func writeParameters() throws(TemperError) {
    for (own, foreign) in zip(parameters, foreignParameters) where own.storage !== foreign.storage {
      try foreign.assign(from: own)
    }
  }

  func readGradients() throws(TemperError) {
    for (own, foreign) in zip(gradients, foreignGradients) where own.storage !== foreign.storage {
      try own.assign(from: foreign)
    }
  }

  /// Of all gradients together, in double precision.
  func gradientNorm() -> Double {
    gradients.reduce(0) { $0 + $1.sumOfSquares }.squareRoot()
  }
}
