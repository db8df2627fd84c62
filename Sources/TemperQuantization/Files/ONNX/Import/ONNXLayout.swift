import TemperCore

/// The operators that move elements and compute nothing: on constants, and on maps that say where elements come from.
extension ONNXConstants {
  /// The results of a node; nil for an operator that does more than move.
  static func layout(_ node: ONNXNode, _ x: [Tensor?], operatorSet: Int) throws(TemperError) -> [Tensor]? {
    guard let first = x.first, let x0 = first else { return nil }
    func list(_ index: Int, _ name: String) throws(TemperError) -> [Int]? {
      if index < x.count, let tensor = x[index] { return try tensor.integers() }
      return node.attributes[name]?.integers
    }
    func axis(_ given: Int) throws(TemperError) -> Int {
      let axis = given < 0 ? given + x0.shape.rank : given
      guard (0..<x0.shape.rank).contains(axis) else {
        throw TemperError(.malformedFile, "\(node.title) has no axis \(given) in shape \(x0.shape).")
      }
      return axis
    }
    switch node.operation {
    case "Identity", "Dropout": return [x0]
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
      let sizes = try list(1, node.operation == "Reshape" ? "shape" : "axes")
      return [try x0.reshaped(try reshaped(node, x0.shape, sizes))]
    case "Transpose": return [try x0.permuted(node.integers("perm", Array((0..<x0.shape.rank).reversed())))]
    case "Slice":
      guard let starts = try list(1, "starts"), let ends = try list(2, "ends"), starts.count == ends.count else {
        return nil
      }
      let axes = try list(3, "axes") ?? Array(starts.indices)
      guard axes.count == starts.count, try list(4, "steps")?.allSatisfy({ $0 == 1 }) ?? true else { return nil }
      var result = x0
      for (index, given) in axes.enumerated() {
        let axis = try axis(given)
        let size = x0.shape[axis]
        func place(_ at: Int) -> Int { min(max(at < 0 ? at + size : at, 0), size) }
        let (start, end) = (place(starts[index]), place(ends[index]))
        result = try result.slice(start..<max(start, end), axis: axis)
      }
      return [result]
    case "Split":
      let axis = try axis(node.integer("axis"))
      let size = x0.shape[axis]
      let part = (size + node.outputs.count - 1) / max(node.outputs.count, 1)
      let sizes = try list(1, "split") ?? node.outputs.indices.map { min(part, size - min(part * $0, size)) }
      var (start, parts): (Int, [Tensor]) = (0, [])
      for size in sizes {
        guard size >= 0, size <= x0.shape[axis] - start else {
          throw TemperError(.malformedFile, "The parts of \(node.title) do not fit shape \(x0.shape).")
        }
        parts.append(try x0.slice(start..<(start + size), axis: axis))
        start += size
      }
      return parts
    case "Gather":
      guard x.count == 2, let indices = x[1], indices.shape.rank <= 1 else { return nil }
      let axis = try axis(node.integer("axis"))
      var parts: [Tensor] = []
      for index in try indices.integers() {
        let at = index < 0 ? index + x0.shape[axis] : index
        guard (0..<x0.shape[axis]).contains(at) else {
          throw TemperError(.malformedFile, "\(node.title) has the index \(index) for shape \(x0.shape).")
        }
        parts.append(try x0.slice(at..<(at + 1), axis: axis))
      }
      let taken = try joined(parts, axis: axis)
      if indices.shape.rank == 1 { return [taken] }
      var sizes = taken.shape.sizes
      sizes.remove(at: axis)
      return [try taken.reshaped(Shape(sizes))]
    case "Concat":
      let parts = x.compactMap { $0 }
      guard parts.count == x.count else { return nil }
      return [try joined(parts, axis: try axis(node.integer("axis")))]
    default: return nil
    }
  }

  private static func joined(_ parts: [Tensor], axis: Int) throws(TemperError) -> Tensor {
    guard let first = parts.first else { throw TemperError(.malformedFile, "Nothing is put together.") }
    var sizes = first.shape.sizes
    sizes[axis] = 0
    for part in parts {
      guard part.shape.rank == sizes.count else { throw TemperError(.malformedFile, "Parts of other ranks.") }
      sizes[axis] += part.shape[axis]
    }
    let whole = try Tensor(zeros: try bounded(sizes), first.dtype)
    var start = 0
    for part in parts {
      try whole.slice(start..<(start + part.shape[axis]), axis: axis).assign(from: part)
      start += part.shape[axis]
    }
    return whole
  }

  /// The shape that Reshape, Flatten, Squeeze or Unsqueeze gives one; `list`: the sizes or axes that it names.
  static func reshaped(_ node: ONNXNode, _ shape: Shape, _ list: [Int]?) throws(TemperError) -> Shape {
    var sizes = shape.sizes
    switch node.operation {
    case "Flatten":
      let axis = node.integer("axis", 1)
      let at = min(max(axis < 0 ? axis + shape.rank : axis, 0), shape.rank)
      return Shape([sizes[..<at].reduce(1, *), sizes[at...].reduce(1, *)])
    case "Squeeze":
      let axes = list?.map { $0 < 0 ? $0 + shape.rank : $0 } ?? sizes.indices.filter { sizes[$0] == 1 }
      sizes = sizes.indices.filter { !axes.contains($0) }.map { sizes[$0] }
    case "Unsqueeze":
      let rank = shape.rank + (list?.count ?? 0)
      for axis in (list ?? []).map({ $0 < 0 ? $0 + rank : $0 }).sorted() {
        guard (0...sizes.count).contains(axis) else {
          throw TemperError(.malformedFile, "\(node.title) has no axis \(axis).")
        }
        sizes.insert(1, at: axis)
      }
    default:
      sizes = list ?? []
      for axis in sizes.indices where sizes[axis] == 0 && node.integer("allowzero") == 0 {
        sizes[axis] = axis < shape.rank ? shape[axis] : 0
      }
      if let free = sizes.firstIndex(of: -1) {
        sizes[free] = 1
        let known = try Shape(validating: sizes).count
        sizes[free] = known > 0 ? shape.count / known : 0
      }
    }
    let target = try Shape(validating: sizes)
    guard target.count == shape.count else {
      throw TemperError(.malformedFile, "\(node.title) makes shape \(target) of \(shape).")
    }
    return target
  }
}
