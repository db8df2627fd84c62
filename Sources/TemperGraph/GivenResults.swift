/// Nodes of custom operations whose results another one gives (`CustomOperation.given`), and what stands for them.
struct GivenResults {
  private var stands: [ObjectIdentifier: Node] = [:]

  init(_ outputs: [Node]) {
    let order = Node.topological(outputs, by: \.sources)
    for node in order {
      guard case .custom(let operation, let output) = node.operation, let given = operation.given else { continue }
      let giver = order.first { other in
        guard case .custom(given.by, _) = other.operation else { return false }
        return other.inputs.starts(with: node.inputs, by: ===)
          // What it takes beside these inputs may not be made of the result itself.
          && !Node.topological([other], by: \.sources).contains { $0 === node }
      }
      guard let giver else { continue }
      stands[ObjectIdentifier(node)] = Node(
        .custom(given.by, output: given.from + output), giver.inputs, node.shape, node.kind)
    }
  }

  func resolved(_ node: Node) -> Node { stands[ObjectIdentifier(node)] ?? node }
  func sources(_ node: Node) -> [Node] { node.sources.map(resolved) }
}
