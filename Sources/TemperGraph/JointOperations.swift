extension Values {
  /// The values with one operation and its gradient made one, where there is such a pair: what both need, a product for
  /// instance, is then computed once. What comes from above must be known before the results are, as it is for a mean
  /// or a weighted sum of losses.
  func withJointOperation() -> [Value]? {
    for value in list {
      guard case .custom(let slopes, _) = value.operation, let joint = slopes.joint, let dy = value.inputs.last,
        let (operation, inputs) = value.inputs.lazy.compactMap({ own(of: $0, readBy: value) }).first
      else { continue }
      let results = list.indices.filter { isResult($0, of: operation, inputs) }
      let count = operation.definition?(inputs.map { .input("\($0)", list[$0].shape, list[$0].kind) }).count ?? 0
      guard count > 0, !depends(dy, on: Set(results)) else { continue }
      return list.indices.map { number in
        let old = list[number]
        guard case .custom(let custom, let output) = old.operation else { return old }
        let isSlope = custom == slopes && old.inputs == value.inputs
        guard isSlope || isResult(number, of: operation, inputs) else { return old }
        return Value(
          operation: .custom(joint, output: isSlope ? count + output : output), inputs: inputs + [dy],
          shape: old.shape, kind: old.kind)
      }
    }
    return nil
  }

  /// The operation and its inputs, if an input of its gradient is its result.
  private func own(of input: Int, readBy slopes: Value) -> (CustomOperation, [Int])? {
    guard case .custom(let operation, _) = list[input].operation else { return nil }
    let inputs = list[input].inputs
    return slopes.inputs.starts(with: inputs) ? (operation, inputs) : nil
  }

  private func isResult(_ number: Int, of operation: CustomOperation, _ inputs: [Int]) -> Bool {
    guard case .custom(operation, _) = list[number].operation else { return false }
    return list[number].inputs == inputs
  }

  private func depends(_ number: Int, on others: Set<Int>) -> Bool {
    var seen = Set<Int>()
    var open = [number]
    while let next = open.popLast() {
      if others.contains(next) { return true }
      if seen.insert(next).inserted { open += list[next].inputs }
    }
    return false
  }
}
