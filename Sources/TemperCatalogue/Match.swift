import TemperCore
import TemperGraph

/// The tensors of one call, matched to the inputs that a record declares.
struct Match {
  /// One entry for each input that came.
  struct Entry {
    let input: Input
    let form: Input.Form
    let formIndex: Int
    /// As it came, with the axis of an operator moved to the end.
    let tensor: Tensor
    /// As the formula sees it.
    let innerShape: Shape
    /// Ids must lie below this.
    var bound: Int?
    /// The value of an input that is a size.
    var size: Int?

    var kind: Kind { if case .index = form.element { .index } else { .real } }
  }

  let entries: [Entry]
  /// float64 if any floating array that came is, or none came; else float32.
  let type: DType
  /// What "..." stood for.
  let rest: [Int]
  /// What "N" stood for.
  let samples: Int

  /// What a plan depends on.
  var signature: [SignatureEntry] {
    entries.map {
      SignatureEntry(name: $0.input.name, form: $0.formIndex, shape: $0.tensor.shape, size: $0.size)
    }
  }

  /// What the formula sees of each input.
  var expressions: [String: Expression] {
    var expressions: [String: Expression] = [:]
    for entry in entries {
      let name = entry.input.name
      expressions[name] =
        entry.size.map { .constant(Double($0)) } ?? .input(name, entry.innerShape, entry.kind)
    }
    return expressions
  }
}

struct SignatureEntry: Hashable {
  let name: String
  let form: Int
  let shape: Shape
  let size: Int?
}

extension Match {
  /// Matches by name or alias. `axis` is where an operator works; it becomes the last one of the inputs that declare
  /// leading "..." sizes.
  init(_ given: [String: Tensor], to inputs: [Input], axis: Int = -1) throws(TemperError) {
    var byName: [String: Tensor] = [:]
    for (name, tensor) in given.sorted(by: { $0.key < $1.key }) {
      guard let input = inputs.first(where: { $0.name == name || $0.aliases.contains(name) }) else {
        throw TemperError(
          .unknownName,
          "There is no input \"\(name)\"; there are: \(inputs.map(\.name).joined(separator: ", ")).")
      }
      guard byName[input.name] == nil else {
        throw TemperError(.invalidArgument, "Input \(input.name) came twice, once as \"\(name)\".")
      }
      byName[input.name] = tensor
    }
    let floating = byName.values.filter { $0.dtype.isFloating }
    type = floating.allSatisfy { $0.dtype == .float32 } && !floating.isEmpty ? .float32 : .float64

    var sizes = Sizes()
    var entries: [Entry] = []
    for (position, input) in inputs.enumerated() {
      guard var tensor = byName[input.name] else {
        if input.isOptional { continue }
        throw TemperError(
          .invalidArgument, "Input \(input.name) is missing: \(input.expected(sizes)). \(input.summary)",
          argument: Int32(position))
      }
      guard tensor.count > 0 else {
        throw TemperError(
          .invalidShape,
          "Input \(input.name) has no elements (shape \(tensor.shape)); pass at least one sample.",
          argument: Int32(position))
      }
      if input.hasLeadingSizes { tensor = try tensor.movingToEnd(axis, of: input.name) }
      var found: Entry?
      for (index, form) in input.forms.enumerated() where form.accepts(tensor.dtype) {
        // Numbers are yes and no only where they may be nothing else.
        if form.element == .mask, input.forms.count > 1, tensor.dtype.isFloating { continue }
        var trial = sizes
        guard let inner = trial.match(tensor.shape, form) else { continue }
        sizes = trial
        found = Entry(
          input: input, form: form, formIndex: index, tensor: tensor, innerShape: inner, bound: sizes.bound(form))
        break
      }
      if input.isSize { found?.size = Int(try tensor.array(of: Int64.self)[0]) }
      guard let found else {
        throw TemperError(
          input.forms.contains { $0.accepts(tensor.dtype) } ? .invalidShape : .invalidType,
          "For input \(input.name) \(input.expected(sizes)); \(tensor.dtype.name) of shape \(tensor.shape) came.",
          argument: Int32(position))
      }
      entries.append(found)
    }
    // A later input may have said how large a size is that earlier ids must lie below.
    for at in entries.indices { entries[at].bound = sizes.bound(entries[at].form) }
    (self.entries, rest, samples) = (entries, sizes.rest ?? [], sizes["N"] ?? 1)
  }

