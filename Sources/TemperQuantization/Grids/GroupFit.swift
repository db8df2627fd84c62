import TemperCore

extension Weight {
  /// Scales (rows or 1, groups), float32, from the values of each group: of `fit`, or as small as can be divided by. The
  /// values are checked to be finite first.
  func scales(
    _ granularity: Granularity, workers: Workers, _ fit: (UnsafeBufferPointer<Float>) -> Float
  ) throws(TemperError) -> Tensor {
    let size = granularity.groupSize(columns: columns)
    _ = try ranges(groupSize: size, workers: workers)
    let groups = PackedMatrix.groups(columns: columns, groupSize: size)
    let isShared = granularity == .tensor
    let scales = try Tensor(zeros: [isShared ? 1 : rows, groups], .float32)
    let (source, target) = unsafe (
      values.pointer.assumingMemoryBound(to: Float.self), scales.pointer.assumingMemoryBound(to: Float.self)
    )
    func store(_ place: Int, _ first: Int, _ count: Int) {
      let scale = unsafe fit(UnsafeBufferPointer(start: source + first, count: count))
      unsafe target[place] = max(scale, .leastNormalMagnitude)
    }
    if isShared {
      if groups > 0 { store(0, 0, rows * columns) }
    } else {
      workers.runRows(rows, columns) { begin, end in
        for place in (begin * groups)..<(end * groups) {
          let first = place % groups * size
          store(place, place / groups * columns + first, min(size, columns - first))
        }
      }
    }
    withExtendedLifetime((self, scales)) {}
    return scales
  }
}
