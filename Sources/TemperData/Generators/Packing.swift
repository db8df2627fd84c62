import TemperCatalogue
import TemperCore

/// Synthetic pages: elements packed into cells that the edges of placed ones make.
enum Packing {
  static let method = Method(
    "mesh_candidate_bestfit", kind: .generator, area: "data",
    summary: "Pages of boxes, each put where it fills a free cell best.",
    reference: Reference(
      "Zhao et al.", 2024,
      "DocLayout-YOLO: Enhancing Document Layout Analysis through Diverse Synthetic Data and Global-to-Local Adaptive Perception",
      arXiv: "2410.12628"),
    parameters: [
      .integer("candidates", 500, in: 1...100_000, "Elements drawn for a page."),
      .real("large_share", 0.99, in: .unit, "The share of large ones among them."),
      .real("small_side", 0.05, in: .unit, "Elements with a shorter side are small."),
      .integer("max_small", 5, in: 0...1000, "A page ends before one more small element would be placed."),
      .real("shrink_low", 0.8, in: .unit, "Sides shrink by a factor between this"),
      .real("shrink_high", 0.95, in: .unit, "and this."),
      .integer("max_boxes", 60, in: 1...200, "A page ends with so many."),
    ],
    calls: [
      ArrayCall(
        "generate",
        [
          Input("sizes", [.init(["M", "2"])], "Width and height of the elements of a pool, in pages."),
          Input("categories", [.init(["M"], .index(below: nil))], isOptional: true, "Of the elements."),
        ],
        gives: [
          .init("boxes", "Left, top, right and bottom of each element, in pages, shrunk."),
          .init("placed", "The same before they shrink."), .init("elements", "Their numbers in the pool."),
          .init("categories", "Their categories, where categories came."),
          .init("fill", "The share of the page that is covered after each element."),
        ]
      ) { (work) throws(TemperError) in
        let sizes = Matrix(try work.reals("sizes"), rows: try work.tensor("sizes").shape[0], columns: 2)
        let usable = (0..<sizes.rows).filter { row in
          sizes[row].allSatisfy { $0 >= 0.01 && $0 <= 1 }
        }
        guard !usable.isEmpty else {
          throw TemperError(.outOfRange, "No element has sides between 0.01 and 1 of the page.")
        }
        guard work.real("shrink_low") <= work.real("shrink_high") else {
          throw TemperError(.outOfRange, "shrink_low must not be above shrink_high.")
        }
        let limit = work.real("small_side")
        let small = usable.filter { row in sizes[row].contains { $0 < limit } }
        let large = usable.filter { row in sizes[row].allSatisfy { $0 >= limit } }
        var random = work.random("pages")
        var pool = (0..<work.integer("candidates")).map { _ in
          let takesLarge = small.isEmpty || !large.isEmpty && random.uniform() < work.real("large_share")
          return takesLarge ? large[random.below(large.count)] : small[random.below(small.count)]
        }
        var page = Page()
        var smallCount = 0
        var fills: [Double] = []
        func place(_ at: Int, _ left: Double, _ top: Double) {
          let element = pool.remove(at: at)
          page.add(element, left, top, sizes[element, 0], sizes[element, 1])
          fills.append(page.area)
          if small.contains(element) { smallCount += 1 }
        }
        let (width, height) = (sizes[pool[0], 0], sizes[pool[0], 1])
        place(0, random.uniform() * (1 - width), random.uniform() * (1 - height))
        while page.boxes.count < work.integer("max_boxes"), !pool.isEmpty {
          guard let best = page.bestFit(pool, sizes) else { break }
          if small.contains(pool[best.candidate]), smallCount >= work.integer("max_small") { break }
          let element = pool[best.candidate]
          place(
            best.candidate, (best.cell.left + best.cell.right - sizes[element, 0]) / 2,
            (best.cell.top + best.cell.bottom - sizes[element, 1]) / 2)
        }
        var boxes: [Double] = []
        for box in page.boxes {
          let factors = (0..<2).map { _ in
            work.real("shrink_low") + (work.real("shrink_high") - work.real("shrink_low")) * random.uniform()
          }
          let (x, y) = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
          let (w, h) = ((box.right - box.left) * factors[0] / 2, (box.bottom - box.top) * factors[1] / 2)
          boxes += [x - w, y - h, x + w, y + h]
        }
        let shape = Shape([page.boxes.count, 4])
        try work.give("boxes", boxes, shape)
        try work.give("placed", page.boxes.flatMap { [$0.left, $0.top, $0.right, $0.bottom] }, shape)
        try work.give("elements", page.elements)
        if work.has("categories") {
          let categories = try work.ids("categories")
          try work.give("categories", page.elements.map { categories[$0] })
        }
        try work.give("fill", fills)
      }
    ])
}

private struct Page {
  struct Box {
    let left: Double, top: Double, right: Double, bottom: Double
  }

  private(set) var boxes: [Box] = []
  private(set) var elements: [Int] = []
  private(set) var area = 0.0

  /// Edges nearer than this are one.
  private static let tolerance = 1e-9

  mutating func add(_ element: Int, _ left: Double, _ top: Double, _ width: Double, _ height: Double) {
    boxes.append(Box(left: left, top: top, right: left + width, bottom: top + height))
    elements.append(element)
    area += width * height
  }

  /// Of all candidates that fit into free cells the one that fills its cell best, and the cell. A cell is any rectangle
  /// between two of the edges on each axis that touches no box; larger cells that fit no better are no loss.
  func bestFit(_ candidates: [Int], _ sizes: Matrix) -> (candidate: Int, cell: Box)? {
    let (xs, ys) = (ticks(boxes.flatMap { [$0.left, $0.right] }), ticks(boxes.flatMap { [$0.top, $0.bottom] }))
    // Each element once: of several alike the first.
    var first: [Int: Int] = [:]
    for (at, element) in candidates.enumerated() where first[element] == nil { first[element] = at }
    let distinct = first.values.sorted()
    var best: (candidate: Int, cell: Box)?
    var bestFill = 0.0
    let largest = distinct.reduce(0.0) { max($0, sizes[candidates[$1], 0] * sizes[candidates[$1], 1]) }
    for i in xs.indices {
      for j in xs.indices where j > i {
        // What is free between the two, from tick to tick downwards.
        let across = boxes.filter { $0.left < xs[j] - Page.tolerance && $0.right > xs[i] + Page.tolerance }
        for top in ys.indices {
          for bottom in ys.indices where bottom > top {
            let isFree = !across.contains {
              $0.top < ys[bottom] - Page.tolerance && $0.bottom > ys[top] + Page.tolerance
            }
            guard isFree else { break }
            let (width, height) = (xs[j] - xs[i], ys[bottom] - ys[top])
            // No candidate can fill a cell of this size better.
            if largest <= bestFill * width * height { break }
            for candidate in distinct {
              let (w, h) = (sizes[candidates[candidate], 0], sizes[candidates[candidate], 1])
              guard w <= width + Page.tolerance, h <= height + Page.tolerance else { continue }
              let fill = w * h / (width * height)
              if fill > bestFill + Page.tolerance {
                bestFill = fill
                best = (candidate, Box(left: xs[i], top: ys[top], right: xs[j], bottom: ys[bottom]))
              }
            }
          }
        }
      }
    }
    return best
  }

  private func ticks(_ edges: [Double]) -> [Double] {
    var ticks: [Double] = []
    for edge in ([0, 1] + edges).sorted() where ticks.last.map({ edge - $0 > Page.tolerance }) ?? true {
      ticks.append(edge)
    }
    return ticks
  }
}
