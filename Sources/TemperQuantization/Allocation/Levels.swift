import TemperCatalogue
import TemperCore

/// A base method at each level of compression between which weights are allotted, coarsest first.
struct Levels {
  static let parameters: [Parameter] =
    BaseMethod.parameters.filter { $0.name != "bits" } + [
      .text("levels", "2,3,4,5", "Bits of the base method, or shares of zeros for one that prunes."),
      .real("target_bits", 3, in: .positive, "Mean bits of a weight, without scales; at most these."),
    ]

  let quantizers: [any Quantizer]
  /// The one that changes a weight least: what a matrix alone gets, which has nobody to share bits with.
  let finest: any Quantizer

  init(_ arguments: Arguments) throws(TemperError) {
    let base = try BaseMethod(arguments)
    let prunes = base.method.parameters.contains { $0.name == "sparsity" }
    let values = try numbers(arguments.text("levels"), "levels", in: prunes ? 0...1 : 1...16)
    let coarsestFirst = prunes ? Array(ascending(values).reversed()) : ascending(values)
    var quantizers: [any Quantizer] = []
    for value in coarsestFirst { quantizers.append(try base.quantizer(prunes ? "sparsity" : "bits", value)) }
    self.quantizers = quantizers
    finest = quantizers[quantizers.count - 1]
  }
}
