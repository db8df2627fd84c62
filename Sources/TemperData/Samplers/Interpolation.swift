import TemperCatalogue
import TemperCore

/// New samples of small classes between samples that there are: SMOTE and what was made of it.
enum Interpolation {
  static let all: [Method] = [smote, borderline, supportVectors, mixed, adaptive]

  static let standardize = Parameter.boolean(
    "standardize", true, "Measure distances after each feature has variance 1.")
  static let k = Parameter.integer(
    "k", 5, in: 1...(1 << 20), "Neighbours to choose from; a class with fewer has fewer.")
  static let ratio = Parameter.real(
    "ratio", 1, in: Interval(0, 1, includesLower: false), "The wanted size of each class, as a share of the largest.")

  static let results: [ArrayCall.Result] = [
    .init("x", "The samples, and below them the new ones."), .init("y", "Their class ids."),
    .init("base", "For each new sample the number of the one where it begins."),
    .init("neighbour", "And of the one that it goes towards."), .init("gap", "And how far, 0 to 1."),
  ]

  private static let paper = Reference(
    "Chawla et al.", 2002, "SMOTE: Synthetic Minority Over-sampling Technique", arXiv: "1106.1813")

  /// x_i + g (x_j - x_i), j one of the k nearest of x_i in its class, g ~ U(0, 1).
  static let smote = Method(
    "smote", kind: .sampler, area: "imbalance",
    summary: "New samples of small classes on the lines between samples and their neighbours of the same class.",
    reference: paper,
    parameters: [
      k, ratio,
      .optionalInteger(
        "N", in: 1...1_000_000, "Percent: so many new samples for each one of the class, in place of ratio."),
      .boolean(
        "per_feature", false, "A gap for each feature (the box between two samples) in place of one (the line)."),
      standardize,
    ],
    calls: [
      ArrayCall("resample", [.x, .y], gives: results) { (work) throws(TemperError) in
        let space = try SampleSpace(work)
        let gaps = work.boolean("per_feature") ? space.x.columns : 1
        let made = try work.grow("smote", space) { (small) throws(TemperError) in
          let count = small.members.count
          var bases: [Int] = []
          if let percent = work.arguments.optionalInteger("N") {
            try TemperError.needsRoom(for: count, percent / 100 + 1, space.x.columns, what: "The new samples")
            if percent < 100 {
              bases = small.random.choice(count * percent / 100, of: Array(0..<count))
            } else {
              for member in 0..<count { bases += [Int](repeating: member, count: percent / 100) }
            }
          } else {
            for _ in 0..<small.missing { bases.append(small.random.below(count)) }
          }
          small.near = try space.neighbours(of: small.members, work.integer("k"), work.workers)
          for base in bases { small.add(from: base) { random in (0..<gaps).map { _ in random.uniform() } } }
        }
        try work.give(made, space, gapsByFeature: work.boolean("per_feature"))
      }
    ])

  /// Han, Wang and Mao: bases are the samples in danger, of whose m nearest samples at least half but not all are of other
  /// classes. Form 2 also goes towards the nearest sample of another class, half the way at most.
  static let borderline = Method(
    "borderline_smote", kind: .sampler, area: "imbalance",
    summary:
      "SMOTE from the samples alone that lie at the border to other classes; a class without any stays as it is.",
    reference: Reference(
      "Han, Wang and Mao", 2005,
      "Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets Learning"),
    parameters: [
      k, .integer("m", 10, in: 1...(1 << 20), "Neighbours of any class that tell what lies at the border."), ratio,
      .choice("form", ["1", "2"], "1: towards the same class; 2: also towards others, by half."), standardize,
    ],
    calls: [
      ArrayCall("resample", [.x, .y], gives: results) { (work) throws(TemperError) in
        let space = try SampleSpace(work)
        let made = try work.grow("borderline_smote", space) { (small) throws(TemperError) in
          let members = small.members
          let around = try space.neighboursAmongAll(of: members, work.integer("m"), work.workers)
          let danger = members.indices.filter { member in
            let others = small.others(among: around[member])
            return 2 * others >= around[member].count && others < around[member].count
          }
          guard !danger.isEmpty else { return }
          small.near = try space.neighbours(of: members, work.integer("k"), work.workers)
          for _ in 0..<small.missing {
            let base = danger[small.random.below(danger.count)]
            let own = small.near.isEmpty ? [] : small.near[base]
            let outside = around[base].first { !small.holds($0) }
            let choices = own.count + (work.text("form") == "2" && outside != nil ? 1 : 0)
            let pick = choices == 0 ? 0 : small.random.below(choices)
            if pick < own.count {
              small.add(members[base], members[Int(own[pick])], [small.random.uniform()])
            } else {
              small.add(
                members[base], choices == 0 ? members[base] : Int(outside ?? 0), [small.random.uniform() / 2])
            }
          }
        }
        try work.give(made, space)
      }
    ])

