import TemperCatalogue
import TemperCore

/// What each argument of a foreign function is, and what one call of it covers.
struct ForeignPlan: Sendable {
  /// What one call computes: one element of the first input, one sample, or the batch.
  enum Extent: Sendable { case element, sample, batch }

  enum Role: Sendable, Hashable {
    case input(Int), size(String), parameter(Int), literal(Double), values, gradient(Int)
  }

  let extent: Extent
  let roles: [Role]
  let precision: Precisions

  init(_ signature: ForeignSignature, _ loss: LossDescriptor) throws(TemperError) {
    func wrong(_ what: String) -> TemperError {
      TemperError(.invalidArgument, "The signature \"\(signature.text)\" \(what).")
    }
    let letters = Set(loss.inputs.flatMap { $0.forms[0].shape.filter { Int($0) == nil } })
    var roles: [Role] = []
    for argument in signature.arguments {
      let name = argument.name
      let prefix = "gradient_"
      if let index = loss.inputs.firstIndex(where: { $0.name == name }) {
        roles.append(.input(index))
      } else if letters.contains(name) {
        roles.append(.size(name))
      } else if let index = loss.parameters.firstIndex(where: { $0.name == name }) {
        if case .text = loss.parameters[index].initial { throw wrong("passes \(name), which is a text") }
        roles.append(.parameter(index))
      } else if name == "values" || name == "value" {
        roles.append(.values)
      } else if name == "gradient" || name.hasPrefix(prefix) {
        let wanted = name == "gradient" ? nil : String(name.dropFirst(prefix.count))
        guard
          let index = loss.inputs.firstIndex(where: { $0.isDifferentiable && (wanted == nil || $0.name == wanted) })
        else { throw wrong("has \(name), and there is no such input with a gradient") }
        roles.append(.gradient(index))
      } else if let number = Double(name) {
        roles.append(.literal(number))
      } else {
        throw wrong(
          "has an argument \(name), which is no input (\(loss.inputs.map(\.name).joined(separator: ", "))), no size (\(letters.sorted().joined(separator: ", "))), no parameter, no result (values, value, gradient, gradient_<input>) and no number"
        )
      }
    }
    let pairs = Array(zip(signature.arguments, roles))
    for (argument, role) in pairs {
      switch role {
      case .values, .gradient:
        guard argument.isPointer, argument.number.isReal else {
          throw wrong("writes \(argument.name), which takes a pointer to float or double")
        }
      case .input(let index):
        var isIndex = false
        if case .index = loss.inputs[index].forms[0].element { isIndex = true }
        guard argument.number.isReal != isIndex, !isIndex || !argument.isPointer || argument.number == .int32 else {
          throw wrong(
            "passes \(argument.name) in another type than it has (class ids are int, other inputs float or double)")
        }
        guard !loss.inputs[index].isOptional else { throw wrong("passes \(argument.name), which is optional") }
      case .size, .parameter, .literal: break
      }
    }
    let arrays = pairs.filter { pair in
      switch pair.1 {
      case .input, .values, .gradient: pair.0.isPointer
      case .size, .parameter, .literal: false
      }
    }
    let hasInputsByValue = pairs.contains { pair in
      if case .input = pair.1 { !pair.0.isPointer } else { false }
    }
    let inner = Set(letters.subtracting(["N"]))
    let knowsLength = roles.contains { role in
      if case .size(let letter) = role { inner.contains(letter) } else { false }
    }
    let writesValues = signature.names.contains("values")
    if writesValues {
      guard !hasInputsByValue, signature.result == .void || !signature.result.isReal else {
        throw wrong("writes `values` of a batch: inputs come as arrays then, and nothing real is returned")
      }
      extent = .batch
    } else if hasInputsByValue || !knowsLength && !inner.isEmpty {
      extent = .element
    } else {
      extent = .sample
    }
    let returnsValue = signature.result.isReal || roles.contains(.values)
    let isGradient = roles.contains { if case .gradient = $0 { true } else { false } }
    guard returnsValue || isGradient else {
      throw wrong("gives no value: it returns float or double, or has an argument `value` or `values`")
    }
    if extent == .batch, pairs.contains(where: { $0.1 == .size("N") && !inner.isEmpty && !knowsLength }) {
      let fixed = loss.inputs.contains {
        $0.forms[0].shape.count > 1 && $0.forms[0].shape.dropFirst().contains { Int($0) == nil }
      }
      if fixed {
        throw wrong(
          "does not pass the sizes \(inner.sorted().joined(separator: ", ")) that it needs to know its arrays")
      }
    }
    let reals = Set(arrays.map(\.0.number).filter(\.isReal))
    guard reals.count <= 1 else { throw wrong("has arrays of float and of double; all have one type") }
    let all = Set(signature.arguments.map(\.number).filter(\.isReal)).union(
      signature.result.isReal ? [signature.result] : [])
    precision = (extent == .element ? all.contains(.double) : (reals.first ?? .double) == .double) ? .float64 : .float32
    if extent == .element, reals.count == 1, (reals.first == .double) != (precision == .float64) {
      throw wrong("mixes float and double")
    }
    self.roles = roles
  }

  func writes(_ input: Int) -> Bool { roles.contains(.gradient(input)) }
}

extension ForeignDeclaration {
  /// That names and types fit the loss; the plans are made again where they are used.
  func check(_ loss: LossDescriptor) throws(TemperError) { _ = try plans(loss) }

  /// How the function is called, and how the one that gives the gradient.
  func plans(_ loss: LossDescriptor) throws(TemperError) -> (value: ForeignPlan, gradient: ForeignPlan?) {
    let value = try ForeignPlan(signature, loss)
    guard signature.result.isReal || value.roles.contains(.values) else {
      throw TemperError(.invalidArgument, "The signature \"\(signature.text)\" gives no value.")
    }
    guard let gradient else { return (value, nil) }
    let second = try ForeignPlan(gradient.signature, loss)
    guard second.precision == value.precision else {
      throw TemperError(.invalidArgument, "\(symbol) and its gradient \(gradient.symbol) work in different types.")
    }
    return (value, second)
  }
}
