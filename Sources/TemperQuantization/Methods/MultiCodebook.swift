import TemperCatalogue
import TemperCore

/// Vectors of neighbouring values as sums of codewords: one from each of several tables.
///
/// Tables start as k-means of what the tables before them leave (residual quantization; starts far apart, k-means++). Then
/// in turns: each vector's codes are improved one table at a time while the others stay, and each table's words become the
/// means of what is left to them. Neither raises Σ a_j (v_j − v̂_j)², a_j the second moment of input j where inputs are
/// known, else 1. A word that nothing takes becomes the vector that is furthest off.
package struct MultiCodebook: Quantizer {
  package let name: String
  /// Whether each place of a row has tables of its own.
  package let hasOwnTables: Bool
  /// Length of a vector, or the number of vectors of a row where they have tables of their own.
  package let length: Int
  package let tables: Int
  package let words: Int
  package let iterations: Int
  package let seed: UInt64
  /// Rows are brought to the same size first.
  package let scalesRows: Bool

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let (rows, n) = (weight.rows, weight.columns)
    _ = try weight.ranges(groupSize: max(n, 1), workers: workers)
    // Parts are as long as the first; the last one may be shorter, or there may be fewer.
    let width = hasOwnTables ? max((n + length - 1) / length, 1) : length
    let count = VectorCodes.vectors(columns: n, length: width)
    let values = try weight.values.array(of: Float.self)
    let scales = (0..<rows).map { row -> Float in
      guard scalesRows, n > 0 else { return 1 }
      let square = values[(row * n)..<(row * n + n)].reduce(0.0) { $0 + Double($1) * Double($1) }
      return max(Float((square / Double(n)).squareRoot()), .leastNormalMagnitude)
    }
    let activity = try inputs?.diagonal().map { Float($0 / Double(max(inputs?.samples ?? 1, 1))) }
    // Whether inputs tell anything, and by how much each value counts.
    let counted = activity.flatMap { $0.contains { $0 > 0 } ? $0 : nil } ?? [Float](repeating: 1, count: n)
    var codes = [UInt8](repeating: 0, count: rows * count * tables)
    var tableValues: [Float] = []
    for place in 0..<(hasOwnTables ? max(count, 1) : 1) {
      var problem = VectorProblem(length: width, tables: tables, words: words)
      for row in 0..<rows {
        for vector in hasOwnTables ? place..<min(place + 1, count) : 0..<count {
          let columns = (vector * width)..<min((vector + 1) * width, n)
          problem.add(
            columns.map { values[row * n + $0] / scales[row] },
            columns.map { counted[$0] * scales[row] * scales[row] })
        }
      }
      problem.solve(iterations: iterations, random: Random(seed: seed, stream: name).stream(place), workers: workers)
      tableValues += problem.paddedTables
      for row in 0..<rows {
        for vector in hasOwnTables ? place..<min(place + 1, count) : 0..<count {
          let index = hasOwnTables ? row : row * count + vector
          for table in 0..<tables {
            codes[(row * count + vector) * tables + table] = UInt8(problem.codes[index * tables + table])
          }
        }
      }
    }
    let size = VectorProblem.paddedWords(words)
    return try QuantizedMatrix(
      VectorCodes(
        shape: weight.shape, tables: try Tensor(tableValues, shape: [tableValues.count / (size * width), size, width]),
        perVector: tables, scales: try Tensor(scales),
        looseCodes: try Tensor(codes, shape: [rows, count * tables]), workers: workers))
  }
}

/// Vectors with weights, and tables whose words' sums come near them.
struct VectorProblem {
  let length: Int
  let tables: Int
  let words: Int
  private var values: [Float] = []
  private var weights: [Float] = []
  /// (tables, words, length)
  private(set) var codebook: [Float] = []
  /// (vectors, tables)
  private(set) var codes: [Int] = []

