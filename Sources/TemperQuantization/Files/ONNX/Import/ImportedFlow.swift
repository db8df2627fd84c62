import TemperCore

/// An array that depends on the model's input: what layers give, moved.
struct ImportedFlow {
  let layer: ImportedLayer
  /// As the graph sees it, the batch among its sizes.
  let shape: Shape
  /// Where each element is in (batch, layer.shape...), int32; nil: the same elements in the same order.
  let map: Tensor?

  init(_ layer: ImportedLayer, _ shape: Shape, _ map: Tensor? = nil) throws(TemperError) {
    (self.layer, self.shape) = (layer, shape)
    guard let map = try map?.dense() else {
      self.map = nil
      return
    }
    let isSame = try map.array(of: Int32.self).enumerated().allSatisfy { $0.offset == Int($0.element) }
    self.map = isSame && map.count == shape.count ? nil : map
  }

  /// `map` written out.
  func places() throws(TemperError) -> Tensor {
    if let map { return map }
    guard shape.count <= ONNXConstants.maximumCount else {
      throw TemperError(.unsupported, "An array of shape \(shape) is moved by the graph; it is too large for that.")
    }
    return try Tensor((0..<Int32(shape.count)).map { $0 }, shape: shape)
  }

  /// Whether both have their elements at the same places.
  func isPlaced(like other: ImportedFlow) throws(TemperError) -> Bool {
    guard shape == other.shape, layer.shape == other.layer.shape else { return false }
    if map == nil, other.map == nil { return true }
    let own = try places().array(of: Int32.self)
    return own == (try other.places().array(of: Int32.self))
  }

  /// The same places below another layer that has as many elements.
  func on(_ layer: ImportedLayer) throws(TemperError) -> ImportedFlow { try ImportedFlow(layer, shape, map) }

  /// With another layer of `width` numbers for each row; nil where rows are not those of the layer.
  func rows(_ layer: ImportedLayer, width: Int) throws(TemperError) -> ImportedFlow? {
    guard shape.rank >= 2, let old = self.layer.shape.last, shape.last == old else { return nil }
    let target = Shape(shape.sizes.dropLast() + [width])
    guard let map else { return try ImportedFlow(layer, target) }
    let places = try map.array(of: Int32.self)
    var moved: [Int32] = []
    for start in stride(from: 0, to: places.count, by: old) {
      let row = Int(places[start]) / old
      guard (0..<old).allSatisfy({ Int(places[start + $0]) == row * old + $0 }) else { return nil }
      moved += (0..<width).map { Int32(row * width + $0) }
    }
    return try ImportedFlow(layer, target, try Tensor(moved, shape: target))
  }

  /// The same with the elements where the graph sees them: layers "flatten", "reshape" and "permute".
  func placed(batch: Int, title: String) throws(TemperError) -> ImportedFlow {
    guard shape.rank >= 1, shape[0] == batch, shape.count == batch * layer.shape.reduce(1, *) else {
      throw ONNXImport.unsupported(title, "The batch is not the first axis of what it reads, or a part of it is.")
    }
    let sample = Array(shape.sizes.dropFirst())
    var (layer, order) = (layer, Array(sample.indices))
    func reshape(_ sizes: [Int]) {
      guard sizes != layer.shape else { return }
      layer =
        sizes.count == 1
        ? ImportedLayer(.layer, "flatten", on: layer, shape: sizes)
        : ImportedLayer(
          .layer, "reshape", on: layer, shape: sizes,
          options: [JSON.Member("shape", .array(sizes.map { .integer($0) }))])
    }
    if let map {
      let places = try map.array(of: Int32.self)
      // Steps of the axes in the layer's memory; axes of one element stay where they are.
      let strides = shape.sizes.indices.map { axis in
        shape[axis] > 1 ? Int(places[shape.denseStrides[axis]]) - Int(places[0]) : 0
      }
      order.sort { strides[$0 + 1] == strides[$1 + 1] ? $0 < $1 : strides[$0 + 1] > strides[$1 + 1] }
      let target = Shape([batch] + order.map { sample[$0] })
      let expected = try Tensor((0..<Int32(shape.count)).map { $0 }, shape: target)
      let back = sample.indices.map { order.firstIndex(of: $0) ?? 0 }
      let axes = [0] + back.map { $0 + 1 }
      guard try expected.permuted(axes).copy().array(of: Int32.self) == places else {
        throw ONNXImport.unsupported(title, "What it reads is cut out of a layer's output or moved across samples.")
      }
      reshape(order.map { sample[$0] })
      if back != Array(sample.indices) {
        layer = ImportedLayer(
          .layer, "permute", on: layer, shape: sample,
          options: [JSON.Member("axes", .array(back.map { .integer($0) }))])
      }
    } else {
      reshape(sample)
    }
    return try ImportedFlow(layer, shape)
  }
}
