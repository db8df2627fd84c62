import TemperCatalogue
import TemperCore
import TemperGraph

/// Builds a COMPOSED loss in a child process first, then here, and looks at what it computes. Its gradient is the
/// host's own derivative of it, which needs no check.
struct ComposedProbe {
  let method: Method
  let descriptor: LossDescriptor
  let isOfBatch: Bool
  let workers: Workers
  let milliseconds: Int32
  private(set) var lines: [String] = []

  init(_ method: Method, _ descriptor: LossDescriptor, isOfBatch: Bool, workers: Workers, milliseconds: Int32) {
    (self.method, self.descriptor, self.isOfBatch) = (method, descriptor, isOfBatch)
    (self.workers, self.milliseconds) = (workers, milliseconds)
  }

  mutating func run() throws(TemperError) {
    let hasOptional = descriptor.inputs.contains(where: \.isOptional)
    var cases = [
      ProbeCase(title: "6 samples", samples: 6, type: .float64),
      ProbeCase(title: "1 sample", samples: 1, type: .float64),
    ]
    if hasOptional {
      cases.append(ProbeCase(title: "no optional inputs", samples: 6, type: .float64, hasOptional: false))
    }
    for probe in cases {
      do throws(TemperError) { try run(probe) } catch {
        // A formula that cannot be built is no matter of the probe's numbers.
        if error.code != .pluginFailed { throw error }
        var error = error
        error.message = "The probe (\(probe.title)) failed: \(error.message)"
        throw error
      }
    }
  }

  private mutating func run(_ probe: ProbeCase) throws(TemperError) {
    var random = Random(seed: 1, stream: descriptor.name)
    var tensors: [String: Tensor] = [:]
    var expressions: [String: Expression] = [:]
    for (input, range) in zip(descriptor.inputs, descriptor.ranges) {
      let values = probe.values(input, range, &random)
      guard !input.isOptional || probe.hasOptional else { continue }
      let type = probe.elementType(input)
      let shape = probe.shape(input)
      let tensor = try Tensor(values, shape: shape)
      tensors[input.name] = type == .float64 ? tensor : try tensor.copy(as: type)
      let isIndex = type == .int32
      let inner = isIndex || shape.rank == 1 && input.forms[0].shape == ["N"] ? Shape(shape.sizes + [1]) : shape
      expressions[input.name] = .input(input.name, inner, isIndex ? .index : .real)
    }
    let arguments = try Arguments([], for: descriptor.parameters)
    guard case .loss(let make) = method.implementation else { return }
    // What can be learned only by running it: that compose returns.
    _ = try isolated(milliseconds: milliseconds) {
      _ = try? make(Formula(arguments: arguments, inputs: expressions))
      return 0
    }
    let instance = try LossInstance(method, arguments, workers: workers)
    let wrt = descriptor.inputs.filter { $0.isDifferentiable && tensors[$0.name] != nil }.map(\.name)
    let values = try instance.evaluate(tensors)
    let result = try instance.valueAndGradient(tensors, reduction: .mean, wrt: wrt)
    for (name, array) in [("its values", values)]
      + wrt.compactMap({ name in
        result.gradients[name].map { ("the gradient for \(name)", $0) }
      })
    {
      let numbers = try array.array(of: Double.self)
      if let position = numbers.firstIndex(where: { !$0.isFinite }) {
        throw TemperError(
          .pluginFailed, "\(name) hold \(numbers[position]) at element \(position), from ordinary inputs.")
      }
    }
    lines.append(
      "\(probe.title): \(isOfBatch ? "one value" : "values") and gradients finite; the gradient is the host's")
  }
}
