import TemperCore

/// Matrix products, convolutions, and the moves between rows.
extension Expression {
  /// a (..., m, k) times b (..., k, n), with either transposed; leading axes broadcast.
  package static func matmul(
    _ a: Expression, _ b: Expression, transposeA: Bool = false, transposeB: Bool = false
  ) -> Expression {
    if let broken = [a, b].first(where: { $0.error != nil }) { return broken }
    guard a.shape.rank >= 2, b.shape.rank >= 2 else {
      return .invalid(.invalidShape, "matmul: matrices are needed; shapes \(a.shape) and \(b.shape) came.")
    }
    func sides(_ x: Expression, _ transpose: Bool) -> (Int, Int) {
      let (r, c) = (x.shape[x.shape.rank - 2], x.shape.last)
      return transpose ? (c, r) : (r, c)
    }
    let ((m, k), (k2, n)) = (sides(a, transposeA), sides(b, transposeB))
    let (leadA, leadB) = (Shape(a.shape.sizes.dropLast(2)), Shape(b.shape.sizes.dropLast(2)))
    guard k == k2, let lead = Shape.broadcast(leadA, leadB) else {
      return .invalid(
        .invalidShape,
        "matmul: shapes \(a.shape)\(transposeA ? " transposed" : "") and \(b.shape)\(transposeB ? " transposed" : "") do not fit."
      )
    }
    // A batch times one matrix is one taller product.
    if !transposeA, leadB.count == 1, b.shape.rank == 2, a.shape.rank > 2 {
      return matmul(a.reshaped([leadA.count * m, k]), b, transposeB: transposeB)
        .reshaped(Shape(leadA.sizes + [m, n]))
    }
    let wholeA = a.broadcast(to: Shape(lead.sizes + a.shape.sizes.suffix(2)))
    let wholeB = b.broadcast(to: Shape(lead.sizes + b.shape.sizes.suffix(2)))
    return Expression(
      .matmul(transposeA: transposeA, transposeB: transposeB), [wholeA, wholeB], Shape(lead.sizes + [m, n]))
  }

  /// x (N, C, H, W) with weight (O, C / groups, kH, kW) -> (N, O, H', W').
  package func convolved(with weight: Expression, _ c: Convolution) -> Expression {
    if let broken = [self, weight].first(where: { $0.error != nil }) { return broken }
    guard let out = c.outputShape(shape, weight.shape) else {
      return .invalid(
        .invalidShape,
        "convolution: input \(shape) (N, C, H, W) and weight \(weight.shape) (O, C/groups, kH, kW) do not fit, with stride \(c.stride), padding \(c.padding), dilation \(c.dilation), groups \(c.groups)."
      )
    }
    return Expression(.convolution(c), [self, weight], out)
  }

  package func maxPooled(_ window: Window) -> Expression {
    guard let out = window.outputShape(shape) else { return wrongWindow(window) }
    let planes = shape[0] * shape[1]
    let indices = Expression(.poolMaximumIndices(window), [self], out, .index)
    return reshaped([planes, shape[2] * shape[3]])
      .takeAlong(indices.reshaped([planes, out[2] * out[3]])).reshaped(out)
  }

  /// Mean over the part of each window that lies inside.
  package func averagePooled(_ window: Window) -> Expression {
    guard let out = window.outputShape(shape) else { return wrongWindow(window) }
    return Expression(.poolAverage(window), [self], out)
  }

  private func wrongWindow(_ window: Window) -> Expression {
    error != nil
      ? self
      : .invalid(
        .invalidShape,
        "pooling: window \(window.size), stride \(window.stride), padding \(window.padding) does not fit input \(shape) (N, C, H, W)."
      )
  }

  /// The sums of the rows (N, D) that have the same index, (rows, D).
  package func scatterRows(_ indices: Expression, rows: Int) -> Expression {
    guard shape.rank == 2, indices.kind == .index, indices.shape.count == shape[0] else {
      if let broken = [self, indices].first(where: { $0.error != nil }) { return broken }
      return .invalid(
        .invalidShape, "scatterRows: rows (N, D) and N indices are needed, got \(shape), \(indices.shape).")
    }
    return Expression(.scatterRows(rows: rows), [self, indices.reshaped([shape[0]])], [rows, shape[1]])
  }

