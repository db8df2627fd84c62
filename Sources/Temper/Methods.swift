import CTemper
import TemperAssurance
import TemperCatalogue
import TemperCore
import TemperData
import TemperLosses
import TemperNetworks
import TemperOptimizers
import TemperProcedures
import TemperQuantization

/// All methods that come with Temper.
let builtInMethods: [Method] =
  Losses.all + Activations.all + Layers.all + Layers.metrics + Optimizers.all + Quantizers.all
  + Procedures.all
  + Measures.all + [SoftmaxBiasCorrection.method, SigmaDelta.condensation]
  + DataMethods.all + AssuranceMethods.all

extension Context {
  /// A method of the catalogue with checked parameters.
  func method(
    _ name: UnsafePointer<CChar>?, kinds: Set<MethodKind>, _ params: UnsafePointer<temper_param>?, _ count: UInt64
  ) throws(TemperError) -> (method: Method, arguments: Arguments) {
    let name = unsafe try text(name, "name", 2)
    let found = try located(2) { () throws(TemperError) in try catalogue.find(name, kinds: kinds) }
    let given = unsafe try parameters(params, count, 3)
    let method = try located(3) { () throws(TemperError) in try catalogue.resolve(found, given) }
    do throws(TemperError) { return (method, try Arguments(given, for: method.parameters)) } catch {
      var error = error.from(method.name)
      error.argument = 3
      throw error
    }
  }
}

extension [(name: String, tensor: Tensor)] {
  /// By name; `named` has seen to it that names are unique.
  var byName: [String: Tensor] { Dictionary(map { ($0.name, $0.tensor) }) { first, _ in first } }
}
