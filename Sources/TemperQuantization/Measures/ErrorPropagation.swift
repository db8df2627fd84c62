import TemperCatalogue
import TemperGraph

/// How an error of rounding travels through a layer, and how far single values stand out.
package enum Measures {
  package static let all: [Method] = [errorPropagation, maximumToMean, kurtosis]

  /// With f the layer, fq the rounded layer, h and hq what comes to it clean and rounded: of fq(hq) - f(h) the part
  /// a = ((fq(hq) - fq(h)) + (f(hq) - f(h))) / 2 is inherited, b = ((fq(hq) - f(hq)) + (fq(h) - f(h))) / 2 is new.
  /// R = |a + b|^2 / |f(h)|^2, A = |a|^2 / |f(h)|^2, B = |b|^2 / |f(h)|^2, C = 2 a . b / |f(h)|^2, means over samples:
  /// R = A + B + C.
  static let errorPropagation = Method(
    "abc_error_propagation", kind: .metric, area: "quant",
    summary:
      "What a layer's error under rounding inherits, adds, and both together, over its outputs: R, A, B, C. On our small networks it foretells what rounding costs only weakly.",
    reference: Reference(title: "Beyond Outliers: A Study of Optimizers Under Quantization", arXiv: "2509.23500"),
    inputs: [
      output("f_h", "The float layer's outputs for float inputs."),
      output("f_hq", "The float layer's outputs for inputs from rounded layers."),
      output("fq_h", "The rounded layer's outputs for float inputs."),
      output("fq_hq", "The rounded layer's outputs for inputs from rounded layers."),
    ],
    implementation: .operation { x in
      let (clean, inputs, weights, both) = (x["f_h"], x["f_hq"], x["fq_h"], x["fq_hq"])
      let inherited = 0.5 * (both - weights + inputs - clean)
      let new = 0.5 * (both - inputs + weights - clean)
      let size = square(clean).sum()
      func share(_ numerator: Expression) -> Expression { (numerator.sum() / size).mean(axis: 0).reshaped([1]) }
      return .concatenate([
        share(square(inherited + new)), share(square(inherited)), share(square(new)), share(2 * inherited * new),
      ])
    })

  private static func output(_ name: String, _ summary: String) -> Input {
    Input(name, [.init(["N", "..."])], isDifferentiable: false, summary)
  }

  static let maximumToMean = Method(
    "max_to_mean_ratio", aliases: ["mmr"], kind: .metric, area: "quant",
    summary: "The largest size over the mean size, of each row: how far outliers stand out.",
    inputs: [output("x", "Values, a row for each sample.")],
    implementation: .operation { x in
      let sizes = abs(x["x"])
      return (sizes.maximum() / sizes.mean()).reshaped([sizes.shape[0]])
    })

  static let kurtosis = Method(
    "kurtosis", kind: .metric, area: "quant",
    summary: "The fourth central moment over the squared variance, of each row: 3 for a normal distribution.",
    inputs: [output("x", "Values, a row for each sample.")],
    implementation: .operation { x in
      let centred = x["x"] - x["x"].mean()
      let squares = square(centred)
      return (square(squares).mean() / square(squares.mean())).reshaped([x["x"].shape[0]])
    })
}
