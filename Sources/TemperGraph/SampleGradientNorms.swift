import TemperCore

/// Squared Euclidean norms, (N, 1), of the gradients that each sample of a batch gives a weight, without an array of
/// those gradients wherever one would be larger than the products of samples with themselves. Goodfellow, 2015
/// (arXiv 1510.01799); for sequences Li, Tramèr, Liang and Hashimoto, 2022 (arXiv 2110.05679).
package enum SampleGradientNorms {
  /// Of W in y = a W^T over a (N, T, in), g (N, T, out) the gradient of y:
  /// |sum_t g_t a_t^T|^2 = sum_ts (a_t . a_s) (g_t . g_s).
  package static func product(_ a: Expression, _ g: Expression) -> Expression {
    let (batch, steps) = (a.shape[0], a.shape[1])
    if steps == 1 { return (square(a).sum() * square(g).sum()).reshaped([batch, 1]) }
    if 2 * steps * steps <= a.shape[2] * g.shape[2] {
      let likeness = Expression.matmul(a, a, transposeB: true) * Expression.matmul(g, g, transposeB: true)
      return likeness.reshaped([batch, steps * steps]).sum()
    }
    return square(Expression.matmul(g, a, transposeA: true)).reshaped([batch, a.shape[2] * g.shape[2]]).sum()
  }

  /// Of the weight (O, C / groups, kH, kW) of a convolution of x (N, C, H, W), g (N, O, H', W'): a product of the
  /// windows with g, for each group.
  package static func convolution(
    _ x: Expression, _ g: Expression, kernel: Shape, _ convolution: Convolution
  ) -> Expression {
    let (batch, groups) = (x.shape[0], convolution.groups)
    let (field, channels, places) = (kernel[1] * kernel[2] * kernel[3], g.shape[1] / groups, g.shape[2] * g.shape[3])
    // A kernel of ones and zeros copies each element of a window to a channel of its own.
    let copying = Expression.iota([groups * field, field], axis: 0)
    let column = Expression.iota([groups * field, field])
    let ones = remainder(copying, .constant(Double(field))) .== column
    let windows = x.convolved(with: ones.reshaped([groups * field, kernel[1], kernel[2], kernel[3]]), convolution)
    func grouped(_ y: Expression, _ width: Int) -> Expression {
      y.reshaped([batch * groups, width, places]).transposed
    }
    return product(grouped(windows, field), grouped(g, channels)).reshaped([batch, groups]).sum()
  }

  /// Of a table looked up at indices (N, T), g (N, T, width): steps with the same index add up.
  package static func table(_ indices: Expression, _ g: Expression) -> Expression {
    let (batch, steps) = (indices.shape[0], indices.shape[1])
    let isSame = indices.reshaped([batch, steps, 1]) .== indices.reshaped([batch, 1, steps])
    let likeness = Expression.matmul(g, g, transposeB: true) * isSame
    return likeness.reshaped([batch, steps * steps]).sum()
  }

  /// Of a vector that every step of a sample adds up: g (N, T, width).
  package static func vector(_ g: Expression) -> Expression {
    square(g.sum(axis: 1)).reshaped([g.shape[0], g.shape[2]]).sum()
  }
}

extension Differentiate {
  /// For each parameter the squared norms, (N, 1), of the gradients of seed_n . output_n, sample by sample. `batch` are
  /// the inputs whose first axis is the samples. An error where samples see each other, or where a parameter is used in
  /// another way than as the weight of a product, convolution or table, or as a vector over the samples.
  package static func sampleSquaredNorms(
    of output: Expression, seed: Expression, batch: [Expression], withRespectTo parameters: [(name: String, Expression)]
  ) throws(TemperError) -> [Expression] {
    if let error = output.error ?? seed.error { throw error }
    let uses = ParameterUses(output, batch: batch)
    guard uses.layout(output.node) == .samples(axis: 0) else {
      throw TemperError(
        .unsupported,
        "The samples of a batch see each other, or pass an operation that may mix them, so none has a gradient of its own."
      )
    }
    var norms: [Expression] = []
    for (name, parameter) in parameters {
      do throws(TemperError) {
        let found = try uses.of(parameter)
        let gradients = try gradients(of: output, seed: seed, withRespectTo: found.map { Expression($0.node) })
        norms.append(try SampleGradientNorms.squared(found, gradients, of: parameter, samples: uses.samples))
      } catch {
        throw error.from(name)
      }
    }
    return norms
  }
}

