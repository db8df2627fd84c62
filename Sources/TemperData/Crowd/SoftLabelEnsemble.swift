import TemperCatalogue
import TemperCore
import TemperGraph

extension Crowd {
  /// One probability table of the votes by each of seven methods; "average" is their weighted mean.
  static let softLabels = Method(
    "soft_label_ensemble", aliases: ["crowd_soft_label_average"], kind: .op, area: "data",
    summary: "A soft label for each item from the votes of a crowd, by one of seven methods or as their average.",
    reference: Reference(
      "Wright and Augenstein", 2022,
      "Aggregating Soft Labels from Crowd Annotations Improves Uncertainty Estimation Under Distribution Shift",
      arXiv: "2212.09409"),
    parameters: [
      .choice(
        "method", ["standard", "softmax", "ds", "glad", "mace", "wawa", "zbs", "average"],
        "Vote shares; softmax of the counts; Dawid-Skene; GLAD; MACE; agreement with the majority; zero-based skill; or the mean of these seven."
      ),
      .integer("em_iters", 100, in: 1...1_000_000, "The most iterations of Dawid-Skene and GLAD."),
      .real("smoothing", 0.01, in: .positive, "Added to the counts of Dawid-Skene."),
      .real("zbs_lr", 1, in: .unit, "The first step of zero-based skill."),
      .integer("zbs_reduce_every", 20, in: 1 ... .max, "After so many rounds the step shrinks."),
      .real("zbs_factor", 0.5, in: .unit, "The factor of the shrinking step."),
      .integer("mace_restarts", 10, in: 1...10_000, "Random starts of MACE."),
      .integer("mace_iters", 50, in: 1...1_000_000, "Iterations of each."),
      .integer("seed", 0, in: 0 ... .max, "Where the starts of MACE come from."),
    ],
    inputs: [
      votes, classCount,
      Input("weights", [.init(["7"])], isOptional: true, isDifferentiable: false, "Of the methods in the average."),
    ],
    check: { (inputs, arguments) throws(TemperError) in
      try check(inputs, arguments)
      if let weights = try inputs["weights"]?.array(of: Double.self),
        !weights.allSatisfy({ $0 >= 0 && $0.isFinite }) || weights.reduce(0, +) <= 0
      {
        throw TemperError(.outOfRange, "The weights of the methods must be 0 or more, and not all 0.")
      }
    },
    implementation: .operation { x in
      let (arguments, classes, names) = (x.arguments, x.size("num_classes"), softLabelMethods)
      let operation = CustomOperation(name: "soft_label_ensemble") { (inputs, table, _) throws(TemperError) in
        let votes = Votes(try inputs[0].array(of: Int32.self), workers: inputs[0].shape[1], classes: classes)
        let method = arguments.text("method")
        var rows = [Double](repeating: 0, count: table.count)
        let weights = inputs.count > 1 ? try inputs[1].array(of: Double.self) : names.map { _ in 1 }
        let chosen = method == "average" ? zip(names, weights).filter { $0.1 > 0 } : [(method, 1)]
        let total = chosen.reduce(0) { $0 + $1.1 }
        for (name, weight) in chosen {
          for (at, p) in votes.table(name, arguments).joined().enumerated() { rows[at] += weight / total * p }
        }
        try table.assign(from: try Tensor(rows, shape: table.shape))
      }
      let inputs = [x["votes"]] + (x.has("weights") ? [x["weights"]] : [])
      return .custom(operation, inputs, shape: [x["votes"].shape[0], classes])
    })

  private static let softLabelMethods = ["standard", "softmax", "ds", "glad", "mace", "wawa", "zbs"]
}

extension Votes {
  fileprivate func table(_ method: String, _ arguments: Arguments) -> Table {
    switch method {
    case "softmax": Votes.softmax(counts())
    case "ds": dawidSkene(iterations: arguments.integer("em_iters"), smoothing: arguments.real("smoothing"))
    case "glad": glad(iterations: arguments.integer("em_iters"))
    case "mace":
      mace(
        iterations: arguments.integer("mace_iters"), restarts: arguments.integer("mace_restarts"),
        seed: UInt64(arguments.integer("seed")))
    case "wawa": agreementWeighted()
    case "zbs":
      zeroBasedSkill(
        rate: arguments.real("zbs_lr"), reducedEvery: arguments.integer("zbs_reduce_every"),
        by: arguments.real("zbs_factor"), rounds: 100)
    default: Votes.shares(counts())
    }
  }
}
