import TemperCore

/// Reverse-mode differentiation. Every derivative is built of the same operations, so it can be differentiated again.
package enum Differentiate {
  /// The gradients of sum(seed * output) with respect to each of `inputs`; `seed` defaults to ones. An input that is itself
  /// computed stands `apart` if simplification may look through it: it would not be found in the output.
  package static func gradients(
    of output: Expression, seed: Expression? = nil, withRespectTo inputs: [Expression]
  ) throws(TemperError) -> [Expression] {
    if let error = output.error { throw error }
    if let error = seed?.error { throw error }
    guard seed == nil || seed!.shape == output.shape else {
      throw TemperError(.invalidShape, "The seed's shape \(seed!.shape) differs from the output's \(output.shape).")
    }
    let wanted = Set(inputs.map { ObjectIdentifier($0.node) })
    let root = output.node.merged(but: wanted)
    let order = Node.topological([root])
    let found = Set(order.map(ObjectIdentifier.init))
    for input in inputs where input.isSeenThrough {
      guard !input.isAlwaysSeenThrough, found.contains(ObjectIdentifier(input.node)) else {
        throw TemperError(.internalFault, "What is derived by is computed and not in the output: it must stand apart.")
      }
    }
    // Only nodes that depend on a wanted input carry a gradient.
    var depends = Set<ObjectIdentifier>()
    for node in order {
      let id = ObjectIdentifier(node)
      if wanted.contains(id) || node.inputs.contains(where: { depends.contains(ObjectIdentifier($0)) }) {
        depends.insert(id)
      }
    }
    var gradients: [ObjectIdentifier: [Gradient]] = [
      ObjectIdentifier(root): [Gradient(rest: seed ?? .constant(1, output.shape))]
    ]
    // What slices of a node receive: put together when all are known, so that many slices cost one array and not many.
    var pieces: [ObjectIdentifier: [Piece]] = [:]
    for node in order.reversed() {
      if let sliced = pieces.removeValue(forKey: ObjectIdentifier(node)) {
        let id = ObjectIdentifier(node)
        Gradient(rest: Piece.assemble(sliced, node.shape)).join(&gradients[id, default: []])
      }
      guard !node.inputs.isEmpty, let dy = gradients[ObjectIdentifier(node)].map(Gradient.init(sum:)),
        depends.contains(ObjectIdentifier(node)), dy.rest.constantValue != 0
      else { continue }
      for (index, input) in node.inputs.enumerated() where depends.contains(ObjectIdentifier(input)) {
        if case .slice(let axis, let start) = node.operation {
          pieces[ObjectIdentifier(input), default: []].append(Piece(axis: axis, start: start, gradient: dy.whole))
          continue
        }
        guard let dx = try dy.passed(through: node, to: index) else { continue }
        dx.join(&gradients[ObjectIdentifier(input), default: []])
      }
    }
    return inputs.map { gradients[ObjectIdentifier($0.node)].map { Gradient(sum: $0).whole } ?? .zeros($0.shape) }
  }

  /// d/dt output(inputs + t * directions) at 0 of the gradient: Hessian times vector, gradient by gradient.
  package static func hessianVectorProducts(
    of output: Expression, withRespectTo inputs: [Expression], directions: [Expression]
  ) throws(TemperError) -> [Expression] {
    let first = try gradients(of: output, withRespectTo: inputs)
    var slope = Expression.constant(0)
    for (gradient, direction) in zip(first, directions) { slope = slope + (gradient * direction.stopGradient).sumAll() }
    return try gradients(of: slope, withRespectTo: inputs)
  }
}

/// A gradient, which may be a value by row times the rest: derivatives are linear in what comes from above, and what is
/// summed along the row then need not wait for that value.
private struct Gradient {
  var row: Expression?
  var rest: Expression

  var whole: Expression { row.map { $0 * rest } ?? rest }

