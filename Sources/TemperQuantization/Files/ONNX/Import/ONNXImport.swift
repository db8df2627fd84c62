import TemperCatalogue
import TemperCore
import TemperNetworks

/// A model made of an ONNX graph that another program wrote: its operators as layers, its constants as their weights.
///
/// Nodes are read in order. What depends on constants alone is computed; what only moves elements becomes part of where
/// later nodes find them; the rest becomes layers, one for an operator or for several that compute one thing.
struct ONNXImport {
  /// What is imported, for errors and documentation.
  static let supported =
    "dense layers (Gemm; MatMul with a matrix of the file), Conv and its pools in two dimensions, GlobalAveragePool, "
    + "ReduceMean over positions, BatchNormalization, LayerNormalization, RMSNormalization, GroupNormalization, "
    + "InstanceNormalization, embeddings (Gather), learned positions, attention over one sequence (MatMul, Softmax, "
    + "MatMul; causal or seeing all), the activations of PyTorch however they are written, sums, concatenations and "
    + "moves of what layers give, and scaling by constants"

  static func unsupported(_ title: String, _ why: String? = nil) -> TemperError {
    TemperError(
      .unsupported,
      "The node \(title) cannot become a layer. \(why.map { $0 + " " } ?? "")Imported are: \(supported).")
  }

  private enum Value {
    case constant(Tensor)
    case flow(ImportedFlow)
    case scores(ImportedScores)
    /// What could not be imported is an error where it is used.
    case broken(TemperError)
  }

  let program: ONNXProgram
  private let file: ONNXFile
  private let bytes: [UInt8]
  private let workers: Workers
  private let catalogue: Catalogue
  private var values: [String: Value] = [:]
  let recognition: Recognition
  private(set) var batch = 2
  /// How many elements the graph may still compute of constants.
  private var budget: Int

  static func model(
    _ file: ONNXFile, catalogue: Catalogue, workers: Workers
  ) throws(TemperError) -> Model {
    var graph = try ONNXImport(file, catalogue, workers)
    for entry in file.constants {
      do throws(TemperError) {
        graph.values[entry.name] = .constant(try file.tensor(entry, workers: workers))
      } catch { graph.values[entry.name] = .broken(error) }
    }
    if let text = file.metadata.first(where: { $0.key == Model.metadataName })?.value {
      return try graph.own(text)
    }
    return try graph.foreign()
  }

  private init(_ file: ONNXFile, _ catalogue: Catalogue, _ workers: Workers) throws(TemperError) {
    (self.file, self.workers, self.catalogue) = (file, workers, catalogue)
    bytes = try file.bytes()
    program = try ONNXProgram(bytes)
    recognition = try Recognition(catalogue, workers)
    budget = 4 * ONNXConstants.maximumCount + 8 * bytes.count
  }

  /// A file of ours says in its metadata what the model is; quantized weights are dequantized.
  private mutating func own(_ text: String) throws(TemperError) -> Model {
    for node in program.nodes where node.operation == "DequantizeLinear" {
      guard let codes = node.inputs.first, codes.hasSuffix(".codes") else { continue }
      let inputs = try node.inputs.map { (name) throws(TemperError) in try constant(name) }
      if let weight = try ONNXConstants.results(node, inputs, operatorSet: program.operatorSet)?.first {
        values[String(codes.dropLast(6))] = .constant(weight)
      }
    }
    let model = try Model(described: text, catalogue: catalogue)
    for variable in model.parameters + model.buffers {
      guard let tensor = try constant(variable.name) else {
        throw TemperError(.malformedFile, "The file holds no \"\(variable.name)\", which its model needs.")
      }
      try variable.tensor?.assign(from: try tensor.reshaped(variable.shape))
    }
    return model
  }

  private mutating func foreign() throws(TemperError) -> Model {
    let inputs = program.inputs.filter { values[$0.name] == nil }
    guard inputs.count == 1, program.outputs.count == 1 else {
      throw TemperError(
        .unsupported,
        "A model has one input and one output; the graph has \(inputs.count) and \(program.outputs.count).")
    }
    let (name, type, open) = inputs[0]
    let known = open.dropFirst().compactMap { $0 }
    guard let first = open.first, known.count == open.count - 1, known.allSatisfy({ $0 > 0 }) else {
      throw TemperError(
        .unsupported,
        "The sizes of the input \"\(name)\" must be fixed, but for the first, the batch's; export it so.")
    }
    batch = min(max(first ?? 2, 1), 4096)
    let sample = try Shape(validating: known)
    let shape = try Shape(validating: [batch] + known)
    let root = ImportedLayer(.input, on: nil, shape: known)
    values[name] = .flow(try ImportedFlow(root, shape))
    for node in program.nodes { try read(node) }
    let output: ImportedLayer
    switch values[program.outputs[0]] {
    case .flow(let flow)?: output = try flow.placed(batch: batch, title: "output \"\(program.outputs[0])\"").layer
    case .broken(let error)?: throw error
    case .constant?, .scores?, nil:
      throw TemperError(.unsupported, "The output \"\(program.outputs[0])\" does not come from layers.")
    }
    var weights: [String: Tensor] = [:]
    let layers = output.layers(above: root)
    guard layers.allSatisfy({ $0.nesting < 64 }) else {
      throw TemperError(.unsupported, "Sums within sums are deeper than a description may be.")
    }
    guard case .array(let described) = try ImportedLayer.described(layers, "", into: &weights) else {
      throw TemperError(.internalFault, "Layers are a list.")
    }
    let isDouble = type == ONNXType.double.rawValue
    let model = try Model(
      Description(described), input: sample, dtype: isDouble ? .float64 : .float32, catalogue: catalogue)
    for variable in model.parameters + model.buffers {
      guard let tensor = weights[variable.name], let target = variable.tensor else {
        throw TemperError(.malformedFile, "The graph gives no values for \"\(variable.name)\".")
      }
      let isWhole = tensor.count == target.count
      try target.assign(from: isWhole ? try tensor.reshaped(target.shape) : try tensor.broadcast(to: target.shape))
    }
    return model
  }

