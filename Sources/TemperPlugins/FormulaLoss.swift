import TemperCatalogue
import TemperCore
import TemperGraph

/// Builds a formula's expression. Names are, in this order: what the formula binds, inputs, parameters, and the words
/// of the field: `p` and `log_p` (probabilities of the logits and their logarithms), `y` (the targets), `x` (the
/// predictions), `N`, `C`, `D` and other letters of the inputs' shapes (sizes), `pi`.
struct FormulaLoss: Sendable {
  let formula: FormulaText
  let descriptor: LossDescriptor
  let isOfBatch: Bool

  func build(_ x: Formula) throws(TemperError) -> Expression {
    var scope = Scope(formula: formula, descriptor: descriptor, x: x)
    for (name, value) in formula.bindings { scope.bound[name] = try scope.value(value) }
    let value = try scope.value(formula.result)
    let count = isOfBatch ? 1 : x[descriptor.inputs[0].name].shape.sizes.first ?? 1
    guard value.kind == .real, value.shape.rank == 0 || value.shape[0] == count && value.shape.count == count else {
      throw TemperError(
        .invalidShape,
        "The formula \"\(formula.text)\" gives an array of shape \(value.shape); "
          + (isOfBatch
            ? "one value for the batch is needed: reduce it with sum(..., 0)."
            : "one value for each sample, (\(count), 1), is needed: sum() and mean() go along the last axis."))
    }
    return value.broadcast(to: value.shape.rank == 0 ? [count, 1] : value.shape).reshaped([count, 1])
  }

  /// The inputs of a formula that declares none: a word of classification or of regression says which.
  static func inputs(for formula: FormulaText) throws(TemperError) -> [Input] {
    let names = formula.names
    let classification = names.intersection(["p", "log_p", "logits"])
    let regression = names.intersection(["x", "predictions"])
    guard classification.isEmpty != regression.isEmpty else {
      throw TemperError(
        .invalidArgument,
        "The formula \"\(formula.text)\" reads "
          + (classification.isEmpty
            ? "neither p, log_p or logits (of a classifier) nor x or predictions (of a regression)"
            : "\((classification.union(regression)).sorted().joined(separator: " and "))") + "; declare its inputs.")
    }
    return classification.isEmpty ? Input.regression : Input.classification
  }
}

extension Input {
  static let classification = [Input.logits, Input.targets]
  static let regression = [
    Input("predictions", [Form(["N", "D"])], "What the model says."),
    Input("targets", [Form(["N", "D"])], isDifferentiable: false, "What is right."),
  ]
}

/// What names mean while one formula is built.
private struct Scope {
  let formula: FormulaText
  let descriptor: LossDescriptor
  let x: Formula
  var bound: [String: Expression] = [:]

  private func error(_ column: Int, _ what: String) -> TemperError { formulaError(formula.text, column, what) }

  /// An expression that carries an error names the place where it arose.
  private func checked(_ expression: Expression, _ column: Int) throws(TemperError) -> Expression {
    if let wrong = expression.error {
      throw error(column, wrong.message.hasSuffix(".") ? String(wrong.message.dropLast()) : wrong.message)
    }
    return expression
  }

  /// The input called `name`, and that there is one.
  private func input(_ name: String) -> Expression? {
    guard descriptor.inputs.contains(where: { $0.name == name }), x.has(name) else { return nil }
    return x[name]
  }

  func value(_ node: FormulaNode) throws(TemperError) -> Expression {
    switch node {
    case .number(let number): return .constant(number)
    case .name(let name, let column): return try named(name, column)
    case .unary(let operation, let a, let column):
      let a = try number(a, column)
      return try checked(operation == "-" ? -a : TemperGraph.not(a), column)
    case .binary(let operation, let a, let b, let column):
      let (a, b) = (try number(a, column), try number(b, column))
      return try checked(binary(operation, a, b), column)
    case .element(let base, let index, let column): return try checked(try element(base, index, column), column)
    case .call(let name, let arguments, let column):
      return try checked(try call(name, arguments, column), column)
    }
  }

