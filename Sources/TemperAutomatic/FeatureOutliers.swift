import TemperCore
import TemperData

/// Which samples lie far from all others: by the mean distance to their nearest neighbours, features standardized.
enum FeatureOutliers {
  private static let neighbours = 10
  /// So many samples stand for all: the search is a product of all samples with all of these.
  private static let most = 20_000

  /// How many robust deviations above the median each sample's distance lies; nothing of fewer than 20 samples.
  static func scores(
    _ problem: Problem, _ standard: [(mean: Double, scale: Double)], seed: UInt64, _ workers: Workers
  ) throws(TemperError) -> [Double] {
    guard problem.count >= 2 * neighbours else { return [] }
    let values = problem.features.enumerated().map { index, value in
      let (mean, scale) = standard[index % problem.width]
      return (Double(value) - mean) / scale
    }
    let all = Matrix(values, rows: problem.count, columns: problem.width)
    let isSame = problem.count <= most
    var random = Random(seed: seed).stream("outliers")
    let points = isSame ? all : all.rows(Array(random.permutation(problem.count).prefix(most)))
    let found = try Neighbours(of: all, among: points, count: neighbours, isSame: isSame, workers: workers)
    let distances = (0..<problem.count).map { sample in
      found.distances[sample * neighbours..<(sample + 1) * neighbours].reduce(0, +) / Double(neighbours)
    }
    let centre = Robust.median(distances)
    let deviation = Robust.deviation(distances, around: centre)
    return distances.map { deviation > 0 ? ($0 - centre) / deviation : 0 }
  }
}
