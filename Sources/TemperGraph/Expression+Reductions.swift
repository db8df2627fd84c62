import TemperCore

/// Reductions keep the reduced axis with size 1 unless said otherwise, so that results broadcast back.
extension Expression {
  func reduced(_ reduction: Reduction, axis: Int) -> Expression {
    guard let at = self.axis(axis) else { return wrongAxis("\(reduction)", axis) }
    guard shape[at] > 0 || reduction == .sum || reduction == .product else {
      return .invalid(.invalidShape, "The \(reduction) of no elements does not exist (shape \(shape), axis \(axis)).")
    }
    var sizes = shape.sizes
    sizes[at] = 1
    if shape[at] == 1 { return self }
    if shape[at] == 0 { return .constant(reduction == .sum ? 0 : 1, Shape(sizes)) }
    if let value = constantValue {
      switch reduction {
      case .sum: return .constant(value * Double(shape[at]), Shape(sizes))
      case .maximum, .minimum: return .constant(value, Shape(sizes))
      case .product: break
      }
    }
    if let factored = factored(reduction, axis: at) { return factored }
    let inner = shape.sizes[(at + 1)...].reduce(1, *)
    if inner == 1 {  // nothing but ones behind: it is the last axis of the same memory
      let rows = reshaped(Shape(Array(shape.sizes[...at])))
      return Expression(.reduce(reduction), [rows], Shape(Array(sizes[...at]))).reshaped(Shape(sizes))
    }
    if reduction == .product {
      var order = Array(0..<shape.rank)
      order.swapAt(at, shape.rank - 1)  // its own inverse
      return permuted(order).reduced(.product, axis: -1).permuted(order)
    }
    return Expression(.reduceAxis(reduction, at), [self], Shape(sizes))
  }

  /// The extremum of a positive multiple is the multiple of the extremum, to the bit; the sum of a multiple that of the
  /// sum.
  private func factored(_ reduction: Reduction, axis: Int) -> Expression? {
    if reduction == .sum, let inner = negated { return -inner.sum(axis: axis) }
    if reduction == .sum, axis == shape.rank - 1, let factored = sumOfMultiple { return factored }
    guard case .binary(.multiply) = node.operation, reduction != .product else { return nil }
    for (index, factor) in node.inputs.enumerated() {
      guard let number = Expression(factor).constantValue, number.isFinite, number > 0 || reduction == .sum else {
        continue
      }
      return number * Expression(node.inputs[1 - index]).reduced(reduction, axis: axis)
    }
    return nil
  }

  /// The sum along rows of r x or x / r for a value r by row is that of x, times or by r; that of a place at an extremum,
  /// which is inside, is what is there.
  private var sumOfMultiple: Expression? {
    if let placed, case .argument = placed.column.node.operation { return placed.value }
    guard shape.rank > 1, case .binary(let operation) = node.operation else { return nil }
    let (a, b) = (Expression(node.inputs[0]), Expression(node.inputs[1]))
    switch operation {
    case .multiply:
      if let row = a.byRow(of: shape) { return row * b.sum() }
      return b.byRow(of: shape).map { a.sum() * $0 }
    case .divide:
      if let number = b.constantValue { return a.sum() / number }
      return b.byRow(of: shape).map { a.sum() / $0 }
    default: return nil
    }
  }

  package func sum(axis: Int = -1) -> Expression { reduced(.sum, axis: axis) }
  package func maximum(axis: Int = -1) -> Expression { reduced(.maximum, axis: axis) }
  package func minimum(axis: Int = -1) -> Expression { reduced(.minimum, axis: axis) }
  package func product(axis: Int = -1) -> Expression { reduced(.product, axis: axis) }
  package func mean(axis: Int = -1) -> Expression {
    guard let at = self.axis(axis) else { return wrongAxis("mean", axis) }
    return sum(axis: at) / Double(Swift.max(shape[at], 1))
  }

  /// Several axes at once; neighbouring ones are reduced together.
  package func sum(axes: [Int]) -> Expression {
    var result = self
    for axis in axes.map({ $0 < 0 ? $0 + shape.rank : $0 }).inOrder(>) { result = result.sum(axis: axis) }
    return result
  }

  package func mean(axes: [Int]) -> Expression {
    let count = axes.reduce(1) { $0 * (self.axis($1).map { shape[$0] } ?? 1) }
    return sum(axes: axes) / Double(Swift.max(count, 1))
  }

  /// All elements, as a scalar of shape ().
  package func sumAll() -> Expression {
    // Long sums go by rows of a fixed length, so that threads can share them and the tree depends on the shape only.
    let (count, chunk) = (shape.count, 4096)
    let flat = reshaped([count])
    if count < 8 * chunk { return flat.sum().reshaped([]) }
    let whole = count / chunk * chunk
    let head = flat.slice(0..<whole).reshaped([whole / chunk, chunk]).sum().reshaped([whole / chunk]).sumAll()
    return whole == count ? head : head + flat.slice(whole..<count).sum().reshaped([])
  }

  package func meanAll() -> Expression { sumAll() / Double(Swift.max(shape.count, 1)) }

