import TemperCore

/// A method that looks at the loss and its gradient at points of its choosing, over all parameters as one vector in
/// double precision: line searches and Newton steps, for small problems.
package protocol PointSearch: AnyObject {
  /// Moves `point` by one step. `measure` gives the loss at a point and writes its gradient.
  func step(
    _ point: inout [Double], learningRate: Double,
    _ measure: (_ point: [Double], _ gradient: inout [Double]) throws(TemperError) -> Double
  ) throws(TemperError)
  /// What it keeps between steps, as vectors by name.
  var state: [(name: String, values: [Double])] { get }
  func load(_ state: [(name: String, values: [Double])]) throws(TemperError)
}
