import Glibc
import TemperCore
import TemperNetworks

extension Model {
  /// Mean over batches of the squared gradient of the mean cross-entropy with respect to each of `variables`. `targets`:
  /// class ids (N,); without them the class that the model itself gives.
  func observeSaliency(
    _ variables: [Variable], _ calibration: Tensor, targets: Tensor?, into statistics: inout [String: InputStatistics],
    workers: Workers
  ) throws(TemperError) {
    let count = calibration.shape[0]
    if let targets, targets.shape != [count] {
      throw TemperError(.invalidShape, "`targets` are class ids, (\(count),); \(targets.shape) came.")
    }
    let known = variables.filter { statistics[$0.name] != nil }
    var sums = known.map { [Double](repeating: 0, count: $0.shape.count) }
    var batches = 0
    for start in stride(from: 0, to: count, by: Model.calibrationBatch) {
      let range = start..<min(start + Model.calibrationBatch, count)
      let x = try calibration.slice(range)
      let ids = try targets.map { targets throws(TemperError) in
        try targets.slice(range).array(of: Int32.self).map(Int.init)
      }
      let dy = try crossEntropySlope(try predict(x, workers: workers), ids)
      var gradients: [(name: String, tensor: Tensor)] = []
      for variable in known { gradients.append((variable.name, try Tensor(zeros: variable.shape, dtype))) }
      try vectorJacobianProduct(x, dy: dy, into: gradients, workers: workers)
      for (index, gradient) in gradients.enumerated() {
        for (place, value) in try gradient.tensor.array(of: Double.self).enumerated() {
          sums[index][place] += value * value
        }
      }
      batches += 1
    }
    for (variable, sum) in zip(known, sums) {
      statistics[variable.name]?.saliency = sum.map { Float($0 / Double(max(batches, 1))) }
    }
  }

  /// The class of the largest output, of each row.
  func predictedClasses(_ x: Tensor, workers: Workers) throws(TemperError) -> Tensor {
    let outputs = try predict(x, workers: workers)
    let (y, classes) = (try outputs.array(of: Double.self), outputs.shape.last)
    return try Tensor(
      (0..<(y.count / max(classes, 1))).map { row -> Int32 in
        Int32((0..<classes).max { y[row * classes + $0] < y[row * classes + $1] } ?? 0)
      })
  }

  /// Of the mean cross-entropy over x with class ids `targets`, with respect to one parameter.
  func lossGradient(
    _ x: Tensor, _ targets: Tensor, _ name: String, workers: Workers
  ) throws(TemperError) -> [Double] {
    let ids = try targets.array(of: Int32.self).map(Int.init)
    let rows = ids.count / max(x.shape[0], 1)
    var sum = [Double](repeating: 0, count: variable(name)?.shape.count ?? 0)
    for start in stride(from: 0, to: x.shape[0], by: Model.calibrationBatch) {
      let range = start..<min(start + Model.calibrationBatch, x.shape[0])
      let part = try x.slice(range)
      let own = Array(ids[(range.lowerBound * rows)..<(range.upperBound * rows)])
      let dy = try crossEntropySlope(try predict(part, workers: workers), own)
      let gradient = try Tensor(zeros: variable(name)?.shape ?? [0], dtype)
      try vectorJacobianProduct(part, dy: dy, into: [(name, gradient)], workers: workers)
      let share = Double(range.count) / Double(x.shape[0])
      for (place, value) in try gradient.array(of: Double.self).enumerated() { sum[place] += share * value }
    }
    return sum
  }

  /// (softmax(y) − one-hot) / rows, over the last axis.
  private func crossEntropySlope(_ outputs: Tensor, _ ids: [Int]?) throws(TemperError) -> Tensor {
    var y = try outputs.array(of: Double.self)
    let classes = outputs.shape.last
    let rows = y.count / max(classes, 1)
    if let ids, ids.count != rows || !ids.allSatisfy({ (0..<classes).contains($0) }) {
      throw TemperError(.outOfRange, "`targets` are one class id from 0 to \(classes - 1) for each row of outputs.")
    }
    for row in 0..<rows {
      let part = (row * classes)..<((row + 1) * classes)
      let top = part.max { y[$0] < y[$1] } ?? part.lowerBound
      let chosen = ids.map { part.lowerBound + $0[row] } ?? top
      let largest = y[top]
      var sum = 0.0
      for i in part {
        y[i] = exp(y[i] - largest)
        sum += y[i]
      }
      for i in part { y[i] = (y[i] / sum - (i == chosen ? 1 : 0)) / Double(rows) }
    }
    return try Tensor(y, shape: outputs.shape).copy(as: dtype)
  }
}
