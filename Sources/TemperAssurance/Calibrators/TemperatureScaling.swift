import Glibc
import TemperCatalogue
import TemperCore
import TemperData

/// One number that all logits are divided by, chosen so that the targets are as likely as can be.
enum TemperatureScaling {
  static let method = Method(
    "temperature_scaling", kind: .calibrator, area: "uncertainty",
    summary: "Logits divided by the temperature under which the targets are likeliest.",
    reference: Reference("Guo et al.", 2017, "On Calibration of Modern Neural Networks", arXiv: "1706.04599"),
    keeps: [Input("temperature", [.init([])], "What logits are divided by.")],
    calls: [
      ArrayCall("fit", [.logits, .targets]) { (work) throws(TemperError) in
        let (logits, targets) = (try work.logits(), try work.targetProbabilities())
        try work.keep("temperature", [fit(logits, targets)], [])
      },
      ArrayCall("transform", [.logits], gives: [.init("logits", "Divided by the temperature.")], state: .required) {
        (work) throws(TemperError) in
        let (logits, temperature) = (try work.logits(), try work.number("temperature"))
        guard temperature > 0 else { throw TemperError(.outOfRange, "The temperature must be above 0.") }
        var scaled = logits
        for at in scaled.values.indices { scaled.values[at] /= temperature }
        work.give("logits", try scaled.tensor().copy(as: try work.tensor("logits").dtype == .float32 ? .float32 : nil))
      },
    ])

  /// Newton's method for the inverse temperature b, in which the loss is convex: of log sum_c exp(b z_c) the slope is the
  /// mean of z under softmax(b z), the curvature its variance. b stays inside [1e-3, 1e3].
  private static func fit(_ logits: Matrix, _ targets: Matrix) -> Double {
    let (least, most) = (1e-3, 1e3)
    func slopes(_ b: Double) -> (slope: Double, curvature: Double) {
      var (slope, curvature) = (0.0, 0.0)
      for row in 0..<logits.rows {
        let z = logits[row]
        let top = z.max() ?? 0
        var (sum, first, second, wanted) = (0.0, 0.0, 0.0, 0.0)
        for (value, target) in zip(z, targets[row]) {
          let (shifted, p) = (value - top, exp(b * (value - top)))
          sum += p
          first += p * shifted
          second += p * shifted * shifted
          wanted += target * shifted
        }
        slope += first / sum - wanted
        curvature += second / sum - (first / sum) * (first / sum)
      }
      return (slope, curvature)
    }
    // A bracket that Newton's steps may not leave.
    var (low, high, b) = (least, most, 1.0)
    for _ in 0..<200 {
      let (slope, curvature) = slopes(b)
      if slope > 0 { high = b } else { low = b }
      var next = curvature > 0 ? b - slope / curvature : b
      if !(next > low && next < high) { next = (low * high).squareRoot() }
      if abs(next - b) <= 1e-12 * b { break }
      b = next
    }
    return 1 / b
  }
}

extension ArrayWork {
  func logits() throws(TemperError) -> Matrix {
    let shape = try tensor("logits").shape
    return Matrix(try reals("logits"), rows: shape[0], columns: shape[1])
  }

  /// Targets as a row of probabilities for each sample.
  func targetProbabilities() throws(TemperError) -> Matrix {
    let (shape, targets) = (try tensor("logits").shape, try tensor("targets"))
    guard targets.shape.rank == 1 else {
      return Matrix(try reals("targets"), rows: shape[0], columns: shape[1])
    }
    var result = Matrix(zeros: shape[0], shape[1])
    for (row, id) in try ids("targets").enumerated() { result[row, id] = 1 }
    return result
  }
}
