import TemperCatalogue
import TemperCore

/// Which weights a method may set to zero.
package enum Sparsity: Sendable, Hashable {
  /// That share of each row.
  case rows(Double)
  /// Two of every four neighbours.
  case twoOfFour

  static let parameters: [Parameter] = [
    .real("sparsity", 0.5, in: .unit, "Share of each row that becomes zero."),
    .choice("pattern", ["unstructured", "2:4"], "Any weights of a row, or two of every four neighbours."),
  ]

  init(_ arguments: Arguments) {
    self = arguments.text("pattern") == "2:4" ? .twoOfFour : .rows(arguments.real("sparsity"))
  }

  /// The columns of least score, of those in `columns`; the earlier of two equals.
  func pruned(_ columns: Range<Int>, _ score: (Int) -> Double) -> [Int] {
    func least(_ part: Range<Int>, _ count: Int) -> ArraySlice<Int> {
      part.map { (score($0), $0) }.sorted { $0 < $1 }.map(\.1).prefix(count)
    }
    switch self {
    case .rows(let share): return Array(least(columns, Int((share * Double(columns.count)).rounded())))
    case .twoOfFour:
      return stride(from: columns.lowerBound, to: columns.upperBound, by: 4).flatMap { start in
        let part = start..<min(start + 4, columns.upperBound)
        return least(part, part.count / 2)
      }
    }
  }
}

/// Sets the weights of least score to zero: |w|, or |w| times the size of its input, √Σ x².
package struct Pruning: Quantizer {
  package let name: String
  package let sparsity: Sparsity
  package let needsInputs: Bool

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    _ = try weight.ranges(groupSize: max(weight.columns, 1), workers: workers)
    var values = try weight.values.array(of: Float.self)
    let sizes = needsInputs ? try inputs?.diagonal().map { $0.squareRoot() } : nil
    for row in 0..<weight.rows {
      let first = row * weight.columns
      for column in sparsity.pruned(
        0..<weight.columns, { column in abs(Double(values[first + column])) * (sizes?[column] ?? 1) })
      {
        values[first + column] = 0
      }
    }
    return try QuantizedMatrix(SparseRows(shape: weight.shape, dense: values))
  }
}

extension Pruning {
  static let magnitude = Method(
    "magnitude_pruning", kind: .quantizer, area: "quant", summary: "Sets the smallest weights of each row to zero.",
    reference: Reference(
      "Han et al.", 2015, "Learning both Weights and Connections for Efficient Neural Networks", arXiv: "1506.02626"),
    parameters: Sparsity.parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        Pruning(name: "magnitude_pruning", sparsity: Sparsity(arguments), needsInputs: false)
      }))

  static let wanda = Method(
    "wanda", kind: .quantizer, area: "quant",
    summary: "Sets the weights of each row to zero that are smallest times the size of their inputs.",
    reference: Reference(
      "Sun et al.", 2023, "A Simple and Effective Pruning Approach for Large Language Models", arXiv: "2306.11695"),
    parameters: Sparsity.parameters,
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        Pruning(name: "wanda", sparsity: Sparsity(arguments), needsInputs: true)
      }))
}

/// Sets weights to zero column by column; later columns make up for it. In each block of columns the weights are chosen
/// that cost least, (w_j R_jj)², with what earlier errors ask of them.
package struct SparseGPT: Quantizer {
  package var name: String { "sparsegpt" }
  package let sparsity: Sparsity
  package let blockSize: Int
  package let damping: Double
  package var needsInputs: Bool { true }

  package func pack(_ weight: Weight, inputs: InputStatistics?, workers: Workers) throws(TemperError) -> QuantizedMatrix
  {
    let n = weight.columns
    guard let inputs, n > 0 else {
      return try Pruning(name: name, sparsity: sparsity, needsInputs: false)
        .pack(weight, inputs: nil, workers: workers)
    }
    _ = try weight.ranges(groupSize: n, workers: workers)
    let feedback = try inputs.feedback(damping: damping, order: Array(0..<n), workers: workers)
    let block = sparsity == .twoOfFour ? 4 : blockSize
    // Of each row, which columns of its present block are pruned.
    let pruned = try Tensor(zeros: [weight.rows, n], .uint8)
    let marks = unsafe pruned.pointer.assumingMemoryBound(to: UInt8.self)
    let values = unsafe try feedback.eachColumn(of: weight, blockSize: block, workers: workers) {
      row, columns, values in
      for chosen in sparsity.pruned(
        columns,
        {
          let cost = unsafe Double(values[$0]) * feedback.diagonal[$0]
          return cost * cost
        })
      { unsafe marks[row * n + chosen] = 1 }
    } round: { row, column, value in
      unsafe marks[row * n + column] == 1 ? 0 : value
    }
    withExtendedLifetime(pruned) {}
    return try QuantizedMatrix(SparseRows(shape: weight.shape, dense: values))
  }

  static let method = Method(
    "sparsegpt", kind: .quantizer, area: "quant",
    summary: "Sets weights to zero column by column; later columns make up for the error that the inputs feel.",
    reference: Reference(
      "Frantar and Alistarh", 2023, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
      arXiv: "2301.00774"),
    parameters: Sparsity.parameters + [
      .integer("block_size", 128, in: 1...(1 << 30), "Columns among which the pruned ones are chosen."),
      .real(
        "percdamp", 0.01, in: .positive, "Added to the diagonal of the inputs' second moments, in parts of its mean."),
    ],
    implementation: .component(
      QuantizerMaker { arguments throws(TemperError) in
        SparseGPT(
          sparsity: Sparsity(arguments), blockSize: arguments.integer("block_size"), damping: arguments.real("percdamp")
        )
      }))
}
