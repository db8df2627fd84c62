import Glibc
import TemperCatalogue
import TemperCore
import Testing

/// Values worked by hand, or taken from the papers.
@Suite struct ValueTests {
  struct Worked: Sendable, CustomTestStringConvertible {
    let name: String
    var settings: [(name: String, value: Value)] = []
    let inputs: [(name: String, values: [Double], shape: [Int])]
    let expected: [Double]
    var tolerance = 1e-6
    var testDescription: String {
      name + " " + settings.map { "\($0.name)=\($0.value.description)" }.joined(separator: " ")
    }

    init(
      _ name: String, _ settings: [(name: String, value: Value)],
      _ inputs: [(name: String, values: [Double], shape: [Int])], _ expected: [Double], within tolerance: Double = 1e-6
    ) {
      (self.name, self.settings, self.inputs) = (name, settings, inputs)
      (self.expected, self.tolerance) = (expected, tolerance)
    }

    /// Logits of one row and its target.
    static func row(
      _ name: String, _ settings: [(name: String, value: Value)], _ logits: [Double], _ target: Int,
      _ expected: Double, within tolerance: Double = 1e-6
    ) -> Worked {
      Worked(
        name, settings, [("logits", logits, [1, logits.count]), ("targets", [Double(target)], [1])], [expected],
        within: tolerance)
    }

    /// The same for probabilities.
    static func probabilities(
      _ name: String, _ settings: [(name: String, value: Value)], _ p: [Double], _ target: Int,
      _ expected: Double, within tolerance: Double = 1e-6
    ) -> Worked {
      row(name, settings, p.map { log($0) }, target, expected, within: tolerance)
    }
  }

  private static let p = [0.7, 0.2, 0.1]
  private static let ratios: [(name: String, values: [Double], shape: [Int])] = [
    ("policy_chosen_logps", [-1.1], [1]), ("policy_rejected_logps", [-2.2], [1]),
    ("reference_chosen_logps", [-1.5], [1]), ("reference_rejected_logps", [-2.0], [1]),
  ]
  /// log(1 + exp(-0.06)): the margin above is 0.6, beta 0.1.
  private static let preferred = log1p(exp(-0.06))

