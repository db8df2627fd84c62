import TemperCore
import TemperGraph

/// What a method is, and so how it is called (methods/README.md).
package enum MethodKind: String, Sendable, CaseIterable {
  case loss, op, activation, optimizer, schedule, layer, procedure, sampler, quantizer, detector, calibrator, metric
  case decoder, generator, experiment
}

/// Where a method comes from in the literature.
package struct Reference: Sendable, Hashable {
  package let authors: String
  package let year: Int
  package let title: String
  package let arXiv: String?

  package init(_ authors: String, _ year: Int, _ title: String, arXiv: String? = nil) {
    (self.authors, self.year, self.title, self.arXiv) = (authors, year, title, arXiv)
  }

  /// A paper known by its title.
  package init(title: String, arXiv: String? = nil) { self.init("", 0, title, arXiv: arXiv) }

  package var description: String {
    (authors.isEmpty ? "" : "\(authors), \(year). ") + title + "." + (arXiv.map { " arXiv \($0)." } ?? "")
  }
}

/// A named input. Sizes are numbers or letters that stand for one size throughout a call ("N" samples, "C" classes).
/// "..." stands for any sizes, also none; a formula sees them as one axis: ["N", "..."] as (N, M), ["...", "D"] as
/// (M, D), ["..."] as (M,). Real inputs of shape ["N"] come as (N, 1), index inputs with a last axis of size 1.
package struct Input: Sendable {
  package enum Element: Sendable, Hashable {
    case real
    /// Row numbers below the size named (class ids below "C"), passed as (..., 1) index expressions.
    case index(below: String?)
    /// 0 or 1.
    case mask
  }

  package struct Form: Sendable, Hashable {
    package let shape: [String]
    package let element: Element
    package init(_ shape: [String], _ element: Element = .real) { (self.shape, self.element) = (shape, element) }
  }

  package let name: String
  /// What may come; the first that fits is taken (class ids or probabilities).
  package let forms: [Form]
  package let isOptional: Bool
  /// Whether a gradient with respect to it may be asked for.
  package let isDifferentiable: Bool
  package let summary: String
  package let aliases: [String]
  /// The id that says "nothing here" (a vote that was not cast).
  package let none: Int?
  /// A whole number that shapes depend on: the formula sees a constant, and a plan is for one value of it.
  package let isSize: Bool
  /// Words: rows of UTF-8 bytes, padded with zeros to one length.
  package let isText: Bool
  /// Where the elements of a real input must lie.
  package let domain: Interval

  package init(
    _ name: String, aliases: [String] = [], _ forms: [Form], isOptional: Bool = false,
    isDifferentiable: Bool? = nil, none: Int? = nil, isSize: Bool = false, isText: Bool = false,
    in domain: Interval = .any, _ summary: String
  ) {
    (self.name, self.forms, self.isOptional, self.summary) = (name, forms, isOptional, summary)
    (self.aliases, self.none, self.isSize, self.isText, self.domain) = (aliases, none, isSize, isText, domain)
    self.isDifferentiable = isDifferentiable ?? forms.contains { $0.element == .real }
  }

  /// The same without its domain.
  var anywhere: Input {
    Input(
      name, aliases: aliases, forms, isOptional: isOptional, isDifferentiable: isDifferentiable, none: none,
      isSize: isSize, isText: isText, summary)
  }

  /// Scores before the softmax, (N, C).
  package static let logits = Input("logits", [Form(["N", "C"])], "Scores before the softmax.")
  /// Class ids (N,), or probabilities (N, C).
  package static let targets = Input(
    "targets", [Form(["N"], .index(below: "C")), Form(["N", "C"])], isDifferentiable: false,
    "Class ids, or a probability for each class.")
  package static let classIds = Input("targets", [Form(["N"], .index(below: "C"))], "Class ids.")
  /// Class ids of a loss that has no meaning for probabilities: `reason` says why.
  package static func classIds(_ name: String = "targets", alone reason: String) -> Input {
    Input(name, [Form(["N"], .index(below: "C"))], "Class ids, no probabilities: \(reason).")
  }
}

