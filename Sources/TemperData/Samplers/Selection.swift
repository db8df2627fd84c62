import Glibc
import TemperCatalogue
import TemperCore

/// Which samples are worth training on, or keeping.
enum Selection {
  static let all: [Method] = [missingSkills, sparseReplay, debiasingMemory]

  /// m_s = (fails_s + 1) / (tries_s + 2); w_i = sum_s A_is m_s / sum_s A_is.
  static let missingSkills = Method(
    "missing_skill_reweighting", kind: .sampler, area: "data",
    summary: "Training items that need the skills which the student misses.",
    reference: Reference(title: "Skill-Targeted Adaptive Training"),
    parameters: [
      .integer("items_per_missed_skill", 5, in: 1...(1 << 20), "Items drawn for each missed skill of a hard item."),
      .integer("count", 0, in: 0...(1 << 28), "How many to take of those drawn; 0: all of them."),
      .real("fail_prior", 1, in: .nonNegative, "Added to the fails."),
      .real("try_prior", 2, in: .positive, "Added to the tries."),
      .real("t1", 0.85, in: .unit, "A hard item's last or mean reward is at most this."),
      .real("t2", 0.7, in: .unit, "Or one of its rewards is at most this."),
    ],
    calls: [
      ArrayCall(
        "weights",
        [
          skills, Input("fails", [.init(["S"])], "How often the student failed where the skill was needed."),
          Input("tries", [.init(["S"])], "How often it was needed."),
        ],
        gives: [
          .init("weights", "The chance of each item."), .init("missing", "How much each skill is missed, m."),
        ]
      ) { (work) throws(TemperError) in
        let (needed, shape) = (try work.mask("skills"), try work.tensor("skills").shape)
        let (fails, tries) = (try work.reals("fails"), try work.reals("tries"))
        guard zip(fails, tries).allSatisfy({ $0.0 >= 0 && $0.1 >= $0.0 }) else {
          throw TemperError(.outOfRange, "Fails must be 0 or more, and no more than tries.")
        }
        let missing = zip(fails, tries).map {
          ($0.0 + work.real("fail_prior")) / ($0.1 + work.real("try_prior"))
        }
        let weights = (0..<shape[0]).map { item in
          var (sum, count) = (0.0, 0.0)
          for skill in 0..<shape[1] where needed[item * shape[1] + skill] {
            sum += missing[skill]
            count += 1
          }
          return count > 0 ? sum / count : 0
        }
        let whole = weights.reduce(0, +)
        guard whole > 0 else { throw TemperError(.outOfRange, "No item needs a skill that is missed.") }
        try work.give("weights", weights.map { $0 / whole })
        try work.give("missing", missing)
      },
      ArrayCall(
        "indices",
        [
          skills,
          Input("missed", [.init(["Q", "S"], .mask)], "Which skills each validation item showed to be missed."),
          Input(
            "step_rewards", [.init(["Q", "R"])], isOptional: true,
            "Of the steps of each validation item: only hard ones count. Without them all count."),
        ], gives: [.init("indices", "Numbers of training items.")]
      ) { (work) throws(TemperError) in
        let (needed, shape) = (try work.mask("skills"), try work.tensor("skills").shape)
        let (missed, items) = (try work.mask("missed"), try work.tensor("missed").shape[0])
        let rewards = work.has("step_rewards") ? try Matrix(try work.tensor("step_rewards")) : nil
        let pools = (0..<shape[1]).map { skill in (0..<shape[0]).filter { needed[$0 * shape[1] + skill] } }
        var random = work.random("skills")
        var drawn: [Int] = []
        for item in 0..<items {
          if let own = rewards.map({ Array($0[item]) }) {
            let mean = own.reduce(0, +) / Double(own.count)
            let isHard =
              own[own.count - 1] <= work.real("t1") || mean <= work.real("t1")
              || own.contains { $0 <= work.real("t2") }
            if !isHard { continue }
          }
          for skill in 0..<shape[1] where missed[item * shape[1] + skill] {
            drawn += random.choice(work.integer("items_per_missed_skill"), of: pools[skill])
          }
        }
        guard !drawn.isEmpty else { throw TemperError(.outOfRange, "No training item needs a skill that was missed.") }
        let count = work.integer("count")
        try work.give("indices", random.choice(count == 0 ? drawn.count : count, of: drawn))
      },
    ])

  private static let skills = Input("skills", [.init(["N", "S"], .mask)], "Which skills each training item needs.")

