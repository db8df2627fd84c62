import TemperCore

/// Groups of nodes of a graph whose edges are pairs that were matched, some of them wrongly. Numbered by their first nodes.
package enum Communities {
  /// Whatever is joined by a chain of edges.
  package static func components(_ count: Int, _ edges: [(Int, Int)]) -> [Int] {
    var root = Array(0..<count)
    func find(_ node: Int) -> Int {
      var node = node
      while root[node] != node {
        root[node] = root[root[node]]
        node = root[node]
      }
      return node
    }
    for (a, b) in edges {
      let (a, b) = (find(a), find(b))
      if a != b { root[max(a, b)] = min(a, b) }
    }
    return numbered((0..<count).map(find))
  }

  /// A random node and its matched neighbours are a group; again, among those that are left. Ailon et al., 2008.
  package static func pivot(_ count: Int, _ edges: [(Int, Int)], _ random: Random) -> [Int] {
    let near = neighbours(count, edges)
    var (random, group) = (random, [Int](repeating: -1, count: count))
    for node in random.permutation(count) where group[node] < 0 {
      group[node] = node
      for other in near[node].keys where group[other] < 0 { group[other] = node }
    }
    return numbered(group)
  }

  /// Each node takes the label that weighs most around it, the smallest of equals but its own first, in random order until
  /// nothing changes. Raghavan et al., 2007.
  package static func labelPropagation(_ count: Int, _ edges: [(Int, Int)], _ random: Random) -> [Int] {
    let near = neighbours(count, edges)
    var (random, label) = (random, Array(0..<count))
    for _ in 0..<100 {
      var changed = false
      for node in random.permutation(count) where !near[node].isEmpty {
        var weights: [Int: Double] = [:]
        for (other, weight) in near[node] { weights[label[other], default: 0] += weight }
        let top = weights.values.max() ?? 0
        if weights[label[node]] == top { continue }
        label[node] = weights.filter { $0.value == top }.keys.min() ?? label[node]
        changed = true
      }
      if !changed { break }
    }
    return numbered(label)
  }

  /// Modularity goes up by moving nodes, then by moving whole groups, until it goes up no more. Blondel et al., 2008.
  package static func louvain(_ count: Int, _ edges: [(Int, Int)], _ random: Random) -> [Int] {
    var (near, random) = (neighbours(count, edges), random)
    var loops = [Double](repeating: 0, count: count)
    var result = Array(0..<count)
    let whole = near.reduce(0) { $0 + $1.values.reduce(0, +) }
    guard whole > 0 else { return result }
    while true {
      let size = near.count
      let degrees = (0..<size).map { near[$0].values.reduce(0, +) + 2 * loops[$0] }
      var (group, sums) = (Array(0..<size), degrees)
      var hasMoved = false
      for _ in 0..<100 {
        var changed = false
        for node in random.permutation(size) {
          var links: [Int: Double] = [:]
          for (other, weight) in near[node] { links[group[other], default: 0] += weight }
          let own = group[node]
          sums[own] -= degrees[node]
          // What joining a group adds: 2 links / whole - 2 degree sum / whole^2, up to a factor.
          func gain(_ at: Int) -> Double { (links[at] ?? 0) - degrees[node] * sums[at] / whole }
          var best = (at: own, gain: gain(own))
          for at in ascending(links.keys.map(Double.init)).map({ Int($0) }) where gain(at) > best.gain + 1e-12 {
            best = (at, gain(at))
          }
          sums[best.at] += degrees[node]
          if best.at != own { (group[node], changed, hasMoved) = (best.at, true, true) }
        }
        if !changed { break }
      }
      guard hasMoved else { break }
      let numbers = numbered(group)
      result = result.map { numbers[$0] }
      let groups = (numbers.max() ?? 0) + 1
      var (next, inside) = ([[Int: Double]](repeating: [:], count: groups), [Double](repeating: 0, count: groups))
      for node in 0..<size {
        inside[numbers[node]] += loops[node]
        for (other, weight) in near[node] {
          // Each edge comes from both sides.
          if numbers[other] == numbers[node] {
            inside[numbers[node]] += weight / 2
          } else {
            next[numbers[node]][numbers[other], default: 0] += weight
          }
        }
      }
      (near, loops) = (next, inside)
    }
    return numbered(result)
  }

  /// sum over groups of (edges inside / edges) - (sum of degrees / 2 edges)^2
  package static func modularity(_ groups: [Int], _ edges: [(Int, Int)]) -> Double {
    let near = neighbours(groups.count, edges)
    let whole = near.reduce(0) { $0 + $1.values.reduce(0, +) }
    guard whole > 0 else { return 0 }
    var (inside, degrees): ([Int: Double], [Int: Double]) = ([:], [:])
    for (node, others) in near.enumerated() {
      for (other, weight) in others where groups[other] == groups[node] { inside[groups[node], default: 0] += weight }
      degrees[groups[node], default: 0] += others.values.reduce(0, +)
    }
    return degrees.reduce(0) { $0 + (inside[$1.key] ?? 0) / whole - ($1.value / whole) * ($1.value / whole) }
  }

  /// Each edge once, without loops.
  private static func neighbours(_ count: Int, _ edges: [(Int, Int)]) -> [[Int: Double]] {
    var near = [[Int: Double]](repeating: [:], count: count)
    for (a, b) in edges where a != b { (near[a][b], near[b][a]) = (1, 1) }
    return near
  }

  private static func numbered(_ groups: [Int]) -> [Int] {
    var numbers: [Int: Int] = [:]
    return groups.map { group in
      let number = numbers[group] ?? numbers.count
      numbers[group] = number
      return number
    }
  }
}
