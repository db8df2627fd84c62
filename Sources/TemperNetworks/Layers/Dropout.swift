import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// In training each element is 0 with probability p and x / (1 - p) otherwise; x at inference.
  static let dropout = Method.layer(
    "dropout", summary: "Zeroes elements at random in training and scales the others to keep the mean.",
    reference: Reference(
      "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov", 2014,
      "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"),
    options: [.real("p", 0.5, in: .belowOne, "Probability that an element is dropped.")], main: "p"
  ) { (layer) throws(TemperError) in
    let p = layer.real("p")
    return { x, pass in x.dropout(p, pass) }
  }
}

extension Expression {
  func dropout(_ p: Double, _ pass: Pass) -> Expression {
    guard pass.mode == .training, p > 0 else { return self }
    return .select(pass.uniform(shape) .>= p, self * (1 / (1 - p)), .constant(0))
  }
}
