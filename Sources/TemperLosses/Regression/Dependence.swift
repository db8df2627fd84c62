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
      let (isConditional, isInformation) = (form != "information", form == "information" || form == "objective")
      guard !isInformation || x.has("codes") else {
        return .invalid(.invalidArgument, "The form \"\(form)\" measures information in codes: pass the input codes.")
      }
      var (arrays, factors) = ([x["features"]], [x.kernelFactor("sigma_x", of: x["features"])])
      if isConditional {
        arrays += [x["targets"], x["predictions"]]
        factors.append(x.kernelFactor("sigma_y", of: x["targets"]))
      }
      if isInformation {
        arrays.append(x["codes"])
        factors.append(x.kernelFactor("sigma_t", of: x["codes"]))
      }
      let (count, isMarginal, isSquared) = (
        arrays.count, form == "marginal", x.text("denominator") == "squared_sum"
      )
      let n = arrays[0].shape[0]
      // By sample, as logarithms of sums: the terms of c(L1), c(L2) and c(L21), then the means of K, Q and K Q. Far apart
      // kernels vanish, their logarithms do not.
      let width = n * (arrays.map(\.shape.last).max() ?? 1)
      let logN = log(Expression.constant(Double(n)))
      let terms = Expression.byRowBlocks(rows: arrays, shared: arrays + factors, width: width) { row, all in
        func kernel(_ a: Int, _ b: Int, _ factor: Int) -> Expression {
          all[count + factor] * Expression.squaredDistances(row[a], all[b])
        }
        let k = kernel(0, 0, 0)
        var columns: [Expression] = []
        if isConditional {
          let weights = isSquared ? 2 * k.logSumExp() : (2 * k).logSumExp()
          columns += [kernel(1, 1, 1), kernel(2, 2, 1), kernel(2, 1, 1)].map {
            isMarginal ? $0.logSumExp() - 2 * logN : (k + $0).logSumExp() - weights
          }
        }
        if isInformation {
          let q = kernel(count - 1, count - 1, all.count - count - 1)
          columns += [k, q, k + q].map { $0.logSumExp() - logN }
        }
        return .concatenate(columns, axis: 1)
      }
      func logSum(_ column: Expression) -> Expression { column.reshaped([1, n]).logSumExp() }
      let columns = (0..<terms.shape[1]).map { terms.slice($0..<($0 + 1), axis: 1) }
      var value = Expression.constant(0, [1, 1])
      if isConditional {
        let logs = columns[..<3].map(logSum)
        value = value + logs[0] + logs[1] - 2 * logs[2]
      }
      if isInformation {
        // The means over samples are sums over n, whose logarithms cancel.
        let last = Array(columns.suffix(3))
        let information = logSum(last[2]) + logSum(last[0]) + logSum(last[1]) - 2 * logSum(last[0] + last[1]) - logN
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
  /// -1 / (2 width^2), (1, 1); without a width that of the median distance between rows of `reference`, as a constant.
  fileprivate func kernelFactor(_ width: String, of reference: Expression) -> Expression {
    if let sigma = optionalReal(width) { return .constant(-1 / (2 * sigma * sigma), [1, 1]) }
    let n = reference.shape[0]
    guard n > 1 else { return .invalid(.invalidShape, "The median distance needs at least two samples.") }
    // The distances of rows to themselves are the n smallest; the others come in equal pairs.
    let sorted = Expression.squaredDistances(reference, reference).reshaped([1, n * n]).sorted()
    let others = sqrt(sorted.slice(n..<(n * n), axis: 1))
    let middle = n * (n - 1) / 2
    let median = 0.5 * others.slice((middle - 1)..<(middle + 1), axis: 1).sum()
    let safe = Expression.select(median .== 0, .constant(1), median).stopGradient
    return -0.5 / square(safe)
  }
}