  /// By group: samples sorted by their product with the group's centre are cut into budget / 2 pieces, and of each piece
  /// its middle (or most stable) one and the one least like it stay.
  static let sparseReplay = Method(
    "sparse_uniform_replay", kind: .sampler, area: "data",
    summary: "Of each group of samples a few that cover it evenly, from its centre to its edge.",
    reference: Reference(
      title: "Stacking Brick by Brick: Aligned Feature Isolation for Incremental Face Forgery Detection"),
    parameters: [
      .integer("budget", 504, in: 2...(1 << 20), "Samples kept of each group."),
      .choice(
        "mode", ["sparse_robust", "sparse"],
        "sparse_robust: of each piece the sample most like itself when shuffled; sparse: the one in its middle."),
      .choice("center", ["ema", "mean"], "The centre: a running mean, c = 0.9 c + 0.1 x, or the mean."),
    ],
    calls: [
      ArrayCall(
        "indices",
        [
          Input("features", aliases: ["x"], [.init(["N", "D"])], "Features of the samples."),
          Input("groups", aliases: ["y"], [.init(["N"], .index(below: nil))], "The group (task and class) of each."),
          Input(
            "shuffled_features", [.init(["N", "D"])], isOptional: true,
            "Features of the samples with their parts shuffled; sparse_robust needs them."),
        ], gives: [.init("indices", "Numbers of the samples kept, ascending.")]
      ) { (work) throws(TemperError) in
        _ = try work.reals("features")
        let (features, groups) = (try Matrix(try work.tensor("features")), Labels(try work.ids("groups")))
        let isRobust = work.text("mode") == "sparse_robust"
        guard !isRobust || work.has("shuffled_features") else {
          throw TemperError(.invalidArgument, "sparse_robust needs shuffled_features; pass them, or mode \"sparse\".")
        }
        if isRobust { _ = try work.reals("shuffled_features") }
        let shuffled = isRobust ? try Matrix(try work.tensor("shuffled_features")) : nil
        var kept: [Int] = []
        for members in groups.members {
          kept += Replay.choose(
            members, features, shuffled, budget: work.integer("budget"), isRunning: work.text("center") == "ema")
        }
        try work.give("indices", kept.sorted())
      }
    ])

  /// Newcomers one at a time: one enters the full memory by sending away the item of the largest loss in the largest group
  /// of one label, itself among them.
  static let debiasingMemory = Method(
    "noisy_test_debiasing_memory", kind: .sampler, area: "noisy-labels",
    summary: "A memory of a stream that keeps the labels' counts equal and sends away what has large losses.",
    reference: Reference(title: "Data Stream Sampling with Fuzzy Task Boundaries and Noisy Labels"),
    parameters: [.integer("memory_size", 500, in: 1...(1 << 24), "Items that the memory holds.")],
    keeps: [
      Input("items", [.init(["K"], .index(below: nil))], "Numbers of the items in the stream."),
      Input("labels", [.init(["K"], .index(below: nil))], "Their labels."),
      Input("item_losses", [.init(["K"])], "Their losses."),
      Input("seen", [.init([], .index(below: nil))], "Items of the stream so far."),
    ],
    calls: [
      ArrayCall(
        "indices",
        [
          Input("y", aliases: ["targets"], [.init(["N"], .index(below: nil))], "Labels of the newcomers."),
          Input("losses", [.init(["N"])], isOptional: true, "Their losses; or pass logits."),
          Input(
            "logits", [.init(["N", "C"]), .init(["N", "V", "C"])], isOptional: true,
            "Of the newcomers, or of several views of each, whose mean counts."),
        ],
        gives: [
          .init("indices", "Numbers in the stream, counted from 0, of the items in memory."),
          .init("entered", "Which newcomers are among them."),
        ], state: .optional
      ) { (work) throws(TemperError) in
        var memory = Memory(size: work.integer("memory_size"))
        if work.has("items") {
          memory.restore(try work.ids("items"), try work.ids("labels"), try work.reals("item_losses"))
        }
        let (y, first) = (try work.ids("y"), work.has("seen") ? try work.ids("seen")[0] : 0)
        let losses = work.has("losses") ? try work.reals("losses") : try Memory.losses(work, y)
        for (at, label) in y.enumerated() { memory.offer(first + at, label, losses[at]) }
        try work.keep("items", memory.items.map(\.id))
        try work.keep("labels", memory.items.map(\.label))
        try work.keep("item_losses", memory.items.map(\.loss))
        try work.keep("seen", [first + y.count], [])
        try work.give("indices", memory.items.map(\.id))
        let inside = Set(memory.items.map(\.id))
        try work.give("entered", y.indices.map { inside.contains(first + $0) })
      }
    ])
}

