import Glibc
import TemperCatalogue
import TemperGraph

extension Optimizers {
  /// Adam on the rows of a parameter whose gradient is not 0 everywhere, such as those of an embedding that a batch looked
  /// up; other rows and their averages stay. w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), t all steps. Of
  /// a vector each element is a row. What PyTorch does with sparse gradients, from dense ones.
  static let sparseAdam = Method.optimizer(
    "sparse_adam", aliases: ["lazy_adam"], "Adam that moves only the rows that have a gradient.",
    Reference("Kingma and Ba", 2015, "Adam: A Method for Stochastic Optimization", arXiv: "1412.6980"),
    [.learningRate(0.001)] + Parameter.betas() + [.eps(1e-8), .maximize], isElementwise: false
  ) { x in
    let (w, g) = (x.parameter, x.slope)
    var size = abs(g)
    for axis in 1..<max(g.shape.rank, 1) { size = size.maximum(axis: axis) }
    let isHit = size .> 0
    func average(_ name: String, of value: Expression, _ beta: Double) -> Expression {
      let old = x.state(name)
      let mean = Expression.select(isHit, beta * old + (1 - beta) * value, old)
      x.set(name, to: mean)
      return mean
    }
    let (beta1, beta2) = (x.real("beta1"), x.real("beta2"))
    let m = average("first_moment", of: g, beta1)
    let v = average("second_moment", of: square(g), beta2)
    let rate = x.number("sparse_step_size") {
      $0.learningRate * (1 - pow(beta2, Double($0.step))).squareRoot() / (1 - pow(beta1, Double($0.step)))
    }
    return .select(isHit, w - rate * (m / (sqrt(v) + x.real("eps"))), w)
  }
}
