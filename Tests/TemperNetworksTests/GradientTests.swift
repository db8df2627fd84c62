import Glibc
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// Every layer's gradients, for parameters and for the input, against central differences in float64.
@Suite struct GradientTests {
  struct Network: Sendable, CustomTestStringConvertible {
    let text: String, input: Shape, mode: Pass.Mode
    /// False where the layer's gradient of its parameters is a projection and not the derivative.
    let exact: Bool
    /// False where the output is piecewise constant in x.
    let movesInput: Bool
    init(
      _ text: String, _ input: Shape, _ mode: Pass.Mode = .training, exact: Bool = true, movesInput: Bool = true
    ) {
      (self.text, self.input, self.mode, self.exact, self.movesInput) = (text, input, mode, exact, movesInput)
    }
    var testDescription: String { "\(text) \(mode)" }
  }

  static let networks: [Network] = [
    Network(#"[{"dense": 4}]"#, [5]),
    Network(#"[{"dense": {"size": 4, "bias": false}}]"#, [2, 5]),
    Network(#"[{"dense": 4}, "relu", {"dense": 3}, {"leaky_relu": 0.2}, [{"dense": 2}, "tanh"]]"#, [5]),
    Network(#"[{"max_pool": {"size": 3, "stride": 2, "padding": 1}}]"#, [2, 5, 6]),
    Network(#"[{"average_pool": {"size": [2, 3], "stride": 1, "padding": [1, 0]}}]"#, [2, 5, 6]),
    Network(#"["global_average_pool"]"#, [3, 4, 5]),
    Network(#"["global_average_pool"]"#, [4, 5]),
    Network(#"["flatten", {"reshape": [3, -1]}, {"permute": [1, 0]}, "tanh"]"#, [2, 3, 2]),
    Network(#"["batch_norm"]"#, [5]),
    Network(#"["batch_norm"]"#, [3, 2, 4]),
    Network(#"[{"batch_norm": {"axis": -1, "affine": false}}]"#, [3, 4]),
    Network(#"["batch_norm"]"#, [3, 2, 4], .inference),
    Network(#"["layer_norm"]"#, [3, 5]),
    Network(#"["standardize"]"#, [3, 5]), Network(#"[{"standardize": 1.5}]"#, [4]),
    Network(#"[{"layer_norm": {"axes": 2}}]"#, [3, 4]),
    Network(#"[{"group_norm": 2}]"#, [4, 3, 2]),
    Network(#"[{"group_norm": {"groups": 3, "affine": false}}]"#, [9]),
    Network(#"["rms_norm"]"#, [3, 5]),
    Network(#"[{"rms_norm": {"axes": 2, "affine": false}}]"#, [3, 5]),
    Network(#"[{"dropout": 0.4}, {"dense": 3}, {"dropout": 0.5}]"#, [9]),
    Network(#"[{"residual": [{"dense": 5}, "tanh"]}]"#, [5]),
    Network(#"[{"residual": {"layers": [{"dense": 3}, "tanh"], "shortcut": [{"dense": 3}]}}]"#, [5]),
    Network(#"[{"parallel": [{"dense": 3}, [{"dense": 2}, "tanh"], []]}]"#, [5]),
    Network(#"[{"parallel": {"branches": [{"dense": 5}, [], "tanh"], "combine": "sum"}}]"#, [5]),
    Network(#"["positional_embedding", "tanh"]"#, [4, 6]),
    Network(#"[{"positional_embedding": "sinusoidal"}, "tanh"]"#, [4, 5]),
    Network(#"[{"multi_head_attention": 2}]"#, [4, 6]),
    Network(#"[{"multi_head_attention": {"heads": 3, "causal": true, "bias": false, "dropout": 0.3}}]"#, [4, 6]),
    Network(#"[{"multi_head_attention": {"heads": 2, "normaliser": {"tempered_softmax": 0.5}}}]"#, [3, 4]),
    Network(#"[{"multi_head_attention": {"heads": 2, "memory": "blocks", "causal": true}}]"#, [5, 4]),
    Network(#"[{"decayed_linear_attention": {"heads": 2, "block": 2, "lrpe": true}}]"#, [5, 4]),
    Network(#"[{"decayed_linear_attention": {"heads": 3, "layer": 1, "layers": 2, "decay": "linear"}}]"#, [4, 6]),
    Network(#"[{"soft_attention_gaussian": {"heads": 2, "n_landmarks": 2}}]"#, [5, 4]),
    Network(#"[{"soft_attention_gaussian": {"heads": 1, "normalize": false, "newton_iters": 60}}]"#, [3, 4]),
    Network(#"[{"swat_sigmoid_window_attention": {"heads": 2, "window": 2}}]"#, [5, 4]),
    Network(#"[{"gru": 3}]"#, [4, 5]),
    Network(#"[{"gru": {"size": 3, "output": "sequence"}}]"#, [4, 5]),
    Network(#"[{"lstm": 3}]"#, [4, 5]),
    Network(#"[{"lstm": {"size": 3, "output": "sequence", "bias": false}}, {"dense": 2}]"#, [4, 5]),
    Network(#"[{"embedding": {"entries": 7, "size": 3}}, {"gru": 2}]"#, [4]),
    Network(
      #"[{"embedding": {"entries": 7, "size": 4, "padding_index": 0}}, {"multi_head_attention": {"heads": 2, "key_mask": true}}]"#,
      [5]),
    Network(#"[{"drop_path": 0.4}, {"dense": 3}, {"drop_path": {"p": 0.3, "mode": "batch"}}]"#, [5]),
    Network(#"[{"drop_block": {"p": 0.2, "block_size": 2}}]"#, [2, 4, 5]),
    Network(#"[{"nested_dropout": 4}, {"dense": 3}]"#, [9]),
    Network(#"[{"nested_dropout": {"distribution": "geometric", "p": 0.2, "per": "sample"}}]"#, [3, 6]),
    Network(#"[{"symnoise": {"alpha": 2, "pair_mode": "alternate"}}, "tanh"]"#, [4, 5]),
    Network(#"[{"symnoise": {"alpha": 2, "noise": "gaussian"}}, "tanh"]"#, [4, 5]),
    Network(#"[{"randomized_feature_defense": {"nu": 0.3, "training": true}}, "tanh"]"#, [5]),
    Network(#"["tanh", {"mixup": 0.7}, {"dense": 3}]"#, [5]),
    Network(#"[{"cutmix": {"alpha": 1, "per": "sample"}}, "tanh"]"#, [2, 5, 4]),
    Network(#"[{"manifold_mixup": {"layers": [{"dense": 4}, "tanh", {"dense": 3}], "at": [1, 2]}}]"#, [5]),
    Network(#"[{"weight_norm": [{"dense": 4}, "tanh"]}]"#, [5]),
    Network(#"[{"weight_norm": [{"conv2d": {"channels": 3, "kernel_size": 2}}]}]"#, [2, 4, 4]),
    Network(#"[{"spectral_norm": [{"dense": 4}, "tanh", {"dense": 3}]}]"#, [5], .inference),
    Network(#"[{"mixout": {"layers": [{"dense": 4}], "p": 0.4}}]"#, [5]),
    Network(#"[{"lora": {"layers": [{"dense": 4}], "rank": 2}}]"#, [5]),
    Network(#"[{"dora": {"layers": [{"dense": 4}], "rank": 2, "detach_norm": false}}]"#, [5]),
    Network(#"[{"frozen": [{"dense": 4}, "tanh"]}, {"dense": 2}]"#, [5]),
    Network(#"[{"glu": 3}, {"dense": 4}, "glu"]"#, [5]),
    Network(#"[{"geglu": 4}, {"swiglu": 4}, {"reglu": {"size": 3, "bias": false}}, {"bilinear_glu": 2}]"#, [2, 5]),
    Network(#"[{"squeeze_excite": 2}]"#, [4, 3, 2]),
    Network(#"["nafnet_block"]"#, [2, 4, 3]),
    Network(#"["rotary_embedding"]"#, [4, 6]),
    Network(#"[{"rotary_embedding": {"base": 100, "pairs": "halves"}}]"#, [2, 3, 4]),
    Network(#"[{"multi_head_attention": {"heads": 2, "positions": "rotary"}}]"#, [4, 8]),
    Network(#"[{"multi_head_attention": {"heads": 3, "positions": "alibi", "causal": true}}]"#, [4, 6]),
    Network(#"[{"condlr_linear": {"size": 4, "compression": 0.4, "tau": 2}}]"#, [5], .training, exact: false),
    Network(#"["fft_filter_layer"]"#, [6, 5]),
    Network(#"[{"fft_filter_layer": {"residual": false}}]"#, [5, 3]),
    Network(#"[{"fft_filter_layer": {"filter": "band_stop", "low": 1, "high": 2, "residual": false}}]"#, [7, 2]),
    Network(#"["frequency_preference_control"]"#, [2, 4, 3]),
    Network(#"[{"frequency_preference_control": {"mask": "2d", "gate": "full", "anneal_steps": 5}}]"#, [2, 4, 3]),
    Network(#"[{"fourier_head": {"bins": 7, "num_frequencies": 3, "gamma": 0.1}}]"#, [5]),
    Network(
      #"[{"topk_softmax_gate": {"experts": 3, "K": 2, "layers": [{"dense": 3}, "tanh"], "load_balance": 0.5}}]"#,
      [4, 5]),
    Network(#"[{"mixture_of_experts": {"experts": 3, "noisy": true}}]"#, [2, 5]),
    Network(#"[{"softmax_gated_logistic_moe": {"classes": 4, "k": 2}}]"#, [5]),
    Network(#"[{"softmax_gated_logistic_moe": {"classes": 4, "gate_transform": "none"}}]"#, [5]),
    Network(#"[{"soft_moa": {"experts": 2, "slots_per_expert": 3, "bottleneck": 4, "layers": ["tanh"]}}]"#, [4, 6]),
    Network(#"[{"soft_moa": {"experts": 2, "normalize": true, "scale": 0.5}}]"#, [4, 8]),
    Network(#"[{"decomposed_prompt_tuning": {"c": 3, "b": 2}}, {"multi_head_attention": 2}]"#, [4, 6]),
    Network(#"[{"residual_prompt_tuning": {"n_tokens": 3, "bottleneck": 5}}]"#, [4, 6]),
    Network(
      #"[{"residual_prompt_tuning": {"n_tokens": 3, "bottleneck": 5, "separate_mlps": true, "layer_norm": false}}]"#,
      [2, 4]),
    Network(#"[{"instruction_aware_prompt": {"n_tokens": 2, "bottleneck": 3}}]"#, [4, 5]),
    Network(
      #"[{"instruction_aware_prompt": {"n_tokens": 2, "bottleneck": 3, "layers": [["tanh", {"dense": 4}, {"multi_head_attention": 1}], {"multi_head_attention": 2}]}}]"#,
      [3, 4]),
    Network(#"["attsets_pooling"]"#, [4, 5]),
    Network(#"[{"label_wise_attention_ldam": 3}]"#, [4, 5]),
    Network(#"[{"label_attention_pooling": {"labels": 3, "window_r": 1, "hidden": 6}}]"#, [5, 4]),
    Network(#"[{"label_attention_pooling": {"labels": 3, "hidden": 0}}]"#, [5, 4]),
    Network(
      #"[{"discrete_key_value_bottleneck": {"size": 3, "codebooks": 2, "keys_per_codebook": 4, "d_key": 2, "key_init_steps": 0}}]"#,
      [5], .training, movesInput: false),
    Network(
      #"[{"levi_layerwise_ensemble": {"backbone": [{"dense": 6}, "tanh", {"dense": 4}], "task": [{"dense": 3}], "size": 2, "layers": [1, 2], "combine": "learned"}}]"#,
      [5]),
    Network(
      #"[{"forward_forward": {"blocks": [[{"dense": 5}, "tanh"], [{"dense": 4}, "tanh"]], "size": 3}}]"#, [7],
      .inference),
    Network(
      #"[{"forward_forward": {"blocks": [[{"dense": 5}, "tanh"]], "size": 2, "goodness": "sum"}}]"#, [7], .inference),
    Network(
      #"[{"cascaded_forward": {"blocks": [[{"dense": 5}, "tanh"], {"dense": 4}], "size": 3}}]"#, [6], .inference),
    Network(
      #"[{"cascaded_forward": {"blocks": [{"conv2d": {"channels": 2, "kernel": 2}}, ["tanh", "flatten"]], "size": 3, "frozen": false}}]"#,
      [1, 3, 4], .inference),
    Network(
      #"[{"layerwise_probe": {"backbone": [{"dense": 5}, "tanh", {"gru": {"size": 5, "output": "sequence"}}], "size": 3}}]"#,
      [6, 4]),
    Network(
      #"[{"layerwise_probe": {"backbone": [{"dense": 4}, "tanh"], "size": 3, "head": "tl_tr", "pool": 2, "heads": 2}}]"#,
      [6, 4]),
    Network(
      #"[{"adaptive_smoothing_mix": {"accurate": [{"dense": 6}, "tanh", {"dense": 3}], "robust": [{"dense": 3}]}}]"#,
      [5]),
    Network(
      #"[{"adaptive_smoothing_mix": {"accurate": [{"dense": 6}, "tanh", {"dense": 3}], "robust": [{"dense": 3}], "alpha": "adaptive", "gamma_clip_std": 0.9}}]"#,
      [5]),
  ]

  @Test(arguments: networks) func gradientsMatchDifferences(_ network: Network) throws {
    try GradientTests.check(network)
  }

  /// Gradients along fixed directions, one parameter after the other.
  static func check(_ network: Network) throws {
    let batch = 4
    let model = try makeModel(network.text, input: network.input)
    try fill(model)
    let shape = Shape([batch] + network.input.sizes)
    let run = try Run(model, batch: batch, mode: network.mode, clock: true) { y in
      (y * cos(Expression.iota([y.shape.count]) * 1.3 + 0.4).reshaped(y.shape)).sumAll()
    }
    let isIndex = model.input.kind == .index
    let x: Tensor
    if isIndex {
      x = try Tensor((0..<shape.count).map { Int32($0 * 5 % 7) }, shape: shape)
    } else {
      x = try Tensor(numbers(shape.count, "x"), shape: shape)
    }
    try run.bind("x", x)
    func loss() throws -> Double {
      try run.execution.run()
      return try run.values("loss")[0]
    }
    _ = try loss()
    var sources = network.exact ? model.trained.map { ($0.name, $0.tensor!) } : []
    if !isIndex && network.movesInput { sources.append(("x", x)) }
    let gradients = try sources.map { try run.values("d " + $0.0) }
    for ((name, tensor), gradient) in zip(sources, gradients) {
      let start = try tensor.array(of: Double.self)
      let direction = numbers(start.count, "direction " + name)
      let slope = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
      func at(_ t: Double) throws -> Double {
        try tensor.assign(from: try Tensor(zip(start, direction).map { $0 + t * $1 }, shape: tensor.shape))
        return try loss()
      }
      // Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.
      let h = 1e-4
      let difference = try (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
      #expect(abs(slope - difference) <= 1e-8 * (1 + abs(slope)), "\(name): \(slope) against \(difference)")
      #expect(gradient.contains { $0 != 0 }, "\(name)")
      try tensor.assign(from: try Tensor(start, shape: tensor.shape))
    }
  }
}
