import CTemper
import TemperCatalogue
import TemperCore

/// What a library's descriptor says, read from its file and checked: names, counts, pointers.
struct Descriptor {
  let address: UInt64
  let builtFor: UInt32
  let declaration: Declaration
  let initialize: UInt64?
  let deinitialize: UInt64?
}

/// Reads C structs of an image field by field, in order of their declaration. Fields beyond `size` are zero: the plug-in
/// was compiled with an older header.
private struct FieldReader {
  let image: ElfImage
  let address: UInt64
  let size: UInt64
  var offset: UInt64 = 0

  /// At a struct that begins with its size.
  init(_ image: ElfImage, at address: UInt64, what: String) throws(TemperError) {
    (self.image, self.address) = (image, address)
    size = UInt64(try image.number(UInt32.self, at: address))
    guard size >= 8, size <= 1024 else {
      throw TemperError(.pluginFailed, "Its \(what) says that it has \(size) bytes; struct_size must be sizeof.")
    }
    offset = 4
  }

  mutating func place(_ width: UInt64) -> UInt64? {
    offset = (offset + width - 1) / width * width
    defer { offset += width }
    return offset + width <= size ? address + offset : nil
  }

  mutating func uint32() throws(TemperError) -> UInt32 {
    guard let place = place(4) else { return 0 }
    return try image.number(UInt32.self, at: place)
  }
  mutating func int32() throws(TemperError) -> Int32 { Int32(bitPattern: try uint32()) }
  mutating func uint64() throws(TemperError) -> UInt64 {
    guard let place = place(8) else { return 0 }
    return try image.number(UInt64.self, at: place)
  }
  mutating func double() throws(TemperError) -> Double { Double(bitPattern: try uint64()) }
  mutating func pointer() throws(TemperError) -> UInt64? {
    guard let place = place(8) else { return nil }
    return try image.pointer(at: place)
  }
  mutating func optionalText() throws(TemperError) -> String? {
    guard let target = try pointer() else { return nil }
    return try image.text(at: target)
  }
  mutating func text(_ what: String) throws(TemperError) -> String {
    guard let text = try optionalText(), !text.isEmpty else {
      throw TemperError(.pluginFailed, "Its \(what) is missing.")
    }
    return text
  }
  /// lower_case, at most 64 characters.
  mutating func name(_ what: String) throws(TemperError) -> String {
    let name = try text(what)
    guard InputRules.isName(name) else {
      throw TemperError(
        .pluginFailed, "Its \(what) is \"\(name.prefix(80))\"; names have lower-case letters, digits and _.")
    }
    return name
  }
}

extension Descriptor {
  static let symbol = "temper_plugin_v1"

  init(_ image: ElfImage) throws(TemperError) {
    guard let address = try image.symbol(Descriptor.symbol) else {
      throw TemperError(
        .pluginFailed, "The library does not export \(Descriptor.symbol); it is not a plug-in of Temper.")
    }
    self.address = address
    var fields = try FieldReader(image, at: address, what: "descriptor")
    builtFor = try fields.uint32()
    let minHost = try fields.uint32()
    _ = try fields.uint32()
    guard builtFor > 0, minHost <= UInt32(TEMPER_PLUGIN_REVISION) else {
      throw TemperError(
        .pluginFailed,
        "It needs a host of revision \(minHost) or newer; this one has revision \(TEMPER_PLUGIN_REVISION). Update Temper."
      )
    }
    let name = try fields.name("name")
    let (version, licence) = (try fields.text("version"), try fields.text("licence"))
    let summary = try fields.optionalText() ?? ""
    let table = try fields.pointer()
    let count = try fields.uint64()
    (initialize, deinitialize) = (try fields.pointer(), try fields.pointer())
    for function in [initialize, deinitialize] {
      if let function, !image.isExecutable(function) {
        throw TemperError(.pluginFailed, "Its init or deinit does not point to code.")
      }
    }
    guard count >= 1, count <= 1024 else {
      throw TemperError(.pluginFailed, "It says that it offers \(count) losses; 1 to 1024 are possible.")
    }
    var losses: [LossDescriptor] = []
    var skipped: [String] = []
    for place in try Descriptor.places(image, table, count, "losses") {
      let loss = try Descriptor.loss(image, at: place, number: losses.count + skipped.count)
      if let known = loss.known { losses.append(known) } else { skipped.append(loss.name) }
    }
    if let twice = losses.map(\.name).firstRepeated {
      throw TemperError(.pluginFailed, "It offers two losses under the name \(twice).")
    }
    declaration = Declaration(
      name: name, version: version, licence: licence, summary: summary, losses: losses, skipped: skipped)
  }

