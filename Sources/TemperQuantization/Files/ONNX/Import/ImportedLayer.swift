import Glibc
import TemperCore

/// A layer that was found in a graph, on top of the layers before it.
final class ImportedLayer {
  /// A function along the last axis, of numbers alone.
  typealias Row = ([Double]) -> [Double]

  enum Form {
    /// What the graph's input is.
    case input
    case layer
    /// Of which no layer is known to be the same: it must become part of one.
    case pending(String)
  }

  let form: Form
  let name: String
  let options: [JSON.Member]
  let weights: [String: Tensor]
  /// Layers within: residual "layers" and "shortcut", or branches.
  let inner: [[ImportedLayer]]
  let parent: ImportedLayer?
  /// Of one sample that comes out.
  let shape: [Int]
  /// What it does to a row, if it is a function along the last axis that has no weights.
  let row: Row?
  /// Numbers that `row` has been made with: an epsilon may be among them.
  let scalars: [Double]
  /// Layers below this one, and layers within layers.
  let depth: Int
  let nesting: Int

  init(
    _ form: Form, _ name: String = "", on parent: ImportedLayer?, shape: [Int]? = nil, options: [JSON.Member] = [],
    weights: [String: Tensor] = [:], inner: [[ImportedLayer]] = [], row: Row? = nil, scalars: [Double] = []
  ) {
    (self.form, self.name, self.parent, self.options, self.weights) = (form, name, parent, options, weights)
    (self.inner, self.row, self.scalars) = (inner, row, scalars)
    self.shape = shape ?? parent?.shape ?? []
    depth = (parent?.depth ?? -1) + 1
    nesting = inner.joined().reduce(0) { max($0, $1.nesting + 1) }
  }

  /// The same layer with further weights.
  func with(_ weights: [String: Tensor], shape: [Int]? = nil) -> ImportedLayer {
    ImportedLayer(
      .layer, name, on: parent, shape: shape ?? self.shape, options: options,
      weights: self.weights.merging(weights) { $1 }, inner: inner)
  }

  /// The layers above `base`, lowest first.
  func layers(above base: ImportedLayer) -> [ImportedLayer] {
    var (layers, at): ([ImportedLayer], ImportedLayer) = ([], self)
    while at !== base, let parent = at.parent {
      layers.append(at)
      at = parent
    }
    return layers.reversed()
  }

  /// The highest layer that both stand on.
  static func base(_ a: ImportedLayer, _ b: ImportedLayer) -> ImportedLayer {
    var (a, b) = (a, b)
    while a !== b {
      if a.depth >= b.depth, let parent = a.parent {
        a = parent
      } else if let parent = b.parent {
        b = parent
      } else {
        break
      }
    }
    return a
  }

  /// The function along rows from `base` to here; nil where a layer on the way is none.
  func row(from base: ImportedLayer) -> Row? {
    var rows: [Row] = []
    var at = self
    while at !== base {
      guard let row = at.row, let parent = at.parent, rows.count < 40 else { return nil }
      rows.append(row)
      at = parent
    }
    return { x in rows.reversed().reduce(x) { $1($0) } }
  }

  /// The numbers on the way from `base`.
  func scalars(from base: ImportedLayer) -> [Double] { layers(above: base).flatMap(\.scalars) }

  /// a and b if the row is a x + b.
  var affine: (a: Double, b: Double)? {
    guard let row else { return nil }
    let (x, y) = (Array(Recognition.probes.joined()), Recognition.values(of: row))
    let a = (y[1] - y[0]) / (x[1] - x[0])
    let b = y[0] - a * x[0]
    guard a.isFinite, a != 0, zip(x, y).allSatisfy({ abs($1 - a * $0 - b) <= 1e-9 * (1 + abs($1)) }) else {
      return nil
    }
    return (a, b)
  }

  /// What a description says of the layer; its weights go to `found` by the names that they have in the model.
  func described(_ path: String, into found: inout [String: Tensor]) throws(TemperError) -> JSON {
    var (name, options, weights) = (name, options, weights)
    func flag(_ option: String, _ value: Bool) { options.append(JSON.Member(option, .boolean(value))) }
    if case .pending(let title) = form {
      guard let (a, b) = affine else { throw ONNXImport.unsupported(title) }
      name = "standardize"
      weights = ["mean": try Tensor([-b / a], shape: []), "scale": try Tensor([1 / a], shape: [])]
    }
    switch name {
    case "dense", "conv2d": flag("bias", weights["bias"] != nil)
    case "layer_norm", "group_norm":
      flag("affine", weights["weight"] != nil)
      if let weight = weights["weight"], weights["bias"] == nil { weights["bias"] = try Tensor(zeros: weight.shape) }
    case "rms_norm": flag("affine", weights["weight"] != nil)
    case "multi_head_attention":
      let width = shape[1]
      if weights["out_proj.weight"] == nil {
        weights["out_proj.weight"] = try Tensor(
          (0..<(width * width)).map { $0 / width == $0 % width ? Float(1) : 0 }, shape: [width, width])
      }
      if weights["out_proj.bias"] == nil { weights["out_proj.bias"] = try Tensor(zeros: [width]) }
    default: break
    }
    for (key, tensor) in weights { found[path + "." + key] = tensor }
    func sequence(_ index: Int, _ path: String) throws(TemperError) -> JSON {
      try ImportedLayer.described(inner[index], path, into: &found)
    }
    if name == "residual" {
      options.append(JSON.Member("layers", try sequence(0, path)))
      if !inner[1].isEmpty { options.append(JSON.Member("shortcut", try sequence(1, path + ".shortcut"))) }
    }
    if name == "parallel" {
      var branches: [JSON] = []
      for index in inner.indices { branches.append(try sequence(index, "\(path).\(index)")) }
      options.append(JSON.Member("branches", .array(branches)))
    }
    return options.isEmpty ? .text(name) : .object([JSON.Member(name, .object(options))])
  }

  static func described(
    _ layers: [ImportedLayer], _ path: String, into found: inout [String: Tensor]
  ) throws(TemperError) -> JSON {
    var described: [JSON] = []
    for (index, layer) in layers.enumerated() {
      described.append(try layer.described(path.isEmpty ? "\(index)" : "\(path).\(index)", into: &found))
    }
    return .array(described)
  }
}