/// Where a parameter meets the batch.
private struct ParameterUse {
  enum Form: Hashable {
    case product(transposed: Bool)
    case convolution(Convolution)
    case table
    /// Broadcast over the samples; the parameter as it was seen before.
    case vector(Shape)
  }

  let form: Form
  /// The node whose gradient counts.
  let node: Node
  /// Whether axes were exchanged on the way.
  let isPermuted: Bool
}

/// What becomes of the samples' axis and of parameters inside a graph.
private final class ParameterUses {
  enum Layout: Equatable {
    case independent, other
    /// The samples are this axis, or its slowest part.
    case samples(axis: Int)
  }

  let samples: Int
  private let batch: Set<ObjectIdentifier>
  private var users: [ObjectIdentifier: [(user: Node, index: Int)]] = [:]
  private var layouts: [ObjectIdentifier: Layout] = [:]

  init(_ output: Expression, batch: [Expression]) {
    samples = batch.first?.shape.sizes.first ?? 1
    self.batch = Set(batch.map { ObjectIdentifier($0.node) })
    for node in Node.topological([output.node]) {
      layouts[ObjectIdentifier(node)] = found(node)
      for (index, input) in node.inputs.enumerated() {
        users[ObjectIdentifier(input), default: []].append((node, index))
      }
    }
  }

  func layout(_ node: Node) -> Layout { layouts[ObjectIdentifier(node)] ?? .other }

  /// Where the samples are in the node's shape; nodes come after their inputs.
  private func found(_ node: Node) -> Layout {
    if batch.contains(ObjectIdentifier(node)) { return .samples(axis: 0) }
    let layouts = node.inputs.map(layout)
    guard let known = layouts.first(where: { $0 != .independent }) else { return .independent }
    guard case .samples(let at) = known, layouts.allSatisfy({ $0 == .independent || $0 == known }) else {
      return .other
    }
    let (rank, inner) = (node.shape.rank, node.inputs[0].shape)
    switch node.operation {
    case .unary, .binary, .select, .stopGradient, .withSlopes: return known
    case .convolution, .poolMaximumIndices, .poolAverage: return at == 0 ? known : .other
    case .reduce, .argument, .pick, .place, .cumulativeSum, .sortOrder, .takeAlong, .scatterAlong:
      return at < rank - 1 ? known : .other
    case .slice(let axis, _), .concatenate(let axis), .reduceAxis(_, let axis): return axis != at ? known : .other
    case .permute(let order): return order.firstIndex(of: at).map { .samples(axis: $0) } ?? .other
    case .broadcast:
      let axis = at + rank - inner.rank
      return node.shape[axis] == inner[at] ? .samples(axis: axis) : .other
    case .reshape:
      // The axis with as many elements before it, if it begins with the samples again.
      let before = inner.sizes[..<at].reduce(1, *)
      var count = 1
      for (axis, size) in node.shape.sizes.enumerated() {
        if count == before && size % max(samples, 1) == 0 { return .samples(axis: axis) }
        count *= size
      }
      return .other
    case .matmul(let transposeA, _):
      if at < rank - 2 { return known }
      return at == rank - 2 && !transposeA && layouts[1] == .independent ? known : .other
    case .gatherRows: return layouts[0] == .independent && at == 0 ? known : .other
    default: return .other
    }
  }

