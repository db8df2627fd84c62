import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let dependence = [cauchySchwarz]

  /// With Gauss kernels K of features, L1 of targets, L2 of predictions, L21 between both:
  /// conditional: D = log c(L1) + log c(L2) - 2 log c(L21), c(L) = sum_j sum_i K_ji L_ji / (sum_i K_ji)^2;
  /// marginal: the same with c(L) = mean L; information: between features and codes (kernel Q),
  /// log mean(K Q) + log(mean K mean Q) - 2 log mean_i(mean_j K_ij mean_j Q_ij); objective: D + beta information.
  static let cauchySchwarz = Method(
    "cauchy_schwarz_divergence", aliases: ["cs_divergence"], kind: .loss, area: "loss",
    summary: "Kernel divergence between the distributions of targets and predictions given the features.",
    reference: Reference(
      "Yu, Yu, Loekse, Jenssen and Principe", 2024,
      "Cauchy-Schwarz Divergence Information Bottleneck for Regression", arXiv: "2404.17951"),
    parameters: [
      .choice("form", ["conditional", "marginal", "information", "objective"], "What is measured."),
      .width("sigma_x", "features"), .width("sigma_y", "targets and predictions"), .width("sigma_t", "codes"),
      .real("beta", 0.001, in: .nonNegative, "The factor of the information in the objective."),
      .choice("denominator", ["squared_sum", "sum_of_squares"], "Of c(L); the authors' code has the second."),
    ],
    inputs: [
      Input("features", [.init(["N", "D"])], "Inputs of the model."),
      Input("targets", [.init(["N", "T"])], "True outputs."),
      Input("predictions", [.init(["N", "T"])], "The model's outputs."),
      Input("codes", [.init(["N", "K"])], isOptional: true, "Hidden codes, for the information."),
    ],
    properties: ["batch"],
    implementation: .loss { x in
      let form = x.text("form")
      let features = x.kernel("sigma_x", x["features"], x["features"], of: x["features"])
      var value = Expression.constant(0, [1, 1])
      if form != "information" {
        let (y, p) = (x["targets"], x["predictions"])
        let l1 = x.kernel("sigma_y", y, y, of: y)
        let l2 = x.kernel("sigma_y", p, p, of: y)
        let l21 = x.kernel("sigma_y", p, y, of: y)
        let weights = x.text("denominator") == "squared_sum" ? square(features.sum()) : square(features).sum()
        func correlation(_ l: Expression) -> Expression {
          form == "marginal" ? log(l.meanAll()) : log(((features * l).sum() / weights).sumAll())
        }
        value = value + correlation(l1) + correlation(l2) - 2 * correlation(l21)
      }
      if form == "information" || form == "objective" {
        guard x.has("codes") else {
          return .invalid(.invalidArgument, "The form \"\(form)\" measures information in codes: pass the input codes.")
        }
        let codes = x.kernel("sigma_t", x["codes"], x["codes"], of: x["codes"])
        let shared = (features.mean() * codes.mean()).meanAll()
        let information =
          log((features * codes).meanAll()) + log(features.meanAll() * codes.meanAll()) - 2 * log(shared)
        value = value + (form == "objective" ? x.real("beta") : 1) * information
      }
      return value
    })
}

extension Parameter {
  /// The width of a kernel; none is the median distance.
  fileprivate static func width(_ name: String, _ what: String) -> Parameter {
    Parameter.real(
      name, 1, in: .positive, "The width of the kernel of \(what); none takes the median distance, as a constant."
    ).orNone
  }
}

extension Formula {
  /// exp(-|a_i - b_j|^2 / (2 width^2)); without a width the median distance between rows of `reference`.
  fileprivate func kernel(_ width: String, _ a: Expression, _ b: Expression, of reference: Expression) -> Expression {
    let distances = Expression.squaredDistances(a, b)
    if let sigma = optionalReal(width) { return exp(-distances / (2 * sigma * sigma)) }
    let n = reference.shape[0]
    guard n > 1 else { return .invalid(.invalidShape, "The median distance needs at least two samples.") }
    // The distances of rows to themselves are the n smallest; the others come in equal pairs.
    let sorted = Expression.squaredDistances(reference, reference).reshaped([1, n * n]).sorted()
    let others = sqrt(sorted.slice(n..<(n * n), axis: 1))
    let middle = n * (n - 1) / 2
    let median = 0.5 * others.slice((middle - 1)..<(middle + 1), axis: 1).sum()
    let safe = Expression.select(median .== 0, .constant(1), median).stopGradient
    return exp(-distances / (2 * square(safe)))
  }
}
