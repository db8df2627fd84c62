import TemperCatalogue
import TemperGraph

extension GradientStatistics {
  /// Omega = sum over k of (|r_k| / |d_k| - 1)^2, r_k = (W^T d_k) s'(x_k): how far the error signal d_k = dE/dx_{k+1} of a
  /// recurrent network x_{k+1} = W s(x_k) + … is from keeping its length on the way back. Its gradient is the immediate
  /// one, with x and d constant: 2 (|r| / |d| - 1) / (|r| |d|) d (r s')^T. Steps without an error signal count 0.
  static let vanishingGradients = Method(
    "clip_by_global_norm_omega", aliases: ["vanishing_gradient_penalty"], kind: .op, area: "optim",
    summary: "Penalises a recurrent weight through which gradients vanish or explode.",
    reference: Reference(
      "Pascanu, Mikolov and Bengio", 2013, "On the difficulty of training Recurrent Neural Networks",
      arXiv: "1211.5063"),
    inputs: [
      Input("weight", [.init(["H", "H"])], "W, from the state before to the next."),
      Input(
        "errors", [.init(["T", "H"])], isDifferentiable: false,
        "The gradient of the loss with respect to each next state."),
      Input(
        "slopes", [.init(["T", "H"])], isDifferentiable: false,
        "The activation's derivative at each state before."),
    ],
    implementation: .operation { x in
      let errors = x["errors"]
      let back = Expression.matmul(errors, x["weight"]) * x["slopes"]
      let (size, reached) = (square(errors).sum(), square(back).sum())
      // The root's slope at 0 is infinite: a signal that is lost altogether gives no direction.
      let (isSilent, isLost) = (size .== 0, reached .== 0)
      let length = Expression.select(isLost, .constant(0), sqrt(.select(isLost, .constant(1), reached)))
      let ratio = length / sqrt(.select(isSilent, .constant(1), size))
      return Expression.select(isSilent, .constant(0), square(ratio - 1)).sumAll().reshaped([])
    })
}
