import TemperCore

extension Tensor {
  /// This tensor with the rows of another below it, converted to this one's type.
  package func followed(by other: Tensor) throws(TemperError) -> Tensor {
    var sizes = shape.sizes
    sizes[0] += other.shape[0]
    let result = try Tensor(zeros: try Shape(validating: sizes), dtype)
    try result.slice(0..<shape[0]).assign(from: self)
    try result.slice(shape[0]..<sizes[0]).assign(from: other)
    return result
  }
}
