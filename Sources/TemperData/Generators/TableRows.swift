import TemperCatalogue
import TemperCore

/// Rows of a table as text, several of which are the same thing with typing errors and empty cells; and altered forms
/// of rows, by which a model learns to know them again (pairwise_match_then_community).
///
///     a form: drop one cell (drop), columns in another order (shuffle), a typing error in a cell (typo), a cell in
///     capitals (case), each with its own chance
///     numbers of a text: how often each 3-gram of " cell " comes, over all cells, scaled to a row of length 1;
///     the 3-gram g = b0 + 256 b1 + 65536 b2 is counted at place floor((2654435761 g mod 2^32) F / 2^32)
enum TableRows {
  static let method = Method(
    "pairwise_match_then_community_rows", kind: .generator, area: "data",
    summary: "Rows of text of which several are the same thing, with typing errors and empty cells, and altered forms.",
    reference: Reference(title: "Robust Table Integration in Data Lakes"),
    parameters: [
      .integer("count", 50, in: 1...100_000, "How many different things; without meaning for texts of your own."),
      .integer("copies", 4, in: 1...1000, "Rows of each; the first has no error."),
      .integer("columns", 4, in: 1...64, "Cells of a row."),
      .integer("errors", 2, in: 0...64, "Typing errors in each of the other rows."),
      .real("missing", 0.1, in: .unit, "The chance of each of their cells to be empty; one is left."),
      .integer("views", 2, in: 1...64, "Altered forms of each row."),
      .real("drop", 0.3, in: .unit, "The chance that a form lacks a cell."),
      .real("shuffle", 0.3, in: .unit, "That its columns are in another order."),
      .real("typo", 0.5, in: .unit, "Of a typing error: a letter put in, left out, exchanged or another one."),
      .real("case", 0.2, in: .unit, "Of a cell in capitals, or in small letters if it has no other."),
      .integer("features", 256, in: 1...65_536, "F, places in which 3-grams are counted."),
    ],
    calls: [
      ArrayCall(
        "generate",
        [
          Input(
            "texts", [.init(["N", "L"], .index(below: "256"))], isOptional: true, isText: true,
            "Rows of your own, cells between \"|\", to be altered; else rows are made.")
        ],
        gives: [
          .init("texts", isText: true, "The rows, cells between \" | \"."),
          .init("groups", "Which thing each row is; not for texts of your own."),
          .init("view_texts", isText: true, "Their altered forms, those of a row one after the other."),
          .init("x", "The numbers of the rows, (N, F)."), .init("views", "Those of the forms, (N, V, F)."),
        ]
      ) { (work) throws(TemperError) in
        let total =
          work.has("texts") ? try work.tensor("texts").shape[0] : work.integer("count") * work.integer("copies")
        guard total * (1 + work.integer("views")) * work.integer("features") <= 1 << 30 else {
          throw TemperError(
            .outOfRange,
            "\(total) rows with \(work.integer("views")) forms of \(work.integer("features")) numbers are too many.")
        }
        let rows = work.has("texts") ? try given(work) : made(work)
        let count = work.integer("views")
        let forms = rows.indices.flatMap { row in
          (0..<count).map { view in
            var random = work.random("views").stream(row).stream(view)
            return altered(rows[row], work, &random)
          }
        }
        let features = work.integer("features")
        try work.give("texts", texts: rows.map(text))
        if !work.has("texts") { try work.give("groups", rows.indices.map { $0 / work.integer("copies") }) }
        try work.give("view_texts", texts: forms.map(text))
        try work.give("x", rows.flatMap { numbers($0, features) }, [rows.count, features])
        try work.give("views", forms.flatMap { numbers($0, features) }, [rows.count, count, features])
      }
    ])

  private static func text(_ cells: [String]) -> String { cells.joined(separator: " | ") }

  private static func given(_ work: ArrayWork) throws(TemperError) -> [[String]] {
    let tensor = try work.tensor("texts")
    let (bytes, width) = (try work.ids("texts"), tensor.shape.last)
    return (0..<tensor.shape[0]).map { row in
      let own = bytes[row * width..<(row + 1) * width].map { UInt8(truncatingIfNeeded: $0) }
      let text = String(decoding: own.prefix { $0 != 0 }, as: UTF8.self)
      return text.split(separator: "|", omittingEmptySubsequences: false).map { cell in
        var cell = cell
        while cell.first == " " { cell.removeFirst() }
        while cell.last == " " { cell.removeLast() }
        return String(cell)
      }
    }
  }

