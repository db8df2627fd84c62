import Glibc
import TemperCore

extension Random {
  /// One of 0..<count, each in proportion to its weight; uniform if all weights are 0.
  package mutating func index(inProportionTo weights: [Double]) -> Int {
    let whole = weights.reduce(0, +)
    guard whole > 0, whole.isFinite else { return below(weights.count) }
    var left = uniform() * whole
    for (index, weight) in weights.enumerated() where weight > 0 {
      left -= weight
      if left < 0 { return index }
    }
    return weights.lastIndex { $0 > 0 } ?? 0
  }

  /// `count` of 0..<weights.count with replacement, each in proportion to its weight.
  package mutating func indices(_ count: Int, inProportionTo weights: [Double]) -> [Int] {
    var sums: [Double] = []
    sums.reserveCapacity(weights.count)
    var whole = 0.0
    for weight in weights {
      whole += weight
      sums.append(whole)
    }
    let last = weights.lastIndex { $0 > 0 } ?? 0
    return (0..<count).map { _ in
      let wanted = uniform() * whole
      var (low, high) = (0, last)
      // The first whose running sum is beyond what was drawn.
      while low < high {
        let middle = (low + high) / 2
        if sums[middle] > wanted { high = middle } else { low = middle + 1 }
      }
      return low
    }
  }

  /// `count` of `items` in random order, each at most once.
  package mutating func choice(_ count: Int, of items: [Int]) -> [Int] {
    var items = items
    let count = Swift.min(count, items.count)
    for place in 0..<count { items.swapAt(place, place + below(items.count - place)) }
    return Array(items[..<count])
  }

  /// A standard normal number (Box and Muller; the second of the pair is not kept).
  package mutating func normal() -> Double {
    (-2 * log(1 - uniform())).squareRoot() * cos(2 * Double.pi * uniform())
  }
}
