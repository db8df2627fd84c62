import TemperCatalogue
import TemperCore

/// Samples that lie among other classes are taken out.
enum Cleaning {
  static let all: [Method] = [tomekLinks, editedNeighbours]

  private static let which = Parameter.choice(
    "classes", ["not_minority", "majority", "all"], "From which classes samples may go.")

  /// Two samples of different classes that are each other's nearest.
  static let tomekLinks = Method(
    "tomek_links", kind: .sampler, area: "imbalance",
    summary: "Of two samples of different classes that are each other's nearest, those of larger classes go.",
    reference: Reference("Tomek", 1976, "Two Modifications of CNN"), parameters: [which, Interpolation.standardize],
    calls: cleaning { (work, place, labels) throws(TemperError) in
      let near = try Neighbours(of: place, among: place, count: 1, isSame: true, workers: work.workers).ids
      return (0..<place.rows).map { sample in
        let other = Int(near[sample])
        return Int(near[other]) == sample && labels.places[other] != labels.places[sample]
      }
    })

  static let editedNeighbours = Method(
    "edited_nearest_neighbours", kind: .sampler, area: "imbalance",
    summary: "Samples whose nearest neighbours are of other classes go.",
    reference: Reference(
      "Wilson", 1972, "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data"),
    parameters: [
      .integer("k", 3, in: 1...(1 << 20), "How many neighbours."),
      .choice(
        "agreement", ["all", "mode"],
        "A sample stays if all neighbours are of its class; or if its class is the most frequent of them, the lowest of equals."
      ), which, Interpolation.standardize,
    ],
    calls: cleaning { (work, place, labels) throws(TemperError) in
      let count = min(work.integer("k"), place.rows - 1)
      let near = try Neighbours(of: place, among: place, count: count, isSame: true, workers: work.workers)
      let needsAll = work.text("agreement") == "all"
      return (0..<place.rows).map { sample in
        var votes = [Int](repeating: 0, count: labels.classes.count)
        for id in near[sample] { votes[labels.places[Int(id)]] += 1 }
        let own = labels.places[sample]
        if needsAll { return votes[own] < count }
        return votes.indices.reduce(0) { votes[$1] > votes[$0] ? $1 : $0 } != own
      }
    })

  private static func cleaning(
    _ suspects: @escaping @Sendable (ArrayWork, Matrix, Labels) throws(TemperError) -> [Bool]
  ) -> [ArrayCall] {
    @Sendable func kept(_ work: ArrayWork) throws(TemperError) -> [Int] {
      let labels = try Labels(try work.ids("y")).needsTwo()
      _ = try work.reals("x")
      let x = try Matrix(try work.tensor("x"))
      let found = try suspects(work, work.boolean("standardize") ? x.standardized : x, labels)
      // The first of classes of one size counts as the smallest, and as the largest.
      let smallest = labels.sizes.firstIndex(of: labels.smallest), largest = labels.sizes.firstIndex(of: labels.largest)
      let mayGo = labels.classes.indices.map { at in
        switch work.text("classes") {
        case "all": true
        case "majority": at == largest
        default: at != smallest
        }
      }
      return (0..<labels.count).filter { !(found[$0] && mayGo[labels.places[$0]]) }
    }
    return [
      ArrayCall("resample", [.x, .y], gives: Samplers.resampled) { (work) throws(TemperError) in
        try work.giveRows(try kept(work))
      },
      ArrayCall("indices", [.x, .y], gives: [.init("indices", "Numbers of the samples that stay.")]) {
        (work) throws(TemperError) in try work.give("indices", try kept(work))
      },
    ]
  }
}
