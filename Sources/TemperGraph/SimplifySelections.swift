import TemperCore

// Selections by one mask, and multiples by row: what gradients of masks, pieces and maxima are full of.

extension Expression {
  fileprivate var branches: (mask: Node, yes: Expression, no: Expression)? {
    guard case .select = node.operation else { return nil }
    return (node.inputs[0], Expression(node.inputs[1]), Expression(node.inputs[2]))
  }

  /// What this is where the mask is set, or where it is not. Sums are looked into, and nothing else: the derivative of a sum
  /// passes on what it gets, so that no 0 / 0 of the branch that is not taken comes to light.
  private func known(where mask: Node, is set: Bool) -> Expression {
    if let branches { return branches.mask === mask ? (set ? branches.yes : branches.no) : self }
    switch node.operation {
    case .binary(.add), .binary(.subtract):
      guard case .binary(let operation) = node.operation else { return self }
      let terms = node.inputs.map { term in
        Expression(term).branches.map { $0.mask === mask ? (set ? $0.yes : $0.no) : nil } ?? nil
      }
      guard terms.contains(where: { $0 != nil }) else { return self }
      return .binary(operation, terms[0] ?? Expression(node.inputs[0]), terms[1] ?? Expression(node.inputs[1]))
    case .unary(.negate):
      guard let branches = Expression(node.inputs[0]).branches, branches.mask === mask else { return self }
      return -(set ? branches.yes : branches.no)
    default: return self
    }
  }

  /// A selection in fewer steps, if there is one.
  static func simplifiedSelection(_ mask: Expression, _ a: Expression, _ b: Expression, _ shape: Shape) -> Expression? {
    if a.node === b.node { return a.broadcast(to: shape) }
    if let number = a.constantValue, number == b.constantValue { return .constant(number, shape) }
    if case .unary(.not) = mask.node.operation { return .select(Expression(mask.node.inputs[0]), b, a) }
    let (yes, no) = (a.known(where: mask.node, is: true), b.known(where: mask.node, is: false))
    if yes.node !== a.node || no.node !== b.node { return .select(mask, yes, no) }
    // Numbers go before selections: those of a multiple are those of what is multiplied.
    if b.constantValue == 0, let (number, x) = a.multiple { return number * select(mask, x, .constant(0)) }
    if a.constantValue == 0, let (number, x) = b.multiple { return number * select(mask, .constant(0), x) }
    // One column is left of a place.
    guard mask.shape == shape, mask.byRow(of: shape) == nil else { return nil }
    if let p = a.placed, b.constantValue == 0, a.shape == shape {
      return .place(.select(mask.pick(p.column), p.value, .constant(0)), at: p.column, columns: shape.last)
    }
    if let p = b.placed, a.constantValue == 0, b.shape == shape {
      return .place(.select(mask.pick(p.column), .constant(0), p.value), at: p.column, columns: shape.last)
    }
    return nil
  }

  /// A number and what it multiplies, if that is no value by row.
  private var multiple: (Double, Expression)? {
    guard case .binary(.multiply) = node.operation else { return nil }
    for (index, input) in node.inputs.enumerated() {
      guard let number = Expression(input).constantValue, number.isFinite else { continue }
      let rest = Expression(node.inputs[1 - index])
      return rest.byRow(of: shape) == nil ? (number, rest) : nil
    }
    return nil
  }

  /// r x + s y or their difference, for values r and s by row.
  var multiplesByRow: (operation: Binary, rows: [Expression], rest: [Expression])? {
    guard case .binary(let operation) = node.operation, operation == .add || operation == .subtract else { return nil }
    let parts = node.inputs.compactMap { Expression($0).multipleByRow(in: shape) }
    return parts.count == 2 ? (operation, parts.map(\.row), parts.map(\.rest)) : nil
  }

