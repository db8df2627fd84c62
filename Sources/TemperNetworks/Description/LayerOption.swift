import TemperCatalogue
import TemperCore

/// One option of a layer. The catalogue shows its `parameter`; `form` says how it is written in a description.
package struct LayerOption: Sendable {
  package enum Form: Sendable {
    case value
    /// A number for both axes or a list [height, width].
    case pair
    /// A number, a list [height, width], or "same".
    case padding
    case sizes
    case layers
    case branches
    /// A name, or {name: options}.
    case named
  }

  package let parameter: Parameter
  package let form: Form

  package var name: String { parameter.name }

  package init(_ parameter: Parameter, _ form: Form = .value) { (self.parameter, self.form) = (parameter, form) }

  /// The same option under another name too.
  func named(also alias: String) -> LayerOption { LayerOption(parameter.named(also: alias), form) }

  /// The same option without a default, under another name too.
  func requiredOption(also alias: String) -> LayerOption {
    LayerOption(parameter.required, form).named(also: alias)
  }

  static let sizeRange = 1...(1 << 40)
  /// Windows, strides and paddings.
  static let reachRange = 0...65_536

  /// A size that must be given.
  static func size(_ name: String, _ summary: String) -> LayerOption {
    LayerOption(.integer(name, 1, in: sizeRange, summary).required)
  }

  static func integer(_ name: String, _ initial: Int, in range: ClosedRange<Int> = sizeRange, _ summary: String)
    -> LayerOption
  {
    LayerOption(.integer(name, initial, in: range, summary))
  }

  static func real(_ name: String, _ initial: Double, in interval: Interval = .any, _ summary: String) -> LayerOption {
    LayerOption(.real(name, initial, in: interval, summary))
  }

  static func boolean(_ name: String, _ initial: Bool, _ summary: String) -> LayerOption {
    LayerOption(.boolean(name, initial, summary))
  }

  static func choice(_ name: String, _ words: [String], _ summary: String) -> LayerOption {
    LayerOption(.choice(name, words, summary))
  }

  static func pair(_ name: String, _ initial: Int, in range: ClosedRange<Int> = 1...65_536, _ summary: String)
    -> LayerOption
  {
    LayerOption(.integer(name, initial, in: range, summary + " A number or [height, width]."), .pair)
  }

  static func initializer(_ name: String = "initializer", _ initial: String, _ summary: String = "Of the weights.")
    -> LayerOption
  {
    LayerOption(.text(name, initial, summary + " One of \(Initializer.names.joined(separator: ", "))."), .named)
  }
}

/// The options of one layer as a description gives them, checked.
package struct LayerOptions: Sendable {
  private let given: [String: JSON]
  private let declared: [LayerOption]
  /// Values of the options written as plain values.
  package let arguments: Arguments

  /// `setting`: null, an object of options, or the value of the option `main`.
  package init(_ setting: JSON, declared: [LayerOption], main: String?) throws(TemperError) {
    var given: [String: JSON] = [:]
    switch setting {
    case .null: break
    case .object(let members):
      for member in members {
        guard let option = declared.first(where: { $0.parameter.isCalled(member.name) }) else {
          let known = declared.map(\.name).joined(separator: ", ")
          throw TemperError(
            .unknownName,
            "There is no option \"\(member.name)\"; " + (known.isEmpty ? "there are none." : "there are: \(known)."))
        }
        guard given.updateValue(member.value, forKey: option.name) == nil else {
          throw TemperError(.invalidArgument, "The option \"\(option.name)\" comes twice, under two names.")
        }
      }
    default:
      guard let main else {
        throw TemperError(.invalidArgument, "It takes no value; \(setting.serialized.prefix(80)) came.")
      }
      given[main] = setting
    }
    for option in declared where option.parameter.isRequired && given[option.name] == nil {
      throw TemperError(.invalidArgument, "The option \"\(option.name)\" is missing. \(option.parameter.summary)")
    }
    let plain = declared.filter { if case .value = $0.form { true } else { false } }
    var values: [(name: String, value: Value)] = []
    for option in plain {
      guard let json = given[option.name] else { continue }
      guard let value = json.value else {
        throw TemperError(
          .invalidArgument,
          "The option \"\(option.name)\" takes \(option.parameter.domain); \(json.serialized.prefix(80)) came.")
      }
      values.append((option.name, value))
    }
    (self.given, self.declared) = (given, declared)
    arguments = try Arguments(values, for: plain.map(\.parameter))
  }

  package func has(_ name: String) -> Bool { given[name] != nil && given[name] != .null }

  private func option(_ name: String) -> LayerOption {
    guard let option = declared.first(where: { $0.name == name }) else {
      preconditionFailure("a layer reads an option \(name) that it does not declare")
    }
    return option
  }

  private func wrong(_ name: String, _ takes: String) -> TemperError {
    let came = given[name]?.serialized.prefix(80) ?? "nothing"
    return TemperError(.invalidArgument, "The option \"\(name)\" takes \(takes); \(came) came.")
  }

  /// Whole numbers for height and width.
  package func pair(_ name: String) throws(TemperError) -> [Int] {
    let parameter = option(name).parameter
    var elements: [JSON]
    switch given[name] {
    case .array(let list)?: elements = list
    case let single?: elements = [single, single]
    case nil: elements = [parameter.initial.json, parameter.initial.json]
    }
    guard elements.count == 2 else { throw wrong(name, "a number or two, [height, width]") }
    var pair: [Int] = []
    for element in elements {
      guard let value = element.value else { throw wrong(name, "whole numbers") }
      pair.append(try Arguments([(name, value)], for: [parameter]).integer(name))
    }
    return pair
  }

  /// nil means "same".
  package func padding(_ name: String) throws(TemperError) -> [Int]? {
    switch given[name] {
    case .text("same")?: return nil
    case .text?: throw wrong(name, "a number, [height, width], or \"same\"")
    default: return try pair(name)
    }
  }

  /// Whole numbers of any count.
  package func sizes(_ name: String) throws(TemperError) -> [Int] {
    var elements: [JSON] = []
    switch given[name] {
    case .array(let list)?: elements = list
    case let single?: elements = [single]
    case nil: break
    }
    var sizes: [Int] = []
    for element in elements {
      guard case .integer(let size) = element else { throw wrong(name, "a list of whole numbers") }
      sizes.append(size)
    }
    return sizes
  }

  /// A list of layers, or nil where the option is left out.
  package func layers(_ name: String) throws(TemperError) -> [JSON]? {
    guard let json = given[name], json != .null else { return nil }
    guard case .array(let layers) = json else { throw wrong(name, "a list of layers") }
    return layers
  }

  /// A name and its setting: what the description gives, or else the default's name.
  package func named(_ name: String) throws(TemperError) -> (name: String, setting: JSON) {
    switch given[name] {
    case nil:
      guard case .text(let initial) = option(name).parameter.initial else {
        preconditionFailure("the default of \(name) is not a name")
      }
      return (initial, .null)
    case .text(let text)?: return (text, .null)
    case .object(let members)? where members.count == 1: return (members[0].name, members[0].value)
    default: throw wrong(name, "a name or {name: options}")
    }
  }
}

extension JSON {
  /// As the value of a parameter; nil for lists and objects.
  var value: Value? {
    switch self {
    case .null: Value.none
    case .boolean(let value): .boolean(value)
    case .integer(let value): .integer(value)
    case .real(let value): .real(value)
    case .text(let value): .text(value)
    case .array, .object: nil
    }
  }
}
