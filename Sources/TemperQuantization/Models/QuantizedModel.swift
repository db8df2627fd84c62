import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// A model whose weight matrices are packed: it predicts straight from the codes. Biases, normalizations and other
/// parameters stay floats.
package final class QuantizedModel {
  /// Describes, predicts and summarises as any model; it has no gradients with respect to packed weights.
  package let model: Model
  /// By the name of the parameter that each stands for, in the model's order.
  package let weights: [(name: String, matrix: QuantizedMatrix)]

  /// What packing each weight cost; empty for a model from a file, whose float weights are not known.
  package internal(set) var reports: [(name: String, report: QuantizationReport)] = []

  /// Packed weights with everything that is not packed.
  package var byteCount: Int {
    let floats = (model.parameters + model.buffers).compactMap(\.tensor).reduce(0) { $0 + $1.byteCount }
    return weights.reduce(floats) { $0 + $1.matrix.byteCount }
  }

  /// Of the same model with all parameters and buffers in float32.
  package var floatByteCount: Int { (model.parameters + model.buffers).reduce(0) { $0 + 4 * $1.shape.count } }

  package func matrix(_ name: String) -> QuantizedMatrix? { weights.first { $0.name == name }?.matrix }

  /// `model` was built without the parameters that `weights` stand for.
  init(_ model: Model, _ weights: [(name: String, matrix: QuantizedMatrix)]) throws(TemperError) {
    (self.model, self.weights) = (model, weights)
    var replacements: [String: Pass.Replacement] = [:]
    for (name, matrix) in weights {
      guard let variable = model.variable(name), variable.tensor == nil, variable.shape == matrix.shape else {
        throw TemperError(
          .invalidShape, "The model has no packed weight \"\(name)\" of shape \(matrix.shape).")
      }
      replacements[name] = try matrix.replacement(of: variable)
    }
    model.replacements = replacements
  }
}

extension Variable {
  /// Whether packed codes can stand in for it: the weights of dense, recurrent, attention and convolution layers, and
  /// tables of embeddings.
  package var isPackable: Bool { use != .elements && shape.rank >= 2 }
}

extension QuantizedMatrix {
  /// What the model computes in place of its product, convolution or look-up with `variable`.
  func replacement(of variable: Variable) throws(TemperError) -> Pass.Replacement {
    switch variable.use {
    case .product:
      let product = CustomOperation(name: variable.name) { (inputs, y, workers) throws(TemperError) in
        try self.matmul(inputs[0], into: y, workers: workers)
      }
      return { x in .custom(product, [x], shape: Shape(x.shape.sizes.dropLast() + [self.rows])) }
    case .convolution(let convolution):
      // The weights of a convolution are few against its products: they are decoded for each run.
      let decode = CustomOperation(name: variable.name) { (_, weights, workers) throws(TemperError) in
        try self.dequantize(into: weights, workers: workers)
      }
      let (grid, scales, offsets) = (adjustment.inputGrid, adjustment.inputScales, adjustment.offsets)
      return { x in
        var seen = x
        if let grid, let scales {
          // The grid is one of scaled inputs, by channel; the decoded weights are those of inputs as they are.
          let scaling = CustomOperation(name: variable.name) { (_, target, _) throws(TemperError) in
            try target.assign(
              from: try scales.reshaped([1, x.shape[1], self.columns / x.shape[1], 1]).slice(0..<1, axis: 2))
          }
          let factors = Expression.custom(scaling, [], shape: [1, x.shape[1], 1, 1])
          seen = grid.rounded(x * factors) / factors
        } else if let grid {
          seen = grid.rounded(x)
        }
        let y = seen.convolved(with: .custom(decode, [], shape: self.shape), convolution)
        guard let offsets else { return y }
        let added = CustomOperation(name: variable.name) { (_, target, _) throws(TemperError) in
          try target.assign(from: try offsets.reshaped(target.shape))
        }
        return y + .custom(added, [], shape: [1, self.rows, 1, 1])
      }
    case .table:
      let lookUp = CustomOperation(name: variable.name) { (inputs, rows, workers) throws(TemperError) in
        try self.lookUp(inputs[0], into: rows, workers: workers)
      }
      return { indices in .custom(lookUp, [indices], shape: Shape(indices.shape.sizes + [self.columns])) }
    case .elements:
      throw TemperError(.unsupported, "\"\(variable.name)\" is not a weight that packed codes can stand in for.")
    }
  }
}
