import TemperCatalogue
import TemperCore

@testable import TemperLosses
@testable import TemperNetworks

/// One call of a method: arrays that fit its record, the same ones at every run.
struct Example {
  var arrays: [String: Array] = [:]
  let method: Method
  let arguments: Arguments

  struct Array {
    var values: [Double]
    let shape: Shape
    let form: Input.Form
    var isIndex: Bool { if case .index = form.element { true } else { false } }
  }

  /// How many each letter stands for, unless a method says otherwise.
  static let sizes = [
    "N": 6, "C": 5, "D": 4, "M": 7, "K": 3, "L": 9, "T": 4, "U": 3, "V": 5, "S": 3, "E": 3, "H": 3, "W": 4, "O": 4,
    "P": 5,
  ]

  /// `form` chooses among the forms of inputs that have several; `scale` multiplies the number of samples.
  init(
    _ method: Method, _ settings: [(name: String, value: Value)] = [], form: Int = 0, scale: Int = 1,
    sizes special: [String: Int] = [:], seed: UInt64 = 1
  ) throws {
    self.method = method
    arguments = try Arguments(settings, for: method.parameters)
    var sizes = Example.sizes.merging(Domain.sizes[method.name] ?? [:]) { $1 }
    sizes["N"]! *= scale
    sizes.merge(special) { $1 }
    if Domain.squares.contains(method.name) { sizes["M"] = sizes["N"] }
    for input in method.inputs {
      var random = Random(seed: seed, stream: method.name + input.name)
      let chosen = input.forms[min(form, input.forms.count - 1)]
      let shape = Shape(chosen.shape.flatMap { $0 == "..." ? [3 * scale] : [sizes[$0] ?? Int($0)!] })
      let bound: Int =
        if case .index(let below?) = chosen.element { sizes[below] ?? Int(below)! } else { 2 }
      let domain = Domain.of(input.name, in: method.name, chosen)
      let values =
        switch chosen.element {
        case .index where domain.isWhole: domain.sample(shape, &random)
        case .index: (0..<shape.count).map { _ in Double(random.below(bound)) }
        case .mask: (0..<shape.count).map { _ in Double(random.below(4) > 0 ? 1 : 0) }
        case .real: domain.sample(shape, &random)
        }
      arrays[input.name] = Array(values: values, shape: shape, form: chosen)
    }
    Domain.repair[method.name]?(&self)
  }

  func tensors(_ type: DType) throws -> [String: Tensor] {
    var tensors: [String: Tensor] = [:]
    for (name, array) in arrays {
      let tensor = try Tensor(array.values, shape: array.shape)
      tensors[name] = array.isIndex ? try tensor.copy(as: .int32) : try tensor.copy(as: type)
    }
    return tensors
  }

  var values: [String: [Double]] { arrays.mapValues(\.values) }

  /// Inputs that a gradient may be asked for and that came as floats.
  var differentiable: [String] {
    method.inputs.filter { $0.isDifferentiable && arrays[$0.name]?.form.element == .real }.map(\.name)
  }
}

/// Which numbers an input may hold.
enum Domain {
  case any, positive, unit, simplex, binary, belowZero, aboveOne
  case whole(ClosedRange<Int>)

  var isWhole: Bool { if case .whole = self { true } else { false } }

  static func of(_ input: String, in method: String, _ form: Input.Form) -> Domain {
    if let special = special[method + "." + input] { return special }
    if input == "targets", form.shape.count == 2, classification.contains(method) { return .simplex }
    return common[input] ?? .any
  }

  /// Losses whose (N, C) targets are probabilities.
  static let classification = Set(
    Losses.all.filter { method in
      method.kind == .loss
        && method.inputs.contains {
          $0.name == "targets" && $0.forms.count == 2 && $0.forms[0].shape == ["N"]
        }
    }.map(\.name))

  static let common: [String: Domain] = [
    "class_weights": .positive, "class_counts": .positive, "class_priors": .simplex,
    "chosen_lengths": .whole(3...9), "rejected_lengths": .whole(3...9), "tau": .positive, "t": .positive,
    "temperatures": .positive, "temperature": .positive, "scale": .positive, "b": .positive, "scores": .positive,
    "alpha": .positive, "alpha_bar": .unit, "sigma": .positive, "sigma_noisy": .positive, "sigma_t": .positive,
    "errors": .positive, "attention": .simplex, "mix": .unit, "transition": .simplex, "weight": .positive,
    "mixed_targets": .unit, "uniforms": .unit, "num_kept": .whole(2...2), "input_lengths": .whole(6...7),
    "target_lengths": .whole(0...3), "density_weights": .positive, "variances": .positive, "context_weights": .positive,
    "target_scores": .unit, "other_targets": .simplex, "peer_targets": .simplex,
  ]