  init(length: Int, tables: Int, words: Int) { (self.length, self.tables, self.words) = (length, tables, words) }

  private var count: Int { values.count / max(length, 1) }

  /// A vector that is too short is filled up with zeros that do not count.
  mutating func add(_ vector: [Float], _ weight: [Float]) {
    let rest = [Float](repeating: 0, count: length - vector.count)
    values += vector + rest
    weights += weight + rest
  }

  static func paddedWords(_ words: Int) -> Int {
    max(2, words.nonzeroBitCount == 1 ? words : 1 << (Int.bitWidth - words.leadingZeroBitCount))
  }

  /// The tables with their last words repeated up to a power of two.
  var paddedTables: [Float] {
    (0..<tables).flatMap { table -> [Float] in
      let own = Array(codebook[(table * words * length)..<((table + 1) * words * length)])
      let last = own.suffix(length)
      return own + (words..<VectorProblem.paddedWords(words)).flatMap { _ in last }
    }
  }

  mutating func solve(iterations: Int, random: Random, workers: Workers) {
    var random = random
    codebook = [Float](repeating: 0, count: tables * words * length)
    codes = [Int](repeating: 0, count: count * tables)
    guard count > 0 else { return }
    for table in 0..<tables {
      spread(table, &random, workers)
      for _ in 0..<max(iterations, 1) {
        let changed = assign(table, until: table, workers)
        update(table, until: table)
        if !changed { break }
      }
      _ = assign(table, until: table, workers)
    }
    guard tables > 1 else { return }
    for _ in 0..<iterations {
      var changed = false
      for table in 0..<tables {
        if assign(table, until: tables - 1, workers) { changed = true }
        update(table, until: tables - 1)
      }
      if !changed { break }
    }
    for table in 0..<tables { _ = assign(table, until: tables - 1, workers) }
  }

  /// What tables 0...last without `table` leave of a vector.
  private func residual(_ vector: Int, without table: Int, until last: Int) -> [Float] {
    var left = Array(values[(vector * length)..<((vector + 1) * length)])
    for other in 0...last where other != table {
      let word = (other * words + codes[vector * tables + other]) * length
      for i in 0..<length { left[i] -= codebook[word + i] }
    }
    return left
  }

  private func distance(_ left: [Float], _ vector: Int, _ word: Int) -> Float {
    var sum: Float = 0
    for i in 0..<length {
      let difference = left[i] - codebook[word + i]
      sum += weights[vector * length + i] * difference * difference
    }
    return sum
  }

  /// Words that are far apart: each next one is a vector drawn by its distance to the nearest before.
  private mutating func spread(_ table: Int, _ random: inout Random, _ workers: Workers) {
    let start = table * words * length
    var nearest = [Float](repeating: .infinity, count: count)
    let left = (0..<count).map { residual($0, without: table, until: table) }
    for word in 0..<words {
      var chosen = random.below(count)
      let total = nearest.reduce(0.0) { $0 + Double($1) }
      if word > 0, total > 0 {
        var place = random.uniform() * total
        chosen =
          nearest.firstIndex { size in
            place -= Double(size)
            return place < 0
          } ?? chosen
      }
      for i in 0..<length { codebook[start + word * length + i] = left[chosen][i] }
      for vector in 0..<count {
        nearest[vector] = min(nearest[vector], distance(left[vector], vector, start + word * length))
      }
    }
  }

  /// Each vector's best code of one table while the others stay; the lower of equals. Whether any changed.
  private mutating func assign(_ table: Int, until last: Int, _ workers: Workers) -> Bool {
    var found = [Int](repeating: 0, count: count)
    let step = 256
    let (own, total) = (self, count)
    unsafe found.withUnsafeMutableBufferPointer { found in
      workers.run((total + step - 1) / step) { piece, _ in
        for vector in (piece * step)..<min((piece + 1) * step, total) {
          let left = own.residual(vector, without: table, until: last)
          var (best, least) = (own.codes[vector * own.tables + table], Float.infinity)
          for word in 0..<own.words {
            let size = own.distance(left, vector, (table * own.words + word) * own.length)
            if size < least { (best, least) = (word, size) }
          }
          unsafe found[vector] = best
        }
      }
    }
    var changed = false
    for vector in 0..<count where codes[vector * tables + table] != found[vector] {
      codes[vector * tables + table] = found[vector]
      changed = true
    }
    return changed
  }

