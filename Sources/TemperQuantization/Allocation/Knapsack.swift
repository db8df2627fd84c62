/// One choice for each of several things under a common budget: least total loss, exactly.
///
/// Goes through the things one by one and keeps every pair (cost, loss) of choices so far that no other pair beats in both.
enum Knapsack {
  struct Choice {
    let cost: Double
    let loss: Double
  }

  /// The index of each thing's choice; nil if nothing fits the budget.
  static func solve(_ things: [[Choice]], budget: Double) -> [Int]? {
    /// How a pair came about: the choice for this thing, and the pair before it.
    struct State {
      let cost: Double
      let loss: Double
      let choice: Int
      let before: Int
    }
    // What the things still to come cost at least.
    var rest = [0.0]
    for thing in things.reversed() { rest.append(rest[rest.count - 1] + (thing.map(\.cost).min() ?? 0)) }
    rest.reverse()
    var layers: [[State]] = []
    var present = [State(cost: 0, loss: 0, choice: -1, before: -1)]
    for (index, thing) in things.enumerated() {
      var next: [State] = []
      for (place, state) in present.enumerated() {
        for (choice, option) in thing.enumerated() {
          let cost = state.cost + option.cost
          // A thousandth of a bit of room for rounding.
          if cost + rest[index + 1] <= budget + 1e-3 {
            next.append(State(cost: cost, loss: state.loss + option.loss, choice: choice, before: place))
          }
        }
      }
      next.sort { ($0.cost, $0.loss) < ($1.cost, $1.loss) }
      var kept: [State] = []
      for state in next where kept.last.map({ state.loss < $0.loss }) ?? true { kept.append(state) }
      layers.append(kept)
      present = kept
    }
    guard var place = present.indices.min(by: { present[$0].loss < present[$1].loss }) else { return nil }
    var choices = [Int](repeating: 0, count: things.count)
    for index in things.indices.reversed() {
      let state = layers[index][place]
      (choices[index], place) = (state.choice, state.before)
    }
    return choices
  }
}
