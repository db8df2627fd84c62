import TemperCore

/// A node after common subexpressions were merged: numbers instead of references.
struct Value {
  let operation: Operation
  let inputs: [Int]
  let shape: Shape
  let kind: Kind
}

/// Where the elements of a value lie: in the memory of a root value, dense there, seen through strides.
struct View: Hashable {
  var root: Int
  var offset = 0
  var sizes: [Int]
  var strides: [Int]

  var isDense: Bool {
    var step = 1
    for axis in stride(from: sizes.count - 1, through: 0, by: -1) where sizes[axis] != 1 {
      if strides[axis] != step { return false }
      step *= sizes[axis]
    }
    return true
  }

  /// The same elements under new sizes, or nil if that takes a copy.
  func reshaped(_ target: Shape) -> View? {
    if isDense { return View(root: root, offset: offset, sizes: target.sizes, strides: target.denseStrides) }
    // Sizes of 1 come and go freely.
    let kept = (0..<sizes.count).filter { sizes[$0] != 1 }
    guard kept.map({ sizes[$0] }) == target.sizes.filter({ $0 != 1 }) else { return nil }
    var (strides, next) = ([Int](), 0)
    for size in target.sizes {
      strides.append(size == 1 ? 0 : self.strides[kept[next]])
      if size != 1 { next += 1 }
    }
    return View(root: root, offset: offset, sizes: target.sizes, strides: strides)
  }
}

/// The values of a set of outputs in an order in which inputs come first.
struct Values {
  private(set) var list: [Value] = []
  private(set) var outputs: [Int] = []
  /// For each value, where it can be read from memory once its root is there.
  private(set) var views: [View] = []

  private struct Key: Hashable {
    let operation: Operation
    let inputs: [Int]
    let shape: Shape
  }

  init(_ expressions: [Expression]) throws(TemperError) {
    for expression in expressions { if let error = expression.error { throw error } }
    var numbers: [ObjectIdentifier: Int] = [:]
    var known: [Key: Int] = [:]
    for node in Node.topological(expressions.map(\.node), by: \.sources) {
      let inputs = node.sources.map { numbers[ObjectIdentifier($0)]! }
      let number: Int
      switch node.operation {
      case .stopGradient, .withSlopes: number = inputs[0]
      default:
        let key = Key(
          operation: canonical(node, inputs), inputs: isConstantView(node, inputs) ? [] : inputs, shape: node.shape)
        if let same = known[key] {
          number = same
        } else {
          number = list.count
          known[key] = number
          list.append(Value(operation: key.operation, inputs: key.inputs, shape: node.shape, kind: node.kind))
          views.append(view(of: number))
        }
      }
      numbers[ObjectIdentifier(node)] = number
    }
    outputs = expressions.map { numbers[ObjectIdentifier($0.node)]! }
    while let joined = withJointOperation() { put(joined) }
  }

  /// Takes these values instead, number by number, and puts them in order anew.
  private mutating func put(_ values: [Value]) {
    var order: [Int] = []
    var places = [Int?](repeating: nil, count: values.count)
    func visit(_ number: Int) {
      guard places[number] == nil else { return }
      for input in values[number].inputs { visit(input) }
      places[number] = order.count
      order.append(number)
    }
    for number in values.indices { visit(number) }
    (list, views) = ([], [])
    for (number, old) in order.enumerated() {
      let value = values[old]
      list.append(
        Value(
          operation: value.operation, inputs: value.inputs.map { places[$0]! }, shape: value.shape, kind: value.kind))
      views.append(view(of: number))
    }
    outputs = outputs.map { places[$0]! }
  }

  subscript(number: Int) -> Value { list[number] }
  var count: Int { list.count }

  func constant(_ number: Int) -> Double? {
    if case .constant(let value) = list[number].operation { return value }
    return nil
  }

  /// Whether the value only shows another's elements.
  func isView(_ number: Int) -> Bool { views[number].root != number }

  /// A view of a constant is that constant.
  private func isConstantView(_ node: Node, _ inputs: [Int]) -> Bool {
    switch node.operation {
    case .broadcast, .reshape, .permute, .slice: constant(inputs[0]) != nil
    default: false
    }
  }

  private func canonical(_ node: Node, _ inputs: [Int]) -> Operation {
    isConstantView(node, inputs) ? list[inputs[0]].operation : node.operation
  }

  private func view(of number: Int) -> View {
    let value = list[number]
    let dense = View(root: number, sizes: value.shape.sizes, strides: value.shape.denseStrides)
    guard let input = value.inputs.first else { return dense }
    var view = views[input]
    switch value.operation {
    case .broadcast:
      let lead = value.shape.rank - view.sizes.count
      view.strides = (0..<value.shape.rank).map { axis in
        axis < lead || view.sizes[axis - lead] == 1 && value.shape[axis] != 1 ? 0 : view.strides[axis - lead]
      }
      view.sizes = value.shape.sizes
      return view
    case .permute(let axes):
      return View(
        root: view.root, offset: view.offset, sizes: value.shape.sizes, strides: axes.map { view.strides[$0] })
    case .slice(let axis, let start):
      view.offset += start * view.strides[axis]
      view.sizes = value.shape.sizes
      return view
    case .reshape:
      return view.reshaped(value.shape) ?? dense  // else it is a copy, and its own root
    default: return dense
    }
  }
}
