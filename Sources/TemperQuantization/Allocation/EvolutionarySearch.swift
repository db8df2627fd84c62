import TemperCore

/// A search for one level for each of several layers, under a budget that every state keeps: one parent, many offspring,
/// selection in stages on more and more data.
struct EvolutionarySearch {
  /// Cost of each layer at each level, rising with the level.
  let costs: [[Double]]
  let budget: Double
  let offspring: Int
  /// How many go on after each stage; the last stage keeps one.
  let survivors: [Int]
  /// Layers of the same costs, between which levels are exchanged.
  private let groups: [[Int]]

  init(costs: [[Double]], budget: Double, offspring: Int, survivors: [Int]) {
    (self.costs, self.budget, self.offspring, self.survivors) = (costs, budget, offspring, survivors)
    var groups: [[Int]] = []
    for layer in costs.indices {
      if let index = groups.firstIndex(where: { costs[$0[0]] == costs[layer] }) {
        groups[index].append(layer)
      } else {
        groups.append([layer])
      }
    }
    self.groups = groups
  }

  private var exchanges: Bool { groups.allSatisfy { $0.count > 1 } }
  func cost(_ state: [Int]) -> Double { zip(costs, state).reduce(0) { $0 + $1.0[$1.1] } }
  private func fits(_ cost: Double) -> Bool { cost <= budget + 1e-3 }

  /// The highest level that all layers can have, then single layers one level higher as long as the budget lasts.
  func start(_ random: inout Random) throws(TemperError) -> [Int] {
    var state = [Int](repeating: 0, count: costs.count)
    guard fits(cost(state)) else {
      throw TemperError(
        .outOfRange, "The lowest levels cost \(cost(state)) bits, more than the budget of \(budget); add lower levels.")
    }
    let levels = costs.map(\.count).min() ?? 1
    while let first = state.first, first + 1 < levels, fits(cost(state.map { $0 + 1 })) { state = state.map { $0 + 1 } }
    for layer in random.permutation(costs.count) where state[layer] + 1 < costs[layer].count {
      var higher = state
      higher[layer] += 1
      if fits(cost(higher)) { state = higher }
    }
    return state
  }

  /// A few layers one level up, others down, such that the budget holds; nil if that did not come out.
  func mutated(_ parent: [Int], _ random: inout Random) -> [Int]? {
    var state = parent
    let flips = min(1 + random.below(3), 1 + random.below(3))
    if exchanges {
      for _ in 0..<flips {
        // A group by the number of its layers.
        let layer = random.below(costs.count)
        guard let group = groups.first(where: { $0.contains(layer) }) else { return nil }
        let up = group.filter { state[$0] + 1 < costs[$0].count }
        let down = group.filter { state[$0] > 0 }
        guard !up.isEmpty, !down.isEmpty else { continue }
        let (raised, lowered) = (up[random.below(up.count)], down[random.below(down.count)])
        if raised == lowered { continue }
        // The same step for both costs the same.
        let change = costs[raised][state[raised] + 1] - costs[raised][state[raised]]
        let back = costs[lowered][state[lowered]] - costs[lowered][state[lowered] - 1]
        guard abs(change - back) < 1e-3 || fits(cost(state) + change - back) else { continue }
        state[raised] += 1
        state[lowered] -= 1
      }
      return state == parent ? nil : state
    }
    var changes = 0
    for _ in 0..<flips {
      let up = state.indices.filter { state[$0] + 1 < costs[$0].count }
      guard !up.isEmpty else { break }
      state[up[random.below(up.count)]] += 1
      changes += 1
    }
    while !fits(cost(state)) {
      let down = state.indices.filter { state[$0] > 0 }
      guard !down.isEmpty, changes < 10 else { return nil }
      state[down[random.below(down.count)]] -= 1
      changes += 1
    }
    return state == parent ? nil : state
  }

  /// Where a search stands.
  struct State {
    var parent: [Int]
    var generation = 0
    /// The parent's fitness in the last stage of each generation.
    var history: [Double] = []
  }

  /// One generation: the state of least `fitness` of the last stage, the parent among those compared there.
  func advance(
    _ state: inout State, random streams: Random,
    fitness: (_ candidate: [Int], _ stage: Int, _ generation: Int) throws(TemperError) -> Double
  ) throws(TemperError) {
    var random = streams.stream(state.generation)
    var candidates: [[Int]] = []
    for _ in 0..<(4 * offspring) where candidates.count < offspring {
      if let child = mutated(state.parent, &random), !candidates.contains(child) { candidates.append(child) }
    }
    for (stage, kept) in survivors.enumerated() {
      let isLast = stage == survivors.count - 1
      if isLast, !candidates.contains(state.parent) { candidates.append(state.parent) }
      var scored: [(fitness: Double, place: Int)] = []
      for (place, candidate) in candidates.enumerated() {
        scored.append((try fitness(candidate, stage, state.generation), place))
      }
      scored.sort { $0 < $1 }
      candidates = scored.prefix(isLast ? 1 : kept).map { candidates[$0.place] }
      if isLast, let best = scored.first { state.history.append(best.fitness) }
    }
    if let best = candidates.first { state.parent = best }
    state.generation += 1
  }
}
