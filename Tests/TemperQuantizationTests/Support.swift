import TemperCatalogue
import TemperCore
import Testing

@testable import TemperQuantization

let workers = Workers(count: 2)

/// Numbers with the spread of weights: sums of uniforms, the same in every run.
func weights(_ shape: Shape, seed: UInt64 = 1, scale: Double = 0.1) -> Tensor {
  var random = Random(seed: seed, stream: "weights")
  let values = (0..<shape.count).map { _ in
    Float((0..<4).reduce(0.0) { sum, _ in sum + random.uniform() - 0.5 } * scale)
  }
  return try! Tensor(values, shape: shape)
}

func floats(_ tensor: Tensor) -> [Float] { try! tensor.array(of: Float.self) }
func doubles(_ tensor: Tensor) -> [Double] { try! tensor.array(of: Double.self) }

/// The error that `body` throws.
func failure(_ body: () throws -> Void) -> TemperError? {
  do {
    try body()
    return nil
  } catch { return error as? TemperError }
}

func quantizer(_ name: String, _ parameters: [(name: String, value: Value)] = []) throws -> any Quantizer {
  try Catalogue(Quantizers.all).find(name, kinds: [.quantizer]).quantizer(parameters)
}
