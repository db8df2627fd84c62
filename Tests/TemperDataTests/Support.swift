import TemperCatalogue
import TemperCore

@testable import TemperAssurance
@testable import TemperData

let catalogue = Catalogue(DataMethods.all + AssuranceMethods.all)

/// A method of the two rooms with its parameters.
func method(
  _ name: String, _ parameters: [(name: String, value: Value)] = [], threads: Int = 1
) throws -> ArrayInstance {
  let found = try catalogue.find(name)
  return try ArrayInstance(found, try Arguments(parameters, for: found.parameters), workers: Workers(count: threads))
}

extension [(name: String, tensor: Tensor)] {
  func tensor(_ name: String) throws -> Tensor {
    guard let found = first(where: { $0.name == name }) else { throw TemperError(.unknownName, name) }
    return found.tensor
  }
  func reals(_ name: String) throws -> [Double] { try tensor(name).array(of: Double.self) }
  func ids(_ name: String) throws -> [Int] { try tensor(name).array(of: Int64.self).map { Int($0) } }
}

/// Numbers without a pattern, in rows.
func points(_ rows: Int, _ columns: Int, seed: UInt64 = 1, scale: Double = 1) -> Matrix {
  var random = Random(seed: seed, stream: "points")
  return Matrix((0..<(rows * columns)).map { _ in scale * random.normal() }, rows: rows, columns: columns)
}
