import TemperCatalogue
import TemperCore
import TemperGraph

/// The sum of the squares of an array: of a long one that lies in memory, at the speed of one read by all threads, in double
/// precision and by a tree that depends on its length alone.
func squaredLength(_ x: Expression) -> Expression {
  guard case .input = x.node.operation, x.shape.count >= 1 << 15 else { return square(x).sumAll() }
  let count = x.shape.count
  let operation = CustomOperation(name: "squared length", definition: { [square($0[0]).sumAll()] }) { _, workers in
    var partial = [Double](repeating: 0, count: count / (1 << 16) + 1)
    return { (inputs, outputs) throws(TemperError) in
      outputs[0]?.store(inputs[0].sumOfSquares(workers, partial: &partial))
    }
  }
  return .custom(operation, [x], shape: square(x).sumAll().shape)
}
