import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let softmaxFamily = [softmax, logSoftmax, sparsemax, entmax15]

  /// exp(x_i - max) / sum_j exp(x_j - max). -inf is probability 0; a row of -inf alone has no distribution (NaN).
  static let softmax = rowOperator(
    "softmax", "Exponentials divided by their sum.", properties: ["smooth", "shift_invariant", "simplex"]
  ) { $1.softmax() }

  /// x_i - log sum_j exp(x_j).
  static let logSoftmax = rowOperator(
    "log_softmax", "The logarithm of softmax.", properties: ["smooth", "shift_invariant"]
  ) { $1.logSoftmax() }

  /// The nearest point of the simplex: max(x - tau, 0) with tau = (sum over the support of x - 1) / its size.
  /// Martins and Astudillo, 2016, arXiv 1602.02068.
  static let sparsemax = rowOperator(
    "sparsemax", "The nearest point of the probability simplex; small scores get exactly 0.",
    Reference(
      "Martins and Astudillo", 2016,
      "From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label Classification",
      arXiv: "1602.02068"),
    properties: ["shift_invariant", "simplex"]
  ) { $1.sparsemax() }

  /// max(x / 2 - tau, 0)^2 with tau such that it sums to 1. Peters, Niculae and Martins, 2019, arXiv 1905.05702.
  static let entmax15 = rowOperator(
    "entmax15", "Between softmax and sparsemax: Tsallis entropy with alpha 1.5.",
    Reference("Peters, Niculae and Martins", 2019, "Sparse Sequence-to-Sequence Models", arXiv: "1905.05702"),
    properties: ["shift_invariant", "simplex"]
  ) { $1.entmax15() }

  /// An operator of one array along its last axis.
  static func rowOperator(
    _ name: String, aliases: [String] = [], area: String = "softmax", _ summary: String, _ reference: Reference? = nil,
    _ parameters: [Parameter] = [], properties: Set<String>,
    _ value: @escaping @Sendable (Formula, Expression) -> Expression
  ) -> Method {
    Method(
      name, aliases: aliases, kind: .op, area: area, summary: summary, reference: reference, parameters: parameters,
      inputs: [Input("x", [.init(["...", "D"])], "Rows along the axis.")], properties: properties,
      implementation: .operation { x in value(x, x["x"]) })
  }
}

extension Expression {
  /// x - max, in which the maximum is constant for the derivative: for functions that a shift does not change.
  var shifted: Expression { self - maximum().stopGradient }

  /// 1, 2, 3, … along the last axis.
  var ranks: Expression { .iota(Shape([shape.last])) + 1 }

  func sparsemax() -> Expression { entmax(.constant(2)).probabilities }

  func entmax15() -> Expression { entmax(.constant(1.5)).probabilities }
}
