import Glibc
import TemperCore

/// How far outputs are from those of the float model.
enum OutputDivergence: String {
  /// Mean over rows of KL(softmax(reference) ‖ softmax(outputs)).
  case kl
  /// Mean squared difference.
  case mse

  func callAsFunction(_ reference: Tensor, _ outputs: Tensor) throws(TemperError) -> Double {
    let (p, q) = (try reference.array(of: Double.self), try outputs.array(of: Double.self))
    guard !p.isEmpty else { return 0 }
    switch self {
    case .mse: return zip(p, q).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(p.count)
    case .kl:
      let classes = reference.shape.last
      var sum = 0.0
      for start in stride(from: 0, to: p.count, by: classes) {
        let row = start..<(start + classes)
        let (a, b) = (OutputDivergence.logSum(p[row]), OutputDivergence.logSum(q[row]))
        for i in row { sum += exp(p[i] - a) * (p[i] - a - q[i] + b) }
      }
      return max(sum / Double(p.count / classes), 0)
    }
  }

  static func logSum(_ values: ArraySlice<Double>) -> Double {
    let largest = values.max() ?? 0
    return largest + log(values.reduce(0) { $0 + exp($1 - largest) })
  }
}
