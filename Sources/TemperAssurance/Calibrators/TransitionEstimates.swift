import Glibc
import TemperCatalogue
import TemperCore
import TemperData

/// Transition matrices T[i, j] = P(given j | true i) from a model that was trained on wrong labels, and what such a model
/// should have said.
enum TransitionEstimates {
  static let all: [Method] = [anchors, dual]

  static let kept = Input("transition", [.init(["C", "C"])], "P(given j | true i).")

  /// T_i = the model's probabilities at the sample that is most surely of class i.
  static let anchors = method(
    "anchor_point_transition",
    "The transition matrix from the model's probabilities at the surest sample of each class.",
    Reference(
      "Patrini et al.", 2017,
      "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", arXiv: "1609.03683"),
    [.logits]
  ) { (work) throws(TemperError) in anchorRows(try work.logits().softmax(), work.real("quantile")) }

  /// T = A B: A the anchors' estimate for the model's own classes, B_lj the share of given labels j where the model says l.
  static let dual = method(
    "dual_t_transition", "The transition matrix as a product: true to predicted classes, and predicted to given ones.",
    Reference(
      "Yao et al.", 2020, "Dual T: Reducing Estimation Error for Transition Matrix in Label-noise Learning",
      arXiv: "2006.07805"),
    [.logits, .classIds]
  ) { (work) throws(TemperError) in
    let p = try work.logits().softmax()
    var counts = Matrix(zeros: p.columns, p.columns)
    for (said, given) in zip(p.likeliest, try work.ids("targets")) { counts[said, given] += 1 }
    let (a, b) = (anchorRows(p, work.real("quantile")), counts.shares)
    var product = Matrix(zeros: p.columns, p.columns)
    for i in 0..<p.columns {
      for l in 0..<p.columns { for j in 0..<p.columns { product[i, j] += a[i, l] * b[l, j] } }
    }
    return product.shares
  }

  private static func anchorRows(_ p: Matrix, _ quantile: Double) -> Matrix {
    var result = Matrix(zeros: p.columns, p.columns)
    for i in 0..<p.columns {
      // The sample at the quantile of p_i; the largest for 1.
      let order = Array(ascendingOrder((0..<p.rows).map { -p[$0, i] }).reversed())
      let anchor = order[Int((quantile * Double(p.rows - 1)).rounded())]
      for j in 0..<p.columns { result[i, j] = p[anchor, j] }
    }
    return result.shares
  }

  private static func method(
    _ name: String, _ summary: String, _ reference: Reference, _ inputs: [Input],
    _ estimate: @escaping @Sendable (ArrayWork) throws(TemperError) -> Matrix
  ) -> Method {
    Method(
      name, kind: .calibrator, area: "noisy-labels", summary: summary, reference: reference,
      parameters: [
        .real(
          "quantile", 1, in: .unit, "Of p_i among all samples, which is the anchor: 1 the largest; 0.97 for noisy ones."
        )
      ],
      keeps: [kept],
      calls: [
        ArrayCall("fit", inputs) { (work) throws(TemperError) in
          work.keep("transition", try estimate(work).tensor())
        }, cleaned,
      ])
  }

  /// The distribution p over true classes under which the model's probabilities q of given labels are likeliest:
  /// q = p T. Expectation-maximisation, which stays on the simplex: p_i <- p_i sum_j T_ij q_j / (p T)_j.
  static let cleaned = ArrayCall(
    "transform", [.logits], gives: [.init("logits", "Logarithms of the probabilities of true classes.")],
    state: .required
  ) { (work) throws(TemperError) in
    let transition = try Matrix(try work.tensor("transition"))
    try transition.checkDistributions("transition")
    var p = try work.logits().softmax()
    for row in 0..<p.rows {
      let q = Array(p[row])
      var own = [Double](repeating: 1 / Double(p.columns), count: p.columns)
      for _ in 0..<iterations {
        let said = (0..<p.columns).map { j in (0..<p.columns).reduce(0.0) { $0 + own[$1] * transition[$1, j] } }
        let next = (0..<p.columns).map { i in
          own[i] * (0..<p.columns).reduce(0.0) { $0 + (said[$1] > 0 ? transition[i, $1] * q[$1] / said[$1] : 0) }
        }
        let change = zip(next, own).reduce(0) { max($0, abs($1.0 - $1.1)) }
        own = next
        if change < 1e-12 { break }
      }
      for c in 0..<p.columns { p[row, c] = log(max(own[c], 1e-300)) }
    }
    work.give("logits", try p.tensor().copy(as: try work.tensor("logits").dtype == .float32 ? .float32 : nil))
  }

  private static let iterations = 2000
}