  /// A value to calculate with; class ids are none.
  private func number(_ node: FormulaNode, _ column: Int) throws(TemperError) -> Expression {
    let value = try value(node)
    guard value.kind == .real else {
      throw error(column, "class ids are no numbers to calculate with: write p[y] or onehot(y)")
    }
    return value
  }

  private func named(_ name: String, _ column: Int) throws(TemperError) -> Expression {
    if let value = bound[name] ?? input(name) { return value }
    if let input = descriptor.inputs.first(where: { $0.name == name }) {
      throw error(column, "the optional input \(input.name) did not come")
    }
    switch x.arguments.values[name] {
    case .real(let number)?: return .constant(number)
    case .integer(let number)?: return .constant(Double(number))
    case .boolean(let flag)?: return .constant(flag ? 1 : 0)
    case .text?, Value.none?: throw error(column, "\(name) is not a number")
    case nil: break
    }
    switch name {
    case "pi": return .constant(.pi)
    case "p": if let logits = input("logits") { return logits.softmax() }
    case "log_p": if let logits = input("logits") { return logits.logSoftmax() }
    case "y": if let targets = input("targets") { return targets }
    case "x": if let predictions = input("predictions") { return predictions }
    default:
      for input in descriptor.inputs where x.has(input.name) {
        if let axis = input.forms[0].shape.firstIndex(of: name), axis < x[input.name].shape.rank {
          return .constant(Double(x[input.name].shape[axis]))
        }
      }
    }
    let known =
      formula.bindings.map(\.name) + descriptor.inputs.map(\.name) + descriptor.parameters.map(\.name)
      + ["p", "log_p", "y", "x", "pi"]
    throw error(column, "there is no \"\(name)\"; there are \(known.joined(separator: ", "))")
  }

  private func binary(_ operation: String, _ a: Expression, _ b: Expression) -> Expression {
    switch operation {
    case "+": a + b
    case "-": a - b
    case "*": a * b
    case "/": a / b
    case "%": remainder(a, b)
    case "^": pow(a, b)
    case "<": a .< b
    case "<=": a .<= b
    case ">": a .> b
    case ">=": a .>= b
    case "==": a .== b
    case "!=": a .!= b
    case "and": a .& b
    default: a .| b
    }
  }

  /// a[y]: the element at the target; for targets that are probabilities its expectation.
  private func element(_ base: FormulaNode, _ index: FormulaNode, _ column: Int) throws(TemperError) -> Expression {
    let at = try value(index)
    if case .name(let name, _) = base, bound[name] == nil, isTargets(index) {
      // As stable, and as fast, as the losses of the catalogue.
      if name == "p", input("p") == nil, x.has("logits") { return x.probability }
      if name == "log_p", input("log_p") == nil, x.has("logits") { return x.logProbability }
    }
    let values = try number(base, column)
    if at.kind == .index { return values.pick(at) }
    guard at.shape == values.shape else {
      throw error(column, "in brackets stand class ids, or a probability for each class")
    }
    return (at * values).sum()
  }

  private func isTargets(_ node: FormulaNode) -> Bool {
    guard case .name(let name, _) = node, bound[name] == nil else { return false }
    return name == "targets" || name == "y" && input("y") == nil
  }

