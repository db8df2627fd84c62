import TemperCore
import TemperNetworks

extension ModelRun {
  /// Trace of the Hessian of the mean cross-entropy with respect to each chosen weight: mean over random signs v of vᵀ H v,
  /// with H v from differences of gradients at w ± ε v (Hutchinson).
  func hessianTraces(probes: Int) throws(TemperError) -> [Double] {
    let x = try samples()
    let copy = try Model(restoring: model.fileContents, catalogue: catalogue)
    let labels: Tensor
    if let targets { labels = targets } else { labels = try model.predictedClasses(x, workers: workers) }
    var traces = [Double](repeating: 0, count: chosen.count)
    for (index, variable) in chosen.enumerated() {
      guard let tensor = copy.variable(variable.name)?.tensor else { continue }
      let weight = try tensor.array(of: Double.self)
      let size = (weight.reduce(0) { $0 + $1 * $1 } / Double(max(weight.count, 1))).squareRoot()
      let step = 1e-2 * max(size, 1e-6)
      for probe in 0..<probes {
        var random = Random(seed: 0, stream: "hessian trace").stream(index * probes + probe)
        let signs = weight.map { _ in random.nextUInt32() & 1 == 0 ? 1.0 : -1 }
        var slopes: [[Double]] = []
        for side in [step, -step] {
          try tensor.assign(from: try Tensor(zip(weight, signs).map { $0 + side * $1 }, shape: tensor.shape))
          slopes.append(try copy.lossGradient(x, labels, variable.name, workers: workers))
        }
        let product = signs.indices.reduce(0.0) { $0 + signs[$1] * (slopes[0][$1] - slopes[1][$1]) / (2 * step) }
        traces[index] += product / Double(probes)
      }
      try tensor.assign(from: try Tensor(weight, shape: tensor.shape))
    }
    return traces
  }
}
