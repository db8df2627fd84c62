import TemperCatalogue
import TemperCore
import TemperGraph

/// Norms of the gradients that each sample gives a layer's parameters, from what goes into the layer and the gradient of
/// what comes out of it: for networks that are not Temper's. A model of Temper's does it by itself.
extension GradientStatistics {
  private static let reference = Reference(
    "Goodfellow", 2015, "Efficient Per-Example Gradient Computations", arXiv: "1510.01799")
  private static let bias = Parameter.boolean("bias", true, "The gradient of the bias counts too.")

  private static func outputs(_ forms: [[String]]) -> Input {
    Input("output_gradients", forms.map { .init($0) }, "The gradient of the loss by what comes out of the layer.")
  }

  private static func norm(_ squares: Expression) -> Expression {
    sqrt(maximum(squares, 0)).reshaped([squares.shape.count])
  }

  /// (N, D) as (N, 1, D).
  private static func sequences(_ x: Expression) -> Expression { x.shape.rank == 2 ? x.expanded(1) : x }

  /// |sum_t g_t a_t^T|, with the bias sqrt(|sum_t g_t a_t^T|^2 + |sum_t g_t|^2).
  static let productNorms = Method(
    "per_sample_gradient_norms_linear", aliases: ["per_sample_gradient_norms"], kind: .metric, area: "optim",
    summary: "The norm of each sample's gradient for a linear layer, without the gradients.", reference: reference,
    parameters: [bias],
    inputs: [
      Input("inputs", [.init(["N", "D"]), .init(["N", "T", "D"])], "What goes into the layer."),
      outputs([["N", "O"], ["N", "T", "O"]]),
    ],
    implementation: .operation { x in
      let (a, g) = (sequences(x["inputs"]), sequences(x["output_gradients"]))
      guard a.shape[1] == g.shape[1] else {
        return .invalid(.invalidShape, "inputs and output_gradients are both (N, …), or both (N, T, …).")
      }
      let weight = SampleGradientNorms.product(a, g)
      return norm(x.boolean("bias") ? weight + SampleGradientNorms.vector(g) : weight)
    })

  static let convolutionNorms = Method(
    "per_sample_gradient_norms_convolution", kind: .metric, area: "optim",
    summary: "The norm of each sample's gradient for a two-dimensional convolution, without the gradients.",
    reference: reference,
    parameters: [
      .integer("kernel_height", 3, in: 1...4096, "Rows of the kernel."),
      .integer("kernel_width", 3, in: 1...4096, "Columns of the kernel."),
      .integer("stride", 1, in: 1...4096, "Steps between windows."),
      .integer("padding", 0, in: 0...4096, "Zeros on each side."),
      .integer("dilation", 1, in: 1...4096, "Distance between the kernel's elements."),
      .integer("groups", 1, in: 1...65_536, "Groups of channels."), bias,
    ],
    inputs: [
      Input("inputs", [.init(["N", "C", "H", "W"])], "What goes into the layer."), outputs([["N", "O", "U", "V"]]),
    ],
    implementation: .operation { x in
      let (a, g, groups) = (x["inputs"], x["output_gradients"], x.integer("groups"))
      func pair(_ name: String) -> [Int] { [x.integer(name), x.integer(name)] }
      let convolution = Convolution(
        stride: pair("stride"), padding: pair("padding"), dilation: pair("dilation"), groups: groups)
      guard a.shape[1] % groups == 0, g.shape[1] % groups == 0 else {
        return .invalid(
          .invalidShape, "\(a.shape[1]) and \(g.shape[1]) channels cannot be split into \(groups) groups.")
      }
      let kernel = Shape([g.shape[1], a.shape[1] / groups, x.integer("kernel_height"), x.integer("kernel_width")])
      let result = a.convolved(with: .zeros(kernel), convolution)
      if let error = result.error { return .invalid(error) }
      guard result.shape == g.shape else {
        return .invalid(.invalidShape, "This convolution gives \(result.shape); output_gradients have \(g.shape).")
      }
      let weight = SampleGradientNorms.convolution(a, g, kernel: kernel, convolution)
      let places = g.reshaped([g.shape[0], g.shape[1], g.shape[2] * g.shape[3]]).permuted([0, 2, 1])
      return norm(x.boolean("bias") ? weight + SampleGradientNorms.vector(places) : weight)
    })

  static let tableNorms = Method(
    "per_sample_gradient_norms_embedding", kind: .metric, area: "optim",
    summary: "The norm of each sample's gradient for an embedding, without the gradients.", reference: reference,
    inputs: [
      Input("indices", [.init(["N", "T"], .index(below: nil))], "The rows that were looked up."),
      outputs([["N", "T", "D"]]),
    ],
    implementation: .operation { x in
      let g = x["output_gradients"]
      return norm(SampleGradientNorms.table(x["indices"].reshaped([g.shape[0], g.shape[1]]), g))
    })

  /// The scale's gradient is sum_t g_t x_t, x the normalized input, and the shift's sum_t g_t.
  static let normalizationNorms = Method(
    "per_sample_gradient_norms_normalization", kind: .metric, area: "optim",
    summary: "The norm of each sample's gradient for the scale and shift of a normalization.", reference: reference,
    parameters: [bias],
    inputs: [
      Input("inputs", [.init(["N", "D"]), .init(["N", "T", "D"])], "The normalized input, before scale and shift."),
      outputs([["N", "D"], ["N", "T", "D"]]),
    ],
    implementation: .operation { x in
      let (a, g) = (sequences(x["inputs"]), sequences(x["output_gradients"]))
      guard a.shape == g.shape else {
        return .invalid(
          .invalidShape, "inputs and output_gradients have the same shape; \(a.shape) and \(g.shape) came.")
      }
      let scale = SampleGradientNorms.vector(a * g)
      return norm(x.boolean("bias") ? scale + SampleGradientNorms.vector(g) : scale)
    })
}