  private static func made(_ work: ArrayWork) -> [[String]] {
    var known: Set<String> = []
    var rows: [[String]] = []
    for thing in 0..<work.integer("count") {
      var random = work.random("things").stream(thing)
      var cells = (0..<work.integer("columns")).map { cell($0, &random) }
      while !known.insert(text(cells)).inserted { cells[0] += " " + word(&random) }
      rows.append(cells)
      for copy in 1..<max(work.integer("copies"), 1) {
        var random = random.stream(copy)
        var row = cells
        for _ in 0..<work.integer("errors") { misspell(&row, &random) }
        for column in row.indices
        where random.uniform() < work.real("missing") && row.count(where: { !$0.isEmpty }) > 1 {
          row[column] = ""
        }
        rows.append(row)
      }
    }
    return rows
  }

  /// By turns a name, a place with a number, a word, and a number.
  private static func cell(_ column: Int, _ random: inout Random) -> String {
    switch column % 4 {
    case 0: "\(word(&random)) \(word(&random))"
    case 1: "\(word(&random)) \(1 + random.below(199))"
    case 2: word(&random)
    default: "\(10_000 + random.below(90_000))"
    }
  }

  private static func word(_ random: inout Random) -> String {
    let (openings, middles) = (Array("bdfghklmnprstvwz"), Array("aeiou"))
    return (0..<2 + random.below(2)).map { _ in
      let ending = random.below(3) == 0 ? String(openings[random.below(openings.count)]) : ""
      return String([openings[random.below(openings.count)], middles[random.below(middles.count)]]) + ending
    }.joined()
  }

  private static func altered(_ row: [String], _ work: ArrayWork, _ random: inout Random) -> [String] {
    var cells = row
    if random.uniform() < work.real("drop") {
      let full = cells.indices.filter { !cells[$0].isEmpty }
      if full.count > 1 { cells[full[random.below(full.count)]] = "" }
    }
    if random.uniform() < work.real("shuffle") { cells = random.permutation(cells.count).map { cells[$0] } }
    if random.uniform() < work.real("typo") { misspell(&cells, &random) }
    if random.uniform() < work.real("case") {
      let full = cells.indices.filter { !cells[$0].isEmpty }
      if !full.isEmpty {
        let at = full[random.below(full.count)]
        let capitals = cells[at].uppercased()
        cells[at] = capitals == cells[at] ? cells[at].lowercased() : capitals
      }
    }
    return cells
  }

  /// One letter put in, left out, exchanged with the next, or replaced, in one of the cells that are not empty.
  private static func misspell(_ cells: inout [String], _ random: inout Random) {
    let full = cells.indices.filter { !cells[$0].isEmpty }
    guard !full.isEmpty else { return }
    let at = full[random.below(full.count)]
    var letters = Array(cells[at].unicodeScalars)
    let (kind, place) = (random.below(4), random.below(letters.count))
    let drawn = random.below(26)
    if kind == 0 {
      letters.insert(letter(drawn), at: place)
    } else if kind == 1, letters.count > 1 {
      letters.remove(at: place)
    } else if kind == 2, place + 1 < letters.count, letters[place] != letters[place + 1] {
      letters.swapAt(place, place + 1)
    } else {
      letters[place] = letter(letter(drawn) == letters[place] ? (drawn + 1) % 26 : drawn)
    }
    var changed = String.UnicodeScalarView()
    changed.append(contentsOf: letters)
    cells[at] = String(changed)
  }

  private static func letter(_ number: Int) -> Unicode.Scalar { Unicode.Scalar(UInt8(ascii: "a") + UInt8(number)) }

  private static func numbers(_ cells: [String], _ features: Int) -> [Double] {
    var counts = [Double](repeating: 0, count: features)
    for cell in cells where !cell.isEmpty {
      let bytes = Array(" \(cell) ".utf8).map { UInt32($0) }
      for at in 0..<bytes.count - 2 {
        let gram = (bytes[at] + 256 * bytes[at + 1] + 65_536 * bytes[at + 2]) &* 2_654_435_761
        counts[(Int(gram) * features) >> 32] += 1
      }
    }
    let length = counts.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return length > 0 ? counts.map { $0 / length } : counts
  }
}