  static let special: [String: Domain] = [
    "binary_cross_entropy_with_logits.targets": .unit, "kl_divergence.targets": .simplex,
    "asymmetric_loss.targets": .unit, "auc_margin.targets": .unit, "contrastive.targets": .unit,
    "cosine_embedding.targets": .unit, "kto.targets": .unit, "margin_ranking.targets": .unit, "nbpo.targets": .unit,
    "tokenized_brier.targets": .unit,
    "ldr_kl_loss.lambdas": .positive, "conditional_transport.p": .simplex, "conditional_transport.q": .simplex,
    "natural_gaussian_nll.eta2": .belowZero, "gumbel_optimized_loss.targets": .binary, "tversky.targets": .unit,
    "robust_self_supervised_loss.targets": .binary, "robust_self_supervised_loss_logistic.targets": .binary,
    "attention_entropy_regularization.thresholds": .unit, "orthograd.weight": .any,
    "closed_form_concept_edit.weight": .any,
    "soft_match_distribution_loss.scores": .unit, "tweedie.targets": .positive, "gamma.targets": .positive,
    "poisson_nll.targets": .positive,
    "listnet.targets": .positive, "listmle.targets": .positive, "lambda_rank.targets": .positive,
    "approx_ndcg.targets": .positive, "auc_margin.scores": .unit, "orpo.policy_chosen_logps": .belowZero,
    "orpo.policy_rejected_logps": .belowZero, "entmax.alpha": .aboveOne, "entmax_loss.alpha": .aboveOne,
    "sampled_softmax.proposal": .simplex, "noise_contrastive_estimation.proposal": .simplex,
    "hierarchical_softmax.sides": .whole(-1...1),
  ]

  /// Methods with as many M as N.
  static let squares: Set<String> = ["lssar_attention"]

  /// Sizes that a method needs.
  static let sizes: [String: [String: Int]] = [
    "soft_topk": ["D": 6], "online_softmax_topk": ["D": 7], "online_softmax_topk_positions": ["D": 7],
    "ctc_loss": ["T": 7], "shrinkmatch_loss": ["N": 12], "partial_fc": ["C": 12, "S": 5],
    "adaptive_softmax": ["A": 5, "P": 3, "Q": 4, "R": 2], "presto_ordinal": ["C": 4],
  ]

  /// Relations between inputs that no single domain expresses.
  nonisolated(unsafe) static let repair: [String: (inout Example) -> Void] = [
    // Most labels are right: the matrix can be inverted.
    "backward_correction": { example in
      guard let transition = example.arrays["transition"] else { return }
      let classes = transition.shape.last
      example.arrays["transition"]?.values = transition.values.enumerated().map { at, value in
        0.4 * value + (at / classes == at % classes ? 0.6 : 0)
      }
    },
    // Edges have two ends, and the graph can hold what is put in.
    "label_weighted_flow_diffusion": { example in
      guard let n = example.arrays["source"]?.shape.count, let w = example.arrays["adjacency"]?.values else { return }
      example.arrays["adjacency"]?.values = (0..<(n * n)).map { max(w[$0] + w[$0 % n * n + $0 / n], 0) }
      example.arrays["source"]?.values = (0..<n).map { $0 == 0 ? Double(n) / 2 : 0 }
      example.arrays["sinks"]?.values = (0..<n).map { _ in 1 }
    },
    // Cuts that no sample sees in another order.
    "presto_ordinal": { example in
      example.arrays["thresholds"]?.values = [-6, 0.5, 7]
      example.arrays["weights"]?.values.indices.forEach { example.arrays["weights"]?.values[$0] *= 0.2 }
    },
    "adaptive_softmax": { example in
      example.arrays["targets"]?.values.indices.forEach { example.arrays["targets"]?.values[$0] = Double($0 * 5 % 12) }
    },
    // Classes differ; the target is visible.
    "partial_fc": { $0.arrays["sampled_classes"]?.values = [0, 3, 4, 8, 11] },
    "masked_softmax_ce": { example in
      guard let targets = example.arrays["targets"], let classes = example.arrays["visible"]?.shape.last else {
        return
      }
      if !targets.isIndex { return example.arrays["visible"]!.values = targets.values.map { _ in 1 } }
      for (n, id) in targets.values.enumerated() { example.arrays["visible"]?.values[n * classes + Int(id)] = 1 }
    },
  ]

  func sample(_ shape: Shape, _ random: inout Random) -> [Double] {
    func gaussian() -> Double {
      // The sum of twelve uniforms: bounded by 6, good enough for examples.
      (0..<12).reduce(-6) { sum, _ in sum + random.uniform() }
    }
    var values = (0..<shape.count).map { _ -> Double in
      switch self {
      case .any: gaussian()
      case .positive, .simplex: 0.3 + 2 * random.uniform()
      case .unit: 0.05 + 0.9 * random.uniform()
      case .binary: Double(random.below(2))
      case .belowZero: -0.3 - 2 * random.uniform()
      case .aboveOne: 1.2 + random.uniform()
      case .whole(let range): Double(range.lowerBound + random.below(range.count))
      }
    }
    if case .simplex = self {
      for start in stride(from: 0, to: values.count, by: shape.last) {
        let row = start..<(start + shape.last)
        let sum = values[row].reduce(0, +)
        for i in row { values[i] /= sum }
      }
    }
    return values
  }
}
