import TemperCatalogue
import TemperCore
import TemperGraph

/// A network: an architecture built for one shape of sample, with its parameters. Used by one thread at a time.
package final class Model {
  package let description: Description
  /// One sample of the input: its shape, and whether it is numbers or indices.
  package let input: Signature
  /// The shape of one sample of the output.
  package let output: Shape
  /// float32 or float64: of parameters, inputs and outputs.
  package let dtype: DType
  /// Input indices must be below this.
  package let indexLimit: Int
  /// Whether a pass needs the mask (N, T) of positions that attention may see.
  package let needsMask: Bool
  /// All trained parameters one after the other, each from a multiple of 64 bytes on, gaps zero: what `trained` are views
  /// of. Its gaps stay zero under any element-wise update that leaves zeros with zero gradient.
  package let flat: Tensor
  /// Operations of another room that stand in for products with weights at inference, by the weight's name.
  package var replacements: [String: Pass.Replacement] = [:] {
    didSet {
      predictions.removeAll()
      backward = nil
    }
  }

  /// Whether every step of training takes two passes, the second with `Pass.isMirrored`.
  package let isMirrored: Bool
  /// Key and step of random numbers that layers draw in inference; nil where none does.
  let noiseClock: Tensor?
  private var noiseStep: UInt64 = 0
  private let noiseKey: UInt64
  private let constraints: [Constraint]
  private let starts: [DerivedStart]

  let rows: [SummaryRow]
  let variables: VariableTable
  private let forwardLayers: Forward
  private let steps: [Forward]
  var predictions: [Prediction] = []
  var backward: Backward?

  package var parameters: [Variable] { variables.parameters }
  /// The parameters that optimizers move: what `flat` holds.
  package var trained: [Variable] { parameters.filter { !$0.isFrozen } }
  /// What only layers change, or nobody: frozen parameters and buffers.
  package var kept: [Variable] { parameters.filter(\.isFrozen) + buffers }
  package var buffers: [Variable] { variables.buffers }
  package func variable(_ name: String) -> Variable? { variables[name] }

  /// Builds the layers of `description` for samples of shape `input`. Every parameter starts from the random stream of
  /// (seed, its name). Parameters named in `absent` get no memory: a replacement must stand in for them.
  package convenience init(
    _ description: Description, input: Shape, dtype: DType = .float32, seed: UInt64 = 0, catalogue: Catalogue,
    absent: Set<String> = []
  ) throws(TemperError) {
    try self.init(
      unfilled: description, input: input, dtype: dtype, seed: seed, catalogue: catalogue, absent: absent)
    for variable in parameters + buffers {
      guard let tensor = variable.tensor else { continue }
      try variable.initial.initializer.fill(
        tensor, fanIn: variable.initial.fanIn, fanOut: variable.initial.fanOut,
        random: Random(seed: seed).stream(variable.name))
    }
    for start in starts {
      guard let tensor = self.variable(start.name)?.tensor else { continue }
      try tensor.assign(from: try Tensor(start.values(self), shape: tensor.shape))
    }
  }

  /// The same with all parameters and buffers zero. `tensors` of a file that is to fill them are compared with what the
  /// model needs before any memory is taken for it.
  init(
    unfilled description: Description, input: Shape, dtype: DType, seed: UInt64 = 0, catalogue: Catalogue,
    absent: Set<String>, for tensors: [(name: String, tensor: Tensor)]? = nil
  ) throws(TemperError) {
    guard dtype.isFloating else {
      throw TemperError(.invalidType, "A model computes in float32 or float64; \(dtype.name) came.")
    }
    // One axis is the batch's.
    guard input.rank < Shape.maximumRank, input.sizes.allSatisfy({ $0 > 0 }) else {
      throw TemperError(
        .invalidShape,
        "The shape of one sample has at most \(Shape.maximumRank - 1) sizes, all above 0; \(input) came.")
    }
    let shape = try Shape(validating: input.sizes)
    let signature = Signature(shape, try description.takesIndices(catalogue) ? .index : .real)
    let assembly = Assembly(catalogue)
    let built = try assembly.sequence(description.layers, input: signature, path: "")
    _ = try assembly.probe(built.forward, signature)
    guard built.output.kind == .real else {
      throw TemperError(.invalidType, "The model gives indices and not numbers; it needs layers.")
    }
    (self.description, self.input, output, self.dtype) = (description, signature, built.output.shape, dtype)
    (indexLimit, needsMask, isMirrored) = (assembly.indexLimit, assembly.needsMask, assembly.isMirrored)
    (starts, constraints) = (assembly.starts, assembly.constraints)
    noiseClock = assembly.drawsAtInference ? try Tensor(zeros: [4], .int32) : nil
    noiseKey = Random(seed: seed).stream("noise").key
    (rows, forwardLayers, steps) = (assembly.rows, built.forward, built.steps)
    if let tensors {
      _ = try Model.match(tensors, (assembly.parameters + assembly.buffers).filter { !absent.contains($0.name) })
    }
    (variables, flat) = try Model.allocate(assembly, dtype, absent)
  }

  private static func allocate(
    _ assembly: Assembly, _ dtype: DType, _ absent: Set<String>
  ) throws(TemperError) -> (VariableTable, Tensor) {
    let known = Set(assembly.parameters.map(\.name))
    if let name = absent.subtracting(known).min() {
      throw TemperError(.unknownName, "The model has no parameter \"\(name)\" that could be absent.")
    }
    let step = 64 / dtype.byteCount
    var starts: [Int] = []
    var count = 0
    for parameter in assembly.parameters {
      starts.append(count)
      if !absent.contains(parameter.name) && !parameter.isFrozen {
        count += (parameter.shape.count + step - 1) / step * step
      }
      guard count <= Shape.maximumCount else {
        throw TemperError(.outOfMemory, "The model has more than 2^46 parameters.")
      }
    }
    let flat = try Tensor(zeros: [count], dtype)
    var (parameters, buffers) = (assembly.parameters, assembly.buffers)
    for index in parameters.indices {
      let shape = parameters[index].shape
      if absent.contains(parameters[index].name) {
        parameters[index].isAbsent = true
      } else if parameters[index].isFrozen {
        parameters[index].tensor = try Tensor(zeros: shape, dtype)
      } else {
        parameters[index].tensor = try Tensor(
          storage: flat.storage, byteOffset: starts[index] * dtype.byteCount, dtype: dtype, shape: shape,
          strides: shape.denseStrides)
      }
    }
    for index in buffers.indices { buffers[index].tensor = try Tensor(zeros: buffers[index].shape, dtype) }
    return (VariableTable(parameters: parameters, buffers: buffers), flat)
  }

  /// A fresh pass. `values` stand for parameters and buffers by name; the others are inputs named after themselves, for
  /// `bind`. Several passes of one step that draw random numbers need different `firstStream`s, 2^16 apart.
  package func pass(
    _ mode: Pass.Mode, values: [String: Expression] = [:], clock: Expression? = nil, mask: Expression? = nil,
    firstStream: UInt32 = 0, isMirrored: Bool = false
  ) -> Pass {
    Pass(
      variables, mode: mode, values: values,
      clock: clock ?? (noiseClock == nil ? nil : .input(Model.noiseInput, [4], .index)), mask: mask,
      replacements: replacements, firstStream: firstStream, isMirrored: isMirrored)
  }

  private static let noiseInput = "noise clock"

  /// What an inference pass reads besides variables, by name: where layers draw random numbers, their clock.
  package var noise: [String: Tensor] { noiseClock.map { [Model.noiseInput: $0] } ?? [:] }

  /// Fresh random numbers for layers that draw them in inference: a function of the model's seed and of how often this
  /// was called. Before every run of an inference pass.
  package func refreshNoise() throws(TemperError) {
    guard let noiseClock else { return }
    let words = [noiseKey, noiseKey >> 32, noiseStep, noiseStep >> 32].map { Int32(truncatingIfNeeded: $0) }
    try noiseClock.assign(from: try Tensor(words))
    noiseStep &+= 1
  }

  /// Brings parameters back to where their layers need them; after every step of an optimizer.
  package func constrain() throws(TemperError) { for constraint in constraints { try constraint(self) } }

  /// The output (N, …) for an input (N, …).
  package func forward(_ x: Expression, _ pass: Pass) -> Expression {
    if x.error != nil { return x }
    guard x.shape.rank >= 1, Array(x.shape.sizes.dropFirst()) == input.shape.sizes, x.kind == input.kind else {
      return .invalid(
        .invalidShape,
        "The model takes a batch of \(input.kind == .index ? "indices" : "samples") of shape \(input.shape); \(x.kind) of shape \(x.shape) came."
      )
    }
    return forwardLayers(x, pass)
  }

  /// What some of the description's layers make of what the layers before them gave.
  package func forward(_ x: Expression, _ pass: Pass, layers: Range<Int>) -> Expression {
    steps[layers].reduce(x) { $1($0, pass) }
  }

  /// Binds every parameter and buffer that the plan reads.
  package func bind(to execution: Execution) throws(TemperError) {
    for (name, _, _) in execution.plan.inputs {
      if let tensor = variables[name]?.tensor { try execution.bind(name, to: tensor) }
      if name == Model.noiseInput, let noiseClock { try execution.bind(name, to: noiseClock) }
    }
  }
}

extension Description {
  /// Whether the first layer that sees the input looks up indices.
  func takesIndices(_ catalogue: Catalogue) throws(TemperError) -> Bool {
    var layers = layers
    var path = "0"
    while let first = layers.first {
      switch try DescriptionEntry(first, at: path) {
      case .sequence(let inner): layers = inner
      case .layer(let name, let setting):
        let definition: LayerDefinition
        do throws(TemperError) {
          definition = try LayerDefinition.find(name, in: catalogue)
        } catch {
          throw error.from("layer \(path) (\(name))")
        }
        guard let holder = definition.options.first(where: { $0.form == .layers || $0.form == .branches }) else {
          return definition.takesIndices
        }
        guard case .array(let inner) = setting[holder.name] ?? setting else { return false }
        layers = inner
      }
      path += ".0"
    }
    return false
  }
}
