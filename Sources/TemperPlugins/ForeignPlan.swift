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
    let letters = Set(loss.inputs.flatMap { $0.forms[0].shape.filter { Int($0) == nil } })
    var parts: [Part] = []
    for argument in signature.arguments {
      let part = Part(argument: argument, role: try ForeignPlan.role(argument, signature, loss, letters))
      try part.check(signature, loss)
      parts.append(part)
    }
    roles = parts.map(\.role)
    extent = try ForeignPlan.extent(signature, parts, letters.subtracting(["N"]))
    precision = try ForeignPlan.precision(signature, parts)
  }

  private struct Part {
    let argument: ForeignSignature.Argument
    let role: Role

    var isResult: Bool {
      switch role {
      case .values, .gradient: true
      case .input, .size, .parameter, .literal: false
      }
    }

    var isRealInput: Bool { if case .input = role { argument.number.isReal } else { false } }

    func check(_ signature: ForeignSignature, _ loss: LossDescriptor) throws(TemperError) {
      if isResult, !argument.isPointer || !argument.number.isReal {
        throw signature.wrong("writes \(argument.name), which takes a pointer to float or double")
      }
      guard case .input(let index) = role else { return }
      let input = loss.inputs[index]
      var isIndex = false
      if case .index = input.forms[0].element { isIndex = true }
      guard argument.number.isReal != isIndex, !isIndex || !argument.isPointer || argument.number == .int32 else {
        throw signature.wrong(
          "passes \(argument.name) in another type than it has (class ids are int, other inputs float or double)")
      }
      guard !input.isOptional else { throw signature.wrong("passes \(argument.name), which is optional") }
    }
  }

  private static func role(
    _ argument: ForeignSignature.Argument, _ signature: ForeignSignature, _ loss: LossDescriptor, _ letters: Set<String>
  ) throws(TemperError) -> Role {
    let (name, prefix) = (argument.name, "gradient_")
    if let index = loss.inputs.firstIndex(where: { $0.name == name }) { return .input(index) }
    if letters.contains(name) { return .size(name) }
    if let index = loss.parameters.firstIndex(where: { $0.name == name }) {
      if case .text = loss.parameters[index].initial { throw signature.wrong("passes \(name), which is a text") }
      return .parameter(index)
    }
    if name == "values" || name == "value" { return .values }
    if name == "gradient" || name.hasPrefix(prefix) {
      let wanted = name == "gradient" ? nil : String(name.dropFirst(prefix.count))
      let index = loss.inputs.firstIndex { $0.isDifferentiable && (wanted == nil || $0.name == wanted) }
      guard let index else { throw signature.wrong("has \(name), and there is no such input with a gradient") }
      return .gradient(index)
    }
    if let number = Double(name) { return .literal(number) }
    throw signature.wrong(
      "has an argument \(name), which is no input (\(loss.inputs.map(\.name).joined(separator: ", "))), no size (\(letters.sorted().joined(separator: ", "))), no parameter, no result (values, value, gradient, gradient_<input>) and no number"
    )
  }

  /// `lengths`: the letters of the sizes of one sample.
  private static func extent(
    _ signature: ForeignSignature, _ parts: [Part], _ lengths: Set<String>
  ) throws(TemperError) -> Extent {
    guard signature.result.isReal || parts.contains(where: \.isResult) else {
      throw signature.wrong("gives no value: it returns float or double, or has an argument `value` or `values`")
    }
    let hasNumbersByValue = parts.contains { $0.isRealInput && !$0.argument.isPointer }
    let knowsLength = parts.contains { if case .size(let letter) = $0.role { lengths.contains(letter) } else { false } }
    guard signature.names.contains("values") else {
      return hasNumbersByValue || !knowsLength && !lengths.isEmpty ? .element : .sample
    }
    let hasOnlyArrays = parts.allSatisfy { if case .input = $0.role { $0.argument.isPointer } else { true } }
    guard hasOnlyArrays, !signature.result.isReal else {
      throw signature.wrong("writes `values` of a batch: inputs come as arrays then, and nothing real is returned")
    }
    guard knowsLength || lengths.isEmpty else {
      throw signature.wrong(
        "does not pass the sizes \(lengths.sorted().joined(separator: ", ")), without which nobody knows its arrays")
    }
    return .batch
  }

  /// Arrays have one type; what is passed by value is converted.
  private static func precision(_ signature: ForeignSignature, _ parts: [Part]) throws(TemperError) -> Precisions {
    let arrays = parts.filter { ($0.isRealInput || $0.isResult) && $0.argument.isPointer }.map(\.argument.number)
    guard Set(arrays).count <= 1 else {
      throw signature.wrong("has arrays of float and of double; all have one type")
    }
    let numbers = arrays + parts.filter(\.isRealInput).map(\.argument.number)
    return (numbers + (signature.result.isReal ? [signature.result] : [])).first == .float ? .float32 : .float64
  }

  func writes(_ input: Int) -> Bool { roles.contains(.gradient(input)) }
}

extension ForeignSignature {
  func wrong(_ what: String) -> TemperError { TemperError(.invalidArgument, "The signature \"\(text)\" \(what).") }
}

extension ForeignDeclaration {
  /// That names and types fit the loss; the plans are made again where they are used.
  func check(_ loss: LossDescriptor) throws(TemperError) { _ = try plans(loss) }

  /// How the function is called, and how the one that gives the gradient.
  func plans(_ loss: LossDescriptor) throws(TemperError) -> (value: ForeignPlan, gradient: ForeignPlan?) {
    let value = try ForeignPlan(signature, loss)
    guard signature.result.isReal || value.roles.contains(.values) else {
      throw signature.wrong("gives no value")
    }
    guard let gradient else { return (value, nil) }
    let second = try ForeignPlan(gradient.signature, loss)
    guard second.precision == value.precision else {
      throw TemperError(.invalidArgument, "\(symbol) and its gradient \(gradient.symbol) work in different types.")
    }
    return (value, second)
  }
}