  init(row: Expression? = nil, rest: Expression) { (self.row, self.rest) = (row, rest) }

  /// The sum of parts with different values by row.
  init(sum parts: [Gradient]) {
    self = parts[0]
    for part in parts.dropFirst() {
      if let row, let other = part.row, let number = rest.constantValue, number == part.rest.constantValue {
        self.row = row + other
      } else {
        self = Gradient(rest: whole + part.whole)
      }
    }
  }

  /// Adds this to the part with the same value by row.
  func join(_ parts: inout [Gradient]) {
    if let at = parts.firstIndex(where: { $0.row?.node === row?.node }) {
      parts[at].rest = parts[at].rest + rest
    } else {
      parts.append(self)
    }
  }

  /// What an input of a node receives; nil where it is zero by definition.
  func passed(through node: Node, to index: Int) throws(TemperError) -> Gradient? {
    let input = node.inputs[index].shape
    switch node.operation {
    case .unary, .binary, .select:
      return try node.derivative(input: index, rest).map { Gradient(row: row, rest: $0) }
    // The slopes of a value by row go on without what comes from above, which is known only after their sums.
    case .withSlopes where index % 2 == 1 && input.rank > 1 && input.last != 1:
      let slope = Expression(node.inputs[index + 1])
      guard slope.shape == input else { break }
      if node.shape == input { return Gradient(row: row, rest: rest * slope) }
      if node.shape == Shape(input.sizes.dropLast() + [1]) { return Gradient(row: whole, rest: slope) }
    case .reduce(.sum) where input.rank > 1 && rest.constantValue == nil:
      return Gradient(row: whole, rest: .constant(1, input))
    case .broadcast:
      guard let row, input == row.shape else { break }
      return Gradient(rest: row * rest.summed(to: input))
    default: break
    }
    return try node.derivative(input: index, whole).map { Gradient(rest: $0) }
  }
}

/// The gradient of a slice, with its place in what was sliced.
private struct Piece {
  let axis: Int, start: Int
  let gradient: Expression

  /// The sum of all pieces, each among zeros: pieces beside each other are concatenated, those that overlap added.
  static func assemble(_ pieces: [Piece], _ shape: Shape) -> Expression {
    var rest = pieces.inOrder { ($0.axis, $0.start) < ($1.axis, $1.start) }
    var total: Expression?
    while let axis = rest.first?.axis {
      var (parts, left): ([Expression], [Piece]) = ([], [])
      var end = 0
      func zeros(_ count: Int) -> [Expression] {
        if count == 0 { return [] }
        var sizes = shape.sizes
        sizes[axis] = count
        return [.zeros(Shape(sizes))]
      }
      for piece in rest {
        guard piece.axis == axis, piece.start >= end else {
          left.append(piece)
          continue
        }
        parts += zeros(piece.start - end) + [piece.gradient]
        end = piece.start + piece.gradient.shape[axis]
      }
      let layer = Expression.concatenate(parts + zeros(shape[axis] - end), axis: axis)
      total = total.map { $0 + layer } ?? layer
      rest = left
    }
    return total ?? .zeros(shape)
  }
}

extension Node {
  /// What the value is made of.
  var sources: [Node] { if case .withSlopes = operation { [inputs[0]] } else { inputs } }

  /// Inputs before users; the order depends on the structure only.
  static func topological(_ outputs: [Node], by inputs: (Node) -> [Node] = \.inputs) -> [Node] {
    var order: [Node] = []
    var seen = Set<ObjectIdentifier>()
    var stack = outputs.reversed().map { (node: $0, next: 0) }
    while let top = stack.last {
      if top.next == 0 && seen.contains(ObjectIdentifier(top.node)) {
        stack.removeLast()
      } else if top.next < inputs(top.node).count {
        if top.next == 0 { seen.insert(ObjectIdentifier(top.node)) }
        stack[stack.count - 1].next += 1
        let input = inputs(top.node)[top.next]
        if !seen.contains(ObjectIdentifier(input)) { stack.append((input, 0)) }
      } else {
        seen.insert(ObjectIdentifier(top.node))
        order.append(top.node)
        stack.removeLast()
      }
    }
    return order
  }

