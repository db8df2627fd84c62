import TemperCatalogue
import TemperCore
import TemperGraph

/// What many workers say of each item, made one.
enum Crowd {
  static let all = [softLabels, majority, dawidSkene, glad, mace, topTwo, topTwoReliability]

  static let votes = Input(
    "votes", [.init(["N", "M"], .index(below: nil))], none: -1, "Items by workers: class ids; -1 is no vote.")
  static let classCount = Input(
    "num_classes", [.init([], .index(below: nil))], isSize: true, "How many classes there are.")

  static let iterations = Parameter.integer("em_iters", 100, in: 1...1_000_000, "The most iterations.")

  static let majority = aggregator(
    "majority_vote", "The share of the votes that each class has; the lowest of equals wins.", nil, []
  ) { votes, _ in Votes.shares(votes.counts()) }

  static let dawidSkene = aggregator(
    "dawid_skene", "Posteriors of the classes under a confusion matrix for each worker.",
    Reference(
      "Dawid and Skene", 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm"),
    [iterations, .real("smoothing", 0.01, in: .positive, "Added to the counts.")]
  ) { votes, arguments in
    votes.dawidSkene(iterations: arguments.integer("em_iters"), smoothing: arguments.real("smoothing"))
  }

  static let glad = aggregator(
    "glad", "Posteriors of the classes under a skill of each worker and a difficulty of each item.",
    Reference(
      "Whitehill et al.", 2009,
      "Whose Vote Should Count More: Optimal Integration of Labels from Labelers of Unknown Expertise"),
    [iterations]
  ) { votes, arguments in votes.glad(iterations: arguments.integer("em_iters")) }

  static let mace = aggregator(
    "mace", "Posteriors of the classes where a worker knows the truth, or answers by habit.",
    Reference("Hovy et al.", 2013, "Learning Whom to Trust with MACE"),
    [
      .integer("mace_iters", 50, in: 1...1_000_000, "Iterations of each start."),
      .integer("mace_restarts", 10, in: 1...10_000, "Random starts, of which the likeliest counts."),
      .integer("seed", 0, in: 0 ... .max, "Where the starts come from."),
    ]
  ) { votes, arguments in
    votes.mace(
      iterations: arguments.integer("mace_iters"), restarts: arguments.integer("mace_restarts"),
      seed: UInt64(arguments.integer("seed")))
  }

  /// Votes must lie below the number of classes.
  static let check: Method.Check = { (inputs, _) throws(TemperError) in
    let classes = try inputs["num_classes"]?.array(of: Int64.self).first ?? 0
    guard (1...(1 << 20)).contains(classes) else {
      throw TemperError(.outOfRange, "num_classes must be 1 to \(1 << 20); \(classes) came.")
    }
    if let bad = try inputs["votes"]?.array(of: Int64.self).first(where: { $0 >= classes }) {
      throw TemperError(.outOfRange, "With \(classes) classes votes are -1 to \(classes - 1); \(bad) came.")
    }
  }

  private static func aggregator(
    _ name: String, _ summary: String, _ reference: Reference?, _ parameters: [Parameter],
    _ table: @escaping @Sendable (Votes, Arguments) -> Votes.Table
  ) -> Method {
    Method(
      name, kind: .op, area: "data", summary: summary, reference: reference, parameters: parameters,
      inputs: [votes, classCount], check: check,
      implementation: .operation { x in
        let (arguments, classes) = (x.arguments, x.size("num_classes"))
        let operation = CustomOperation(name: name) { (inputs, result, _) throws(TemperError) in
          let votes = Votes(try inputs[0].array(of: Int32.self), workers: inputs[0].shape[1], classes: classes)
          try result.assign(from: try Tensor(Array(table(votes, arguments).joined()), shape: result.shape))
        }
        return .custom(operation, [x["votes"]], shape: [x["votes"].shape[0], classes])
      })
  }
}