/// What a method keeps for each sample between calls.
package struct SampleState: Sendable {
  package let name: String
  /// Sizes for one sample, as letters of the inputs ("C").
  package let shape: [String]
  package let initial: Double
  /// The parameter whose value is the initial one.
  package let initialParameter: String?
  package let summary: String
  package init(
    _ name: String, _ shape: [String], initial: Double = 0, initialParameter: String? = nil, _ summary: String
  ) {
    (self.name, self.shape, self.initial, self.summary) = (name, shape, initial, summary)
    self.initialParameter = initialParameter
  }

  package func initialValue(_ arguments: Arguments) -> Double {
    if let name = initialParameter, case .real(let value)? = arguments.values[name] { value } else { initial }
  }
}

/// The record of a method: the single source of its entry in C, Python, listings, documentation and tests.
package struct Method: Sendable {
  package let name: String
  package var aliases: [String] = []
  package let kind: MethodKind
  /// The page of the catalogue: loss, noisy-labels, optim, …
  package let area: String
  package let summary: String
  package var reference: Reference?
  package var parameters: [Parameter] = []
  package var inputs: [Input] = []
  package var state: [SampleState] = []
  /// Facts that callers and the harness build on: "batch" (a loss with one value), "elementwise" (an update rule that
  /// sees a parameter as a flat array), "reduces_axis" (an operator), "whole" (its result holds whole numbers),
  /// "smooth", "shift_invariant", "nonnegative", "holds_constants" (parts count as constants in the gradient, which is not
  /// the value's slope), "first_order" (a loss without second derivatives), …
  package var properties: Set<String> = []
  /// What the elements must fulfil beyond their forms; throws for a call that is outside the formula's domain.
  package var check: Check?
  /// Name, version and licence of the plug-in it came with; nil for our own.
  package var origin: String?
  /// More of that plug-in; nil for our own.
  package var plugin: PluginFacts?
  /// What it was composed of.
  package var parts: [Method] = []
  package let implementation: Implementation

  package typealias Check = @Sendable (_ inputs: [String: Tensor], _ arguments: Arguments) throws(TemperError) -> Void

  package init(
    _ name: String, aliases: [String] = [], kind: MethodKind, area: String, summary: String,
    reference: Reference? = nil, parameters: [Parameter] = [], inputs: [Input] = [], state: [SampleState] = [],
    properties: Set<String> = [], check: Check? = nil, origin: String? = nil, implementation: Implementation
  ) {
    (self.name, self.aliases, self.kind, self.area, self.summary) = (name, aliases, kind, area, summary)
    (self.reference, self.parameters, self.inputs, self.state) = (reference, parameters, inputs, state)
    (self.properties, self.check, self.origin, self.implementation) = (properties, check, origin, implementation)
  }
}

/// How a method is built. Losses, operators and update rules are expressions; other rooms bring their own makers.
package enum Implementation: Sendable {
  /// The value by sample, (N, 1), or one value for the batch, (1, 1).
  case loss(@Sendable (Formula) throws(TemperError) -> Expression)
  /// An array from arrays. Operators with one input work along the last axis; callers move the axis.
  case operation(@Sendable (Formula) throws(TemperError) -> Expression)
  /// One step of one parameter.
  case update(@Sendable (Update) throws(TemperError) -> Expression)
  /// One step of one parameter around that of another method, which the parameter "base" names.
  case updateAround(@Sendable (Update, _ base: Method) throws(TemperError) -> Expression)
  /// A method that sees losses and gradients at points of its choosing.
  case search(@Sendable (Arguments) throws(TemperError) -> any PointSearch)
  /// The value at a step.
  case schedule(@Sendable (Arguments) throws(TemperError) -> @Sendable (_ step: Double) -> Double)
  /// A schedule that depends on what was observed.
  case adaptiveSchedule(@Sendable (Arguments) throws(TemperError) -> AdaptiveSchedule)
  /// A schedule made of others, which it finds by name.
  case scheduleOf(
    @Sendable (Arguments, Catalogue) throws(TemperError) -> @Sendable (_ step: Double) -> Double)
  /// What can be asked of a method over arrays, and what it keeps in between.
  case arrays([ArrayCall], keeps: [Input])
  /// A maker that the room of this kind defines (quantizers, layers, procedures, …).
  case component(any Sendable)
}