  /// This with equal parts made one, so that what all their users give is added up before it goes on. Those in `kept` stay.
  fileprivate func merged(but kept: Set<ObjectIdentifier>) -> Node {
    struct Key: Hashable {
      let operation: Operation
      let inputs: [ObjectIdentifier]
      let shape: Shape
      let kind: Kind
    }
    var merged: [ObjectIdentifier: Node] = [:]
    var known: [Key: Node] = [:]
    for node in Node.topological([self]) {
      let id = ObjectIdentifier(node)
      let inputs = node.inputs.map { merged[ObjectIdentifier($0)]! }
      let key = Key(
        operation: node.operation, inputs: inputs.map(ObjectIdentifier.init), shape: node.shape, kind: node.kind)
      if kept.contains(id) {
        merged[id] = node
      } else if let same = known[key] {
        merged[id] = same
      } else {
        let isSame = zip(inputs, node.inputs).allSatisfy { $0 === $1 }
        let new = isSame ? node : Node(node.operation, inputs, node.shape, node.kind)
        (known[key], merged[id]) = (new, new)
      }
    }
    return merged[ObjectIdentifier(self)]!
  }

  private func x(_ index: Int) -> Expression { Expression(inputs[index]) }
  private var y: Expression { Expression(self) }

  /// The gradient that input `index` receives from `dy`; nil where it is zero by definition.
  func derivative(input index: Int, _ dy: Expression) throws(TemperError) -> Expression? {
    switch operation {
    case .input, .constant, .iota, .uniform, .invalid, .stopGradient, .argument, .sortOrder, .poolMaximumIndices:
      return nil
    case .withSlopes: return index % 2 == 1 ? (dy * x(index + 1)).summed(to: inputs[index].shape) : nil
    case .unary(let unary): return unary.derivative(x(0), y, dy)
    case .binary(let binary): return binary.derivative(input: index, x(0), x(1), y, dy)
    case .select:
      switch index {
      case 1: return .select(x(0), dy, .constant(0))
      case 2: return .select(x(0), .constant(0), dy)
      default: return nil
      }
    case .reduce(let reduction): return reductionDerivative(reduction, axis: shape.rank - 1, dy)
    case .reduceAxis(let reduction, let axis): return reductionDerivative(reduction, axis: axis, dy)
    case .pick: return index == 0 ? .place(dy, at: x(1), columns: inputs[0].shape.last) : nil
    case .place: return index == 0 ? dy.pick(x(1)) : nil
    case .broadcast: return dy.summed(to: inputs[0].shape)
    case .reshape: return dy.reshaped(inputs[0].shape)
    case .permute(let axes):
      var inverse = axes
      for (to, from) in axes.enumerated() { inverse[from] = to }
      return dy.permuted(inverse)
    case .slice: return nil  // gathered by `gradients`: see `Piece`
    case .concatenate(let axis):
      let start = inputs[..<index].reduce(0) { $0 + $1.shape[axis] }
      return dy.slice(start..<(start + inputs[index].shape[axis]), axis: axis)
    case .cumulativeSum(let reverse): return dy.cumulativeSum(reverse: !reverse)
    case .takeAlong:
      return index == 0
        ? Expression(.scatterAlong(columns: inputs[0].shape.last), [dy, x(1)], inputs[0].shape) : nil
    case .scatterAlong: return index == 0 ? dy.takeAlong(x(1)) : nil
    case .gatherRows:
      return index == 0 ? Expression(.scatterRows(rows: inputs[0].shape[0]), [dy, x(1)], inputs[0].shape) : nil
    case .scatterRows: return index == 0 ? dy.gatherRows(x(1)) : nil
    case .matmul(let ta, let tb):
      // C = A B: dA = dC B^T, dB = A^T dC; a transposed factor receives the transpose.
      let (a, b) = (x(0), x(1))
      if index == 0 {
        return ta
          ? .matmul(b, dy, transposeA: tb, transposeB: true) : .matmul(dy, b, transposeA: false, transposeB: !tb)
      }
      return tb
        ? .matmul(dy, a, transposeA: true, transposeB: ta) : .matmul(a, dy, transposeA: !ta, transposeB: false)
    case .convolution(let c):
      return index == 0
        ? Expression(.convolutionInput(c, inputs[0].shape), [dy, x(1)], inputs[0].shape)
        : Expression(.convolutionWeight(c, inputs[1].shape), [x(0), dy], inputs[1].shape)
    case .convolutionInput(let c, _):  // bilinear in (dy, weight)
      return index == 0
        ? dy.convolved(with: x(1), c)
        : Expression(.convolutionWeight(c, inputs[1].shape), [dy, x(0)], inputs[1].shape)
    case .convolutionWeight(let c, _):  // bilinear in (x, dy)
      return index == 0
        ? Expression(.convolutionInput(c, inputs[0].shape), [x(1), dy], inputs[0].shape)
        : x(0).convolved(with: dy, c)
    case .poolAverage(let window):
      return Expression(.poolAverageGradient(window, inputs[0].shape), [dy], inputs[0].shape)
    case .poolAverageGradient(let window, _): return dy.averagePooled(window)
    case .custom(let custom, let output): return try custom.derivative(input: index, of: self, output: output, dy)
    case .external(let function, let output):
      guard function.differentiable.indices.contains(index), function.differentiable[index] else { return nil }
      if output > 0 {
        guard function.curvatures.indices.contains(output - 1) else {
          throw TemperError(
            .unsupported, "It gives a value and a gradient; a second derivative was asked for.", origin: function.name)
        }
        return .external(function.curvatures[output - 1], (0..<inputs.count).map(x) + [dy], for: index)
      }
      let slope = Expression(.external(function, output: index + 1), (0..<inputs.count).map(x), inputs[index].shape)
      let rows = Shape([shape[0]] + [Int](repeating: 1, count: inputs[index].shape.rank - 1))
      return slope * dy.reshaped(rows)
    }
  }

