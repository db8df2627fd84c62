import TemperCore
import TemperKernels

extension Expression {
  /// x - max x for rows x (..., D), and the threshold t of each, (..., 1), with sum_i u_i^(1/s) = 1,
  /// u_i = max(0, s (z_i - t)), z = x - max x. s = 1 is that of sparsemax, 1/2 of entmax15; below 0 it is that of the
  /// heavy-tailed exponential. It has derivatives of the first and second order by z, and by s if that is an expression
  /// of an input. max x, which whatever is made of z - t does not depend on, counts as a constant. For s above 0 also,
  /// without derivatives, the largest p . z + H(p) of entmax_loss.
  package func powerThreshold(_ s: Expression) -> (shifted: Expression, threshold: Expression, conjugate: Expression) {
    let found = Expression.custom(Expression.powerRoot, [self, s.reshaped([1])])
    let (root, z) = (found[0], self - found[1].withSlopes([]))
    if let error = root.error { return (root, .invalid(error), root) }
    func slopes(_ threshold: Expression) -> [(by: Expression, slope: Expression)] {
      let powers = z.powers(s, above: threshold)
      let whole = powers.slope.sum()
      var slopes = [(by: z, slope: powers.slope / whole)]
      if s.constantValue == nil {
        slopes.append((by: s, slope: (powers.value * (1 - log(powers.base))).sum() / (TemperGraph.square(s) * whole)))
      }
      return slopes
    }
    // The slope's own derivative takes a threshold that has one.
    return (z, root.withSlopes(slopes(root.withSlopes(slopes(root)))), found[2])
  }

  /// u = s (x - t) where that is above 0, 1 elsewhere; u^(1/s) and u^(1/s - 1), 0 elsewhere.
  package func powers(_ s: Expression, above threshold: Expression) -> (
    base: Expression, value: Expression, slope: Expression, isIn: Expression
  ) {
    // A mask of -inf times the slope 0 would be none, where s has one.
    let u = s * ((s.constantValue == nil ? bounded : self) - threshold)
    let isIn = not(u .<= 0).stopGradient  // NaN is in, and shows
    let base = Expression.select(isIn, u, .constant(1))
    let slope: Expression
    if let constant = s.constantValue {
      slope = base.power(1 / constant - 1)
    } else {
      slope = exp(log(base) * (1 / s - 1))
    }
    return (base, .select(isIn, slope * base, .constant(0)), .select(isIn, slope, .constant(0)), isIn)
  }

  /// x^n of numbers above 0: for a small whole n by multiplication.
  package func power(_ exponent: Double) -> Expression {
    let near = exponent.rounded()
    guard abs(exponent - near) < 1e-12, abs(near) <= 15 else { return exp(exponent * log(self)) }
    var (rest, square, result) = (Int(abs(near)), near < 0 ? reciprocal(self) : self, Expression.constant(1, shape))
    while rest > 0 {
      if rest % 2 == 1 { result = result * square }
      rest /= 2
      if rest > 0 { square = TemperGraph.square(square) }
    }
    return result
  }

  private static let powerRoot = CustomOperation(
    name: "power_threshold",
    definition: { x in
      // Bisection, between the threshold of one entry and that of all entries alike.
      let (top, s) = (x[0].maximum(), x[1].reshaped([]))
      let z = x[0] - top
      let rows = Shape(z.shape.sizes.dropLast() + [1])
      let one = (-1 / s).broadcast(to: rows)
      let all = (-exp(-s * log(Expression.constant(Double(z.shape.last)))) / s).broadcast(to: rows)
      var (low, high) = (one, all)
      for _ in 0..<60 {
        let middle = 0.5 * (low + high)
        let u = s * (z - middle)
        let isIn = not(u .<= 0)
        let sum = Expression.select(isIn, exp(log(.select(isIn, u, .constant(1))) / s), .constant(0)).sum()
        let isLow = sum .> 1
        (low, high) = (.select(isLow, middle, low), .select(isLow, high, middle))
      }
      let threshold = 0.5 * (low + high), u = s * (z - threshold)
      let (isIn, none) = (not(u .<= 0), Expression.constant(0))
      let p = Expression.select(isIn, exp(log(.select(isIn, u, .constant(1))) / s), none)
      let raised = (p * .select(isIn, z, none)).sum()
      return [threshold, top, raised + (p - p * .select(isIn, u, none)).sum() / (s + TemperGraph.square(s))]
    },
    prepare: { (type, workers) throws(TemperError) in
      { (x, outputs) throws(TemperError) in
        let (columns, s) = (x[0].shape.last, try x[1].array(of: Double.self)[0])
        let shape = Shape(x[0].shape.sizes.dropLast() + [1])
        guard shape.count > 0 else { return }
        let rows = shape.count
        let (output, largest) = (try outputs[0].orZeros(shape, type), try outputs[1].orZeros(shape, type))
        let conjugate = outputs.count > 2 ? outputs[2] : nil
        let step = max((1 << 15) / columns / 64 * 64, 1)
        workers.run((rows + step - 1) / step) { piece, _ in
          var job = unsafe temper_threshold_job(
            element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, variant: TEMPER_VARIANT_BEST,
            classes: Int64(columns), s: s, logits: UnsafeRawPointer(x[0].pointer), row_stride: Int64(columns),
            out: output.pointer, largest: largest.pointer, conjugate: conjugate?.pointer)
          unsafe temper_threshold(&job, Int64(piece * step), Int64(min((piece + 1) * step, rows)))
        }
      }
    })
}