  func of(_ parameter: Expression) throws(TemperError) -> [ParameterUse] {
    var uses: [ParameterUse] = []
    var stack = [(node: parameter.node, isPermuted: false)]
    while let (node, isPermuted) = stack.popLast() {
      for (user, index) in users[ObjectIdentifier(node)] ?? [] {
        func use(_ form: ParameterUse.Form) { uses.append(.init(form: form, node: user, isPermuted: isPermuted)) }
        let isWhole = node.shape == parameter.shape && !isPermuted
        switch user.operation {
        case .stopGradient: continue
        case .reshape: stack.append((user, isPermuted))
        case .permute: stack.append((user, true))
        case .matmul(false, let transposed)
        where index == 1 && isWhole && user.shape.rank == 2 && layout(user) == .samples(axis: 0):
          use(.product(transposed: transposed))
        case .convolution(let convolution) where index == 1 && isWhole && layout(user) == .samples(axis: 0):
          use(.convolution(convolution))
        case .gatherRows where index == 0 && isWhole && layout(user) == .samples(axis: 0): use(.table)
        case .broadcast where isOverSamples(user, node.shape): use(.vector(node.shape))
        default:
          throw TemperError(
            .unsupported,
            "The gradient of each sample for it has no short form: it is used by \(user.operation.name), not as a weight of a product, convolution or table, nor as a vector over the samples."
          )
        }
      }
    }
    return uses
  }

  /// A broadcast along the samples' axis, or a part of one, that meets samples there and nothing else.
  private func isOverSamples(_ node: Node, _ seen: Shape) -> Bool {
    let isNew = seen.rank < node.shape.rank || seen.sizes.first == 1
    return isNew && node.shape[0] % max(samples, 1) == 0 && meetsSamples(node)
  }

  private func meetsSamples(_ node: Node) -> Bool {
    (users[ObjectIdentifier(node)] ?? []).allSatisfy { user, _ in
      guard user.shape.sizes.first == node.shape[0] else { return false }
      if case .slice(let axis, _) = user.operation, axis > 0 { return meetsSamples(user) }
      return layout(user) == .samples(axis: 0)
    }
  }
}

extension SampleGradientNorms {
  /// Uses of one form add up before the norm is taken.
  fileprivate static func squared(
    _ uses: [ParameterUse], _ gradients: [Expression], of parameter: Expression, samples: Int
  ) throws(TemperError) -> Expression {
    guard let first = uses.first else { return .zeros([samples, 1]) }
    func steps(_ x: Expression) -> Expression {
      x.reshaped([samples, x.shape.count / x.shape.last / max(samples, 1), x.shape.last])
    }
    func operand(_ use: ParameterUse, _ index: Int) -> Expression { Expression(use.node.inputs[index]) }
    let isVector = uses.allSatisfy { if case .vector = $0.form { true } else { false } }
    if isVector {
      guard uses.count == 1 || !uses.contains(where: \.isPermuted) else { throw mixed }
      var sum: Expression?
      for (use, gradient) in zip(uses, gradients) {
        guard case .vector(let seen) = use.form else { continue }
        // (N, k, ...) against (1, 1, ...), the parameter's own axes kept.
        let rest = Array(gradient.shape.sizes.dropFirst())
        let own = [Int](repeating: 1, count: rest.count + 1 - seen.rank) + seen.sizes
        let each = gradient.reshaped(Shape([samples, gradient.shape[0] / samples] + rest))
          .summed(to: Shape([samples, 1] + own.dropFirst())).reshaped([samples, parameter.shape.count])
        sum = sum.map { $0 + each } ?? each
      }
      return square(sum ?? .zeros([samples, 1])).sum()
    }
    guard uses.allSatisfy({ $0.form == first.form }) else { throw mixed }
    switch first.form {
    case .product:
      let inputs = uses.map { steps(operand($0, 0)) }
      return product(.concatenate(inputs, axis: 1), .concatenate(gradients.map(steps), axis: 1))
    case .convolution(let form):
      guard uses.count == 1 else { throw mixed }
      return convolution(operand(first, 0), gradients[0], kernel: parameter.shape, form)
    default:
      let indices = uses.map { operand($0, 1).reshaped([samples, operand($0, 1).shape.count / samples]) }
      return table(.concatenate(indices, axis: 1), .concatenate(gradients.map(steps), axis: 1))
    }
  }

  private static var mixed: TemperError {
    TemperError(.unsupported, "The gradient of each sample for it has no short form: it is used in several ways.")
  }
}

extension Operation {
  /// The word for errors: "matmul" of matmul(transposeA: …).
  fileprivate var name: String { String("\(self)".prefix { $0 != "(" }) }
}