  private func call(_ name: String, _ nodes: [FormulaNode], _ column: Int) throws(TemperError) -> Expression {
    func count(_ range: ClosedRange<Int>) throws(TemperError) {
      guard range.contains(nodes.count) else {
        let wanted = range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
        throw error(column, "\(name) takes \(wanted) arguments, and \(nodes.count) came")
      }
    }
    /// log(p[y]) loses its value where p underflows; log_p does not.
    if name == "log", nodes.count == 1, let stable = logarithm(nodes[0]) { return try value(stable) }
    if name == "onehot" {
      try count(1...1)
      let ids = try value(nodes[0])
      guard ids.kind == .index, let logits = input("logits") else {
        throw error(column, "onehot takes class ids beside logits")
      }
      return .oneHot(ids, columns: logits.shape.last)
    }
    if let function = Scope.elementwise[name] {
      try count(1...1)
      return function(try number(nodes[0], column))
    }
    if let function = Scope.reductions[name], nodes.count == 1 || !Scope.pairs.keys.contains(name) {
      try count(1...2)
      return function(try number(nodes[0], column), nodes.count == 2 ? try axis(nodes[1], column) : -1)
    }
    if let function = Scope.pairs[name] {
      try count(2...2)
      return function(try number(nodes[0], column), try number(nodes[1], column))
    }
    if name == "where" {
      try count(3...3)
      return .select(try number(nodes[0], column), try number(nodes[1], column), try number(nodes[2], column))
    }
    let known = Set(Array(Scope.elementwise.keys) + Scope.reductions.keys + Scope.pairs.keys + ["where", "onehot"])
      .sorted()
    throw error(column, "there is no function \"\(name)\"; there are \(known.joined(separator: ", "))")
  }

  private func axis(_ node: FormulaNode, _ column: Int) throws(TemperError) -> Int {
    var (node, sign) = (node, 1)
    if case .unary("-", let inner, _) = node { (node, sign) = (inner, -1) }
    guard case .number(let number) = node, let axis = Int(exactly: number) else {
      throw error(column, "an axis is a whole number")
    }
    return sign * axis
  }

  private func logarithm(_ node: FormulaNode) -> FormulaNode? {
    switch node {
    case .name("p", let column) where bound["p"] == nil && input("p") == nil && bound["log_p"] == nil:
      return .name("log_p", column: column)
    case .element(let base, let index, let column):
      return isTargets(index) ? logarithm(base).map { .element($0, index, column: column) } : nil
    default: return nil
    }
  }

  private static let elementwise: [String: @Sendable (Expression) -> Expression] = [
    "abs": { abs($0) }, "sign": { sign($0) }, "square": { square($0) }, "sqrt": { sqrt($0) }, "exp": { exp($0) },
    "expm1": { expm1($0) }, "log": { log($0) }, "log1p": { log1p($0) }, "tanh": { tanh($0) },
    "sigmoid": { sigmoid($0) }, "softplus": { softplus($0) }, "erf": { erf($0) }, "sin": { sin($0) },
    "cos": { cos($0) }, "atan": { atan($0) }, "floor": { floor($0) }, "ceil": { ceil($0) }, "round": { round($0) },
    "log_gamma": { logGamma($0) }, "digamma": { digamma($0) }, "inverse_erf": { erfInverse($0) },
    "normal_cdf": { normalCDF($0) }, "relu": { relu($0) }, "is_finite": { isFinite($0) },
    "softmax": { $0.softmax() }, "log_softmax": { $0.logSoftmax() }, "logsumexp": { $0.logSumExp() },
    "sort": { $0.sorted() }, "sort_descending": { $0.sorted(descending: true) },
    "cumulative_sum": { $0.cumulativeSum() }, "argmax": { $0.argmax() }, "argmin": { $0.argmin() },
    "stop_gradient": { $0.stopGradient },
  ]
  /// Along the last axis, or the one given.
  private static let reductions: [String: @Sendable (Expression, Int) -> Expression] = [
    "sum": { $0.sum(axis: $1) }, "mean": { $0.mean(axis: $1) }, "product": { $0.product(axis: $1) },
    "max": { $0.maximum(axis: $1) }, "min": { $0.minimum(axis: $1) },
  ]
  /// Element by element; max and min of one argument reduce.
  private static let pairs: [String: @Sendable (Expression, Expression) -> Expression] = [
    "max": { maximum($0, $1) }, "min": { minimum($0, $1) }, "pow": { pow($0, $1) },
  ]
}
