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

/// Inputs whose columns depend on each other: a few hidden factors and some noise, (samples, columns).
func correlatedInputs(_ samples: Int, _ columns: Int, seed: UInt64 = 3) -> Tensor {
  let factors = min(max(columns / 4, 1), 8)
  let hidden = doubles(weights([samples, factors], seed: seed, scale: 1))
  let mixing = doubles(weights([factors, columns], seed: seed + 1, scale: 1))
  let noise = doubles(weights([samples, columns], seed: seed + 2, scale: 0.2))
  let values = (0..<samples).flatMap { i in
    (0..<columns).map { j in
      Float((0..<factors).reduce(noise[i * columns + j]) { $0 + hidden[i * factors + $1] * mixing[$1 * columns + j] })
    }
  }
  return try! Tensor(values, shape: [samples, columns])
}

/// For matrices that are codes alone.
extension QuantizedMatrix {
  var codes: Tensor { packed!.codes }
  var scales: Tensor { packed!.scales }
  var zeros: Tensor? { packed!.zeros }
  var grid: Grid { packed!.grid }
  var groupSize: Int { packed!.groupSize }
}

extension QuantizedMatrix {
  func looseCodes(workers: Workers) throws -> Tensor { try packed!.looseCodes(workers: workers) }
}

extension PackedMatrix {
  func dequantize(workers: Workers) throws -> Tensor { try QuantizedMatrix(self).dequantize(workers: workers) }
  func matmul(_ x: Tensor, workers: Workers) throws(TemperError) -> Tensor {
    try QuantizedMatrix(self).matmul(x, workers: workers)
  }
  func matmul(_ x: Tensor, into y: Tensor, workers: Workers) throws(TemperError) {
    try QuantizedMatrix(self).matmul(x, into: y, workers: workers)
  }
}
