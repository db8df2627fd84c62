import Glibc

/// Labels that workers gave to items, and the ways of one probability table: items by classes, rows summing to 1.
struct Votes {
  typealias Table = [[Double]]

  let classes: Int
  let workers: Int
  /// For each item the (worker, label) pairs that there are.
  let items: [[(worker: Int, label: Int)]]
  /// For each worker the (item, label) pairs.
  let answers: [[(item: Int, label: Int)]]

  /// `labels` (items, workers) in row-major order; a negative one is no vote.
  init(_ labels: [Int32], workers: Int, classes: Int) {
    (self.classes, self.workers) = (classes, workers)
    var items: [[(worker: Int, label: Int)]] = []
    var answers = [[(item: Int, label: Int)]](repeating: [], count: workers)
    for item in 0..<(labels.count / workers) {
      var row: [(worker: Int, label: Int)] = []
      for worker in 0..<workers {
        let label = Int(labels[item * workers + worker])
        guard label >= 0 else { continue }
        row.append((worker, label))
        answers[worker].append((item, label))
      }
      items.append(row)
    }
    (self.items, self.answers) = (items, answers)
  }

  /// sum over the votes of each item of weight(worker), by label.
  func counts(weight: (Int) -> Double = { _ in 1 }) -> Table {
    items.map { votes in
      var row = [Double](repeating: 0, count: classes)
      for vote in votes { row[vote.label] += weight(vote.worker) }
      return row
    }
  }

  /// The label with the largest count; the lowest of equals.
  static func winner(_ row: [Double]) -> Int { row.indices.reduce(0) { row[$1] > row[$0] ? $1 : $0 } }

  /// Rows divided by their sum; one that sums to 0 says nothing and becomes uniform.
  static func shares(_ table: Table) -> Table {
    table.map { row in
      let sum = row.reduce(0, +)
      return row.map { sum > 0 ? $0 / sum : 1 / Double(row.count) }
    }
  }

  /// Rows of logarithms to probabilities.
  static func softmax(_ table: Table) -> Table {
    table.map { row in
      let top = row.max() ?? 0
      return shares([row.map { exp($0 - top) }])[0]
    }
  }

  /// The largest difference between two tables.
  static func distance(_ a: Table, _ b: Table) -> Double {
    zip(a, b).reduce(0) { worst, rows in zip(rows.0, rows.1).reduce(worst) { max($0, abs($1.0 - $1.1)) } }
  }
}