  // ------------------------------------------------------------------------------------------------------ Nodes

  private mutating func read(_ node: ONNXNode) throws(TemperError) {
    do throws(TemperError) {
      for (name, value) in zip(node.outputs, try results(node)) { values[name] = value }
    } catch {
      guard error.code != .outOfMemory else { throw error }
      for name in node.outputs { values[name] = .broken(error) }
    }
  }

  private func value(_ name: String) throws(TemperError) -> Value? {
    guard !name.isEmpty else { return nil }
    guard let value = values[name] else {
      throw TemperError(.malformedFile, "Nothing gives \"\(name)\" before it is read.")
    }
    if case .broken(let error) = value { throw error }
    return value
  }

  private func constant(_ name: String) throws(TemperError) -> Tensor? {
    if case .constant(let tensor)? = try value(name) { return tensor }
    return nil
  }

  private mutating func results(_ node: ONNXNode) throws(TemperError) -> [Value] {
    if node.operation == "Constant" { return [.constant(try written(node))] }
    var inputs: [Value?] = []
    for name in node.inputs { inputs.append(try value(name)) }
    let tensors = inputs.map { value -> Tensor? in if case .constant(let tensor)? = value { tensor } else { nil } }
    guard let first = inputs.first, let x = first else { throw ONNXImport.unsupported(node.title) }
    if zip(inputs, tensors).allSatisfy({ $0 == nil || $1 != nil }) {
      guard let results = try ONNXConstants.results(node, tensors, operatorSet: program.operatorSet) else {
        throw ONNXImport.unsupported(node.title)
      }
      budget -= results.reduce(0) { $0 + $1.count }
      guard budget > 0 else { throw TemperError(.unsupported, "The graph computes too many constants.") }
      return results.map { .constant($0) }
    }
    let sides = inputs.map { value -> ImportedFlow? in if case .flow(let flow)? = value { flow } else { nil } }
    let flows = sides.compactMap { $0 }
    if case .flow(let flow) = x {
      if let moved = try moved(node, flow, inputs, tensors) { return moved }
      if let layer = try layer(node, flow, tensors) { return [.flow(layer)] }
    }
    switch (x, node.operation) {
    case (.flow(let flow), "Shape"):
      let (sizes, rank) = (flow.shape.sizes.map { Int64($0) }, flow.shape.rank)
      let (start, end) = (node.integer("start"), node.integer("end", rank))
      let from = min(max(start < 0 ? start + rank : start, 0), rank)
      let to = min(max(end < 0 ? end + rank : end, from), rank)
      return [.constant(try Tensor(Array(sizes[from..<to])))]
    case (.constant(let table), "Gather"):
      guard flows.count == 1, let embedding = try embedding(node, table, flows[0]) else { break }
      return [.flow(embedding)]
    case (.flow(let a), "MatMul"):
      guard flows.count == 2, a.shape.rank == flows[1].shape.rank, a.shape.rank > 2 else { break }
      return [.scores(ImportedScores(queries: a, keys: flows[1]))]
    case (.scores(let scores), "MatMul"):
      guard scores.areWeights, let values = flows.first else { break }
      return [.flow(try scores.applied(to: values, batch: batch, title: node.title))]
    case (_, "Concat") where flows.count == inputs.count: return [.flow(try concatenation(node, flows))]
    default: break
    }
    if let scores = try scores(node, inputs, tensors) { return [.scores(scores)] }
    if let flow = try arithmetic(node, sides, tensors) { return [.flow(flow)] }
    throw ONNXImport.unsupported(node.title)
  }

  /// A node of the graph that is a constant.
  private func written(_ node: ONNXNode) throws(TemperError) -> Tensor {
    if let range = node.attributes["value"]?.tensor, let entry = try ONNXFile.entry(bytes, range) {
      return try file.tensor(entry, workers: workers)
    }
    for (name, attribute) in node.attributes {
      switch name {
      case "value_float": return try Tensor([attribute.real], shape: [])
      case "value_int": return try Tensor([Int64(attribute.integer)], shape: [])
      case "value_floats": return try Tensor(attribute.reals)
      case "value_ints": return try Tensor(attribute.integers.map { Int64($0) })
      default: break
      }
    }
    throw ONNXImport.unsupported(node.title)
  }

