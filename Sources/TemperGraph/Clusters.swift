import TemperCore

/// Which values run together in one row program.
///
/// Element-wise work and row reductions over the same space (rows and columns) fuse when no other step stands
/// between them: every value gets a level that grows along each path that leaves a space, and values of one space and
/// level form a cluster. Dependencies between clusters then always go to a higher level, so there is no cycle.
struct Clusters {
  enum Role { case input, constant, view, fused, step }

  struct Cluster {
    let space: Shape
    let level: Int
    var members: [Int] = []
  }

  let values: Values
  private(set) var roles: [Role] = []
  private(set) var levels: [Int] = []
  private(set) var spaces: [Shape?] = []
  private(set) var clusters: [Cluster] = []
  /// Cluster of each fused value.
  private(set) var home: [Int?] = []
  /// Values that must lie in memory: read by another cluster or step, or wanted as outputs.
  private(set) var inMemory: Set<Int> = []

  /// Of values by row: the rows and columns that they are used for, if any.
  private let wideUses: [Shape?]

  /// A program has at most so many values, so that its registers stay few; longer clusters are split in order.
  private static let longest = 120

  private struct Key: Hashable {
    let space: Shape
    let level: Int
  }

  init(_ values: Values) {
    self.values = values
    wideUses = Clusters.findWideUses(values)
    for number in 0..<values.count {
      let role = classify(number)
      roles.append(role)
      let space = role == .fused ? chooseSpace(number) : nil
      spaces.append(space)
      levels.append(earliestLevel(number))
    }
    for _ in 0..<2 { postpone() }
    var open: [Key: Int] = [:]
    for number in 0..<values.count {
      guard let space = spaces[number] else {
        home.append(nil)
        continue
      }
      let key = Key(space: space, level: levels[number])
      if let at = open[key], clusters[at].members.count < Clusters.longest {
        clusters[at].members.append(number)
        home.append(at)
      } else {
        open[key] = clusters.count
        home.append(clusters.count)
        clusters.append(Cluster(space: space, level: levels[number], members: [number]))
      }
    }
    findMemory()
  }

  private func classify(_ number: Int) -> Role {
    if values.isView(number) { return .view }
    return switch values[number].operation {
    case .input: .input
    case .constant: .constant
    case .unary, .binary, .select, .reduce, .argument, .pick, .place, .iota, .uniform: .fused
    default: .step
    }
  }

  /// The rows and columns over which a fused value is computed. Values by row join the space of what they come from.
  private func chooseSpace(_ number: Int) -> Shape {
    let value = values[number]
    switch value.operation {
    case .reduce, .argument, .pick: return values[value.inputs[0]].shape
    case .unary, .binary, .select:
      guard value.shape.rank > 0, value.shape.last == 1 else { return value.shape }
      let wide = value.inputs.filter { input in
        guard let space = spaces[input] else { return false }
        return space.last != 1 && space.sizes.dropLast() == value.shape.sizes.dropLast()
      }
      return wide.max { (levels[$0], $0) < (levels[$1], $1) }.flatMap { spaces[$0] } ?? wideUses[number] ?? value.shape
    default: return value.shape
    }
  }

  /// What is made of values by row alone, an index that is checked or a weight, is made where it is used.
  private static func findWideUses(_ values: Values) -> [Shape?] {
    var wide = [Shape?](repeating: nil, count: values.count)
    for user in stride(from: values.count - 1, through: 0, by: -1) {
      let value = values[user]
      for input in value.inputs {
        let rows = values[input].shape
        guard rows.rank > 0, rows.last == 1, wide[input] == nil else { continue }
        let use: Shape?
        switch value.operation {
        case .unary, .binary, .select: use = value.shape == rows ? wide[user] : nil
        case .broadcast, .place: use = value.shape
        case .pick: use = values[value.inputs[0]].shape
        default: use = nil
        }
        if let use, use.last != 1, use.sizes.dropLast() == rows.sizes.dropLast() { wide[input] = use }
      }
    }
    return wide
  }

