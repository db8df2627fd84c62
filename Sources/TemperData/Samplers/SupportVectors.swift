import Glibc
import TemperCatalogue
import TemperCore

/// New samples at the support vectors of a class, where the border to others runs.
extension Interpolation {
  /// Nguyen, Cooper and Kamei: a support vector among whose m nearest at least half are of other classes begins a line to
  /// one of its own class, any other a line away from one; all of whose nearest are others is noise.
  static let supportVectors = Method(
    "svm_smote", kind: .sampler, area: "imbalance",
    summary: "SMOTE from support vectors: inwards where other classes are near, outwards where they are not.",
    reference: Reference(
      "Nguyen, Cooper and Kamei", 2011, "Borderline Over-Sampling for Imbalanced Data Classification"),
    parameters: [
      k, .integer("m", 10, in: 1...(1 << 20), "Neighbours of any class that tell how near others are."), ratio,
      .real("out_step", 0.5, in: .nonNegative, "How far outwards, at most, as a share of the line."),
      .real("C", 1, in: .positive, "The largest weight of a sample in the support vector machine."),
      .integer("svm_samples", 2000, in: 2...8192, "Samples that it is fitted to, at most; more are drawn from."),
      standardize,
    ],
    calls: [
      ArrayCall("resample", [.x, .y], gives: results) { (work) throws(TemperError) in
        let space = try SampleSpace(work)
        let made = try work.grow("svm_smote", space) { (small) throws(TemperError) in
          let members = small.members
          let others = space.labels.places.indices.filter { space.labels.places[$0] != small.place }
          let limit = work.integer("svm_samples")
          let chosen = small.random.choice(max(limit / 2, limit - others.count), of: members)
          let used = chosen + small.random.choice(max(limit - chosen.count, 1), of: others)
          let machine = SupportVectorMachine(
            space.place.rows(used), used.indices.map { $0 < chosen.count ? 1 : -1 }, bound: work.real("C"))
          let vectors = Set(chosen.indices.filter { machine.weights[$0] > 1e-8 }.map { chosen[$0] })
          let around = try space.neighboursAmongAll(of: members, work.integer("m"), work.workers)
          var (bases, isNear) = ([Int](), [Bool]())
          for (place, member) in members.enumerated() where vectors.contains(member) {
            let others = small.others(among: around[place])
            guard others < around[place].count else { continue }
            bases.append(place)
            isNear.append(2 * others >= around[place].count)
          }
          guard !bases.isEmpty else { return }
          small.near = try space.neighbours(of: members, work.integer("k"), work.workers)
          for _ in 0..<small.missing {
            let pick = small.random.below(bases.count)
            small.add(from: bases[pick]) { [(isNear[pick] ? 1 : -work.real("out_step")) * $0.uniform()] }
          }
        }
        try work.give(made, space)
      }
    ])
}

/// Two classes parted with a margin in the space of K(a, b) = exp(-|a - b|^2 / (D variance)) + 1, by coordinate descent
/// on the dual: minimise 1/2 sum a_i a_j t_i t_j K_ij - sum a_i, 0 <= a_i <= C. The 1 stands for the offset.
struct SupportVectorMachine {
  private(set) var weights: [Double]

  /// `targets`: 1 or -1.
  init(_ x: Matrix, _ targets: [Double], bound: Double, passes: Int = 200, tolerance: Double = 1e-3) {
    weights = [Double](repeating: 0, count: x.rows)
    let spread = x.deviations(from: x.means).reduce(0) { $0 + $1 * $1 }
    let gamma = 1 / max(spread, 1e-12)
    var kernel = [Double](repeating: 0, count: x.rows * x.rows)
    for row in 0..<x.rows {
      let squares = x.squares([Double](repeating: .infinity, count: x.rows), orTo: row)
      for other in 0..<x.rows { kernel[row * x.rows + other] = exp(-gamma * squares[other]) + 1 }
    }
    var scores = [Double](repeating: 0, count: x.rows)
    for _ in 0..<passes {
      var largest = 0.0
      for i in 0..<x.rows {
        let slope = targets[i] * scores[i] - 1
        let next = min(max(weights[i] - slope / kernel[i * x.rows + i], 0), bound)
        let change = next - weights[i]
        guard change != 0 else { continue }
        largest = max(largest, abs(change))
        weights[i] = next
        for j in 0..<x.rows { scores[j] += change * targets[i] * kernel[i * x.rows + j] }
      }
      if largest < tolerance * bound { break }
    }
  }
}