  /// Words become weighted means; one that nothing takes becomes what the vector furthest off has left.
  private mutating func update(_ table: Int, until last: Int) {
    var sums = [Double](repeating: 0, count: words * length)
    var masses = sums
    var taken = [Bool](repeating: false, count: words)
    var (furthest, largest): ([Float]?, Float) = (nil, 0)
    for vector in 0..<count {
      let left = residual(vector, without: table, until: last)
      let word = codes[vector * tables + table]
      taken[word] = true
      for i in 0..<length {
        let weight = Double(weights[vector * length + i])
        sums[word * length + i] += weight * Double(left[i])
        masses[word * length + i] += weight
      }
      let size = distance(left, vector, (table * words + word) * length)
      if size > largest { (furthest, largest) = (left, size) }
    }
    let start = table * words * length
    for i in sums.indices where masses[i] > 0 { codebook[start + i] = Float(sums[i] / masses[i]) }
    if let word = taken.firstIndex(of: false), let furthest {
      for i in 0..<length { codebook[start + word * length + i] = furthest[i] }
    }
  }
}

extension MultiCodebook {
  /// Tables of its own for each part of a row.
  static let method = Method(
    "multi_codebook_vq", kind: .quantizer, area: "quant",
    summary:
      "Cuts rows into parts, each with tables of codewords of its own; each table codes what those before leave.",
    reference: Reference(
      "Zhu et al.", 2022, "Unified Multivariate Gaussian Mixture for Efficient Neural Image Compression",
      arXiv: "2203.10897"),
    parameters: [
      .integer("m", 2, in: 1...(1 << 20), "Parts of a row."),
      .integer("K", 256, in: 1...256, "Words of a table."),
      .integer("levels", 3, in: 1...64, "Tables of a part."),
      .integer("iterations", 25, in: 0...10000, "Rounds of assigning codes and moving words."),
      .integer("seed", 0, in: 0...(.max), "Of the starts."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        MultiCodebook(
          name: "multi_codebook_vq", hasOwnTables: true, length: arguments.integer("m"),
          tables: arguments.integer("levels"), words: arguments.integer("K"),
          iterations: arguments.integer("iterations"), seed: UInt64(arguments.integer("seed")), scalesRows: false)
      }))

  /// The same tables everywhere.
  static let additive = Method(
    "additive_codebooks", aliases: ["aqlm"], kind: .quantizer, area: "quant",
    summary: "Neighbours of a row as sums of one codeword from each of several tables.",
    reference: Reference(
      "Egiazarian et al.", 2024, "Extreme Compression of Large Language Models via Additive Quantization",
      arXiv: "2401.06118"),
    parameters: [
      .integer("group_size", 8, in: 1...4096, "Neighbours that share a code of each table."),
      .integer("codebooks", 2, in: 1...64, "Tables."),
      .integer("codebook_bits", 8, in: 1...8, "Bits of a code."),
      .integer("iterations", 25, in: 0...10000, "Rounds of assigning codes and moving words."),
      .integer("seed", 0, in: 0...(.max), "Of the starts."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        MultiCodebook(
          name: "additive_codebooks", hasOwnTables: false, length: arguments.integer("group_size"),
          tables: arguments.integer("codebooks"), words: 1 << arguments.integer("codebook_bits"),
          iterations: arguments.integer("iterations"), seed: UInt64(arguments.integer("seed")), scalesRows: true)
      }))
}
