/// Views: no element moves.
extension Tensor {
  func view(_ shape: Shape, strides: [Int], byteOffset: Int? = nil) -> Tensor {
    Tensor(
      unchecked: storage, byteOffset: byteOffset ?? self.byteOffset, dtype: dtype, shape: shape, strides: strides)
  }

  /// The same elements under another shape; copies only if this view is not dense.
  public func reshaped(_ shape: Shape) throws(TemperError) -> Tensor {
    guard shape.count == count else {
      throw TemperError(.invalidShape, "Shape \(self.shape) cannot become \(shape): the counts differ.")
    }
    return try dense().view(shape, strides: shape.denseStrides)
  }

  /// Axes in a new order.
  public func permuted(_ axes: [Int]) throws(TemperError) -> Tensor {
    guard axes.sorted() == Array(0..<shape.rank) else {
      throw TemperError(.invalidArgument, "\(axes) is not an order of the axes of shape \(shape).")
    }
    return view(Shape(axes.map { shape[$0] }), strides: axes.map { strides[$0] })
  }

  /// Elements `range` along `axis`.
  public func slice(_ range: Range<Int>, axis: Int = 0) throws(TemperError) -> Tensor {
    guard axis >= 0, axis < shape.rank, range.lowerBound >= 0, range.upperBound <= shape[axis] else {
      throw TemperError(.outOfRange, "Range \(range) of axis \(axis) is outside shape \(shape).")
    }
    var sizes = shape.sizes
    sizes[axis] = range.count
    let offset = range.isEmpty ? 0 : range.lowerBound * strides[axis] * dtype.byteCount
    return view(Shape(sizes), strides: strides, byteOffset: byteOffset + offset)
  }

  /// Repeated along new or size-1 axes after NumPy's rules.
  public func broadcast(to target: Shape) throws(TemperError) -> Tensor {
    guard Shape.broadcast(shape, target) == target else {
      throw TemperError(.invalidShape, "Shape \(shape) does not broadcast to \(target).")
    }
    let lead = target.rank - shape.rank
    let strides = (0..<target.rank).map { axis in
      axis < lead || shape[axis - lead] == 1 && target[axis] != 1 ? 0 : self.strides[axis - lead]
    }
    return view(target, strides: strides)
  }
}
