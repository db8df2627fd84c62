import TemperCore
import TemperGraph

extension Expression {
  /// s_1 / sum_j s_j of a matrix, s its singular values, largest first. Its derivative is
  /// u_1 v_1^T / S - s_1 / S^2 sum_j u_j v_j^T; there is no second one.
  func dominantSingularShare() -> Expression {
    let (rows, columns) = (shape[0], shape[1])
    let function = ExternalFunction(name: "singular values", differentiable: [true]) {
      (inputs, outputs) throws(TemperError) in
      let matrix = try inputs[0].array(of: Double.self)
      let (values, products) = SingularValues.decompose(matrix, rows, columns)
      let sum = values.reduce(0, +)
      let first = values.indices.max { values[$0] < values[$1] } ?? 0
      let share = sum > 0 ? values[first] / sum : 0
      if let value = outputs[0] { try value.fill(share) }
      if outputs.count > 1, let gradient = outputs[1] {
        var slope = [Double](repeating: 0, count: rows * columns)
        for (j, product) in products.enumerated() where sum > 0 {
          let weight = ((j == first ? 1 : 0) - share) / sum
          for i in slope.indices { slope[i] += weight * product[i] }
        }
        try gradient.assign(from: try Tensor(slope, shape: gradient.shape))
      }
    }
    return .external(function, [reshaped([1, rows * columns])])
  }
}

enum SingularValues {
  /// One-sided Jacobi rotations (Hestenes, 1958): columns become orthogonal; their lengths are the singular values. Gives them
  /// with u_j v_j^T for each, 0 where the value is 0.
  static func decompose(_ matrix: [Double], _ rows: Int, _ columns: Int) -> (values: [Double], products: [[Double]]) {
    var a = (0..<columns).map { j in (0..<rows).map { matrix[$0 * columns + j] } }
    var v = (0..<columns).map { j in (0..<columns).map { $0 == j ? 1.0 : 0 } }
    func dot(_ x: [Double], _ y: [Double]) -> Double { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
    for _ in 0..<60 {
      var isDone = true
      for p in 0..<columns {
        for q in 0..<p {
          let (app, aqq, apq) = (dot(a[p], a[p]), dot(a[q], a[q]), dot(a[p], a[q]))
          guard abs(apq) > 1e-15 * (app * aqq).squareRoot() else { continue }
          isDone = false
          let zeta = (aqq - app) / (2 * apq)
          let t = (zeta < 0 ? -1 : 1) / (abs(zeta) + (1 + zeta * zeta).squareRoot())
          let c = 1 / (1 + t * t).squareRoot()
          let s = c * t
          func rotate(_ x: inout [[Double]]) {
            for i in x[p].indices { (x[p][i], x[q][i]) = (c * x[p][i] - s * x[q][i], s * x[p][i] + c * x[q][i]) }
          }
          rotate(&a)
          rotate(&v)
        }
      }
      if isDone { break }
    }
    let values = a.map { dot($0, $0).squareRoot() }
    let products = values.indices.map { j in
      (0..<(rows * columns)).map { values[j] > 0 ? a[j][$0 / columns] / values[j] * v[j][$0 % columns] : 0 }
    }
    return (values, products)
  }
}
