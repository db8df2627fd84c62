import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// The norms of each sample's gradients against gradients of one sample at a time.
@Suite struct SampleGradientNormTests {
  /// Layers whose parameters all have a short form.
  static let supported: [GradientTests.Network] =
    GradientTests.networks.filter { network in
      network.mode == .training
        && [
          "dense", "batch_norm", "layer_norm", "group_norm", "rms_norm", "residual", "multi_head_attention", "gru",
          "lstm",
          "embedding", "squeeze_excite", "nafnet_block", "attsets_pooling", "glu",
        ].contains { network.text.contains("\"\($0)\"") }
        && ![
          "_norm\": [", "lora", "blocks", "fft_filter", "dora", "mixout", "frozen", "manifold", "moe", "experts",
          "instruction",
          "levi",
          "probe", "adaptive", "mixup", "soft_moa", "prompt",
        ]
        .contains { network.text.contains($0) }
    } + [
      .init(#"[{"conv2d": {"channels": 4, "kernel_size": [2, 3], "stride": [1, 2], "padding": 1}}]"#, [2, 5, 6]),
      .init(#"[{"conv2d": {"channels": 4, "groups": 2, "dilation": 2}}, "flatten", {"dense": 3}]"#, [4, 6, 7]),
      .init(#"[{"conv2d": 2}, {"group_norm": 2}]"#, [1, 9, 9]),
      .init(#"[{"dense": 40}, {"dense": 30}]"#, [3, 20]),
    ]

  @Test(arguments: supported) func areThoseOfOneSampleAtATime(_ network: GradientTests.Network) throws {
    let model = try makeModel(network.text, input: network.input)
    try fill(model)
    let batch = 5
    let shape = Shape([batch] + network.input.sizes)
    let x =
      model.input.kind == .index
      ? try Tensor((0..<shape.count).map { Int32($0 * $0 % 7) }, shape: shape)
      : try Tensor(numbers(shape.count, "x"), shape: shape)
    let dy = try Tensor(
      numbers(batch * model.output.count, "dy"), shape: Shape([batch] + model.output.sizes))
    var norms: [(name: String, tensor: Tensor)] = []
    for variable in model.trained { norms.append((variable.name, try Tensor(zeros: [batch], .float64))) }
    try model.sampleGradientNorms(x, dy: dy, into: norms, workers: workers)
    for sample in 0..<batch {
      var gradients: [(name: String, tensor: Tensor)] = []
      for variable in model.trained { gradients.append((variable.name, try Tensor(zeros: variable.shape, .float64))) }
      try model.vectorJacobianProduct(
        try x.slice(sample..<(sample + 1)), dy: try dy.slice(sample..<(sample + 1)), into: gradients, workers: workers)
      for (norm, gradient) in zip(norms, gradients) {
        let expected = try gradient.tensor.array(of: Double.self).reduce(0) { $0 + $1 * $1 }.squareRoot()
        expectClose([try norm.tensor.array(of: Double.self)[sample]], [expected], 1e-10, "\(norm.name) of \(sample)")
      }
    }
  }

  /// A weight that another stands in for has no short form, and the error names it.
  @Test func otherUsesAreErrors() throws {
    let model = try makeModel(#"[{"weight_norm": [{"dense": 2}]}]"#, input: [3])
    let text = message { () throws(TemperError) in
      try model.sampleGradientNorms(
        try Tensor(zeros: [2, 3], .float64), dy: try Tensor(zeros: [2, 2], .float64),
        into: [("0.0.weight", try Tensor(zeros: [2], .float64))], workers: workers)
    }
    #expect(text?.contains("0.0.weight") == true && text?.contains("short form") == true, "\(text ?? "none")")
  }
}