  /// Index (as a number) of the first largest or smallest element along the last axis.
  package func argmax() -> Expression { argument(.maximum) }
  package func argmin() -> Expression { argument(.minimum) }

  private func argument(_ extremum: Extremum) -> Expression {
    guard shape.rank > 0, shape.last > 0 else { return wrongAxis("argument of the extremum", -1) }
    return Expression(.argument(extremum), [self], Shape(shape.sizes.dropLast() + [1]))
  }

  /// x[..., i]: one element of each row. `index` (..., 1); an index outside gives 0.
  package func pick(_ index: Expression) -> Expression {
    let rows = Shape(shape.sizes.dropLast() + [1])
    guard shape.rank > 0, index.shape == rows else {
      if error != nil { return self }
      return index.error != nil
        ? index : .invalid(.invalidShape, "pick: rows of \(shape) need an index of shape \(rows), got \(index.shape).")
    }
    return Expression.indexable(shape.last) ?? pickedFromSource(index) ?? Expression(.pick, [self, index], rows)
  }

  /// One element of each row of what is made, element by element, from one array and from values by row is made from one
  /// element of each row of that array: the rest of the row need not be computed, nor its gradient.
  private func pickedFromSource(_ index: Expression) -> Expression? {
    var sources = Set<ObjectIdentifier>()
    var made: [ObjectIdentifier: Expression] = [:]
    func isMade(_ node: Node) -> Bool {
      switch node.operation {
      case .unary, .binary, .select, .constant, .place, .stopGradient: true
      case .broadcast: node.inputs[0].shape.sizes == Array(node.shape.sizes.dropLast()) + [1]
      default: false
      }
    }
    guard isMade(node), shape.last > 1 else { return nil }
    if case .place = node.operation { return nil }
    let order = Node.topological([node]) { node in
      if case .broadcast = node.operation { return [] }
      if case .place = node.operation { return [] }
      return isMade(node) ? node.inputs : []
    }
    for node in order where !isMade(node) { sources.insert(ObjectIdentifier(node)) }
    guard sources.count <= 1, order.count <= 256 else { return nil }
    // An index outside stands for the first column, and its result is 0.
    let isInside = (index .>= 0) .& (index .< Double(shape.last))
    let safe = Expression.select(isInside, index, .constant(0))
    let rows = Shape(shape.sizes.dropLast() + [1])
    for node in order {
      let x = node.inputs.map { made[ObjectIdentifier($0)] }
      let one: Expression =
        switch node.operation {
        case .constant(let value): .constant(value, rows)
        case .unary(let unary): .unary(unary, x[0]!)
        case .binary(let binary): .binary(binary, x[0]!, x[1]!)
        case .select: .select(x[0]!, x[1]!, x[2]!)
        case .stopGradient: x[0]!.stopGradient
        case .broadcast where isMade(node): Expression(node.inputs[0])
        case .place: .select(Expression(node.inputs[1]) .== safe, Expression(node.inputs[0]), .constant(0))
        default: Expression(.pick, [Expression(node), safe], rows)
        }
      made[ObjectIdentifier(node)] = one
    }
    return .select(isInside, made[ObjectIdentifier(node)]!, .constant(0))
  }

  /// `value` (..., 1) at column `index` (..., 1) of rows of zeros.
  package static func place(_ value: Expression, at index: Expression, columns: Int) -> Expression {
    guard value.shape.rank > 0, value.shape.last == 1, value.shape == index.shape else {
      if value.error != nil { return value }
      return index.error != nil
        ? index : .invalid(.invalidShape, "place: value \(value.shape) and index \(index.shape) must be (..., 1).")
    }
    if let error = indexable(columns) { return error }
    if value.constantValue == 0 { return .zeros(Shape(value.shape.sizes.dropLast() + [columns])) }
    return Expression(.place(columns: columns), [value, index], Shape(value.shape.sizes.dropLast() + [columns]))
  }

  /// Column numbers are held in the working type, and float32 counts to 2^24.
  private static func indexable(_ columns: Int) -> Expression? {
    columns <= 1 << 24
      ? nil : .invalid(.unsupported, "Rows of \(columns) columns are too long for column indices; 2^24 is the most.")
  }

  package static func oneHot(_ index: Expression, columns: Int) -> Expression {
    place(.constant(1, index.shape), at: index, columns: columns)
  }

  // The softmax family. The maximum is constant for the derivative: the results do not depend on it.

  /// log(sum(exp(x))) along the last axis, (..., 1).
  package func logSumExp() -> Expression {
    let m = maximum().stopGradient
    return m + log(exp(self - m).sum())
  }

  package func softmax() -> Expression {
    let e = exp(self - maximum().stopGradient)
    return e * reciprocal(e.sum())
  }

  package func logSoftmax() -> Expression {
    let (shifted, logSum) = shiftedWithLogSum()
    return shifted - logSum
  }

  /// x less the row's maximum, and the log of the sum of its exponentials, (..., 1): log softmax is their difference. In a sum
  /// over the row the second is better apart, as it is known only at the end of the pass that makes the first.
  package func shiftedWithLogSum() -> (shifted: Expression, logSum: Expression) {
    let shifted = self - maximum().stopGradient
    return (shifted, log(exp(shifted).sum()))
  }
}
