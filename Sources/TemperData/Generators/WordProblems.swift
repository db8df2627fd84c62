import TemperCatalogue
import TemperCore

/// Word problems with numbers that matter, and the same with sentences of numbers that do not.
enum WordProblems {
  static let method = Method(
    "distractor_word_problems", kind: .generator, area: "data",
    summary: "Word problems, and the same with sentences put in whose numbers change nothing.",
    reference: Reference(
      "Anantheswaran et al.", 2024, "Investigating the Robustness of LLMs on Math Word Problems", arXiv: "2406.15444"),
    parameters: [
      ReasoningText.count, .integer("n_low", 1, in: 0...10, "The fewest distractors."),
      .integer("n_high", 2, in: 0...10, "The most."),
    ],
    calls: [
      ArrayCall(
        "generate", [],
        gives: [
          .init("clean", isText: true, "The problems."), .init("adversarial", isText: true, "With distractors."),
          .init("expressions", isText: true, "What the answer is made of."), .init("answers", "The answers."),
          .init("distractors", "How many sentences were put in."),
          .init("numbers", "The numbers of the adversarial text in order; -1 fills up."),
          .init("is_used", "Which of them the answer needs: 0 or 1, -1 fills up."),
        ]
      ) { (work) throws(TemperError) in
        guard work.integer("n_low") <= work.integer("n_high") else {
          throw TemperError(.outOfRange, "n_low must not be above n_high.")
        }
        var problems: [Problem] = []
        for at in 0..<work.integer("count") {
          var random = work.random("problems").stream(at)
          let wanted = work.integer("n_low") + random.below(work.integer("n_high") - work.integer("n_low") + 1)
          problems.append(Problem(distractors: wanted, &random))
        }
        let width = problems.reduce(1) { max($0, $1.numbers.count) }
        try work.give("clean", texts: problems.map(\.clean))
        try work.give("adversarial", texts: problems.map(\.adversarial))
        try work.give("expressions", texts: problems.map(\.expression))
        try work.give("answers", problems.map(\.answer))
        try work.give("distractors", problems.map(\.distractors))
        func table(_ rows: [[Int]]) -> [Int] {
          rows.flatMap { $0 + [Int](repeating: -1, count: width - $0.count) }
        }
        try work.give("numbers", table(problems.map { $0.numbers.map(\.value) }), [problems.count, width])
        try work.give(
          "is_used", table(problems.map { $0.numbers.map { $0.isUsed ? 1 : 0 } }), [problems.count, width])
      }
    ])

  private struct Problem {
    let clean: String, adversarial: String, expression: String
    let answer: Int, distractors: Int
    /// Of the adversarial text, in order.
    let numbers: [(value: Int, isUsed: Bool)]

    init(distractors: Int, _ random: inout Random) {
      let people = random.choice(3, of: Array(Problem.people.indices)).map { Problem.people[$0] }
      let things = random.choice(3, of: Array(Problem.things.indices)).map { Problem.things[$0] }
      let (who, other, what) = (people[0], people[1], things[0])
      let (a, b, c) = (10 + random.below(40), 2 + random.below(8), 2 + random.below(6))
      // Sentences with the numbers in them, in order; the last asks.
      var sentences: [(text: String, numbers: [Int])]
      switch random.below(5) {
      case 0:
        (expression, answer) = ("\(a) + \(b)", a + b)
        sentences = [
          ("\(who) has \(a) \(what).", [a]), ("\(other) gives \(who) \(b) more \(what).", [b]),
          ("How many \(what) does \(who) have now?", []),
        ]
      case 1:
        (expression, answer) = ("\(a) - \(b)", a - b)
        sentences = [
          ("\(who) has \(a) \(what).", [a]), ("\(who) gives \(b) of them to \(other).", [b]),
          ("How many \(what) does \(who) have left?", []),
        ]
      case 2:
        (expression, answer) = ("\(b) * \(c)", b * c)
        sentences = [
          ("\(who) has \(b) boxes.", [b]), ("Each box holds \(c) \(what).", [c]),
          ("How many \(what) are in the boxes of \(who)?", []),
        ]
      case 3:
        (expression, answer) = ("\(a) + \(b) * \(c)", a + b * c)
        sentences = [
          ("\(who) has \(a) \(what).", [a]), ("\(who) buys \(b) bags with \(c) \(what) each.", [b, c]),
          ("How many \(what) does \(who) have in all?", []),
        ]
      default:
        (expression, answer) = ("\(a) - \(b) + \(c)", a - b + c)
        sentences = [
          ("\(who) picks \(a) \(what) in the morning.", [a]), ("\(who) loses \(b) of them.", [b]),
          ("In the evening \(who) finds \(c) more \(what).", [c]),
          ("How many \(what) does \(who) have at the end?", []),
        ]
      }
      clean = sentences.map(\.text).joined(separator: " ")
      var all = sentences.map { (text: $0.text, numbers: $0.numbers, isUsed: true) }
      for _ in 0..<distractors {
        let number = 2 + random.below(97)
        let sentence =
          switch random.below(4) {
          case 0: "\(people[2]) has \(number) \(what)."
          case 1: "\(who) also has \(number) \(things[1])."
          case 2: "The walk home takes \(number) minutes."
          default: "A ticket for the bus costs \(number) cents."
          }
        // Anywhere but at the end.
        all.insert((sentence, [number], false), at: random.below(all.count))
      }
      adversarial = all.map(\.text).joined(separator: " ")
      numbers = all.flatMap { sentence in sentence.numbers.map { ($0, sentence.isUsed) } }
      self.distractors = distractors
    }

    private static let people = [
      "Anna", "Ben", "Clara", "David", "Eva", "Felix", "Greta", "Hugo", "Iris", "Jonas", "Karla", "Leo",
    ]
    private static let things = [
      "apples", "books", "coins", "marbles", "stamps", "pencils", "shells", "stickers", "buttons", "cards",
    ]
  }
}