  /// He et al.: a sample is a base as often as other classes are among its k nearest samples.
  static let adaptive = Method(
    "adasyn", kind: .sampler, area: "imbalance",
    summary: "SMOTE with more new samples where other classes are near; where none are anywhere, it is SMOTE.",
    reference: Reference(
      "He et al.", 2008, "ADASYN: Adaptive Synthetic Sampling Approach for Imbalanced Learning"),
    parameters: [k, ratio, standardize],
    calls: [
      ArrayCall("resample", [.x, .y], gives: results) { (work) throws(TemperError) in
        let space = try SampleSpace(work)
        let made = try work.grow("adasyn", space) { (small) throws(TemperError) in
          guard small.missing > 0 else { return }
          let around = try space.neighboursAmongAll(of: small.members, work.integer("k"), work.workers)
          var shares = around.map { Double(small.others(among: $0)) }
          if shares.allSatisfy({ $0 == 0 }) { shares = shares.map { _ in 1 } }
          small.near = try space.neighbours(of: small.members, work.integer("k"), work.workers)
          for (base, count) in Interpolation.parts(small.missing, inProportionTo: shares).enumerated() {
            for _ in 0..<count { small.add(from: base) { [$0.uniform()] } }
          }
        }
        try work.give(made, space)
      }
    ])

  /// Whole numbers that sum to `count`, in proportion to the weights: the largest remainders are rounded up.
  static func parts(_ count: Int, inProportionTo weights: [Double]) -> [Int] {
    let whole = weights.reduce(0, +)
    let exact = weights.map { Double(count) * $0 / whole }
    var parts = exact.map { Int($0) }
    let order = ascendingOrder(exact.indices.map { Double(parts[$0]) - exact[$0] })
    for at in order.prefix(count - parts.reduce(0, +)) { parts[at] += 1 }
    return parts
  }

  /// Nominal features: where two samples differ in one, their squared distance grows by the square of the median
  /// deviation of the class's numeric features; new samples take the value that most of the k neighbours have. Without
  /// numeric features, distances are those of the values' class shares (value-difference metric).
  static let mixed = Method(
    "smote_nc", aliases: ["smote_n"], kind: .sampler, area: "imbalance",
    summary: "SMOTE for numeric and nominal features together, or nominal ones alone.", reference: paper,
    parameters: [k, ratio],
    calls: [
      ArrayCall(
        "resample",
        [
          Input("x", aliases: ["features"], [.init(["N", "D"])], "Samples by features; nominal ones as numbers."), .y,
          Input("nominal", aliases: ["categorical"], [.init(["D"], .mask)], "Which features are nominal."),
        ], gives: results
      ) { (work) throws(TemperError) in
        let (nominal, labels) = (try work.mask("nominal"), try Labels(try work.ids("y")).needsTwo())
        _ = try work.reals("x")
        let x = try Matrix(try work.tensor("x"))
        let numeric = nominal.indices.filter { !nominal[$0] }
        guard numeric.count < nominal.count else {
          throw TemperError(.invalidArgument, "No feature is said to be nominal; use smote.")
        }
        let space = try SampleSpace(x: x, place: x, labels: labels)
        var values: [Double] = []
        let made = try work.grow("smote_nc", space) { (small) throws(TemperError) in
          let members = small.members
          let place = numeric.isEmpty ? Mixed.shares(x, labels) : Mixed.distances(x, members, nominal)
          let near = try SampleSpace(x: x, place: place, labels: labels)
            .neighbours(of: members, work.integer("k"), work.workers)
          for _ in 0..<small.missing {
            let base = small.random.below(members.count)
            let around = near.isEmpty ? [Int32(base)] : near[base]
            let (other, gap) = (Int(around[small.random.below(around.count)]), small.random.uniform())
            small.add(members[base], members[other], [gap])
            for feature in 0..<x.columns {
              let (from, to) = (x[members[base], feature], x[members[other], feature])
              values.append(
                nominal[feature]
                  ? Mixed.most(around.map { x[members[Int($0)], feature] }) : from + gap * (to - from))
            }
          }
        }
        try work.give(made, space, values: values)
      }
    ])
}

