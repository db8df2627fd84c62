import TemperCore

extension Weight {
  /// Codes one a byte, each of the two levels next to a weight with the probability that makes the mean right; what lies
  /// beyond the grid goes to its end. Random numbers are a function of the seed and the row.
  func stochasticCodes(
    _ grid: Grid, groupSize: Int, scales: Tensor, zeros: Tensor?, seed: UInt64, workers: Workers
  ) throws(TemperError) -> Tensor {
    let levels: [Float]
    let codes: [UInt8]
    if let codebook = grid.codebook {
      let sorted = SortedLevels(codebook)
      (levels, codes) = (sorted.levels, sorted.codes)
    } else {
      codes = (grid.lowestCode...grid.highestCode).map { UInt8($0) }
      levels = codes.map { Float(grid.firstLevel + Int($0)) }
    }
    let values = try self.values.array(of: Float.self)
    let (scale, zero) = (try scales.array(of: Float.self), try zeros?.array(of: UInt8.self))
    let groups = scales.shape[1]
    let isShared = scales.shape[0] != rows
    let result = try Tensor(zeros: [rows, columns], .uint8)
    let target = unsafe result.pointer.assumingMemoryBound(to: UInt8.self)
    let streams = Random(seed: seed, stream: "stochastic rounding")
    workers.runRows(rows, columns) { begin, end in
      for row in begin..<end {
        var random = streams.stream(row)
        for column in 0..<columns {
          let place = (isShared ? 0 : row * groups) + column / groupSize
          let value = values[row * columns + column] / scale[place] + Float(zero?[place] ?? 0)
          var (low, high) = (0, levels.count - 1)
          while high - low > 1 {
            let middle = (low + high) / 2
            if levels[middle] <= value { low = middle } else { high = middle }
          }
          let span = levels[high] - levels[low]
          let share = span > 0 ? Double((value - levels[low]) / span) : 0
          unsafe target[row * columns + column] = codes[random.uniform() < share ? high : low]
        }
      }
    }
    withExtendedLifetime(result) {}
    return result
  }
}
