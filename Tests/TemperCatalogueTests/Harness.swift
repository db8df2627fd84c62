import TemperCatalogue
import TemperCore
import TemperGraph
import TemperReference
import Testing

@testable import TemperLosses
@testable import TemperNetworks
@testable import TemperOptimizers

let catalogue = Catalogue(Losses.all + Activations.all + Optimizers.all)
let oneWorker = Workers(count: 1)
let threeWorkers = Workers(count: 3)

func method(_ name: String) throws -> Method { try catalogue.find(name) }

func loss(_ name: String, _ settings: [(name: String, value: Value)] = []) throws -> LossInstance {
  let method = try method(name)
  return try LossInstance(method, try Arguments(settings, for: method.parameters), workers: oneWorker)
}

func operation(_ name: String, _ settings: [(name: String, value: Value)] = []) throws -> OperationInstance {
  let method = try method(name)
  return try OperationInstance(method, try Arguments(settings, for: method.parameters), workers: oneWorker)
}

func numbers(_ tensor: Tensor) throws -> [Double] { try tensor.array(of: Double.self) }

/// |a - b| against the larger of 1 and |b|; two NaN or equal infinities agree.
func deviation(_ a: [Double], _ b: [Double]) -> Double {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { worst, pair in
    let (x, y) = pair
    if x == y || x.isNaN && y.isNaN { return worst }
    let error = abs(x - y) / max(1, abs(y))
    return max(worst, error.isNaN ? .infinity : error)
  }
}

/// The scalar sum of a method's result weighted by fixed numbers, over named float64 inputs.
struct Probe {
  let inputs: [String: Expression]
  let result: Expression
  let seed: Expression
  let example: Example

  init(_ example: Example) throws {
    self.example = example
    var inputs: [String: Expression] = [:]
    for (name, array) in example.arrays {
      var sizes = array.shape.sizes
      if array.isIndex || array.form.shape == ["N"] { sizes.append(1) }
      if array.form.shape == ["..."] { sizes = [array.shape.count] }
      let isSize = example.method.inputs.contains { $0.name == name && $0.isSize }
      inputs[name] =
        isSize ? .constant(array.values[0]) : .input(name, Shape(sizes), array.isIndex ? .index : .real)
    }
    self.inputs = inputs
    if example.method.kind == .loss {
      let instance = try LossInstance(example.method, example.arguments, workers: oneWorker)
      result = try instance.build(inputs).values
      seed = .constant(1, result.shape)
    } else {
      let instance = try OperationInstance(example.method, example.arguments, workers: oneWorker)
      result = try instance.build(inputs)
      // Sums of probabilities have no slope: every element gets its own weight.
      seed = .iota([result.shape.count]).reshaped(result.shape) * 0.37 - 1
    }
  }

  /// At most a dozen elements of an input, spread over it.
  func someElements(_ name: String) -> [Int] {
    let count = example.values[name]!.count
    return Array(stride(from: 0, to: count, by: max(1, (count + 11) / 12)))
  }

  /// Results of -inf (tokens that are out) have no slope.
  var total: Expression { Expression.select(isFinite(result), result * seed, .constant(0)).sumAll() }

  /// Central differences of a scalar for the elements `at` of input `name`, stopped nodes held fixed.
  func finiteDifferences(_ expression: Expression, _ name: String, at elements: [Int]) throws -> [Double] {
    let h = 1e-5
    var base = ReferenceInterpreter(example.values)
    _ = try base.evaluate(expression)
    var slopes: [Double] = []
    for i in elements {
      func value(_ step: Double) throws -> Double {
        var moved = example.values
        moved[name]![i] += step
        var interpreter = ReferenceInterpreter(moved, frozen: base.stopped)
        return try interpreter.evaluate(expression)[0]
      }
      // Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.
      slopes.append((8 * (try value(h) - value(-h)) - (try value(2 * h) - value(-2 * h))) / (12 * h))
    }
    return slopes
  }
}

/// Names of the records that are expressions of named inputs.
let expressionMethods = catalogue.methods.filter { [.loss, .op, .activation, .decoder].contains($0.kind) }.map(\.name)
let lossNames = catalogue.methods.filter { $0.kind == .loss }.map(\.name)

/// A record under settings other than its defaults.
struct Variant: CustomTestStringConvertible, Sendable {
  let name: String
  let settings: [(name: String, value: Value)]
  let form: Int
  init(_ name: String, _ settings: [(name: String, value: Value)] = [], form: Int = 0) {
    (self.name, self.settings, self.form) = (name, settings, form)
  }
  var testDescription: String {
    name + settings.map { " \($0.name)=\($0.value.description)" }.joined() + (form > 0 ? " form \(form)" : "")
  }
  var example: Example { get throws { try Example(try method(name), settings, form: form) } }
}

