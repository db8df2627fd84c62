import TemperCatalogue
import TemperCore
import TemperGraph

/// What flows between layers: the shape of one sample, and whether it is numbers or indices.
package struct Signature: Hashable, Sendable {
  package var shape: Shape
  package var kind: Kind
  package init(_ shape: Shape, _ kind: Kind = .real) { (self.shape, self.kind) = (shape, kind) }
}

/// A layer with what comes out of it.
struct BuiltLayer: Sendable {
  let forward: Forward
  let output: Signature
  /// Of a sequence, what it puts one after the other.
  var steps: [Forward] = []
}

/// What a model gathers while its layers are built.
final class Assembly {
  let catalogue: Catalogue
  var parameters: [Variable] = []
  var buffers: [Variable] = []
  var rows: [SummaryRow] = []
  /// Input indices must be below this: the smallest table that looks them up.
  var indexLimit = Int(Int32.max)
  /// An embedding marks its padding index, so that attention can leave those positions out.
  var makesMask = false
  /// Attention with a key mask before any embedding made one: the caller gives it.
  var needsMask = false
  /// A layer draws random numbers in inference too.
  var drawsAtInference = false
  /// A layer's noise has both signs: every step takes two passes.
  var isMirrored = false
  /// What is declared now is not trained.
  var isFreezing = false
  /// Variables that start from what others start with, in the order of declaration.
  var starts: [DerivedStart] = []
  /// What is restored after every step of an optimizer.
  var constraints: [Constraint] = []

  init(_ catalogue: Catalogue) { self.catalogue = catalogue }
}

/// What a new model's variable starts with: something made of the variables declared before it.
struct DerivedStart: Sendable {
  let name: String
  let values: @Sendable (Model) throws(TemperError) -> [Double]
}

/// Brings a model's variables back to where they must be.
typealias Constraint = @Sendable (Model) throws(TemperError) -> Void

/// What a layer sees while it is built: its options, the shape that comes in, and where its parameters go.
package final class LayerBuilder {
  package let options: LayerOptions
  private let signature: Signature
  let name: String
  let path: String
  let assembly: Assembly

  init(_ options: LayerOptions, input: Signature, name: String, path: String, assembly: Assembly) {
    (self.options, signature, self.name, self.path, self.assembly) = (options, input, name, path, assembly)
  }

  /// The shape of one sample of what comes in.
  package var input: Shape { signature.shape }

  package func integer(_ name: String) -> Int { options.arguments.integer(name) }
  package func real(_ name: String) -> Double { options.arguments.real(name) }
  package func boolean(_ name: String) -> Bool { options.arguments.boolean(name) }
  package func text(_ name: String) -> String { options.arguments.text(name) }

  package func initializer(_ name: String = "initializer") throws(TemperError) -> Initializer {
    let (name, setting) = try options.named(name)
    return try Initializer(name, setting: setting)
  }

  /// The rank of a sample must be one of `ranks`.
  package func requireRank(_ ranks: ClosedRange<Int>, _ form: String) throws(TemperError) {
    guard ranks.contains(input.rank) else {
      throw TemperError(.invalidShape, "It takes \(form); samples of shape \(input) came.")
    }
  }

  /// Sizes whose product no arithmetic on shapes can overflow; every layer that enlarges its input asks first.
  package func requireSize(_ sizes: [Int]) throws(TemperError) { _ = try Shape(validating: [1] + sizes) }

  /// How errors name the layer.
  var origin: String { "layer \(path) (\(name))" }

  /// Input indices are looked up in a table of `entries` rows.
  func limitIndices(to entries: Int) { assembly.indexLimit = min(assembly.indexLimit, entries) }

  /// From here on passes have a mask, made by this layer.
  func makesMask() { assembly.makesMask = true }

  /// Passes must have a mask when they come here; the caller gives it where no layer made one.
  func needsMask() { if !assembly.makesMask { assembly.needsMask = true } }

  /// In inference too, passes that come here have a clock.
  func drawsAtInference() { assembly.drawsAtInference = true }

  /// Every step of training takes two passes, the second with `Pass.isMirrored`.
  func takesPairs() { assembly.isMirrored = true }

  /// What `build` declares is not trained.
  func freezing<T>(_ build: () throws(TemperError) -> T) throws(TemperError) -> T {
    let kept = assembly.isFreezing
    assembly.isFreezing = true
    defer { assembly.isFreezing = kept }
    return try build()
  }

  /// A new model's variable starts with what `values` makes of the variables before it.
  func start(
    _ name: String, _ values: @escaping @Sendable (Model) throws(TemperError) -> [Double]
  ) { assembly.starts.append(DerivedStart(name: name, values: values)) }

  /// After every step of an optimizer the model is brought back to where it must be.
  func constrain(_ constraint: @escaping Constraint) { assembly.constraints.append(constraint) }

  /// Declares a trained array, or a frozen one, and gives its full name.
  package func parameter(
    _ name: String, _ shape: [Int], _ initializer: Initializer, fanIn: Int = 1, fanOut: Int = 1,
    use: Variable.Use = .elements, isFrozen: Bool = false
  ) throws(TemperError) -> String {
    let full = path + "." + name
    assembly.parameters.append(
      Variable(
        name: full, shape: try Shape(validating: shape), use: use, isFrozen: isFrozen || assembly.isFreezing,
        initial: .init(initializer: initializer, fanIn: fanIn, fanOut: fanOut)))
    return full
  }

  /// Declares an array that the forward pass updates and gives its full name.
  package func buffer(_ name: String, _ shape: [Int], initial: Double) throws(TemperError) -> String {
    try buffer(name, shape, .constant(initial))
  }

  func buffer(
    _ name: String, _ shape: [Int], _ initializer: Initializer, fanIn: Int = 1, fanOut: Int = 1
  ) throws(TemperError) -> String {
    let full = path + "." + name
    assembly.buffers.append(
      Variable(
        name: full, shape: try Shape(validating: shape),
        initial: .init(initializer: initializer, fanIn: fanIn, fanOut: fanOut)))
    return full
  }

  /// Builds layers one after the other below this one: "path.0", "path.1", …
  func sequence(
    _ layers: [JSON], named name: String? = nil, input: Signature? = nil
  ) throws(TemperError) -> BuiltLayer {
    try assembly.sequence(layers, input: input ?? signature, path: name.map { "\(path).\($0)" } ?? path)
  }

  /// Builds one layer, or a list of them, below this one.
  func layer(_ json: JSON, named name: String, input: Signature? = nil) throws(TemperError) -> BuiltLayer {
    try assembly.layer(json, input: input ?? signature, path: "\(path).\(name)")
  }

  /// The layers of the option "layers", below this one.
  func held() throws(TemperError) -> BuiltLayer { try sequence(try options.layers("layers") ?? []) }
}

