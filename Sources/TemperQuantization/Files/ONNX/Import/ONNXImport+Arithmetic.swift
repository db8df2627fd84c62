import TemperCore

/// Operators element by element: parts of activations and normalizations, biases, sums of branches, scaling.
extension ONNXImport {
  /// nil for other operators.
  func arithmetic(
    _ node: ONNXNode, _ flows: [ImportedFlow?], _ tensors: [Tensor?]
  ) throws(TemperError) -> ImportedFlow? {
    func pending(_ x: ImportedFlow, _ scalars: [Double], _ row: @escaping ImportedLayer.Row) throws(TemperError)
      -> ImportedFlow
    {
      let layer = ImportedLayer(.pending(node.title), on: x.layer, row: row, scalars: scalars)
      return try x.on(try recognition.simplified(layer))
    }
    guard let first = flows.first else { return nil }
    if flows.count == 1, let x = first {
      let function = ONNXConstants.unary[node.operation] ?? parametrized(node)
      return try function.map { (function) throws(TemperError) in try pending(x, []) { $0.map(function) } }
    }
    if node.operation == "Clip", let x = first {
      func bound(_ index: Int, _ name: String, _ initial: Double) throws(TemperError) -> Double {
        index < tensors.count ? try tensors[index]?.array().first ?? initial : node.real(name, initial)
      }
      let (low, high) = (try bound(1, "min", -.infinity), try bound(2, "max", .infinity))
      return try pending(x, []) { $0.map { min(max($0, low), high) } }
    }
    guard let function = ONNXConstants.binary[node.operation], flows.count == 2 else { return nil }
    if let a = first, let b = flows[1] { return try combined(node, a, b, function) }
    guard let x = first ?? flows[1], let constant = first == nil ? tensors[0] : tensors[1] else { return nil }
    let isFirst = first != nil
    if node.operation == "Add", let biased = try biased(x, constant) { return biased }
    if node.operation == "Mul", let weighted = try weighted(x, constant) { return weighted }
    if constant.count == 1, let scalar = try constant.array().first {
      return try pending(x, [scalar]) { row in row.map { isFirst ? function($0, scalar) : function(scalar, $0) } }
    }
    return try shifted(node, x, constant, isFirst: isFirst)
  }

  private func parametrized(_ node: ONNXNode) -> ONNXConstants.Unary? {
    switch node.operation {
    case "HardSigmoid":
      let (alpha, beta) = (node.real("alpha", 0.2), node.real("beta", 0.5))
      return { min(max(alpha * $0 + beta, 0), 1) }
    case "Selu":
      let (alpha, gamma) = (node.real("alpha", 1.6732631921768188), node.real("gamma", 1.0507009873554805))
      return { gamma * ($0 > 0 ? $0 : alpha * (ONNXConstants.unary["Exp"]?($0) ?? 1) - alpha) }
    case "Clip":
      let (low, high) = (node.real("min", -.infinity), node.real("max", .infinity))
      return { min(max($0, low), high) }
    default: return nil
    }
  }

  /// Two flows: one function of what both come from, or a sum of branches.
  private func combined(
    _ node: ONNXNode, _ a: ImportedFlow, _ b: ImportedFlow, _ function: @escaping ONNXConstants.Binary
  ) throws(TemperError) -> ImportedFlow {
    var (a, b) = (a, b)
    if try !a.isPlaced(like: b) {
      (a, b) = (try a.placed(batch: batch, title: node.title), try b.placed(batch: batch, title: node.title))
      guard a.shape == b.shape else { throw ONNXImport.unsupported(node.title, "What it reads has other shapes.") }
    }
    let base = ImportedLayer.base(a.layer, b.layer)
    var row: ImportedLayer.Row?
    if let f = a.layer.row(from: base), let g = b.layer.row(from: base) {
      row = { x in zip(f(x), g(x)).map { function($0, $1) } }
      let scalars = a.layer.scalars(from: base) + b.layer.scalars(from: base)
      let layer = ImportedLayer(.pending(node.title), on: base, row: row, scalars: scalars)
      let simple = try recognition.simplified(layer)
      if simple !== layer || node.operation != "Add" || a.layer === b.layer { return try a.on(simple) }
    }
    guard node.operation == "Add" else { throw ONNXImport.unsupported(node.title) }
    let sides = [a.layer.layers(above: base), b.layer.layers(above: base)].sorted { $0.count > $1.count }
    let layer = ImportedLayer(
      .layer, "residual", on: base, shape: a.layer.shape, inner: sides, row: row,
      scalars: a.layer.scalars(from: base) + b.layer.scalars(from: base))
    return try a.on(layer)
  }

  /// A constant for every element of a sample: learned positions where a sequence gets a table, else a scale and a shift.
  private func shifted(
    _ node: ONNXNode, _ x: ImportedFlow, _ constant: Tensor, isFirst: Bool
  ) throws(TemperError) -> ImportedFlow {
    let placed = try x.placed(batch: batch, title: node.title)
    let sample = Shape(placed.layer.shape)
    // Without the batch, which must be one.
    let sizes = constant.shape.sizes
    let own = sizes.count > sample.rank ? Array(sizes.suffix(sample.rank)) : sizes
    guard constant.count == own.reduce(1, *), Shape.broadcast(Shape(own), sample) == sample,
      sample.count <= ONNXConstants.maximumCount
    else { throw ONNXImport.unsupported(node.title, "A constant of shape \(constant.shape) does not fit a sample.") }
    if node.operation == "Add", sample.rank == 2, Shape(own) == sample {
      return try placed.on(
        ImportedLayer(
          .layer, "positional_embedding", on: placed.layer, options: [JSON.Member("form", .text("learned"))],
          weights: ["weight": try constant.reshaped(sample)]))
    }
    let values = try constant.reshaped(Shape(own)).broadcast(to: sample).array()
    let ones = [Double](repeating: 1, count: values.count)
    let (mean, scale): ([Double], [Double])
    switch (node.operation, isFirst) {
    case ("Add", _): (mean, scale) = (values.map { -$0 }, ones)
    case ("Sub", true): (mean, scale) = (values, ones)
    case ("Sub", false): (mean, scale) = (values, ones.map { -$0 })
    case ("Mul", _): (mean, scale) = (ones.map { $0 - 1 }, values.map { 1 / $0 })
    case ("Div", true): (mean, scale) = (ones.map { $0 - 1 }, values)
    default: throw ONNXImport.unsupported(node.title)
    }
    guard scale.allSatisfy({ $0 != 0 && $0.isFinite }) else {
      throw ONNXImport.unsupported(node.title, "It multiplies by zero.")
    }
    return try placed.on(
      ImportedLayer(
        .layer, "standardize", on: placed.layer,
        weights: ["mean": try Tensor(mean, shape: sample), "scale": try Tensor(scale, shape: sample)]))
  }
}
