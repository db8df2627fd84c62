import TemperCatalogue
import TemperCore

/// Arithmetic with every operation written down, and errors in the text or in the operations themselves.
enum TracedIntegers {
  static let method = Method(
    "traced_integer_noise_generator", aliases: ["noisy_trace_generator"], kind: .generator, area: "data",
    summary: "Arithmetic step by step as text; static noise spoils characters, dynamic noise results that are used on.",
    reference: Reference(
      "Havrilla and Iyer", 2024,
      "Understanding the Effect of Noise in LLM Training Data with Algorithmic Chains of Thought",
      arXiv: "2402.04004"),
    parameters: [
      ReasoningText.count,
      .choice("function", ["addition", "multiplication", "median", "gcd", "max_difference"], "What is computed."),
      .integer("digits", 3, in: 1...8, "Of the numbers."),
      .choice("sampling", ["magnitude", "length"], "Numbers uniform below 10^digits; or their lengths uniform."),
      .choice(
        "noise", ["char_replace", "char_delete", "line_delete", "random_same_digits", "plus_minus_one"],
        "Static kinds spoil the text and leave the answer; the last two spoil results."),
      .real("contamination", 0.5, in: .unit, "The share of texts that are spoiled."),
      .real("intensity", 0.3, in: .unit, "The chance of each digit, character, line or operation in them."),
    ],
    calls: [
      ArrayCall(
        "generate", [],
        gives: [
          .init("texts", isText: true, "The question, a line for each operation, and the answer."),
          .init("clean_texts", isText: true, "The same without noise."), .init("answers", "The answers in the texts."),
          .init("true_answers", "The right ones."), .init("is_noisy", "Which texts were spoiled."),
          .init("operations", "How many operations each has."),
          .init("corrupted", "How many of their results were replaced."),
        ]
      ) { (work) throws(TemperError) in
        let isDynamic = ["random_same_digits", "plus_minus_one"].contains(work.text("noise"))
        var (texts, cleanTexts): ([String], [String]) = ([], [])
        var (answers, trueAnswers, operations, corrupted): ([Int], [Int], [Int], [Int]) = ([], [], [], [])
        var isNoisy: [Bool] = []
        for at in 0..<work.integer("count") {
          var random = work.random("traces").stream(at)
          let numbers = (0..<(work.text("function") == "median" || work.text("function") == "max_difference" ? 3 : 2))
            .map { _ in number(work, &random) }
          var clean = Trace()
          let right = run(work.text("function"), numbers, &clean)
          let spoils = random.uniform() < work.real("contamination")
          var trace = clean
          var answer = right
          if spoils, isDynamic {
            trace = Trace(noise: work.text("noise"), intensity: work.real("intensity"), random: random)
            answer = run(work.text("function"), numbers, &trace)
          }
          let question = "\(work.text("function"))(\(numbers.map(String.init).joined(separator: ",")))\n"
          let lines = spoils && !isDynamic ? spoil(trace.lines, work, &random) : trace.lines
          texts.append(question + lines.map { $0 + "\n" }.joined() + "answer=\(answer)")
          cleanTexts.append(question + clean.lines.map { $0 + "\n" }.joined() + "answer=\(right)")
          answers.append(answer)
          trueAnswers.append(right)
          isNoisy.append(spoils)
          operations.append(trace.lines.count)
          corrupted.append(trace.corrupted)
        }
        try work.give("texts", texts: texts)
        try work.give("clean_texts", texts: cleanTexts)
        try work.give("answers", answers)
        try work.give("true_answers", trueAnswers)
        try work.give("is_noisy", isNoisy)
        try work.give("operations", operations)
        try work.give("corrupted", corrupted)
      }
    ])

  private static func number(_ work: ArrayWork, _ random: inout Random) -> Int {
    func power(_ digits: Int) -> Int { (0..<digits).reduce(1) { value, _ in value * 10 } }
    let digits = work.integer("digits")
    if work.text("sampling") == "magnitude" { return random.below(power(digits)) }
    let length = 1 + random.below(digits)
    let least = length == 1 ? 0 : power(length - 1)
    return least + random.below(power(length) - least)
  }

