import TemperCatalogue
import TemperCore

/// Class ids of samples, by class.
package struct Labels: Sendable {
  /// The ids that occur, ascending.
  package let classes: [Int]
  /// For each class the numbers of its samples, ascending.
  package let members: [[Int]]
  /// For each sample the place of its class in `classes`.
  package let places: [Int]

  package init(_ ids: [Int]) {
    let classes = Set(ids).sorted()
    let place = Dictionary(uniqueKeysWithValues: classes.enumerated().map { ($1, $0) })
    var members = [[Int]](repeating: [], count: classes.count)
    var places: [Int] = []
    places.reserveCapacity(ids.count)
    for (sample, id) in ids.enumerated() {
      let at = place[id] ?? 0
      members[at].append(sample)
      places.append(at)
    }
    (self.classes, self.members, self.places) = (classes, members, places)
  }

  package var count: Int { places.count }
  package var sizes: [Int] { members.map(\.count) }
  package var largest: Int { sizes.max() ?? 0 }
  package var smallest: Int { sizes.min() ?? 0 }

  /// Methods that balance classes need two of them.
  func needsTwo() throws(TemperError) -> Labels {
    guard classes.count > 1 else {
      throw TemperError(.outOfRange, "y has one class only (\(classes.first ?? 0)); at least two are needed.")
    }
    return self
  }
}

extension Input {
  /// What samplers see of samples and labels.
  static let x = Input("x", aliases: ["features"], [.init(["N", "..."])], "Samples, of any shape.")
  static let y = Input("y", aliases: ["targets"], [.init(["N"], .index(below: nil))], "Class ids.")
}
