import TemperCore

extension Matrix {
  /// How much sparser each row lies than its k nearest neighbours: about 1 inside a cloud, larger outside.
  /// Local outlier factor, Breunig et al., 2000.
  ///
  ///     reach(a, b) = max(distance of b's k-th neighbour, |a - b|)
  ///     density(a) = 1 / mean reach to its neighbours;  factor = mean density of the neighbours / own
  package func localOutlierFactors(neighbours k: Int, workers: Workers) throws(TemperError) -> [Double] {
    guard rows > 1 else { return [Double](repeating: 1, count: rows) }
    let k = Swift.min(k, rows - 1)
    let near = try Neighbours(of: self, among: self, count: k, isSame: true, workers: workers)
    let densities = (0..<rows).map { row in
      let reach = (0..<k).reduce(0.0) { sum, place in
        let other = Int(near.ids[row * k + place])
        return sum + Swift.max(near.distances[other * k + k - 1], near.distances[row * k + place])
      }
      // Points in one place have neighbours at no distance.
      return Double(k) / Swift.max(reach, 1e-10)
    }
    return (0..<rows).map { row in
      near[row].reduce(0.0) { $0 + densities[Int($1)] } / (Double(k) * densities[row])
    }
  }
}
