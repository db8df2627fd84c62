import TemperCatalogue
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// What holds for every layer, over the networks whose gradients are checked.
@Suite struct EveryLayerTests {
  private let directory = TemporaryDirectory()

  /// Their gradients pass rounding as if it were not there: held to formulas in Tests/Python/test_quantizer_formulas.py.
  private static let straightThrough: Set<String> = [
    "fake_quantized", "lsq", "dorefa", "binary_connect", "pact", "movement_pruning",
  ]

  @Test func everyLayerHasItsGradientsChecked() {
    for method in Layers.all where !Self.straightThrough.contains(method.name) {
      let isThere = GradientTests.networks.contains { network in
        ([method.name] + method.aliases).contains { network.text.contains("\"\($0)\"") }
      }
      #expect(isThere || method.name == "conv2d", "\(method.name)")
    }
  }

  /// A file gives the same description, the same parameters under the same names, and the same outputs.
  @Test(arguments: GradientTests.networks) func savesAndLoads(_ network: GradientTests.Network) throws {
    let model = try makeModel(network.text, input: network.input)
    try fill(model)
    let path = directory.path + "/model.safetensors"
    try model.save(to: path)
    let loaded = try Model(loading: path, catalogue: testCatalogue)
    #expect(loaded.description == model.description)
    #expect(try Description(parsing: model.description.text) == model.description)
    #expect(loaded.parameters.map(\.name) == model.parameters.map(\.name))
    #expect(loaded.trained.map(\.name) == model.trained.map(\.name))
    for variable in model.parameters + model.buffers {
      #expect(try value(loaded, variable.name) == value(model, variable.name), "\(variable.name)")
    }
    let shape = Shape([3] + network.input.sizes)
    let x =
      model.input.kind == .index
      ? try Tensor((0..<shape.count).map { Int32($0 * 5 % 7) }, shape: shape)
      : try Tensor(numbers(shape.count, "x"), shape: shape)
    let mask = model.needsMask ? try Tensor(zeros: [3, network.input[0]], .float64) : nil
    try mask?.fill(1)
    let (mine, theirs) = (
      try model.predict(x, mask: mask, workers: workers), try loaded.predict(x, mask: mask, workers: workers)
    )
    // Noise at inference is a function of the seed and of the calls so far; a loaded model has the seed 0.
    if model.noiseClock == nil { #expect(try mine.array(of: Double.self) == theirs.array(of: Double.self)) }
  }

  /// An option that no layer has is an error that names those there are.
  @Test(arguments: Layers.all.map(\.name)) func unknownOptionsAreErrors(_ name: String) throws {
    let text = message { () throws(TemperError) in
      _ = try makeModel(#"[{"\#(name)": {"no_such_option": 1}}]"#, input: [2, 4, 4])
    }
    let method = try testCatalogue.find(name)
    #expect(text?.contains("no_such_option") ?? false || text?.contains("takes indices") ?? false, "\(text ?? "none")")
    if let first = method.parameters.first, let text, text.contains("no_such_option") {
      #expect(text.contains(first.name), "\(text)")
    }
  }
}
