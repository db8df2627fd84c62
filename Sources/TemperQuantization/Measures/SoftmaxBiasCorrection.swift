import TemperCatalogue
import TemperCore

/// Attention weights in few bits, with what rounding takes from them on average given back.
///
/// Q(p) = s clip(round(p / s), 0, 2^b − 1); most of a long row is below s / 2 and becomes 0. From calibration data
/// β = E[p − Q(p)] over samples, queries and the keys that they see; Q(p) + β is used. s is the largest p over 2^b − 1, or
/// of 100 parts of it that with the least squared error, or 1 / (2^b − 1).
package enum SoftmaxBiasCorrection {
  private static let forms: [Input.Form] = [.init(["B", "H", "Q", "K"]), .init(["N", "K"])]
  private static let probabilities = Input(
    "probabilities", forms, isDifferentiable: false, "Attention weights (batch, heads, queries, keys), or (rows, keys)."
  )
  private static let visible = Input(
    "visible", [.init(["B", "H", "Q", "K"], .mask), .init(["N", "K"], .mask)], isOptional: true,
    "1 where a query may see a key; elsewhere the weights stay 0 and do not count.")

  package static let method = Method(
    "softmax_bias_correction", kind: .calibrator, area: "quant",
    summary: "Rounds attention weights to few bits and gives back what rounding takes from them on average.",
    reference: Reference(
      "Pandey et al.", 2023, "Softmax Bias Correction for Quantized Generative Models", arXiv: "2309.01729"),
    parameters: [
      .integer("bits", 8, in: 1...16, "Bits of a weight."),
      .choice("granularity", ["per_head", "per_tensor"], "What shares a step and a correction."),
      .integer(
        "calib_batches", 8, in: 1...(1 << 30), "Samples of the batch axis looked at are at most 128 times this."),
      .choice("range", ["minmax", "mse", "unit"], "The largest weight, the part of it that misses least, or 1."),
      .choice("correction", ["static", "row", "none"], "From calibration data, what each row misses, or none."),
    ],
    keeps: [
      Input("steps", [.init(["G"])], isDifferentiable: false, "s of each group."),
      Input("corrections", [.init(["G"])], isDifferentiable: false, "β of each group."),
    ],
    calls: [
      ArrayCall("fit", [probabilities, visible]) { (work) throws(TemperError) in try fit(work) },
      ArrayCall(
        "transform", [probabilities, visible],
        gives: [.init("probabilities", "Rounded and corrected.")], state: .required
      ) { (work) throws(TemperError) in try transform(work) },
    ])

  /// Elements, whether each is seen, and to which group it belongs.
  private struct Elements {
    let values: [Double]
    let isVisible: [Bool]
    let keys: Int
    let groups: Int
    let ofGroup: Int
    let heads: Int

    init(_ work: ArrayWork) throws(TemperError) {
      let shape = try work.tensor("probabilities").shape
      values = try work.reals("probabilities")
      isVisible = work.has("visible") ? try work.mask("visible") : [Bool](repeating: true, count: values.count)
      guard isVisible.count == values.count else {
        throw TemperError(.invalidShape, "`visible` has the shape of `probabilities`, \(shape).")
      }
      if let bad = values.first(where: { !(-1e-6...1 + 1e-6).contains($0) }) {
        throw TemperError(.outOfRange, "`probabilities` are from 0 to 1; \(bad) came.")
      }
      keys = shape.last
      heads = shape.rank == 4 ? shape[1] : 1
      groups = work.text("granularity") == "per_head" ? heads : 1
      ofGroup = shape.rank == 4 ? shape[2] * shape[3] : max(values.count, 1)
    }

    func group(_ index: Int) -> Int { groups == 1 ? 0 : index / max(ofGroup, 1) % heads }
  }

  private static func rounded(_ p: Double, _ step: Double, _ highest: Double) -> Double {
    step * min(max((p / step).rounded(.toNearestOrEven), 0), highest)
  }

  private static func fit(_ work: ArrayWork) throws(TemperError) {
    let elements = try Elements(work)
    let highest = Double((1 << work.integer("bits")) - 1)
    let shape = try work.tensor("probabilities").shape
    let looked = shape.rank == 4 ? min(shape[0], 128 * work.integer("calib_batches")) : shape[0]
    let count = shape[0] == 0 ? 0 : elements.values.count / shape[0] * looked
    var members = [[Double]](repeating: [], count: elements.groups)
    for index in 0..<count where elements.isVisible[index] {
      members[elements.group(index)].append(elements.values[index])
    }
    guard members.allSatisfy({ !$0.isEmpty }) else {
      throw TemperError(.invalidShape, "Calibration needs at least one visible weight of each group.")
    }
    var (steps, corrections): ([Double], [Double]) = ([], [])
    for own in members {
      let step = step(own, highest, work.text("range"))
      steps.append(step)
      corrections.append(own.reduce(0.0) { $0 + $1 - rounded($1, step, highest) } / Double(own.count))
    }
    try work.keep("steps", steps, [steps.count])
    try work.keep("corrections", corrections, [corrections.count])
  }

  private static func step(_ values: [Double], _ highest: Double, _ range: String) -> Double {
    let largest = max(values.max() ?? 0, 1e-30)
    if range == "unit" { return 1 / highest }
    guard range == "mse" else { return largest / highest }
    var (best, least) = (largest / highest, Double.infinity)
    for part in stride(from: 100, to: 0, by: -1) {
      let step = largest * Double(part) / 100 / highest
      let error = values.reduce(0.0) { sum, p in
        let missed = p - rounded(p, step, highest)
        return sum + missed * missed
      }
      if error < least { (best, least) = (step, error) }
    }
    return best
  }

  private static func transform(_ work: ArrayWork) throws(TemperError) {
    let elements = try Elements(work)
    let (steps, corrections) = (try work.reals("steps"), try work.reals("corrections"))
    guard steps.count == elements.groups, steps.allSatisfy({ $0 > 0 }) else {
      throw TemperError(.invalidShape, "It was fitted for \(steps.count) heads; \(elements.groups) came.")
    }
    let highest = Double((1 << work.integer("bits")) - 1)
    var plain = elements.values.indices.map { index in
      elements.isVisible[index] ? rounded(elements.values[index], steps[elements.group(index)], highest) : 0
    }
    let shape = try work.tensor("probabilities").shape
    let type = try work.tensor("probabilities").dtype
    if work.text("correction") != "none", elements.keys > 0 {
      for row in 0..<(plain.count / elements.keys) {
        let own = (row * elements.keys)..<((row + 1) * elements.keys)
        let seen = own.count { elements.isVisible[$0] }
        let missing = 1 - own.reduce(0.0) { $0 + plain[$1] }
        let added =
          work.text("correction") == "row"
          ? missing / Double(max(seen, 1)) : corrections[elements.group(own.lowerBound)]
        for index in own where elements.isVisible[index] { plain[index] += added }
      }
    }
    work.give("probabilities", try Tensor(plain, shape: shape).copy(as: type))
  }
}