/// Every record with its defaults, in every form of its inputs, with every word of its choices, and switches turned.
let variants: [Variant] = expressionMethods.flatMap { name -> [Variant] in
  guard let method = try? method(name) else { return [] }
  let forms = method.inputs.map(\.forms.count).max() ?? 1
  var list = (0..<forms).map { Variant(name, form: $0) }
  for parameter in method.parameters {
    switch parameter.kind {
    case .choice(let words):
      list += words.filter { .text($0) != parameter.initial }.map { Variant(name, [(parameter.name, .text($0))]) }
    case .boolean:
      list.append(Variant(name, [(parameter.name, .boolean(parameter.initial != .boolean(true)))]))
    default: break
    }
  }
  return list + furtherVariants.filter { $0.name == name }
}

/// Numbers at which a formula changes its form.
let furtherVariants: [Variant] = [
  Variant("cross_entropy", [("label_smoothing", .real(0.1))]),
  Variant("cross_entropy", [("label_smoothing", .real(0.1))], form: 1),
  Variant("focal", [("gamma", .real(0))]), Variant("focal", [("gamma", .real(0.5))]),
  Variant("focal", [("gamma", .real(1))], form: 1),
  Variant("generalized_cross_entropy", [("q", .real(0))]), Variant("generalized_cross_entropy", [("q", .real(1))]),
  Variant("quantile", [("q", .real(0.9))]), Variant("taylor_cross_entropy", [("order", .integer(5))], form: 1),
  Variant("asymmetric_loss", [("gamma_neg", .real(0.5)), ("clip", .real(0))]),
  Variant("cut_cross_entropy", [("filter_eps", .real(1e-300))]),
  Variant("online_softmax_topk", [("k", .integer(1))]), Variant("online_softmax_topk", [("k", .integer(3))]),
  Variant("gumbel_softmax", [("tau", .real(0.3))]),
  Variant("logit_clip", [("p", .real(1))]), Variant("logit_clip", [("p", .real(.infinity))]),
  Variant("logit_clip", [("tau", .real(100))]),
  Variant("bi_tempered_logistic", [("t1", .real(1)), ("t2", .real(1))]),
  Variant("bi_tempered_logistic", [("label_smoothing", .real(0.1))]),
  Variant("bi_tempered_logistic", [("t1", .real(0.3)), ("t2", .real(4))], form: 1),
  Variant("cut_cross_entropy", [("softcap", .real(2))]),
  Variant("ldr_kl_loss", [("adaptive", .boolean(true)), ("lambda0", .real(1))]),
  Variant("cauchy_schwarz_divergence", [("sigma_x", .none), ("sigma_y", .none)]),
  Variant("conditional_transport", [("rho", .real(0.3))]),
  Variant("napo_loss", [("q", .real(0.7))]), Variant("napo_loss", [("q", .real(0))]),
  Variant("masked_softmax_ce", [("mask_value", .real(-2))]),
  Variant("lssar_attention", [("p", .real(1))]),
  Variant("adaptive_temperature_softmax", [("min_beta", .real(3))]),
  Variant("early_learning_regularization", [("lam", .real(0))]),
  Variant("soft_match_distribution_loss", [("T", .real(1))]),
  Variant("soft_match_distribution_loss", [("T", .real(0.5)), ("mode", .text("js"))]),
  Variant("target_score_matching", [("w", .real(0.25))]), Variant("knn_lm", [("k", .integer(3))]),
  Variant("multi_head_min_loss", [("eps_relax", .real(0.2))]), Variant("noise2noise", [("gamma", .real(1.5))]),
  Variant("uncertainty_weighted_reward_loss", [("warmup_steps", .integer(4))]),
  Variant("shrinkmatch_loss", [("tau", .real(0.6))]), Variant("softrepa_loss", [("dweight", .real(0.5))]),
  Variant("sparse_coding_thresholds", [("penalty", .text("half")), ("t", .real(0.7))]),
  Variant("uncertainty_contrastive_decoding", [("threshold", .real(0.5))]),
  Variant("conr_loss", [("w", .real(0.6))]), Variant("ctc_loss", [("blank", .integer(2))]),
  Variant("gamma", [("shape", .real(2.5))]), Variant("multi_margin", [("p", .integer(2))]),
  Variant("asymmetric_unhinged", [("a", .real(1.01)), ("p", .real(3))], form: 1),
  Variant("label_relaxation", [("alpha", .real(0.6))]), Variant("label_relaxation", [("alpha", .real(0))]),
  Variant("class_balanced", [("beta", .real(0))]), Variant("auc_margin", [("positive_share", .real(0.3))]),
  Variant("energy_margin", [("inside", .real(-1.5)), ("outside", .real(2))]),
  Variant("circle", [("gamma", .real(4))]), Variant("dpo", [("label_smoothing", .real(0.2))]),
  Variant("equalization", [("lam", .real(0.3)), ("form", .text("sigmoid"))]),
  Variant("equalization", [("lam", .real(0.3))]), Variant("sparsegen", [("lam", .real(-2))]),
  Variant("n_pairs", [("l2", .real(1))]), Variant("arcface", [("scale", .real(4)), ("margin", .real(2))]),
  Variant("contrastive", [("margin", .real(5))]), Variant("margin_ranking", [("margin", .real(1))]),
]
