import TemperCore

/// Runs a `PointSearch` on the arrays of a caller.
package final class SearchEngine {
  private let search: any PointSearch

  package init(_ search: any PointSearch, _ arrays: Arrays) { self.search = search }

  /// The loss at the first point that the search looked at.
  package func step(
    _ arrays: Arrays, learningRate: Double, _ evaluate: () throws(TemperError) -> Double
  ) throws(TemperError) -> Double? {
    let start = try vector(arrays.parameters)
    var point = start
    var first: Double?
    func put(_ point: [Double]) throws(TemperError) {
      var offset = 0
      for parameter in arrays.parameters {
        try parameter.assign(
          from: try Tensor(Array(point[offset..<offset + parameter.count]), shape: parameter.shape))
        offset += parameter.count
      }
      try arrays.writeParameters()
    }
    do throws(TemperError) {
      try search.step(&point, learningRate: learningRate) { (at, gradient) throws(TemperError) in
        try put(at)
        let loss = try evaluate()
        try arrays.readGradients()
        gradient = try vector(arrays.gradients)
        first = first ?? loss
        return loss
      }
    } catch {
      try put(start)
      throw error
    }
    try put(point)
    return first
  }

  private func vector(_ tensors: [Tensor]) throws(TemperError) -> [Double] {
    var all: [Double] = []
    for tensor in tensors { all += try tensor.array(of: Double.self) }
    return all
  }

  package var state: [(name: String, tensor: Tensor)] {
    search.state.compactMap { entry in (try? Tensor(entry.values)).map { ("0." + entry.name, $0) } }
  }

  package func load(_ tensors: [(name: String, tensor: Tensor)]) throws(TemperError) {
    var entries: [(name: String, values: [Double])] = []
    for (name, tensor) in tensors {
      guard name.hasPrefix("0."), tensor.dtype == .float64 else {
        throw TemperError(.invalidArgument, "There is no state \"\(name)\".")
      }
      entries.append((String(name.dropFirst(2)), try tensor.array(of: Double.self)))
    }
    try search.load(entries)
  }
}
