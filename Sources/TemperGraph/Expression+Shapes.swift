import TemperCore

/// The same elements seen otherwise, or moved.
extension Expression {
  func axis(_ axis: Int) -> Int? {
    let resolved = axis < 0 ? axis + shape.rank : axis
    return resolved >= 0 && resolved < shape.rank ? resolved : nil
  }

  func wrongAxis(_ name: String, _ axis: Int) -> Expression {
    error == nil ? .invalid(.invalidArgument, "\(name): axis \(axis) is outside shape \(shape).") : self
  }

  package func broadcast(to target: Shape) -> Expression {
    if target == shape { return self }
    guard Shape.broadcast(shape, target) == target else {
      return error == nil ? .invalid(.invalidShape, "Shape \(shape) does not broadcast to \(target).") : self
    }
    if case .constant(let value) = node.operation { return .constant(value, target) }
    return Expression(.broadcast, [self], target, kind)
  }

  package func reshaped(_ target: Shape) -> Expression {
    if target == shape { return self }
    guard target.count == shape.count else {
      return error == nil ? .invalid(.invalidShape, "Shape \(shape) cannot become \(target): the counts differ.") : self
    }
    if case .constant(let value) = node.operation { return .constant(value, target) }
    if case .reshape = node.operation { return Expression(node.inputs[0]).reshaped(target) }
    return Expression(.reshape, [self], target, kind)
  }

  /// A new axis of size 1 before `axis` (-1: at the end).
  package func expanded(_ axis: Int = -1) -> Expression {
    let at = axis < 0 ? axis + shape.rank + 1 : axis
    guard at >= 0, at <= shape.rank else { return wrongAxis("expanded", axis) }
    var sizes = shape.sizes
    sizes.insert(1, at: at)
    return reshaped(Shape(sizes))
  }

  /// Without `axis`, whose size must be 1.
  package func squeezed(_ axis: Int = -1) -> Expression {
    guard let at = self.axis(axis), shape[at] == 1 else { return wrongAxis("squeezed", axis) }
    var sizes = shape.sizes
    sizes.remove(at: at)
    return reshaped(Shape(sizes))
  }

  package func permuted(_ order: [Int]) -> Expression {
    guard order.inOrder(<) == Array(0..<shape.rank) else {
      return error == nil ? .invalid(.invalidArgument, "permuted: \(order) is no order of the axes of \(shape).") : self
    }
    if order == Array(0..<shape.rank) { return self }
    return Expression(.permute(order), [self], Shape(order.map { shape[$0] }), kind)
  }

  /// The last two axes exchanged.
  package var transposed: Expression {
    guard shape.rank >= 2 else { return wrongAxis("transposed", -2) }
    return permuted(Array(0..<(shape.rank - 2)) + [shape.rank - 1, shape.rank - 2])
  }

  package func slice(_ range: Range<Int>, axis: Int = 0) -> Expression {
    guard let at = self.axis(axis) else { return wrongAxis("slice", axis) }
    guard range.lowerBound >= 0, range.upperBound <= shape[at] else {
      return .invalid(.outOfRange, "slice: \(range) is outside axis \(axis) of shape \(shape).")
    }
    if range.count == shape[at] { return self }
    var sizes = shape.sizes
    sizes[at] = range.count
    return Expression(.slice(axis: at, start: range.lowerBound), [self], Shape(sizes), kind)
  }

  package static func concatenate(_ parts: [Expression], axis: Int = 0) -> Expression {
    guard let first = parts.first else { return .invalid(.invalidArgument, "concatenate: no arrays came.") }
    if let broken = parts.first(where: { $0.error != nil }) { return broken }
    guard let at = first.axis(axis) else { return first.wrongAxis("concatenate", axis) }
    var sizes = first.shape.sizes
    for part in parts.dropFirst() {
      guard part.shape.rank == sizes.count, part.kind == first.kind,
        (0..<sizes.count).allSatisfy({ $0 == at || part.shape[$0] == sizes[$0] })
      else {
        return .invalid(
          .invalidShape, "concatenate: shapes \(parts.map { $0.shape }) differ outside axis \(axis).")
      }
      sizes[at] += part.shape[at]
    }
    if parts.count == 1 { return first }
    return Expression(.concatenate(axis: at), parts, Shape(sizes), first.kind)
  }

  /// Zeros before and after along one axis.
  package func padded(before: Int, after: Int, axis: Int) -> Expression {
    guard let at = self.axis(axis), before >= 0, after >= 0 else { return wrongAxis("padded", axis) }
    func zeros(_ size: Int) -> [Expression] {
      if size == 0 { return [] }
      var sizes = shape.sizes
      sizes[at] = size
      return [.zeros(Shape(sizes))]
    }
    return .concatenate(zeros(before) + [self] + zeros(after), axis: at)
  }
}
