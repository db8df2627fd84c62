import TemperCore
import TemperGraph
import TemperNetworks

/// Moves a block's float inputs until what its batch normalizations see is distributed as in training.
///
/// Minimises over x', from x on, for each normalization of images in the block |mean(x') − μ|² + |std(x') − σ|², summed
/// over channels, averaged over images (statistics of one image over its positions), + (channel sum of (x' − x)²) / λ.
struct DistributionCorrection {
  let weight: Double
  let iterations: Int
  let rate: Double

  func corrected(_ x: Tensor, _ block: BlockRun.Block, _ stage: BlockRun) throws(TemperError) -> Tensor {
    let norms = try LayerChain(stage.model).batchNorms().filter {
      block.layers.contains($0.index) && $0.index > block.layers.lowerBound
    }
    guard !norms.isEmpty, iterations > 0, x.dtype.isFloating else { return x }
    let result = try x.copy()
    for start in stride(from: 0, to: x.shape[0], by: Model.calibrationBatch) {
      let range = start..<min(start + Model.calibrationBatch, x.shape[0])
      let part = try x.slice(range).dense()
      let (moved, fixed) = (Expression.input("moved", part.shape), Expression.input("x", part.shape))
      let pass = stage.pass(range.count)
      _ = stage.model.forward(moved, pass, layers: block.layers)
      var objective = (1 / weight) * BlockTuning.reconstruction(moved, fixed)
      var found = false
      for norm in norms {
        guard let seen = pass.outputs["\(norm.index - 1)"], seen.shape.rank == 4 else { continue }
        found = true
        let channels = seen.shape[1]
        let flat = seen.reshaped([range.count, channels, seen.shape[2] * seen.shape[3]])
        let mean = flat.mean()
        let deviation = sqrt(square(flat - mean).mean() + 1e-12)
        let (mu, variance) = (pass["\(norm.index).running_mean"], pass["\(norm.index).running_var"])
        let missed =
          square(mean - mu.reshaped([1, channels, 1]))
          + square(deviation - sqrt(variance.reshaped([1, channels, 1]) + norm.epsilon))
        objective = objective + missed.sumAll().reshaped([]) / Double(range.count)
      }
      guard found else { return x }
      let gradient = try Differentiate.gradients(of: objective, withRespectTo: [moved])[0]
      let execution = try Execution(
        try Plan([Output(gradient), Output(objective)], type: stage.model.dtype), workers: stage.run.workers)
      let now = try part.copy()
      try stage.bind(execution, ["moved": now, "x": part])
      var values = try part.array(of: Float.self)
      var (best, least, since, rate) = (values, Double.infinity, 0, rate)
      var adam = AdamState(count: values.count)
      for _ in 0...iterations {
        try execution.run()
        let value = execution.output(1).scalar
        // Where it stays, steps shorten.
        (best, since) = value < least ? (values, 0) : (best, since + 1)
        least = min(least, value)
        if since == 10 { (rate, since) = (rate / 2, 0) }
        adam.step(&values, try execution.output(0).array(of: Float.self), rate: Float(rate))
        try now.assign(from: try Tensor(values, shape: part.shape))
      }
      try result.slice(range).assign(from: try Tensor(best, shape: part.shape))
    }
    return result
  }
}
