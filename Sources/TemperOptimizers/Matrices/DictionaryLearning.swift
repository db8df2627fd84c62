import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Complete dictionaries by the longest p-norm.
extension Optimizers {
  /// max |A Y|_p^p over orthogonal A by the generalised power method: A <- U V^T of (|A Y|^(p-1) sign(A Y)) Y^T = U S V^T, until
  /// it stays within tol. The dictionary is A^T, up to order and signs of its columns. The objective never falls.
  static let lpDictionaryLearning = Method(
    "lp_dictionary_learning", kind: .metric, area: "optim",
    summary: "The orthogonal transform under which the columns of data are sparsest.",
    reference: Reference(
      "Shen, Xue, Zhang, Letaief and Lau", 2020, "Complete Dictionary Learning via lp-norm Maximization",
      arXiv: "2002.10043"),
    parameters: [
      .integer("p", 3, in: 3...16, "Of the norm."), .real("tol", 1e-8, in: .nonNegative, "Of the last change."),
      .integer("max_iter", 200, in: 0...100_000, "Steps, at most."),
      .boolean("precondition", false, "For dictionaries that are not orthogonal: whitens the data first."),
      .real("theta", 0.3, in: Interval(0, 1, includesLower: false), "How many entries of the code are not 0."), .seed,
    ],
    inputs: [
      Input("y", [.init(["D", "N"])], "Data, a column for each sample."),
      Input("initial", [.init(["D", "D"])], isOptional: true, "Where A begins; a random one otherwise."),
    ],
    implementation: .operation { x in
      let p = x.integer("p")
      let (tolerance, most, seed) = (x.real("tol"), x.integer("max_iter"), x.integer("seed"))
      let whitening = x.boolean("precondition") ? 1 / x.real("theta") : nil
      let learn = CustomOperation(name: "lp dictionary") { (inputs, output, _) throws(TemperError) in
        let (d, n) = (inputs[0].shape[0], inputs[0].shape[1])
        var y = try inputs[0].array(of: Double.self)
        if let whitening {
          let moment = SmallMatrices.product(y, SmallMatrices.transposed(y, d, n), d, n, d)
            .map { $0 * whitening / Double(max(n, 1)) }
          y = SmallMatrices.product(try MatrixFunctions.inverseRoot(moment, d), y, d, d, n)
        }
        let columns = SmallMatrices.transposed(y, d, n)
        var a: [Double]
        if inputs.count > 1 {
          a = try inputs[1].array(of: Double.self)
        } else {
          var random = Random(seed: UInt64(bitPattern: Int64(seed)), stream: "dictionary")
          // Sums of uniforms are near enough to a normal number: only the direction matters.
          a = (0..<d * d).map { _ in (0..<12).reduce(-6.0) { sum, _ in sum + random.uniform() } }
          a = try MatrixFunctions.nearestOrthogonal(a, d)
        }
        for _ in 0..<most {
          let code = SmallMatrices.product(a, y, d, d, n)
          let powers = code.map { pow(abs($0), Double(p - 1)) * ($0 < 0 ? -1 : 1) }
          let next = try MatrixFunctions.nearestOrthogonal(SmallMatrices.product(powers, columns, d, n, d), d)
          let change = zip(a, next).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
          a = next
          if change < tolerance { break }
        }
        try output.assign(from: try Tensor(a, shape: [d, d]))
      }
      let d = x["y"].shape[0]
      return .custom(learn, x.has("initial") ? [x["y"], x["initial"]] : [x["y"]], shape: [d, d])
    })
}
