import TemperCore

extension Expression {
  /// Elements of what stands between that are held at once.
  private static let blockElements = 1 << 20

  /// Values by row of a formula over arrays `rows` (N, ...), of which it sees some rows at a time, and arrays `shared`, of
  /// which it sees all: (N, ...). Between them stand about `width` numbers for each row, scores of all pairs for instance:
  /// these are computed for some rows, used, and computed again for the gradient. Where all of them fit in `limit`
  /// elements it is the formula itself.
  package static func byRowBlocks(
    rows: [Expression], shared: [Expression], width: Int, limit: Int = blockElements,
    _ value: @escaping @Sendable (_ rows: [Expression], _ shared: [Expression]) -> Expression
  ) -> Expression {
    if let broken = (rows + shared).first(where: { $0.error != nil }) { return broken }
    let count = rows.first?.shape.sizes.first ?? 0
    guard count > 0, count * width > limit else { return value(rows, shared) }
    let blocks = RowBlocks(cut: rows.count, size: max(limit / width, 1), value: value)
    return Expression.custom(blocks.operation(), rows + shared)[0]
  }
}

private struct RowBlocks: Sendable {
  /// How many of the inputs are cut.
  let cut: Int
  let size: Int
  let value: @Sendable ([Expression], [Expression]) -> Expression

  private func plain(_ x: [Expression]) -> Expression { value(Array(x[..<cut]), Array(x[cut...])) }

  /// For each input that can have one, its gradient; the last of `x` is dy.
  private func plainGradients(_ x: [Expression]) -> [Expression] {
    let own = x.dropLast().map(\.apart)
    do throws(TemperError) {
      return try Differentiate.gradients(
        of: plain(own), seed: x[x.count - 1], withRespectTo: own.filter { $0.kind == .real })
    } catch { return own.map { _ in .invalid(error) } }
  }

  func operation() -> CustomOperation {
    let backward = CustomOperation(
      name: "row_blocks", definition: { plainGradients($0) },
      prepare: { (type, workers) throws(TemperError) in gradientBody(type, workers) })
    return CustomOperation(
      name: "row_blocks", definition: { [plain($0)] },
      gradient: { _, inputs, _, dy in
        var slopes = Expression.custom(backward, inputs + [dy])[...]
        return inputs.map { $0.kind == .real ? slopes.removeFirst() : nil }
      },
      prepare: { (type, workers) throws(TemperError) in valueBody(type, workers) })
  }

  private func name(_ index: Int) -> String { "\(index)" }

  /// The inputs of a block of `n` rows.
  private func blockInputs(_ tensors: [Tensor], n: Int) -> [Expression] {
    tensors.enumerated().map { index, tensor in
      let shape = index < cut ? Shape([n] + tensor.shape.sizes.dropFirst()) : tensor.shape
      return .input(name(index), shape, tensor.dtype.isFloating ? .real : .index)
    }
  }

  /// Calls `body` with the rows of each block and the arrays of its inputs.
  private func forEachBlock(
    _ x: [Tensor], _ body: (Range<Int>, [String: Tensor]) throws(TemperError) -> Void
  ) throws(TemperError) {
    var arrays: [String: Tensor] = [:]
    for (index, tensor) in x.enumerated() { arrays[name(index)] = tensor }
    let count = x[0].shape[0]
    for start in stride(from: 0, to: count, by: size) {
      let block = start..<min(start + size, count)
      for index in 0..<cut { arrays[name(index)] = try x[index].slice(block) }
      try body(block, arrays)
    }
  }

  private func valueBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    var plans: TilePlans<Int>?
    return { (x, outputs) throws(TemperError) in
      guard let output = outputs[0] else { return }
      let known = plans ?? TilePlans<Int>(type, workers) { n in [Output(plain(blockInputs(x, n: n)))] }
      plans = known
      try forEachBlock(x) { (block, arrays) throws(TemperError) in
        try known.run(block.count, arrays, [0: try output.slice(block)])
      }
    }
  }

  private func gradientBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    var plans: TilePlans<Int>?
    return { (given, outputs) throws(TemperError) in
      let (x, dy) = (Array(given.dropLast()), given[given.count - 1])
      let real = x.indices.filter { x[$0].dtype.isFloating }
      let known =
        plans
        ?? TilePlans<Int>(type, workers) { n in
          let inputs = blockInputs(x, n: n)
          let seed = Expression.input("dy", Shape([n] + dy.shape.sizes.dropFirst()))
          let gradients = plainGradients(inputs + [seed])
          return zip(real, gradients).map { index, gradient in
            guard index >= cut else { return Output(gradient) }
            let sum = "sum \(index)"
            return Output(.input(sum, gradient.shape) + gradient, inPlaceOf: sum)
          }
        }
      plans = known
      var results: [Tensor] = []
      for (number, index) in real.enumerated() {
        let result = try (number < outputs.count ? outputs[number] : nil).orZeros(x[index].shape, type)
        if index >= cut { try result.fill(0) }
        results.append(result)
      }
      try forEachBlock(x) { (block, arrays) throws(TemperError) in
        var (arrays, targets) = (arrays, [Int: Tensor]())
        arrays["dy"] = try dy.slice(block)
        for (number, index) in real.enumerated() {
          if index < cut {
            targets[number] = try results[number].slice(block)
          } else {
            arrays["sum \(index)"] = results[number]
          }
        }
        try known.run(block.count, arrays, targets)
      }
    }
  }
}