  private init(_ entries: [Entry], _ type: DType, _ rest: [Int], _ samples: Int) {
    (self.entries, self.type, self.rest, self.samples) = (entries, type, rest, samples)
  }

  /// With one more array, under a shape of its own.
  func adding(_ input: Input, _ tensor: Tensor, as innerShape: Shape) -> Match {
    let entry = Entry(
      input: input, form: .init([]), formIndex: 0, tensor: tensor, innerShape: innerShape, bound: nil)
    return Match(entries + [entry], type, rest, samples)
  }

  var tensors: [String: Tensor] {
    var tensors: [String: Tensor] = [:]
    for entry in entries { tensors[entry.input.name] = entry.tensor }
    return tensors
  }

  subscript(_ name: String) -> Entry? { entries.first { $0.input.name == name } }
}

extension Match.Entry {
  var isMaskOfBytes: Bool { if case .mask = form.element { tensor.dtype.byteCount == 1 } else { false } }

  /// Ids must lie below their bound or be ignored targets, and masks be 0 or 1.
  func check(ignored: Set<Int>) throws(TemperError) {
    let name = input.name
    switch form.element {
    case .real: return
    case .index:
      let bound = bound ?? Int(Int32.max)
      let allowed = name == "targets" ? ignored : input.none.map { [$0] } ?? []
      if let bad = try tensor.firstOutside(bound, ignored: allowed) {
        throw TemperError(
          .outOfRange,
          "Input \(name) must lie in 0 to \(bound - 1)"
            + (allowed.isEmpty
              ? "" : " or be \(allowed.sorted().map(String.init).joined(separator: " or ")) (no id)")
            + "; element \(bad.position) is \(bad.value).")
      }
    case .mask:
      if !tensor.dtype.isFloating, let bad = try tensor.firstOutside(2) {
        throw TemperError(
          .outOfRange, "Input \(name) is a mask of 0 and 1; element \(bad.position) is \(bad.value).")
      }
    }
  }
}

/// What the size letters stand for in one call.
struct Sizes {
  private var letters: [String: Int] = [:]
  private(set) var rest: [Int]?

  init() {}

  subscript(_ letter: String) -> Int? { letters[letter] }

  /// Binds the letters of `form` to `shape` and gives the shape that the formula sees, or nil if they do not fit.
  mutating func match(_ shape: Shape, _ form: Input.Form) -> Shape? {
    let named = form.shape.filter { $0 != "..." }
    let hasRest = named.count < form.shape.count
    // A number may also come as an array of one element.
    if form.shape.isEmpty { return shape.count == 1 && shape.rank <= 1 ? [] : nil }
    guard hasRest ? shape.rank >= named.count : shape.rank == named.count else { return nil }
    let lead = form.shape.firstIndex(of: "...") ?? named.count
    var inner: [Int] = []
    for (at, name) in named.enumerated() {
      let size = shape[at < lead ? at : shape.rank - named.count + at]
      guard bind(name, to: size) else { return nil }
      inner.append(size)
    }
    if hasRest {
      let middle = Array(shape.sizes[lead..<(shape.rank - named.count + lead)])
      guard (rest ?? middle) == middle else { return nil }
      rest = middle
      inner.insert(middle.reduce(1, *), at: lead)
    }
    switch form.element {
    case .index: inner.append(1)
    case .real, .mask: if form.shape == ["N"] { inner.append(1) }
    }
    return Shape(inner)
  }

  private mutating func bind(_ name: String, to size: Int) -> Bool {
    if let number = Int(name) { return number == size }
    if let known = letters[name] { return known == size }
    letters[name] = size
    return true
  }

  /// Binds the letters of `form` to an expression that has the formula's shape.
  mutating func bind(_ form: Input.Form, toInner expression: Expression) -> Bool {
    var isIndex = false
    if case .index = form.element { isIndex = true }
    guard isIndex == (expression.kind == .index) else { return false }
    var trial = self
    var sizes = expression.shape.sizes
    if isIndex || form.shape == ["N"] { sizes.removeLast() }
    guard trial.match(Shape(sizes), form) != nil else { return false }
    self = trial
    return true
  }