  /// What only moves elements of a flow.
  private func moved(
    _ node: ONNXNode, _ flow: ImportedFlow, _ inputs: [Value?], _ tensors: [Tensor?]
  ) throws(TemperError) -> [Value]? {
    guard zip(inputs.dropFirst(), tensors.dropFirst()).allSatisfy({ $0 == nil || $1 != nil }) else { return nil }
    switch node.operation {
    case "Identity", "Dropout", "Cast": return [.flow(flow)]
    case "Concat": return nil
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
      let name = node.operation == "Reshape" ? "shape" : "axes"
      let list = tensors.count > 1 ? try tensors[1]?.integers() : node.attributes[name]?.integers
      let shape = try ONNXConstants.reshaped(node, flow.shape, list)
      return [.flow(try ImportedFlow(flow.layer, shape, try flow.map?.reshaped(shape)))]
    case "Transpose", "Slice", "Split", "Gather":
      let places = [try flow.places()] + tensors.dropFirst()
      guard let moved = try ONNXConstants.layout(node, places, operatorSet: program.operatorSet) else { return nil }
      return try moved.map { (map) throws(TemperError) in
        .flow(try ImportedFlow(flow.layer, map.shape, map))
      }
    default: return nil
    }
  }

  private func embedding(
    _ node: ONNXNode, _ table: Tensor, _ indices: ImportedFlow
  ) throws(TemperError) -> ImportedFlow? {
    guard case .input = indices.layer.form, indices.map == nil, table.shape.rank == 2, node.integer("axis") == 0 else {
      return nil
    }
    let layer = ImportedLayer(
      .layer, "embedding", on: indices.layer, shape: indices.layer.shape + [table.shape[1]],
      options: [
        JSON.Member("entries", .integer(table.shape[0])), JSON.Member("size", .integer(table.shape[1])),
      ], weights: ["weight": table])
    return try ImportedFlow(layer, Shape(indices.shape.sizes + [table.shape[1]]))
  }

  private func concatenation(_ node: ONNXNode, _ flows: [ImportedFlow]) throws(TemperError) -> ImportedFlow {
    let placed = try flows.map { (flow) throws(TemperError) in try flow.placed(batch: batch, title: node.title) }
    let base = placed.dropFirst().reduce(placed[0].layer) { ImportedLayer.base($0, $1.layer) }
    let given = node.integer("axis")
    let axis = given < 0 ? given + placed[0].shape.rank : given
    guard axis > 0, placed.allSatisfy({ $0.shape.rank > axis }) else { throw ONNXImport.unsupported(node.title) }
    var sizes = placed[0].layer.shape
    sizes[axis - 1] = placed.reduce(0) { $0 + $1.shape[axis] }
    let layer = ImportedLayer(
      .layer, "parallel", on: base, shape: sizes, options: [JSON.Member("axis", .integer(axis - 1))],
      inner: placed.map { $0.layer.layers(above: base) })
    return try ImportedFlow(layer, Shape([batch] + sizes))
  }

  /// Scores scaled, masked, or made to weights.
  private func scores(
    _ node: ONNXNode, _ inputs: [Value?], _ tensors: [Tensor?]
  ) throws(TemperError) -> ImportedScores? {
    var found: ImportedScores?
    for case .scores(let scores)? in inputs { found = scores }
    guard var scores = found else { return nil }
    let constants = tensors.compactMap { $0 }
    switch node.operation {
    case "Identity", "Dropout", "Cast": return scores
    case "Softmax" where [-1, scores.shape.rank - 1].contains(node.integer("axis", -1)):
      scores.areWeights = true
      return scores
    case _ where scores.areWeights: return nil
    case "Mul", "Div":
      guard constants.count == 1, constants[0].count == 1, let factor = try constants[0].array().first,
        node.operation == "Mul" || tensors[1] != nil
      else { return nil }
      scores.factor *= node.operation == "Mul" ? factor : 1 / factor
      if scores.mask != nil { return nil }
      return scores
    case "Add":
      guard constants.count == 1, scores.mask == nil else { return nil }
      scores.mask = constants[0]
      return scores
    case "Where":
      // Minus infinity where the condition says so, or where it does not.
      guard constants.count == 2, let condition = tensors[0], scores.mask == nil else { return nil }
      let hidden = try constants[1].array()
      let isHidden = tensors[1] != nil
      guard hidden.count == 1, hidden[0] <= -1e4 else { return nil }
      let mask = try condition.array().map { ($0 != 0) == isHidden ? hidden[0] : 0 }
      scores.mask = try Tensor(mask, shape: condition.shape)
      return scores
    default: return nil
    }
  }
}

extension ONNXFile {
  /// The model that the file's graph is, as layers; weights are copied. An error names a node that cannot become one.
  package func model(catalogue: Catalogue, workers: Workers) throws(TemperError) -> Model {
    do throws(TemperError) {
      return try ONNXImport.model(self, catalogue: catalogue, workers: workers)
    } catch { throw error.from(path) }
  }
}
