import TemperCatalogue
import TemperCore

/// Random clauses of k literals as sentences, with what a solver says of them.
enum SatisfiabilityText {
  static let method = Method(
    "random_ksat_text_generator", kind: .generator, area: "data",
    summary: "Rules about one thing that can or cannot all hold, as sentences, near where that is hardest to tell.",
    reference: Reference(
      "Richardson and Sabharwal", 2022,
      "Pushing the Limits of Rule Reasoning in Transformers through Natural Language Satisfiability",
      arXiv: "2112.09054"),
    parameters: [
      ReasoningText.count, .integer("k", 3, in: 1...6, "Literals of a clause."),
      .integer("n_low", 5, in: 1...40, "The fewest variables."), .integer("n_high", 12, in: 1...40, "The most."),
      .real("r_low", 3.5, in: .nonNegative, "The fewest clauses for each variable."),
      .real("r_high", 5.5, in: Interval(0, 20), "The most."),
      .boolean("balanced", true, "Two of each number of variables and clauses, one that can hold and one that cannot."),
    ],
    calls: [
      ArrayCall(
        "generate", [],
        gives: [
          .init("texts", isText: true, "A sentence for each clause."),
          .init("satisfiable", "Whether all can hold: 0 or 1."),
          .init("branchings", "How often the solver had to guess."), .init("variables", "How many there are."),
          .init("clause_counts", "How many clauses."),
          .init("clauses", "Variables from 1, negative where negated; rows of 0 fill up."),
        ]
      ) { (work) throws(TemperError) in
        let (k, low, high) = (work.integer("k"), work.integer("n_low"), work.integer("n_high"))
        guard k <= low, low <= high, work.real("r_low") <= work.real("r_high") else {
          throw TemperError(.outOfRange, "k <= n_low <= n_high and r_low <= r_high must hold.")
        }
        var random = work.random("clauses")
        var made: [(formula: Formula, answer: (isSatisfiable: Bool, branchings: Int))] = []
        var failures = 0
        while made.count < work.integer("count") {
          let n = low + random.below(high - low + 1)
          let r = work.real("r_low") + (work.real("r_high") - work.real("r_low")) * random.uniform()
          let m = max(1, Int((r * Double(n)).rounded()))
          if !work.boolean("balanced") {
            let formula = Formula(variables: n, clauses: m, k: k, &random)
            made.append((formula, formula.solved))
            continue
          }
          var found: [Bool: (Formula, (Bool, Int))] = [:]
          for _ in 0..<200 where found.count < 2 {
            let formula = Formula(variables: n, clauses: m, k: k, &random)
            let answer = formula.solved
            if found[answer.isSatisfiable] == nil { found[answer.isSatisfiable] = (formula, answer) }
          }
          guard let yes = found[true], let no = found[false] else {
            failures += 1
            guard failures < 200 else {
              throw TemperError(
                .outOfRange,
                "Between r_low and r_high nearly all formulas can hold, or nearly none; move them, or take balanced = false."
              )
            }
            continue
          }
          made.append(yes)
          if made.count < work.integer("count") { made.append(no) }
        }
        let most = made.reduce(1) { max($0, $1.formula.clauses.count) }
        try work.give("texts", texts: made.map(\.formula.text))
        try work.give("satisfiable", made.map { $0.answer.isSatisfiable ? 1 : 0 })
        try work.give("branchings", made.map(\.answer.branchings))
        try work.give("variables", made.map(\.formula.variables))
        try work.give("clause_counts", made.map(\.formula.clauses.count))
        let rows = made.flatMap { entry in
          entry.formula.clauses.flatMap { $0 }
            + [Int](repeating: 0, count: (most - entry.formula.clauses.count) * k)
        }
        try work.give("clauses", rows, [made.count, most, k])
      }
    ])

  private struct Formula {
    let variables: Int
    let clauses: [[Int]]

    init(variables: Int, clauses: Int, k: Int, _ random: inout Random) {
      self.variables = variables
      var drawn: [[Int]] = []
      for _ in 0..<clauses {
        drawn.append(
          random.choice(k, of: Array(1...variables)).map { random.below(2) == 1 ? $0 : -$0 })
      }
      self.clauses = drawn
    }

    var solved: (isSatisfiable: Bool, branchings: Int) {
      var branchings = 0
      return (Formula.solve(clauses, &branchings), branchings)
    }

    /// Davis, Putnam, Logemann and Loveland: unit clauses, pure literals, then a guess at the most frequent variable.
    private static func solve(_ clauses: [[Int]], _ branchings: inout Int) -> Bool {
      var clauses = clauses
      while true {
        if clauses.isEmpty { return true }
        if clauses.contains(where: \.isEmpty) { return false }
        if let unit = clauses.first(where: { $0.count == 1 })?[0] {
          clauses = assigned(clauses, unit)
          continue
        }
        let literals = Set(clauses.joined())
        if let pure = literals.filter({ !literals.contains(-$0) }).min() {
          clauses = assigned(clauses, pure)
          continue
        }
        var counts: [Int: Int] = [:]
        for literal in clauses.joined() { counts[abs(literal), default: 0] += 1 }
        guard let variable = counts.min(by: { ($1.value, $0.key) < ($0.value, $1.key) })?.key else { return true }
        branchings += 1
        return solve(assigned(clauses, variable), &branchings) || solve(assigned(clauses, -variable), &branchings)
      }
    }

    private static func assigned(_ clauses: [[Int]], _ literal: Int) -> [[Int]] {
      clauses.filter { !$0.contains(literal) }.map { clause in clause.filter { $0 != -literal } }
    }

    /// (not a or not b or c) as "if X is a and X is b then X is c".
    var text: String {
      clauses.map { clause in
        let premises = clause.filter { $0 < 0 }.map { "X is \(word(-$0))" }.joined(separator: " and ")
        let conclusions = clause.filter { $0 > 0 }.map { "X is \(word($0))" }.joined(separator: " or ")
        if premises.isEmpty { return conclusions + "." }
        return conclusions.isEmpty ? "it is not so that \(premises)." : "if \(premises) then \(conclusions)."
      }.joined(separator: " ")
    }

    private func word(_ variable: Int) -> String {
      let words = Formula.words
      return variable <= words.count ? words[variable - 1] : "of kind \(variable)"
    }

    private static let words = [
      "red", "tall", "quiet", "warm", "round", "old", "heavy", "bright", "smooth", "early", "kind", "hollow", "narrow",
      "soft", "local", "rare", "green", "sharp", "dry", "steep", "calm", "loud", "thin", "plain", "sweet", "cold",
      "open", "blue", "young", "brave", "clean", "deep", "empty", "fast", "gentle", "hard", "light", "moist", "new",
      "proud",
    ]
  }
}