extension Assembly {
  /// `path` is empty for the model itself.
  func sequence(_ layers: [JSON], input: Signature, path: String) throws(TemperError) -> BuiltLayer {
    var steps: [Forward] = []
    var signature = input
    for (index, json) in layers.enumerated() {
      let built = try layer(json, input: signature, path: path.isEmpty ? String(index) : "\(path).\(index)")
      steps.append(built.forward)
      signature = built.output
    }
    let chain = steps
    return BuiltLayer(
      forward: { x, pass in chain.reduce(x) { $1($0, pass) } }, output: signature, steps: chain)
  }

  func layer(_ json: JSON, input: Signature, path: String) throws(TemperError) -> BuiltLayer {
    switch try DescriptionEntry(json, at: path) {
    case .sequence(let layers): return try sequence(layers, input: input, path: path)
    case .layer(let name, let setting):
      do throws(TemperError) {
        return try layer(name, setting, input: input, path: path)
      } catch {
        throw error.from("layer \(path) (\(name))")
      }
    }
  }

  private func layer(
    _ name: String, _ setting: JSON, input: Signature, path: String
  ) throws(TemperError) -> BuiltLayer {
    let definition = try LayerDefinition.find(name, in: catalogue)
    let holdsLayers = definition.options.contains { $0.form == .layers || $0.form == .branches }
    guard definition.takesIndices || input.kind == .real || holdsLayers else {
      throw TemperError(.invalidType, "It takes numbers, and indices came; begin with an embedding.")
    }
    guard !definition.takesIndices || input.kind == .index else {
      throw TemperError(.invalidType, "It takes indices and can only be the first layer.")
    }
    let options = try LayerOptions(setting, declared: definition.options, main: definition.main)
    let builder = LayerBuilder(options, input: input, name: name, path: path, assembly: self)
    let (parametersBefore, row) = (parameters.count, rows.count)
    let forward = try definition.build(builder)
    let output = try probe(forward, input)
    rows.insert(
      SummaryRow(
        path: path, name: name, output: output.shape,
        parameterCount: holdsLayers ? 0 : parameters[parametersBefore...].reduce(0) { $0 + $1.shape.count }),
      at: row)
    return BuiltLayer(
      forward: { x, pass in
        let y = pass.changed(forward(x, pass), from: path)
        pass.outputs[path] = y
        return y
      }, output: output)
  }
}

extension Assembly {
  /// What comes out of a layer for samples of `input`: the layer is run on expressions of a small batch.
  func probe(_ forward: Forward, _ input: Signature) throws(TemperError) -> Signature {
    let batch = 2
    let pass = Pass(
      VariableTable(parameters: parameters, buffers: buffers), mode: .inference, clock: .input("clock", [4], .index),
      mask: input.shape.sizes.first.map { .input("mask", [batch, $0]) })
    let y = forward(.input("x", Shape([batch] + input.shape.sizes), input.kind), pass)
    if let error = y.error { throw error }
    guard y.shape.sizes.first == batch else {
      throw TemperError(
        .invalidShape, "A layer gave shape \(y.shape) for a batch of \(batch); the first axis is the batch.")
    }
    _ = try Shape(validating: y.shape.sizes)
    return Signature(Shape(Array(y.shape.sizes.dropFirst())), y.kind)
  }
}