  private func multipleByRow(in shape: Shape) -> (row: Expression, rest: Expression)? {
    guard self.shape == shape, case .binary(.multiply) = node.operation else { return nil }
    let (a, b) = (Expression(node.inputs[0]), Expression(node.inputs[1]))
    if let row = a.byRow(of: shape), b.shape == shape { return (row, b) }
    return b.byRow(of: shape).flatMap { a.shape == shape ? ($0, a) : nil }
  }

  /// Whether every element is 0 or 1.
  var isTruth: Bool {
    switch node.operation {
    case .broadcast: Expression(node.inputs[0]).isTruth
    case .unary(let operation): operation == .not || operation == .isFinite
    case .binary(let operation): [.equal, .notEqual, .less, .lessEqual, .and, .or].contains(operation)
    default: false
    }
  }
}

extension Node {
  /// What this repeats along axes, or itself.
  fileprivate var unrepeated: Node {
    if case .broadcast = operation { return inputs[0].unrepeated }
    return self
  }
}

extension Binary {
  /// m ? a : 0 and m ? 0 : b are together m ? a : b, m ? 0 : a and m ? 0 : b are m ? 0 : a + b.
  /// (m ? r : s) x = m ? r x : s x where that is no more work, for values r and s by row, and (x = 0 ? 0 : r) x = r x.
  func simplifySelections(_ a: Expression, _ b: Expression, _ shape: Shape) -> Expression? {
    switch self {
    case .add, .subtract:
      guard let p = a.branches, let q = b.branches, p.mask === q.mask, a.shape == shape, b.shape == shape,
        [p.yes, q.yes, p.no, q.no].count(where: { $0.constantValue == 0 }) > 1
      else { return nil }
      return .select(Expression(p.mask), .binary(self, p.yes, q.yes), .binary(self, p.no, q.no))
    case .multiply:
      guard shape.rank > 1, shape.last != 1 else { return nil }
      func isRow(_ x: Expression) -> Bool { x.constantValue != nil || x.byRow(of: shape) != nil }
      for (chosen, x) in [(a, b), (b, a)] where chosen.shape == shape {
        guard let p = chosen.branches, isRow(p.yes), isRow(p.no) else { continue }
        let test = p.mask.unrepeated
        if p.yes.constantValue == 0, case .binary(.equal) = test.operation,
          test.inputs[0].unrepeated === x.node.unrepeated, Expression(test.inputs[1]).constantValue == 0
        {
          return p.no * x
        }
        guard p.yes.constantValue == 0 || p.no.constantValue == 0 || isRow(x) else { continue }
        return .select(Expression(p.mask), p.yes * x, p.no * x)
      }
      return nil
    default: return nil
    }
  }

  /// In arrays of rows, for values r and s by row and t by row or a number: t (r x + s y) = (t r) x + (t s) y, and
  /// c (r x) = (c r) x for a number c, where r may be another number.
  func simplifyMultiples(_ a: Expression, _ b: Expression, _ shape: Shape) -> Expression? {
    guard self == .multiply, shape.rank > 1, shape.last != 1 else { return nil }
    for (factor, product) in [(a, b), (b, a)] where product.shape == shape {
      if let sum = product.multiplesByRow,
        let scale = factor.constantValue.map({ $0.isFinite ? .constant($0) : nil }) ?? factor.byRow(of: shape)
      {
        return .binary(sum.operation, (scale * sum.rows[0]) * sum.rest[0], (scale * sum.rows[1]) * sum.rest[1])
      }
      guard case .binary(.multiply) = product.node.operation else { continue }
      let parts = product.node.inputs.map(Expression.init)
      for (inner, rest) in [(parts[0], parts[1]), (parts[1], parts[0])] where rest.constantValue == nil {
        if let number = factor.constantValue, number.isFinite {
          if let other = inner.constantValue { return (number * other) * rest }
          if let row = inner.byRow(of: shape) { return (number * row) * rest }
        } else if let number = inner.constantValue, number.isFinite, let row = factor.byRow(of: shape) {
          return (number * row) * rest
        }
      }
    }
    return nil
  }
}