  /// Rows of a table (V, ...) at the indices (any shape) -> (indices..., ...). Indices must be checked beforehand.
  package func gatherRows(_ indices: Expression) -> Expression {
    if let broken = [self, indices].first(where: { $0.error != nil }) { return broken }
    guard shape.rank >= 1, indices.kind == .index else {
      return .invalid(.invalidArgument, "gatherRows: a table (V, ...) and integer indices are needed.")
    }
    let width = shape.sizes.dropFirst().reduce(1, *)
    let rows = Expression(
      .gatherRows, [reshaped([shape[0], width]), indices.reshaped([indices.shape.count])], [indices.shape.count, width])
    return rows.reshaped(Shape(indices.shape.sizes + shape.sizes.dropFirst()))
  }

  /// y[..., j] = x[..., i[..., j]] along the last axis.
  package func takeAlong(_ indices: Expression) -> Expression {
    if let broken = [self, indices].first(where: { $0.error != nil }) { return broken }
    guard shape.rank >= 1, indices.kind == .index, indices.shape.sizes.dropLast() == shape.sizes.dropLast() else {
      return .invalid(.invalidShape, "takeAlong: indices \(indices.shape) do not fit the rows of \(shape).")
    }
    return Expression(.takeAlong, [self, indices], indices.shape)
  }

  /// Positions that sort each row along the last axis (index kind), NaN last.
  package func sortOrder(descending: Bool = false) -> Expression {
    guard shape.rank >= 1 else { return wrongAxis("sortOrder", -1) }
    // The kernel sorts real numbers; adding nothing makes them of indices, where `+` would give the indices back.
    let numbers = kind == .real ? self : Expression(.binary(.add), [self, .zeros(shape)], shape)
    return Expression(.sortOrder(descending: descending), [numbers], shape, .index)
  }

  package func sorted(descending: Bool = false) -> Expression { takeAlong(sortOrder(descending: descending)) }

  /// Running sums along the last axis, from the end if `reverse`.
  package func cumulativeSum(reverse: Bool = false) -> Expression {
    guard shape.rank >= 1 else { return wrongAxis("cumulativeSum", -1) }
    return Expression(.cumulativeSum(reverse: reverse), [self], shape)
  }
}

/// Larger strides, windows and paddings have no use, and their sums would overflow.
private let maximumStep = 1 << 30

extension Convolution {
  func outputShape(_ x: Shape, _ w: Shape) -> Shape? {
    guard x.rank == 4, w.rank == 4, groups > 0, x[1] == w[1] * groups, w[0] % groups == 0,
      [stride, padding, dilation].allSatisfy({ $0.count == 2 }), w.count > 0,
      (stride + dilation).allSatisfy({ 1...maximumStep ~= $0 }), padding.allSatisfy({ 0...maximumStep ~= $0 }),
      w.sizes.allSatisfy({ $0 <= maximumStep })
    else { return nil }
    let size = (0..<2).map { (x[2 + $0] + 2 * padding[$0] - dilation[$0] * (w[2 + $0] - 1) - 1, stride[$0]) }
    guard size.allSatisfy({ $0.0 >= 0 }) else { return nil }
    return [x[0], w[0], size[0].0 / size[0].1 + 1, size[1].0 / size[1].1 + 1]
  }
}

extension Window {
  func outputShape(_ x: Shape) -> Shape? {
    guard x.rank == 4, [size, stride, padding].allSatisfy({ $0.count == 2 }),
      (size + stride).allSatisfy({ 1...maximumStep ~= $0 }),
      (0..<2).allSatisfy({ padding[$0] >= 0 && padding[$0] <= size[$0] / 2 })
    else { return nil }
    let extent = (0..<2).map { x[2 + $0] + 2 * padding[$0] - size[$0] }
    guard extent.allSatisfy({ $0 >= 0 }) else { return nil }
    return [x[0], x[1], extent[0] / stride[0] + 1, extent[1] / stride[1] + 1]
  }
}
