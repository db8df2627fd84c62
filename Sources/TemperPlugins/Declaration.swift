import TemperCatalogue
import TemperCore

/// What a plug-in of any form says of itself before any of its code runs.
struct Declaration: Sendable {
  let name: String, version: String, licence: String, summary: String
  let losses: [LossDescriptor]
  /// Losses of kinds that this host does not know.
  var skipped: [String] = []

  /// What the catalogue says of where a loss comes from.
  var origin: String { "\(name) \(version) (\(licence))" }
}

struct LossDescriptor: Sendable {
  enum Kind: Sendable {
    case function(UInt64, hasFloat64: Bool, hasProducts: Bool)
    case composed(UInt64, isOfBatch: Bool)
    case formula(FormulaText, isOfBatch: Bool)
    case foreign(ForeignDeclaration)
    case python(PythonDeclaration)

    var form: PluginFacts.Form {
      switch self {
      case .function: .function
      case .composed: .composed
      case .formula: .formula
      case .foreign: .foreign
      case .python: .python
      }
    }

    /// Whether it computes numbers, which a process of its own can do too.
    var canBeIsolated: Bool {
      switch self {
      case .function, .foreign, .python: true
      case .composed, .formula: false
      }
    }

    /// What is known of the function before it is made.
    func traits(of loss: LossDescriptor) throws(TemperError) -> (precisions: Precisions, hasGradient: Bool) {
      switch self {
      case .function(_, let hasFloat64, _): (hasFloat64 ? .both : .float32, true)
      case .foreign(let foreign): (try foreign.plans(loss).value.precision, try foreign.hasGradient(loss))
      case .python(let python): (.both, python.hasGradient)
      case .composed, .formula: (.both, true)
      }
    }
  }

  let kind: Kind
  let name: String, summary: String
  let reference: String?
  let inputs: [Input]
  /// Where the probe draws values from.
  let ranges: [ClosedRange<Double>]
  let parameters: [Parameter]
  /// What it keeps for each sample.
  var states: [SampleState] = []

  /// Whether it writes products with second derivatives.
  var hasProducts: Bool { if case .function(_, _, let hasProducts) = kind { hasProducts } else { false } }
}

/// A function of any shared library: form 4.
struct ForeignDeclaration: Sendable {
  /// A path, or a name that the system's loader finds ("libm.so.6").
  let library: String
  let symbol: String
  let signature: ForeignSignature
  /// A second function for the gradient, where the first does not give it.
  let gradient: (symbol: String, signature: ForeignSignature)?
  /// How the values of a sample's elements become one.
  let isMean: Bool
}

/// A function of Python: forms 5 and 6.
struct PythonDeclaration: Sendable {
  enum Arrays: String, Sendable, CaseIterable { case numpy, torch, jax, buffer }

  /// Its name in the file; nil for an object that was handed over.
  let function: String?
  let arrays: Arrays
  /// Whether it returns (values, gradients) instead of values.
  let returnsGradients: Bool
}
