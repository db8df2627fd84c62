import TemperCore

/// Samples to learn from, checked: features (N, D), and for each sample a class or a number.
package struct Problem {
  package enum Targets {
    /// Class ids below `classes`.
    case classes([Int32], count: Int)
    case numbers([Double])
  }

  package let count: Int
  package let width: Int
  package let targets: Targets
  let features: [Float]

  package init(x: Tensor, targets: Targets) throws(TemperError) {
    guard x.shape.rank == 2, x.shape[0] > 0, x.shape[1] > 0 else {
      throw TemperError(
        .invalidShape, "x is a table (samples, features) with at least one of each; shape \(x.shape) came.")
    }
    guard x.dtype.isFloating else {
      throw TemperError(.invalidType, "x is float32 or float64; \(x.dtype.name) came.")
    }
    (count, width, self.targets) = (x.shape[0], x.shape[1], targets)
    features = try x.array(of: Float.self)
    if let place = features.firstIndex(where: { !$0.isFinite }) {
      throw TemperError(
        .notFinite,
        "x is NaN, infinite or beyond float32 at sample \(place / width), feature \(place % width); clean the data first."
      )
    }
    let given: Int
    switch targets {
    case .classes(let ids, let classes):
      given = ids.count
      guard classes >= 2 else {
        throw TemperError(.invalidArgument, "There is \(classes) class; telling classes apart needs two or more.")
      }
      if let place = ids.firstIndex(where: { $0 < 0 || Int($0) >= classes }) {
        throw TemperError(
          .outOfRange,
          "The class of sample \(place) is \(ids[place]); with \(classes) classes ids are 0 to \(classes - 1).")
      }
    case .numbers(let values):
      given = values.count
      if let place = values.firstIndex(where: { !$0.isFinite }) {
        throw TemperError(.notFinite, "y is NaN or infinite at sample \(place); clean the data first.")
      }
    }
    guard given == count else {
      throw TemperError(.invalidShape, "x has \(count) samples and y has \(given); they must be as many.")
    }
  }

  /// The features of some samples, (rows, D).
  func features(_ rows: [Int]) throws(TemperError) -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(rows.count * width)
    for row in rows { values += features[row * width..<(row + 1) * width] }
    return try Tensor(values, shape: [rows.count, width])
  }

  /// How many samples each class has; empty for numbers.
  package var classCounts: [Int] {
    guard case .classes(let ids, let classes) = targets else { return [] }
    return ids.reduce(into: [Int](repeating: 0, count: classes)) { $0[Int($1)] += 1 }
  }

  /// The samples of each class; empty for numbers.
  var byClass: [[Int]] {
    guard case .classes(let ids, let classes) = targets else { return [] }
    return ids.indices.reduce(into: [[Int]](repeating: [], count: classes)) { $0[Int(ids[$1])].append($1) }
  }

  /// Every class, or every range of numbers, is spread over the folds alike: the fold of each sample.
  func folds(_ folds: Int, _ random: Random) -> [Int] {
    var random = random
    let shuffled = random.permutation(count)
    let order: [Int]
    switch targets {
    case .classes(let ids, let classes):
      var byClass = [[Int]](repeating: [], count: classes)
      for sample in shuffled { byClass[Int(ids[sample])].append(sample) }
      order = byClass.flatMap { $0 }
    case .numbers(let values):
      order = ascendingOrder(shuffled.map { values[$0] }).map { shuffled[$0] }
    }
    var result = [Int](repeating: 0, count: count)
    for (place, sample) in order.enumerated() { result[sample] = place % folds }
    return result
  }
}