  /// The value whose register an operand can share, if both are in one space.
  func registerSource(_ operand: Int, in space: Shape) -> Int? {
    if roles[operand] == .fused { return spaces[operand] == space ? operand : nil }
    // A row value repeated along its row.
    guard case .broadcast = values[operand].operation, roles[operand] == .view else { return nil }
    let source = values[operand].inputs[0]
    let isRow = values[source].shape.sizes == Array(values[operand].shape.sizes.dropLast()) + [1]
    return isRow && roles[source] == .fused && spaces[source] == space ? source : nil
  }

  private func level(of operand: Int, seenFrom space: Shape?) -> Int {
    if let space, let source = registerSource(operand, in: space) { return levels[source] }
    let root = values.views[operand].root
    return switch roles[root] {
    case .fused: levels[root] + 1
    case .step: levels[root]
    default: 0
    }
  }

  private func earliestLevel(_ number: Int) -> Int {
    values[number].inputs.map { level(of: $0, seenFrom: spaces[number]) }.max() ?? 0
  }

  /// What is used in its own space at a higher level only goes up to that level, if nothing else needs it before: it is
  /// then made where it is used, from what is in memory, and need not be stored. (The exponentials of cross-entropy wait for
  /// the number of samples that count, and the gradient is made of them in the same pass.)
  private mutating func postpone() {
    // The level up to which a value may wait, and that of its last user in its own space.
    var latest = [Int](repeating: .max, count: values.count)
    var wanted = levels
    // Whether arrays are made of it: it stays where it is. What only leads to numbers may wait.
    var isAnchored = [Bool](repeating: false, count: values.count)
    for user in stride(from: values.count - 1, through: 0, by: -1) where roles[user] == .fused || roles[user] == .step {
      isAnchored[user] = isAnchored[user] || roles[user] == .step || values[user].shape.last != 1
      if wanted[user] > latest[user] { wanted[user] = levels[user] }
      for input in values[user].inputs {
        let root = values.views[input].root
        isAnchored[root] = isAnchored[root] || isAnchored[user]
        if let space = spaces[user], let source = registerSource(input, in: space) {
          latest[source] = min(latest[source], latest[user])
          wanted[source] = max(wanted[source], wanted[user])
        } else if isAnchored[user] {
          latest[root] = min(latest[root], levels[user] - 1)
        }
      }
    }
    for number in 0..<values.count {
      let earliest = earliestLevel(number)
      levels[number] = roles[number] == .fused ? max(earliest, wanted[number]) : earliest
    }
  }

  /// One cheap operation on what is in memory anyway: computing it again costs less than storing it.
  func isRepeatable(_ number: Int) -> Bool {
    switch values[number].operation {
    case .unary(.negate), .unary(.abs), .unary(.sign), .unary(.square), .unary(.not), .select: break
    case .binary(let operation):
      if operation == .power || operation == .divide || operation == .remainder { return false }
    default: return false
    }
    return values[number].inputs.allSatisfy { input in
      let role = roles[values.views[input].root]
      return role == .constant || role == .input || role == .step
    }
  }

  /// Whether `operand` is computed (or computed again) inside `cluster` rather than loaded.
  func isLocal(_ operand: Int, to cluster: Int) -> Int? {
    guard let source = registerSource(operand, in: clusters[cluster].space) else { return nil }
    return home[source] == cluster || isRepeatable(source) ? source : nil
  }

  private mutating func findMemory() {
    var wanted = Set(values.outputs.map { values.views[$0].root })
    for number in 0..<values.count {
      switch roles[number] {
      case .fused:
        for input in values[number].inputs where isLocal(input, to: home[number]!) == nil {
          let root = values.views[input].root
          if roles[root] != .constant, columnStart(input) == nil { wanted.insert(root) }
        }
      case .step: for input in values[number].inputs { wanted.insert(values.views[input].root) }
      default: break
      }
    }
    inMemory = wanted
  }

  /// For a view that counts 0, 1, 2, … along the columns: the number of its first column.
  func columnStart(_ operand: Int) -> Int? {
    let view = values.views[operand]
    guard case .iota = values[view.root].operation, let last = view.strides.last, last == 1, view.sizes.last != 1,
      zip(view.sizes, view.strides).dropLast().allSatisfy({ $0 == 1 || $1 == 0 })
    else { return nil }
    return view.offset
  }
}