  private static func run(_ function: String, _ numbers: [Int], _ trace: inout Trace) -> Int {
    switch function {
    case "multiplication": return multiply(numbers[0], numbers[1], &trace)
    case "median":
      let low = trace.apply("min", numbers[0], numbers[1])
      let high = trace.apply("max", numbers[0], numbers[1])
      let inner = trace.apply("min", high, numbers[2])
      return trace.apply("max", low, inner)
    case "gcd":
      var (a, b) = (numbers[0], numbers[1])
      // Spoiled remainders need not get smaller: an end is set.
      while b != 0, trace.lines.count < 64 { (a, b) = (b, trace.apply("mod", a, b)) }
      return trace.apply("max", a, b == 0 ? 0 : a)
    case "max_difference":
      let first = trace.apply("diff", numbers[0], numbers[1])
      let second = trace.apply("diff", numbers[1], numbers[2])
      return trace.apply("max", first, second)
    default: return add(numbers[0], numbers[1], &trace)
    }
  }

  /// Digit by digit with carries.
  private static func add(_ a: Int, _ b: Int, _ trace: inout Trace) -> Int {
    var (a, b, carry, place, result) = (a, b, 0, 1, 0)
    repeat {
      let sum = trace.apply("add", a % 10, b % 10)
      let whole = trace.apply("add", sum, carry)
      let digit = trace.apply("mod", whole, 10)
      carry = trace.apply("div", whole, 10)
      result = trace.apply("add", result, trace.apply("mul", digit, place))
      (a, b, place) = (a / 10, b / 10, place * 10)
    } while a > 0 || b > 0
    return trace.apply("add", result, trace.apply("mul", carry, place))
  }

  /// A product for each digit of the second number, moved and added.
  private static func multiply(_ a: Int, _ b: Int, _ trace: inout Trace) -> Int {
    var (b, place, result) = (b, 1, 0)
    repeat {
      let part = trace.apply("mul", a, b % 10)
      result = trace.apply("add", result, trace.apply("mul", part, place))
      (b, place) = (b / 10, place * 10)
    } while b > 0
    return result
  }

  private static func spoil(_ lines: [String], _ work: ArrayWork, _ random: inout Random) -> [String] {
    let p = work.real("intensity")
    switch work.text("noise") {
    case "line_delete": return lines.filter { _ in random.uniform() >= p }
    case "char_delete":
      return lines.map { line in String(decoding: line.utf8.filter { _ in random.uniform() >= p }, as: UTF8.self) }
    default:
      return lines.map { line in
        let zero = UInt8(ascii: "0")
        let bytes = line.utf8.map { byte -> UInt8 in
          guard byte >= zero, byte < zero + 10, random.uniform() < p else { return byte }
          return zero + (byte - zero + 1 + UInt8(random.below(9))) % 10
        }
        return String(decoding: bytes, as: UTF8.self)
      }
    }
  }
}

/// The operations of a run, "op(a,b)=c", whose results may be replaced as they come.
private struct Trace {
  private(set) var lines: [String] = []
  private(set) var corrupted = 0
  private let noise: String?
  private let intensity: Double
  private var random: Random

  init(noise: String? = nil, intensity: Double = 0, random: Random = Random(seed: 0)) {
    (self.noise, self.intensity, self.random) = (noise, intensity, random)
  }

  mutating func apply(_ operation: String, _ a: Int, _ b: Int) -> Int {
    var result = Trace.value(operation, a, b)
    if let noise, random.uniform() < intensity {
      corrupted += 1
      if noise == "plus_minus_one" {
        result += result == 0 || random.below(2) == 1 ? 1 : -1
      } else {
        // Any other number with as many digits.
        var (least, beyond) = (0, 10)
        while beyond <= result { (least, beyond) = (beyond, beyond * 10) }
        let other = least + random.below(beyond - least - 1)
        result = other >= result ? other + 1 : other
      }
    }
    lines.append("\(operation)(\(a),\(b))=\(result)")
    return result
  }

  /// Values stay below 10^17 (digits is at most 8 and spoiled ones keep their lengths); still, nothing may trap.
  private static func value(_ operation: String, _ a: Int, _ b: Int) -> Int {
    switch operation {
    case "mul": a.multipliedReportingOverflow(by: b).overflow ? 0 : a * b
    case "mod": b == 0 ? 0 : a % b
    case "div": b == 0 ? 0 : a / b
    case "min": min(a, b)
    case "max": max(a, b)
    case "diff": a >= b ? a - b : b - a
    default: a.addingReportingOverflow(b).overflow ? 0 : a + b
    }
  }
}