  /// The addresses of the structs of an array, by the size of the first.
  private static func places(
    _ image: ElfImage, _ table: UInt64?, _ count: UInt64, _ what: String
  ) throws(TemperError) -> [UInt64] {
    if count == 0 { return [] }
    guard let table else { throw TemperError(.pluginFailed, "Its list of \(what) is NULL and has \(count) entries.") }
    let size = UInt64(try image.number(UInt32.self, at: table))
    return (0..<count).map { table &+ $0 &* size }
  }

  private static func loss(
    _ image: ElfImage, at address: UInt64, number: Int
  ) throws(TemperError) -> (name: String, known: LossDescriptor?) {
    var fields = try FieldReader(image, at: address, what: "loss \(number)")
    let kind = try fields.int32()
    let name = try fields.name("name of loss \(number)")
    do throws(TemperError) {
      let summary = try fields.text("summary")
      let reference = try fields.optionalText()
      let inputTable = try fields.pointer()
      let inputCount = try fields.uint64()
      let parameterTable = try fields.pointer()
      let parameterCount = try fields.uint64()
      let flags = try fields.uint32()
      _ = try fields.uint32()
      let (evaluate, compose) = (try fields.pointer(), try fields.pointer())
      let (stateTable, stateCount) = (try fields.pointer(), try fields.uint64())
      guard inputCount >= 1, inputCount <= 64, parameterCount <= 256 else {
        throw TemperError(
          .pluginFailed,
          "It says that it has \(inputCount) inputs and \(parameterCount) parameters; 1 to 64 and 0 to 256 are possible."
        )
      }
      let known: LossDescriptor.Kind
      switch kind {
      case TEMPER_LOSS_FUNCTION:
        guard let evaluate, image.isExecutable(evaluate) else {
          throw TemperError(.pluginFailed, "Its evaluate does not point to code.")
        }
        known = .function(
          evaluate, hasFloat64: flags & TEMPER_LOSS_HAS_FLOAT64 != 0,
          hasProducts: flags & TEMPER_LOSS_HAS_PRODUCTS != 0)
      case TEMPER_LOSS_COMPOSED:
        guard let compose, image.isExecutable(compose) else {
          throw TemperError(.pluginFailed, "Its compose does not point to code.")
        }
        known = .composed(compose, isOfBatch: flags & TEMPER_LOSS_OF_BATCH != 0)
      default: return (name, nil)
      }
      var inputs: [Input] = []
      var ranges: [ClosedRange<Double>] = []
      for place in try places(image, inputTable, inputCount, "inputs") {
        let (input, range) = try Descriptor.input(image, at: place, isFirst: inputs.isEmpty)
        inputs.append(input)
        ranges.append(range)
      }
      var parameters: [Parameter] = []
      for place in try places(image, parameterTable, parameterCount, "parameters") {
        parameters.append(try Descriptor.parameter(image, at: place))
      }
      var states: [SampleState] = []
      guard stateCount <= 16, stateCount == 0 || kind == TEMPER_LOSS_FUNCTION else {
        throw TemperError(
          .pluginFailed, "It says that it keeps \(stateCount) states; 0 to 16 are possible, of a loss of kind FUNCTION."
        )
      }
      for place in try places(image, stateTable, stateCount, "states") {
        states.append(try Descriptor.state(image, at: place, inputs))
      }
      if let twice = (inputs.map(\.name) + parameters.map(\.name) + states.map(\.name)).firstRepeated {
        throw TemperError(.pluginFailed, "The name \(twice) stands for two of its inputs, parameters and states.")
      }
      return (
        name,
        LossDescriptor(
          kind: known, name: name, summary: summary, reference: reference, inputs: inputs, ranges: ranges,
          parameters: parameters, states: states)
      )
    } catch { throw error.from("loss \(name)") }
  }