/// Samples, where they lie for distances, and their classes.
struct SampleSpace {
  let x: Matrix
  let place: Matrix
  let labels: Labels

  init(x: Matrix, place: Matrix, labels: Labels) throws(TemperError) {
    (self.x, self.place, self.labels) = (x, place, labels)
    try TemperError.needsRoom(for: labels.largest, labels.classes.count, x.columns, what: "The new samples")
  }

  init(_ work: ArrayWork) throws(TemperError) {
    let labels = try Labels(try work.ids("y")).needsTwo()
    _ = try work.reals("x")
    let x = try Matrix(try work.tensor("x"))
    try self.init(x: x, place: work.boolean("standardize") ? x.standardized : x, labels: labels)
  }

  /// New samples that a class needs for the wanted share of the largest one's size.
  func missing(_ at: Int, _ work: ArrayWork) -> Int {
    max(Int((work.real("ratio") * Double(labels.largest)).rounded()) - labels.members[at].count, 0)
  }

  /// Whether a class is to grow: all but those of the largest size.
  func isSmall(_ at: Int) -> Bool { labels.members[at].count < labels.largest }

  /// Of each member its nearest among the members, by place in `members`; empty for a single one.
  func neighbours(of members: [Int], _ k: Int, _ workers: Workers) throws(TemperError) -> [[Int32]] {
    guard members.count > 1 else { return [] }
    let own = place.rows(members)
    let found = try Neighbours(
      of: own, among: own, count: min(k, members.count - 1), isSame: true, workers: workers)
    return members.indices.map { Array(found[$0]) }
  }

  /// Of each member its nearest among all other samples.
  func neighboursAmongAll(of members: [Int], _ k: Int, _ workers: Workers) throws(TemperError) -> [[Int32]] {
    let found = try Neighbours(
      of: place.rows(members), among: place, count: min(k + 1, x.rows), workers: workers)
    // One is the member itself, unless as many others are in its place.
    return members.enumerated().map { row, member in
      Array(found[row].filter { Int($0) != member }.prefix(found.count - 1))
    }
  }
}

/// What new samples are made of.
struct SyntheticSamples {
  fileprivate(set) var bases: [Int] = []
  fileprivate(set) var neighbours: [Int] = []
  fileprivate(set) var gaps: [Double] = []
  fileprivate(set) var places: [Int] = []
}

/// A class that new samples are added to.
struct SmallClass {
  let space: SampleSpace
  let place: Int
  let missing: Int
  var random: Random
  /// Of each member the nearest among the members, by place in `members`; empty where there are none.
  var near: [[Int32]] = []
  fileprivate(set) var made: SyntheticSamples

  var members: [Int] { space.labels.members[place] }

  func holds(_ sample: Int32) -> Bool { space.labels.places[Int(sample)] == place }

  func others(among samples: [Int32]) -> Int { samples.count { !holds($0) } }

  mutating func add(_ base: Int, _ neighbour: Int, _ gap: [Double]) {
    made.bases.append(base)
    made.neighbours.append(neighbour)
    made.gaps += gap
    made.places.append(place)
  }

  /// On the line from a member, by its place, to one of the nearest members.
  mutating func add(from base: Int, _ gap: (inout Random) -> [Double]) {
    let other = near.isEmpty ? base : Int(near[base][random.below(near[base].count)])
    add(members[base], members[other], gap(&random))
  }
}