  private func reductionDerivative(_ reduction: Reduction, axis: Int, _ dy: Expression) -> Expression {
    let x = x(0)
    switch reduction {
    case .sum: return dy.broadcast(to: x.shape)
    case .product:
      // The product of the others: of all over x, or, at the only zero, of all that are not zero.
      let isZero = x .== 0
      let nonZero = Expression.select(isZero, .constant(1), x)
      let (zeros, rest) = (isZero.sum(axis: axis), nonZero.reduced(.product, axis: axis))
      return dy * .select(isZero, (zeros .== 1) * rest, (zeros .== 0) * (rest / nonZero))
    case .maximum, .minimum:
      if axis == x.shape.rank - 1 {  // the whole gradient goes to the first extremum
        return .place(dy, at: reduction == .maximum ? x.argmax() : x.argmin(), columns: x.shape.last)
      }
      let hit = x .== y
      return hit * (dy / hit.sum(axis: axis))
    }
  }
}

extension Expression {
  /// The transpose of a broadcast.
  func summed(to target: Shape) -> Expression {
    if target == shape { return self }
    let lead = shape.rank - target.rank
    let axes = (0..<shape.rank).filter { $0 < lead || target[$0 - lead] == 1 && shape[$0] != 1 }
    // Leading axes are one axis of the same memory: reduce them at once.
    if axes == Array(0..<axes.count), axes.count > 1 {
      let merged = Shape([axes.map { shape[$0] }.reduce(1, *)] + shape.sizes.dropFirst(axes.count))
      return reshaped(merged).sum(axis: 0).reshaped(target)
    }
    return sum(axes: axes).reshaped(target)
  }
}

