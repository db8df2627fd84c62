import TemperCore

extension Tensor {
  /// The rows of these numbers along the first axis, in the elements' own type.
  package func rows(_ chosen: [Int]) throws(TemperError) -> Tensor {
    let source = try dense()
    guard shape.rank > 0, chosen.allSatisfy({ $0 >= 0 && $0 < shape[0] }) else {
      throw TemperError(.outOfRange, "Rows were asked for that shape \(shape) does not have.")
    }
    var sizes = shape.sizes
    sizes[0] = chosen.count
    let result = try Tensor(zeros: try Shape(validating: sizes), dtype)
    result.copyRows(of: source, chosen)
    return result
  }

  /// This tensor with the rows of another below it, converted to this one's type.
  package func followed(by other: Tensor) throws(TemperError) -> Tensor {
    var sizes = shape.sizes
    sizes[0] += other.shape[0]
    let result = try Tensor(zeros: try Shape(validating: sizes), dtype)
    try result.slice(0..<shape[0]).assign(from: self)
    try result.slice(shape[0]..<sizes[0]).assign(from: other)
    return result
  }

  /// A function of its own for the reason that Tensor.copyBytes gives.
  @inline(never) private func copyRows(of source: Tensor, _ chosen: [Int]) {
    let width = shape.sizes.dropFirst().reduce(dtype.byteCount, *)
    for (row, from) in chosen.enumerated() {
      unsafe (pointer + row * width).copyMemory(from: source.pointer + from * width, byteCount: width)
    }
  }
}
