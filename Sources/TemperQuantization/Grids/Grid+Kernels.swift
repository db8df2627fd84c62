import TemperCore
import TemperKernels

/// Grids as the kernels see them, and the ranges that they are fitted to.
extension Grid {
  @unsafe func withKernelLevels<Result>(_ body: (UnsafePointer<temper_levels>) -> Result) -> Result {
    var levels = unsafe temper_levels(
      lowest_code: Int32(lowestCode), highest_code: Int32(highestCode), first_level: Float(firstLevel), count: 0,
      thresholds: nil, levels: nil, codes: nil)
    guard let codebook else { return unsafe withUnsafePointer(to: &levels) { unsafe body($0) } }
    let sorted = SortedLevels(codebook)
    return unsafe sorted.thresholds.withUnsafeBufferPointer { thresholds in
      unsafe sorted.levels.withUnsafeBufferPointer { values in
        unsafe sorted.codes.withUnsafeBufferPointer { codes in
          unsafe levels.count = Int32(sorted.levels.count)
          unsafe (levels.thresholds, levels.levels, levels.codes) = (
            thresholds.baseAddress, values.baseAddress, codes.baseAddress
          )
          return unsafe withUnsafePointer(to: &levels) { unsafe body($0) }
        }
      }
    }
  }
}

extension RangeSetting {
  private static let fractions = 100

  /// Scale and zero point for `count` values between `minimum` and `maximum`.
  @unsafe func cover(
    _ values: UnsafePointer<Float>, count: Int, _ minimum: Float, _ maximum: Float, grid: Grid,
    levels: UnsafePointer<temper_levels>
  ) -> (scale: Float, zero: UInt8) {
    switch self {
    case .minMax: return grid.covering(minimum, maximum)
    case .percentile(let percentile):
      let sizes = ascending((0..<count).map { unsafe Double(abs(values[$0])) })
      let place = Int((percentile / 100 * Double(count - 1)).rounded())
      let bound = count == 0 ? 0 : Float(sizes[place])
      return grid.covering(max(minimum, -bound), min(maximum, bound))
    case .entropy:
      let bound = EntropyRange.bound((0..<count).map { unsafe abs(values[$0]) }, levels: 1 << (grid.bits - 1))
      return grid.covering(max(minimum, -bound), min(maximum, bound))
    case .analytic:
      let bounds = AnalyticRange.bounds((0..<count).map { unsafe values[$0] }, levels: 1 << grid.bits)
      return grid.covering(max(minimum, Float(bounds.lower)), min(maximum, Float(bounds.upper)))
    case .leastSquares:
      var best = grid.covering(minimum, maximum)
      var least = Double.infinity
      for part in stride(from: RangeSetting.fractions, to: 0, by: -1) {
        let fraction = Float(part) / Float(RangeSetting.fractions)
        let cover = grid.covering(minimum * fraction, maximum * fraction)
        let error = unsafe temper_rounding_error(levels, values, Int64(count), cover.scale, Float(cover.zero))
        if error < least { (best, least) = (cover, error) }
      }
      return best
    }
  }
}

extension Weight {
  /// Scales (rows or 1, groups), and zero points where the grid has them. Values that are not finite are an error.
  func covers(
    _ grid: Grid, _ granularity: Granularity, _ range: RangeSetting, workers: Workers
  ) throws(TemperError) -> (scales: Tensor, zeros: Tensor?) {
    let groupSize = granularity.groupSize(columns: columns)
    let (minima, maxima) = try ranges(groupSize: groupSize, workers: workers)
    let groups = PackedMatrix.groups(columns: columns, groupSize: groupSize)
    let shape: Shape = [granularity == .tensor ? 1 : rows, groups]
    let scales = try Tensor(zeros: shape, .float32)
    let zeros = try Tensor(zeros: shape, .uint8)
    func store(_ cover: (scale: Float, zero: UInt8), at place: Int) {
      unsafe scales.pointer.storeBytes(of: cover.scale, toByteOffset: 4 * place, as: Float.self)
      unsafe zeros.pointer.storeBytes(of: cover.zero, toByteOffset: place, as: UInt8.self)
    }
    unsafe grid.withKernelLevels { levels in
      let base = unsafe UnsafePointer(values.pointer.assumingMemoryBound(to: Float.self))
      if granularity == .tensor {
        for group in 0..<groups {
          store(
            unsafe range.cover(
              base, count: rows * columns, minima.min() ?? 0, maxima.max() ?? 0, grid: grid, levels: levels),
            at: group)
        }
        return
      }
      workers.runRows(rows, columns) { begin, end in
        for place in (begin * groups)..<(end * groups) {
          let (row, first) = (place / groups, place % groups * groupSize)
          store(
            unsafe range.cover(
              base + row * columns + first, count: min(groupSize, columns - first), minima[place], maxima[place],
              grid: grid, levels: levels),
            at: place)
        }
      }
    }
    return (scales, grid.hasZeroPoints ? zeros : nil)
  }
}
