import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// w times a mask of the largest of trained scores S, of the same shape. The mask passes gradients straight through:
  /// dL/dS = dL/dw' w, so that weights which training moves away from 0 rise and those which it moves to 0 fall. Scores
  /// begin at |w| times 0.01: at first the largest weights stay.
  static let movementPruning = Method.layer(
    "movement_pruning",
    summary: "Trains the layers that it holds with part of their weights zero: those that training moves towards zero.",
    reference: Reference(
      "Sanh, Wolf and Rush", 2020, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", arXiv: "2005.07683"),
    options: [
      LayerBuilder.heldLayers, .real("sparsity", 0.5, in: .unit, "Share of the weights of each matrix that are zero."),
      .integer(
        "warmup", 0, in: 0...(1 << 30), "Steps in which the share rises to this, at first fast: as 1 - (1 - t)^3."),
    ], main: "layers"
  ) { (layer) throws(TemperError) in
    let (sparsity, warmup) = (layer.real("sparsity"), layer.integer("warmup"))
    return try layer.reparametrized { (weight) throws(TemperError) in
      let count = weight.shape.count
      let name = try weight.parameter("scores", [1, count], .ones)
      weight.start(name) { values in values.map { 0.01 * abs($0) } }
      return { w, pass in
        let scores = pass[name]
        var share = Expression.constant(sparsity, [1, 1])
        if warmup > 0, pass.mode == .training {
          let left = 1 - minimum(pass.step.reshaped([1, 1]) / Double(warmup), 1)
          share = sparsity * (1 - left * left * left)
        }
        // The place of each score among all, the smallest first.
        let places = scores.stopGradient.sortOrder().sortOrder()
        let isKept = Expression.select(places .>= floor(share * Double(count)), .constant(1), .constant(0))
        let mask = scores + (isKept - scores).stopGradient
        return (w.reshaped([1, count]) * mask).reshaped(w.shape)
      }
    }
  }
}