  /// One statement each: a literal of them all is too much for the type checker.
  static let worked: [Worked] = {
    var list: [Worked] = []
    list.append(.probabilities("cross_entropy", [], p, 1, -log(0.2)))
    list.append(
      .probabilities(
        "cross_entropy", [("label_smoothing", .real(0.3))], p, 0, -0.7 * log(0.7) - 0.1 * log(0.7 * 0.2 * 0.1)))
    list.append(.probabilities("cross_entropy", [], p, -100, 0))
    list.append(
      Worked(
        "cross_entropy", [],
        [
          ("logits", p.map { log($0) }, [1, 3]), ("targets", [2], [1]), ("class_weights", [1, 2, 5], [3]),
        ], [-5 * log(0.1)]))
    list.append(
      Worked(
        "cross_entropy", [], [("logits", p.map { log($0) }, [1, 3]), ("targets", [0.5, 0.5, 0], [1, 3])],
        [-0.5 * log(0.7) - 0.5 * log(0.2)]))
    list.append(
      Worked(
        "binary_cross_entropy_with_logits", [], [("logits", [0, 2], [1, 2]), ("targets", [1, 0], [1, 2])],
        [(log(2) + 2 + log1p(exp(-2))) / 2]))
    list.append(
      Worked("mse", [], [("predictions", [1, 2, 4], [1, 3]), ("targets", [1, 0, 1], [1, 3])], [13.0 / 3]))
    list.append(
      Worked(
        "mse", [("elements", .text("sum"))], [("predictions", [1, 2, 4], [3]), ("targets", [1, 0, 1], [3])], [0, 4, 9]))
    list.append(Worked("mae", [], [("predictions", [1, 2, 4], [1, 3]), ("targets", [1, 0, 1], [1, 3])], [5.0 / 3]))
    list.append(Worked("huber", [], [("predictions", [0.5, 3], [2]), ("targets", [0, 0], [2])], [0.125, 2.5]))
    list.append(.row("hinge", [], [1, 2, 0], 0, 2))
    list.append(.row("hinge", [("form", .text("weston_watkins"))], [1, 2, 0.5], 0, 2.5))
    list.append(.probabilities("focal", [], p, 0, -0.09 * log(0.7)))
    list.append(.probabilities("generalized_cross_entropy", [], p, 1, (1 - pow(0.2, 0.7)) / 0.7))
    list.append(.probabilities("generalized_cross_entropy", [("q", .real(1e-9))], p, 1, -log(0.2)))
    list.append(.probabilities("symmetric_cross_entropy", [], p, 0, -0.1 * log(0.7) + 4 * 0.3))
    list.append(.probabilities("active_passive_loss", [("beta", .real(0))], p, 0, 0.083556))
    list.append(.probabilities("active_passive_loss", [("alpha", .real(0))], p, 0, 1.2))
    list.append(.probabilities("active_passive_loss", [("alpha", .real(0)), ("passive", .text("mae"))], p, 0, 0.6))
    list.append(
      .probabilities(
        "active_passive_loss", [("alpha", .real(0)), ("passive", .text("mae")), ("halved_mae", .boolean(true))], p, 0,
        0.3
      ))
    list.append(
      .probabilities(
        "active_passive_loss", [("active", .text("nfl")), ("gamma", .real(0)), ("beta", .real(0))], p, 0, 0.083556))
    // t = 0.7 (5/7, -) + 0.3 p: chosen so that the updated average is (0.5, 0.5) and <p, t> = 0.5.
    list.append(
      Worked(
        "early_learning_regularization", [("lam", .real(1))],
        [
          ("logits", [log(0.8), log(0.2)], [1, 2]), ("targets", [0], [1]),
          ("ema_targets", [(0.5 - 0.3 * 0.8) / 0.7, (0.5 - 0.3 * 0.2) / 0.7], [1, 2]),
        ], [-log(0.8) + log(0.5)]))
    list.append(.probabilities("poly1", [], p, 0, -log(0.7) + 0.3))
    list.append(.probabilities("bi_tempered_logistic", [("t1", .real(1)), ("t2", .real(1))], p, 2, -log(0.1)))
    list.append(
      Worked(
        "kl_divergence", [], [("logits", p.map { log($0) }, [1, 3]), ("targets", [0.5, 0.5, 0], [1, 3])],
        [0.5 * log(0.5 / 0.7) + 0.5 * log(0.5 / 0.2)]))
    list.append(
      Worked(
        "kl_divergence", [("direction", .text("reverse"))],
        [("logits", p.map { log($0) }, [1, 3]), ("targets", [0.2, 0.2, 0.6], [1, 3])],
        [0.7 * log(0.7 / 0.2) + 0.1 * log(0.1 / 0.6)]))
    list.append(
      Worked(
        "distillation", [("temperature", .real(1)), ("alpha", .real(1))],
        [
          ("logits", p.map { log($0) }, [1, 3]), ("targets", [0], [1]),
          ("teacher_logits", [0.5, 0.25, 0.25].map { log($0) }, [1, 3]),
        ], [0.5 * log(0.5 / 0.7) + 0.25 * log(0.25 / 0.2) + 0.25 * log(0.25 / 0.1)]))
    // Margins 0.5 and 0.25 for counts 1 and 16.
    list.append(
      Worked(
        "ldam", [("scale", .real(2))],
        [("logits", [1, 0.25], [1, 2]), ("targets", [1], [1]), ("class_counts", [1, 16], [2])], [log1p(exp(2 * 1.0))]))
    list.append(
      Worked(
        "logit_adjusted", [],
        [("logits", [0, 0], [1, 2]), ("targets", [1], [1]), ("class_priors", [0.9, 0.1], [2])], [-log(0.1)]))
    list.append(
      Worked(
        "balanced_softmax", [],
        [("logits", [0, 0], [1, 2]), ("targets", [1], [1]), ("class_counts", [90, 10], [2])], [-log(0.1)]))
    list.append(
      Worked(
        "info_nce", [("temperature", .real(1))],
        [("queries", [2, 0, 0, 3], [2, 2]), ("keys", [1, 0, 0, 5], [2, 2])], [log1p(exp(-1)), log1p(exp(-1))]))
    list.append(Worked("dpo", [], ratios, [preferred]))
    list.append(Worked("dpo", [("label_smoothing", .real(0.2))], ratios, [preferred + 0.2 * 0.06]))
    list.append(Worked("ipo", [], ratios, [4.4 * 4.4]))
    list.append(Worked("robust_dpo", [], ratios, [preferred - 0.1 * 0.06 / 0.8]))
    // l = 0.1 and 2.0 with beta' = 1.
    list.append(
      Worked(
        "dr_dpo_loss", [("beta", .real(1))],
        [
          ("policy_chosen_logps", [-log(expm1(0.1)), -log(expm1(2.0))], [2]), ("policy_rejected_logps", [0, 0], [2]),
          ("reference_chosen_logps", [0, 0], [2]), ("reference_rejected_logps", [0, 0], [2]),
        ], [0.65376], within: 1e-5))
    list.append(
      Worked(
        "madpo_loss", [], ratios + [("chosen_rewards", [1], [1]), ("rejected_rewards", [0], [1])],
        [1.0894 * preferred], within: 1e-4))
    list.append(Worked("napo_loss", [("q", .real(1))], ratios, [1 - 1 / (1 + exp(-0.06))]))
    list.append(Worked("napo_loss", [("q", .real(1e-6))], ratios, [preferred]))
    list.append(
      Worked(
        "d2o_loss", [],
        [
          ("policy_sample_logps", [0.2, -0.1], [1, 2]), ("reference_sample_logps", [0, 0], [1, 2]),
          ("policy_rejected_logps", [-1.5], [1]), ("reference_rejected_logps", [0], [1]),
        ], [0.618647]))
    list.append(.row("ldr_kl_loss", [("lambda0", .real(1)), ("margin", .real(0))], [1, 2, 0], 0, 0.308994))
    list.append(.row("ldr_kl_loss", [("lambda0", .real(1e-3))], [1, 2, 0], 0, 1.1, within: 0.0012))
    list.append(.row("z_loss", [("b", .real(1))], [1, 2, 4], 2, 0.539066))
    list.append(.row("z_loss", [], [1, 2, 4], 2, 0.233343))
    list.append(.row("z_loss", [], [3, 3, 3], 1, log(2)))
    list.append(.row("max_suppression", [], [1, 2, 4], 2, log1p(exp(-2) + exp(-3)) + 0.1 * (4 - 7.0 / 3)))
    list.append(.row("sparsemax_loss", [], [1, 0.8, 0.1], 0, 0.16))
    list.append(.row("stablemax_cross_entropy", [], [3, 0, -3], 0, log(5.25 / 4)))
    list.append(.row("stablemax_cross_entropy", [], [100, 0], 0, log(102.0 / 101)))
    list.append(
      Worked(
        "masked_softmax_ce", [("mask_value", .real(0))],
        [("logits", [1, 2, 3], [1, 3]), ("targets", [1], [1]), ("visible", [1, 1, 0], [1, 3])],
        [log(exp(1) + exp(2) + 1) - 2]))
    list.append(
      Worked(
        "decoupled_softmax_and_soft_topk", [],
        [("scores", [2, 1, 0, -1], [1, 4]), ("targets", [1, 1, 0, 0], [1, 4])],
        [0.288726]))
    // Positives 2 and 0, negatives 1 and 1 as a matrix with equal off-diagonal entries.
    list.append(
      Worked(
        "mann_whitney_loss", [("temperature", .real(1))], [("scores", [2, 1, 1, 0], [2, 2])],
        [log1p(exp(-1)), log1p(exp(1))]))
    list.append(Worked("sparsemax", [], [("x", [1, 0.8, 0.1, 2, 0, 0], [2, 3])], [0.6, 0.4, 0, 1, 0, 0]))
    list.append(
      Worked("softpick", [], [("x", [1, 0, -1, 0, 0, 0, -1, -2, -3], [3, 3])], [0.731059, 0, 0, 0, 0, 0, 0, 0, 0]))
    list.append(
      Worked(
        "self_adjust_softmax", [("variant", .text("plain"))], [("x", [1, 0, -1], [1, 3])], [0.665241, 0, -0.090031]))
    list.append(Worked("self_adjust_softmax", [], [("x", [1, 0, -1], [1, 3])], [0.665241, 0.122364, 0]))
    list.append(Worked("boltzmann_operator", [], [("x", [0, log(3)], [1, 2])], [0.75 * log(3)]))
    list.append(Worked("stablemax", [], [("x", [3, 0, -3], [1, 3])], [4 / 5.25, 1 / 5.25, 0.25 / 5.25]))
    list.append(Worked("soft_topk", [], [("x", [3, 1, 0, -2], [1, 4])], [0.924142, 0.622459, 0.377541, 0.075858]))
    list.append(Worked("logit_clip", [], [("x", [3, 4, 0.3, 0.4, 0, 0], [3, 2])], [0.6, 0.8, 0.3, 0.4, 0, 0]))
    list.append(Worked("adaptive_temperature_softmax", [], [("x", [1, 1, 1, 1], [1, 4])], [0.25, 0.25, 0.25, 0.25]))
    list.append(Worked("gelu", [], [("x", [1, -1, 0], [3])], [0.8413447, -0.1586553, 0]))
    list.append(Worked("silu", [], [("x", [1, 0], [2])], [0.7310586, 0]))
    list.append(Worked("softplus", [("beta", .real(2))], [("x", [0, 1], [2])], [log(2) / 2, log1p(exp(2)) / 2]))
    list.append(Worked("mish", [], [("x", [1], [1])], [0.8650984]))
    list.append(Worked("elu", [], [("x", [1, -1], [2])], [1, expm1(-1)]))
    return list
  }()

  @Test(arguments: worked) func workedValue(_ worked: Worked) throws {
    let method = try method(worked.name)
    let arguments = try Arguments(worked.settings, for: method.parameters)
    var tensors: [String: Tensor] = [:]
    for input in worked.inputs {
      let tensor = try Tensor(input.values, shape: Shape(input.shape))
      let record = try #require(method.inputs.first { $0.name == input.name } ?? method.stateInput(input.name))
      let isId = record.forms.contains { form in
        if case .index = form.element { return form.shape.count == input.shape.count }
        return false
      }
      tensors[input.name] = isId ? try tensor.copy(as: .int64) : tensor
    }
    let values =
      method.kind == .loss
      ? try LossInstance(method, arguments, workers: oneWorker).evaluate(tensors)
      : try OperationInstance(method, arguments, workers: oneWorker).evaluate(tensors)
    #expect(deviation(try numbers(values), worked.expected) < worked.tolerance)
  }
}

extension Method {
  fileprivate func stateInput(_ name: String) -> Input? {
    state.first { $0.name == name }.map { Input($0.name, [.init(["N"] + $0.shape)], $0.summary) }
  }
}
