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

  init(_ catalogue: Catalogue) { self.catalogue = catalogue }
}

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

  /// Declares a trained array and gives its full name.
  package func parameter(
    _ name: String, _ shape: [Int], _ initializer: Initializer, fanIn: Int = 1, fanOut: Int = 1,
    use: Variable.Use = .elements
  ) throws(TemperError) -> String {
    let full = path + "." + name
    assembly.parameters.append(
      Variable(
        name: full, shape: try Shape(validating: shape), use: use,
        initial: .init(initializer: initializer, fanIn: fanIn, fanOut: fanOut)))
    return full
  }

  /// Declares an array that the forward pass updates and gives its full name.
  package func buffer(_ name: String, _ shape: [Int], initial: Double) throws(TemperError) -> String {
    let full = path + "." + name
    assembly.buffers.append(
      Variable(
        name: full, shape: try Shape(validating: shape), use: .elements,
        initial: .init(initializer: .constant(initial), fanIn: 1, fanOut: 1)))
    return full
  }

  /// Builds layers one after the other below this one: "path.0", "path.1", …
  func sequence(_ layers: [JSON], named name: String? = nil) throws(TemperError) -> BuiltLayer {
    try assembly.sequence(layers, input: signature, path: name.map { "\(path).\($0)" } ?? path)
  }

  /// Builds one layer, or a list of them, below this one.
  func layer(_ json: JSON, named name: String) throws(TemperError) -> BuiltLayer {
    try assembly.layer(json, input: signature, path: "\(path).\(name)")
  }
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
      forward: { x, pass in chain.reduce(x) { $1($0, pass) } }, output: signature)
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
        let y = forward(x, pass)
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
      VariableTable(parameters: parameters, buffers: buffers), mode: .inference,
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