  private static func input(
    _ image: ElfImage, at address: UInt64, isFirst: Bool
  ) throws(TemperError) -> (Input, ClosedRange<Double>) {
    var fields = try FieldReader(image, at: address, what: "input")
    let element = try fields.int32()
    let name = try fields.name("name of an input")
    let shape = try fields.text("shape of input \(name)").split(separator: ",").map {
      $0.filter { $0 != " " }
    }
    let below = try fields.optionalText()
    let summary = try fields.optionalText() ?? ""
    let (lower, upper) = (try fields.double(), try fields.double())
    let flags = try fields.uint32()
    let kind: InputRules.Element
    switch element {
    case TEMPER_ELEMENT_REAL: kind = .real
    case TEMPER_ELEMENT_INDEX: kind = .index
    case TEMPER_ELEMENT_MASK: kind = .mask
    default: throw TemperError(.pluginFailed, "Input \(name): \(element) is not a TEMPER_ELEMENT_*.")
    }
    return try InputRules.input(
      name, shape: shape.map { String($0) }, kind, below: below, summary: summary, (lower, upper),
      isOptional: flags & TEMPER_INPUT_OPTIONAL != 0, isDifferentiable: flags & TEMPER_INPUT_DIFFERENTIABLE != 0,
      isFirst: isFirst)
  }

  private static func state(
    _ image: ElfImage, at address: UInt64, _ inputs: [Input]
  ) throws(TemperError) -> SampleState {
    var fields = try FieldReader(image, at: address, what: "state")
    _ = try fields.uint32()
    let name = try fields.name("name of a state")
    let shape = try fields.optionalText() ?? ""
    let summary = try fields.optionalText() ?? ""
    let initial = try fields.double()
    let sizes =
      shape.isEmpty ? [] : shape.split(separator: ",", omittingEmptySubsequences: false).map { $0.filter { $0 != " " } }
    let letters = Set(inputs.flatMap { $0.forms[0].shape })
    let isShape = sizes.allSatisfy { size in
      (Int(size).map { (1...65536).contains($0) } ?? false) || size != "N" && letters.contains(size)
    }
    guard isShape, sizes.count < Shape.maximumRank - 1, initial.isFinite else {
      throw TemperError(
        .pluginFailed,
        "State \(name): its shape is a list of the inputs' letters and numbers, such as \"C\", and its initial value finite."
      )
    }
    return SampleState(name, sizes, initial: initial, summary)
  }

  private static func parameter(_ image: ElfImage, at address: UInt64) throws(TemperError) -> Parameter {
    var fields = try FieldReader(image, at: address, what: "parameter")
    let type = try fields.int32()
    let name = try fields.name("name of a parameter")
    let summary = try fields.optionalText() ?? ""
    let (initial, lower, upper) = (try fields.double(), try fields.double(), try fields.double())
    let flags = try fields.uint32()
    _ = try fields.uint32()
    let (text, choices) = (try fields.optionalText(), try fields.optionalText())
    func wrong(_ what: String) -> TemperError { TemperError(.pluginFailed, "Parameter \(name): \(what).") }
    let isBounded = lower != 0 || upper != 0
    guard !isBounded || lower < upper else { throw wrong("its range goes from \(lower) to \(upper)") }
    let interval =
      isBounded
      ? Interval(
        lower, upper, includesLower: flags & TEMPER_EXCLUDES_LOWER == 0,
        includesUpper: flags & TEMPER_EXCLUDES_UPPER == 0) : .any
    switch type {
    case TEMPER_PLUGIN_BOOLEAN:
      guard initial == 0 || initial == 1 else { throw wrong("a boolean begins as 0 or 1, not \(initial)") }
      return .boolean(name, initial == 1, summary)
    case TEMPER_PLUGIN_INTEGER:
      let (low, high) = isBounded ? (Int(exactly: lower), Int(exactly: upper)) : (.min, .max)
      guard let low, let high, let whole = Int(exactly: initial), (low...high).contains(whole) else {
        throw wrong("default and range of an integer are whole numbers, and the default lies in the range")
      }
      return .integer(name, whole, in: low...high, summary)
    case TEMPER_PLUGIN_REAL:
      guard interval.contains(initial) else {
        throw wrong("its default \(initial) lies outside its range \(interval.description)")
      }
      return .real(name, initial, in: interval, summary)
    case TEMPER_PLUGIN_TEXT:
      guard let choices else { return .text(name, text ?? "", summary) }
      let words = choices.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      guard let initial = text, words.contains(initial) else {
        throw wrong("its default is not one of its choices \(choices)")
      }
      return .choice(name, words, initial: initial, summary)
    default: throw wrong("\(type) is not a type of a parameter")
    }
  }
}