private enum Mixed {
  /// Numeric features as they are, and for each value of a nominal one a column that is median / √2 where a sample has
  /// it: two that differ are median apart.
  static func distances(_ x: Matrix, _ members: [Int], _ nominal: [Bool]) -> Matrix {
    let own = x.rows(members)
    let deviations = own.deviations(from: own.means)
    let numeric = nominal.indices.filter { !nominal[$0] }
    let sorted = ascending(numeric.map { deviations[$0] })
    let median = (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
    var columns = numeric.map { feature in (0..<x.rows).map { x[$0, feature] } }
    for feature in nominal.indices where nominal[feature] {
      for value in ascending(Array(Set((0..<x.rows).map { x[$0, feature] }))) {
        columns.append((0..<x.rows).map { x[$0, feature] == value ? median / 2.0.squareRoot() : 0 })
      }
    }
    return matrix(columns, rows: x.rows)
  }

  /// For each feature the shares of the classes among the samples that have the same value.
  static func shares(_ x: Matrix, _ labels: Labels) -> Matrix {
    var columns: [[Double]] = []
    for feature in 0..<x.columns {
      var counts: [Double: [Double]] = [:]
      for row in 0..<x.rows {
        counts[x[row, feature], default: [Double](repeating: 0, count: labels.classes.count)][labels.places[row]] += 1
      }
      for at in labels.classes.indices {
        columns.append(
          (0..<x.rows).map { row in
            let own = counts[x[row, feature]] ?? []
            return own[at] / own.reduce(0, +)
          })
      }
    }
    return matrix(columns, rows: x.rows)
  }

  private static func matrix(_ columns: [[Double]], rows: Int) -> Matrix {
    Matrix((0..<rows).flatMap { row in columns.map { $0[row] } }, rows: rows, columns: columns.count)
  }

  /// The most frequent value, the smallest of equals.
  static func most(_ values: [Double]) -> Double {
    var counts: [Double: Int] = [:]
    for value in values { counts[value, default: 0] += 1 }
    return counts.min { ($1.value, $0.key) < ($0.value, $1.key) }?.key ?? 0
  }
}

extension ArrayWork {
  /// What `add` makes for each class that is to grow, by numbers from the named stream.
  func grow(
    _ stream: String, _ space: SampleSpace, _ add: (inout SmallClass) throws(TemperError) -> Void
  ) throws(TemperError) -> SyntheticSamples {
    var made = SyntheticSamples()
    for (place, label) in space.labels.classes.enumerated() where space.isSmall(place) {
      var small = SmallClass(
        space: space, place: place, missing: space.missing(place, self), random: random(stream).stream(label),
        made: made)
      try add(&small)
      made = small.made
    }
    return made
  }

  /// x and y with the new samples below; `values` where they are not base + gap (neighbour - base).
  func give(
    _ made: SyntheticSamples, _ space: SampleSpace, gapsByFeature: Bool = false, values: [Double]? = nil
  ) throws(TemperError) {
    let (x, count, width) = (try tensor("x"), made.bases.count, space.x.columns)
    var new = values ?? []
    if values == nil {
      new.reserveCapacity(count * width)
      for at in 0..<count {
        let (from, to) = (made.bases[at] * width, made.neighbours[at] * width)
        for feature in 0..<width {
          let (start, gap) = (space.x.values[from + feature], made.gaps[gapsByFeature ? at * width + feature : at])
          new.append(start + gap * (space.x.values[to + feature] - start))
        }
      }
    }
    let shape = Shape([count] + x.shape.sizes.dropFirst())
    let type = x.dtype.isFloating ? x.dtype : .float64
    give("x", try (x.dtype == type ? x : try x.copy(as: type)).followed(by: try Tensor(new, shape: shape)))
    let ids = made.places.map { Int64(space.labels.classes[$0]) }
    give("y", try tensor("y").followed(by: try Tensor(ids)))
    try give("base", made.bases)
    try give("neighbour", made.neighbours)
    try give("gap", made.gaps, gapsByFeature ? [count, width] : [count])
  }
}
