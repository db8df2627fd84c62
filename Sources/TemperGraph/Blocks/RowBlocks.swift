import TemperCore

extension Expression {
  /// Elements of what stands between that are held at once: as a rule, and where rows are so wide that products of few of
  /// them would read what is shared again and again.
  private static let (blockElements, wideBlockElements) = (1 << 20, 1 << 23)
  private static let fewRows = 64

  /// Values by row of a formula over arrays `rows` (N, ...), of which it sees some rows at a time, and arrays `shared`, of
  /// which it sees all: (N, ...). Between them stand about `width` numbers for each row, scores of all pairs for instance:
  /// these are computed for some rows, used, and computed again for the gradient. Where all of them fit in `limit`
  /// elements it is the formula itself. Rows where `chosen` (N, 1) is 0 give 0 and are not computed.
  package static func byRowBlocks(
    rows: [Expression], shared: [Expression], width: Int, limit: Int = blockElements, chosen: Expression? = nil,
    _ value: @escaping @Sendable (_ rows: [Expression], _ shared: [Expression]) -> Expression
  ) -> Expression {
    let cut = rows + (chosen.map { [$0] } ?? [])
    if let broken = (cut + shared).first(where: { $0.error != nil }) { return broken }
    let count = rows.first?.shape.sizes.first ?? 0
    let size = max(limit / max(width, 1), min(fewRows, wideBlockElements / max(width, 1)), 1)
    let blocks = RowBlocks(cut: cut.count, isChoosing: chosen != nil, size: size, value: value)
    guard count > 0, count * width > limit else { return blocks.plain(cut + shared) }
    return Expression.custom(blocks.operation(), cut + shared)[0]
  }
}

private struct RowBlocks: Sendable {
  /// How many of the inputs are cut; the last of them may say which rows count.
  let cut: Int
  let isChoosing: Bool
  let size: Int
  let value: @Sendable ([Expression], [Expression]) -> Expression

  func plain(_ x: [Expression]) -> Expression {
    let shared = Array(x[cut...])
    guard isChoosing else { return value(Array(x[..<cut]), shared) }
    return .select(x[cut - 1], value(Array(x[..<(cut - 1)]), shared), .constant(0))
  }

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

  /// Some rows of arrays: neighbours, or those of these numbers, of which the last stands `padding` times more.
  private enum Rows {
    case neighbours(Range<Int>)
    case chosen([Int], padding: Int)

    var count: Int {
      switch self {
      case .neighbours(let range): range.count
      case .chosen(let rows, let padding): rows.count + padding
      }
    }

    func cut(_ tensor: Tensor) throws(TemperError) -> Tensor {
      switch self {
      case .neighbours(let range): try tensor.slice(range)
      case .chosen(let rows, let padding):
        try tensor.rows(rows + Array(repeating: rows[rows.count - 1], count: padding))
      }
    }

    /// What weighs rows: those that stand there once more weigh nothing.
    func weights(_ tensor: Tensor) throws(TemperError) -> Tensor {
      let part = try cut(tensor)
      if case .chosen(let rows, _) = self { try part.slice(rows.count..<count).fill(0) }
      return part
    }

    /// Where a result by row is written; `put` brings it to its place.
    func room(in tensor: Tensor) throws(TemperError) -> Tensor {
      if case .neighbours(let range) = self { return try tensor.slice(range) }
      return try Tensor(zeros: Shape([count] + tensor.shape.sizes.dropFirst()), tensor.dtype)
    }

    func put(_ part: Tensor, in tensor: Tensor) throws(TemperError) {
      if case .chosen(let rows, _) = self { try tensor.put(part, at: rows) }
    }
  }

  /// Calls `body` with the rows of each block and the arrays of its inputs.
  private func forEachBlock(
    _ x: [Tensor], _ body: (Rows, [String: Tensor]) throws(TemperError) -> Void
  ) throws(TemperError) {
    var arrays: [String: Tensor] = [:]
    for (index, tensor) in x.enumerated() { arrays[name(index)] = tensor }
    let count = x[0].shape[0]
    let chosen = isChoosing ? try places(x[cut - 1]) : nil
    for start in stride(from: 0, to: chosen?.count ?? count, by: size) {
      let block = start..<min(start + size, chosen?.count ?? count)
      let rows: Rows =
        chosen.map { .chosen(Array($0[block]), padding: padding(block.count)) } ?? .neighbours(block)
      for index in 0..<cut { arrays[name(index)] = try rows.cut(x[index]) }
      try body(rows, arrays)
    }
  }

  /// The rows that count.
  private func places(_ mask: Tensor) throws(TemperError) -> [Int] {
    try mask.array(of: Double.self).enumerated().filter { $0.element != 0 }.map(\.offset)
  }

  /// What brings a number of rows up to one of few: a plan is made for each. Four of them lie between powers of two.
  private func padding(_ count: Int) -> Int {
    if count == size { return 0 }
    let step = max((1 << (Int.bitWidth - 1 - count.leadingZeroBitCount)) / 4, 1)
    return min((count + step - 1) / step * step, size) - count
  }

  private func valueBody(_ type: DType, _ workers: Workers) -> CustomOperation.Body {
    var plans: TilePlans<Int>?
    return { (x, outputs) throws(TemperError) in
      guard let output = outputs[0] else { return }
      let known = plans ?? TilePlans<Int>(type, workers) { n in [Output(plain(blockInputs(x, n: n)))] }
      plans = known
      if isChoosing { try output.fill(0) }
      try forEachBlock(x) { (rows, arrays) throws(TemperError) in
        let part = try rows.room(in: output)
        try known.run(rows.count, arrays, [0: part])
        try rows.put(part, in: output)
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
        if index >= cut || isChoosing { try result.fill(0) }
        results.append(result)
      }
      try forEachBlock(x) { (rows, arrays) throws(TemperError) in
        var (arrays, targets) = (arrays, [Int: Tensor]())
        arrays["dy"] = try rows.weights(dy)
        for (number, index) in real.enumerated() {
          if index < cut {
            targets[number] = try rows.room(in: results[number])
          } else {
            arrays["sum \(index)"] = results[number]
          }
        }
        try known.run(rows.count, arrays, targets)
        for (number, part) in targets { try rows.put(part, in: results[number]) }
      }
    }
  }
}
