import TemperCatalogue
import TemperCore
import TemperNetworks

/// Layers without weights told by their values: programs write GELU, SiLU or a normalization in many ways, as several
/// operators, and what they compute is the same.
struct Recognition {
  /// Two rows with both signs, none of whose numbers comes twice; the second so small that an epsilon counts, and not in
  /// proportion to the first: functions of whole rows are no scaling of both.
  static let probes: [[Double]] = [row(11, 12, 0.55, 0.07), row(7, 9, 0.004, 0.001)]

  private static func row(_ step: Int, _ middle: Int, _ scale: Double, _ shift: Double) -> [Double] {
    (0..<24).map { Double($0 * step % 24 - middle) * scale + shift }
  }

  static func values(of row: ImportedLayer.Row) -> [Double] { probes.flatMap { row($0) } }

  private static let activations = [
    "relu", "sigmoid", "tanh", "softplus", "gelu", "{\"gelu\": \"tanh\"}", "silu", "mish", "softsign", "hard_swish",
    "hard_sigmoid", "relu6", "elu", "selu", "leaky_relu", "softmax", "log_softmax",
  ]

  private let catalogue: Catalogue
  private let workers: Workers
  private var known: [(layer: JSON, values: [Double])] = []

  init(_ catalogue: Catalogue, _ workers: Workers) throws(TemperError) {
    (self.catalogue, self.workers) = (catalogue, workers)
    for activation in Recognition.activations {
      let layer = activation.hasPrefix("{") ? try JSON(parsing: activation) : .text(activation)
      known.append((layer, try values(of: layer)))
    }
  }

  /// What a layer makes of the probe.
  private func values(of layer: JSON) throws(TemperError) -> [Double] {
    let shape = Shape([Recognition.probes[0].count])
    let model = try Model(Description([layer]), input: shape, dtype: .float64, catalogue: catalogue)
    let rows = try Tensor(Array(Recognition.probes.joined()), shape: [2, shape.count])
    return try model.predict(rows, workers: workers).array(of: Double.self)
  }

  private static func equal(_ a: [Double], _ b: [Double]) -> Bool {
    zip(a, b).allSatisfy { abs($0 - $1) <= 1e-5 * (0.02 + abs($1)) }
  }

  /// `layer`, or the one layer that does the same as it and those below it; rather one on a layer than on a part of one,
  /// for a mean that is subtracted makes a layer norm of what divides by a root mean square.
  func simplified(_ layer: ImportedLayer) throws(TemperError) -> ImportedLayer {
    var (base, part): (ImportedLayer, ImportedLayer?) = (layer, nil)
    while let below = base.parent, let row = layer.row(from: below) {
      base = below
      let y = Recognition.values(of: row)
      if Recognition.equal(y, Array(Recognition.probes.joined())) { return base }
      let scalars = layer.scalars(from: base)
      guard let found = try find(y, scalars) else { continue }
      let whole = ImportedLayer(.layer, found.name, on: base, options: found.options, row: row, scalars: scalars)
      guard case .pending = base.form else { return whole }
      part = part ?? whole
    }
    return part ?? layer
  }

  private func find(
    _ y: [Double], _ scalars: [Double]
  ) throws(TemperError) -> (name: String, options: [JSON.Member])? {
    if let found = known.first(where: { Recognition.equal(y, $0.values) })?.layer {
      if case .object(let members) = found, case .text(let form) = members[0].value {
        return (members[0].name, [JSON.Member("approximate", .text(form))])
      }
      if case .text(let name) = found { return (name, []) }
    }
    for epsilon in Set(scalars).sorted() where epsilon > 0 && epsilon < 0.1 {
      for name in ["layer_norm", "rms_norm"] {
        let options = [JSON.Member("epsilon", .real(epsilon))]
        let layer = JSON.object([JSON.Member(name, .object(options + [JSON.Member("affine", .boolean(false))]))])
        if Recognition.equal(y, try values(of: layer)) { return (name, options) }
      }
    }
    return nil
  }
}