  /// What the letters stand for in expressions that come in the formula's shapes.
  init(of given: [String: Expression], for inputs: [Input], origin: String) throws(TemperError) {
    for input in inputs {
      guard let expression = given[input.name], !input.forms.contains(where: { $0.shape.contains("...") }) else {
        continue
      }
      var fits = false
      for form in input.forms where !fits { fits = bind(form, toInner: expression) }
      guard fits else {
        let kind = expression.kind == .index ? "integers" : "numbers"
        throw TemperError(
          .invalidShape,
          "Input \(input.name): \(input.expected(self)); \(kind) of shape \(expression.shape) came from a graph.",
          origin: origin)
      }
    }
  }

  func shape(_ names: [String]) -> Shape? {
    var sizes: [Int] = []
    for name in names {
      guard let size = letters[name] ?? Int(name) else { return nil }
      sizes.append(size)
    }
    return Shape(sizes)
  }

  /// The number that ids of `form` must lie below.
  func bound(_ form: Input.Form) -> Int? {
    guard case .index(let below?) = form.element else { return nil }
    return letters[below] ?? Int(below)
  }

  /// A form's shape in words, with the sizes that are known.
  func describe(_ form: Input.Form) -> String {
    let sizes = form.shape.map { name in letters[name].map { "\(name)=\($0)" } ?? name }
    let shape = "(" + sizes.joined(separator: ", ") + (sizes.count == 1 ? ",)" : ")")
    switch form.element {
    case .real: return form.shape.isEmpty ? "a number" : "an array of numbers \(shape)"
    case .mask: return "a mask of 0 and 1 \(shape)"
    case .index(let below):
      return "integers \(shape)" + (below.flatMap { letters[$0] ?? Int($0) }.map { " from 0 to \($0 - 1)" } ?? "")
    }
  }
}

extension Input {
  /// Numbers must lie in the domain.
  func checkDomain(_ tensor: Tensor) throws(TemperError) {
    guard domain != .any, tensor.dtype.isFloating || !forms.contains(where: { $0.element != .real }) else { return }
    let (least, greatest) = try tensor.extremes()
    if least > greatest || domain.contains(least) && domain.contains(greatest) { return }
    let values = try tensor.array(of: Double.self)
    guard let at = values.firstIndex(where: { !$0.isNaN && !domain.contains($0) }) else { return }
    throw TemperError(.outOfRange, "Input \(name) must be \(domain.words); element \(at) is \(values[at]).")
  }

  var hasLeadingSizes: Bool { forms.contains { $0.shape.first == "..." && $0.shape.count > 1 } }

  func expected(_ sizes: Sizes) -> String {
    "it takes " + forms.map { sizes.describe($0) }.joined(separator: ", or ")
  }
}

extension Input.Form {
  func accepts(_ dtype: DType) -> Bool {
    if case .index = element { !dtype.isFloating } else { true }
  }
}

extension Tensor {
  func movingToEnd(_ axis: Int, of name: String) throws(TemperError) -> Tensor {
    let at = axis < 0 ? axis + shape.rank : axis
    guard at >= 0, at < shape.rank else {
      throw TemperError(
        .invalidArgument, "Axis \(axis) is outside input \(name), which has \(shape.rank) dimensions.")
    }
    if at == shape.rank - 1 { return self }
    return try permuted(Array(0..<at) + Array((at + 1)..<shape.rank) + [at])
  }

  /// The inverse of `movingToEnd`.
  func movingFromEnd(to axis: Int) throws(TemperError) -> Tensor {
    let at = axis < 0 ? axis + shape.rank : axis
    if at == shape.rank - 1 { return self }
    return try permuted(Array(0..<at) + [shape.rank - 1] + Array(at..<(shape.rank - 1)))
  }

  /// Whether two views may share memory.
  func overlaps(_ other: Tensor) -> Bool {
    guard storage === other.storage || storage.overlaps(other.storage) else { return false }
    let (a, b) = (addressRange, other.addressRange)
    return a.lowerBound < b.upperBound && b.lowerBound < a.upperBound
  }
}