extension Unary {
  func derivative(_ x: Expression, _ y: Expression, _ dy: Expression) -> Expression? {
    switch self {
    case .negate: -dy
    case .abs: dy * TemperGraph.sign(x)
    case .square: dy * (2 * x)
    case .sqrt: dy * (0.5 / y)
    case .reciprocal: -(dy * TemperGraph.square(y))
    case .exp: dy * y
    case .expm1: dy * (y + 1)
    case .log: dy / x
    case .log1p: dy / (x + 1)
    case .tanh: dy * (1 - TemperGraph.square(y))
    case .sigmoid: dy * (y * (1 - y))
    case .softplus: dy * TemperGraph.sigmoid(x)
    case .erf: dy * (2 / Double.pi.squareRoot() * TemperGraph.exp(-TemperGraph.square(x)))
    case .inverseErf: dy * (Double.pi.squareRoot() / 2 * TemperGraph.exp(TemperGraph.square(y)))
    case .normalCDF: dy * ((1 / (2 * Double.pi).squareRoot()) * TemperGraph.exp(-0.5 * TemperGraph.square(x)))
    case .sin: dy * TemperGraph.cos(x)
    case .cos: -(dy * TemperGraph.sin(x))
    case .atan: dy / (1 + TemperGraph.square(x))
    case .logGamma: dy * TemperGraph.digamma(x)
    case .digamma: dy * Unary.trigamma(x)
    case .sign, .floor, .ceil, .round, .not, .isFinite: nil
    }
  }

  /// Recurrence to x + 6, then the asymptotic series; error below 1e-12 for x > 0.
  private static func trigamma(_ x: Expression) -> Expression {
    var (sum, z) = (Expression.constant(0, x.shape), x)
    for _ in 0..<10 {
      sum = sum + TemperGraph.reciprocal(TemperGraph.square(z))
      z = z + 1
    }
    let r = TemperGraph.reciprocal(z)
    let r2 = TemperGraph.square(r)
    let tail = r2 * (1.0 / 6 - r2 * (1.0 / 30 - r2 * (1.0 / 42 - r2 * (1.0 / 30 - r2 * (5.0 / 66)))))
    return sum + r * (1 + 0.5 * r + tail)
  }
}

extension Binary {
  func derivative(
    input index: Int, _ a: Expression, _ b: Expression, _ y: Expression, _ dy: Expression
  ) -> Expression? {
    let first = index == 0
    switch self {
    case .add: return dy
    case .subtract: return first ? dy : -dy
    case .multiply: return first ? dy * b : dy * a
    case .divide:
      // One reciprocal for a row, where the divisor is one.
      if y.shape.rank > 1, y.shape.last != 1, let row = b.byRow(of: y.shape) {
        let inverse = TemperGraph.reciprocal(row)
        return first ? dy * inverse : -(dy * y * inverse)
      }
      return first ? dy / b : -(dy * y / b)
    case .power:
      // b a^(b-1), and 0 for b = 0 whatever a; y log a, and 0 at a = 0 where a^b is constant in b.
      if first {
        return b.constantValue != nil
          ? dy * (b * pow(a, b - 1)) : dy * .select(b .== 0, .constant(0), b * pow(a, b - 1))
      }
      return dy * .select(a .== 0, .constant(0), y * TemperGraph.log(.select(a .== 0, .constant(1), a)))
    case .maximum, .minimum:
      // At a tie each gets half.
      let mine = self == .maximum ? (first ? a .> b : b .> a) : (first ? a .< b : b .< a)
      return .select(a .== b, 0.5 * dy, .select(mine, dy, .constant(0)))
    case .remainder: return first ? dy : -(dy * TemperGraph.floor(a / b))
    case .equal, .notEqual, .less, .lessEqual, .and, .or: return nil
    }
  }
}