private enum Replay {
  static func choose(
    _ members: [Int], _ features: Matrix, _ shuffled: Matrix?, budget: Int, isRunning: Bool
  ) -> [Int] {
    guard members.count > budget else { return members }
    let own = features.rows(members)
    var centre = own.means
    if isRunning {
      centre = Array(own[0])
      for row in 1..<own.rows { centre = zip(centre, own[row]).map { 0.9 * $0 + 0.1 * $1 } }
    }
    let along = (0..<own.rows).map { row in product(own[row], centre[...]) }
    let order = own.rowsSorted { (along[$1], $0) < (along[$0], $1) }
    let size = max(1, members.count / max(1, budget / 2))
    var chosen: [Int] = []
    for start in stride(from: 0, to: order.count, by: size) where chosen.count < budget {
      let piece = Array(order[start..<min(start + size, order.count)])
      var first = piece[piece.count / 2]
      if let shuffled {
        let stable = piece.map { product(own[$0], shuffled[members[$0]]) }
        first = piece[stable.indices.reduce(0) { stable[$1] > stable[$0] ? $1 : $0 }]
      }
      chosen.append(first)
      let rest = piece.filter { $0 != first }
      guard chosen.count < budget, !rest.isEmpty else { continue }
      // Vectors about the centre, where features were not compared with shuffled ones.
      let zero = shuffled == nil ? centre : centre.map { _ in 0 }
      let likeness = rest.map { cosine(own[$0], own[first], zero) }
      chosen.append(rest[likeness.indices.reduce(0) { likeness[$1] < likeness[$0] ? $1 : $0 }])
    }
    return chosen.map { members[$0] }
  }

  private static func product(_ a: ArraySlice<Double>, _ b: ArraySlice<Double>) -> Double {
    zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
  }

  private static func cosine(_ a: ArraySlice<Double>, _ b: ArraySlice<Double>, _ zero: [Double]) -> Double {
    let (p, q) = (zip(a, zero).map { $0 - $1 }, zip(b, zero).map { $0 - $1 })
    let lengths = (product(p[...], p[...]) * product(q[...], q[...])).squareRoot()
    return lengths > 0 ? product(p[...], q[...]) / lengths : 0
  }
}

extension Matrix {
  fileprivate func rowsSorted(by order: (Int, Int) -> Bool) -> [Int] { (0..<rows).sorted(by: order) }
}

private struct Memory {
  let size: Int
  private(set) var items: [(id: Int, label: Int, loss: Double)] = []

  init(size: Int) { self.size = size }

  mutating func restore(_ ids: [Int], _ labels: [Int], _ losses: [Double]) {
    items = ids.indices.map { (ids[$0], labels[$0], losses[$0]) }
  }

  /// The largest group is the one of the lowest label among equals; of equal losses the older item goes.
  mutating func offer(_ id: Int, _ label: Int, _ loss: Double) {
    items.append((id, label, loss))
    guard items.count > size else { return }
    var counts: [Int: Int] = [:]
    for item in items { counts[item.label, default: 0] += 1 }
    guard let largest = counts.min(by: { ($1.value, $0.key) < ($0.value, $1.key) })?.key else { return }
    let group = items.indices.filter { items[$0].label == largest }
    if let worst = group.first { items.remove(at: group.reduce(worst) { items[$1].loss > items[$0].loss ? $1 : $0 }) }
  }

  /// -log softmax(mean of the views' logits)_y
  static func losses(_ work: ArrayWork, _ y: [Int]) throws(TemperError) -> [Double] {
    guard work.has("logits") else {
      throw TemperError(.invalidArgument, "It needs the newcomers' losses, or their logits.")
    }
    let (values, shape) = (try work.reals("logits"), try work.tensor("logits").shape)
    let (classes, views) = (shape.last, shape.rank == 3 ? shape[1] : 1)
    if let bad = y.first(where: { $0 >= classes }) {
      throw TemperError(.outOfRange, "With \(classes) columns of logits labels lie below \(classes); \(bad) came.")
    }
    return y.indices.map { item in
      let mean = (0..<classes).map { c in
        (0..<views).reduce(0.0) { $0 + values[(item * views + $1) * classes + c] } / Double(views)
      }
      let top = mean.max() ?? 0
      return top + log(mean.reduce(0) { $0 + exp($1 - top) }) - mean[y[item]]
    }
  }
}
