import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph
import TemperLosses
import TemperNetworks
import TemperOptimizers
import Testing

@testable import TemperTraining

let catalogue = Catalogue(Losses.all + Optimizers.all + Layers.all + Activations.all)

func makeModel(
  _ description: String, _ input: Shape, dtype: DType = .float32, seed: UInt64 = 0
) throws -> Model {
  try Model(Description(parsing: description), input: input, dtype: dtype, seed: seed, catalogue: catalogue)
}

func makeLoss(
  _ name: String, _ values: [(name: String, value: Value)] = [], workers: Workers = Workers(count: 1)
) throws -> LossInstance {
  let method = try catalogue.find(name, kinds: [.loss])
  return try LossInstance(method, Arguments(values, for: method.parameters), workers: workers)
}

func makeTrainer(
  _ model: Model, loss name: String = "cross_entropy", _ lossValues: [(name: String, value: Value)] = [],
  optimizer: String = "adam", _ values: [(name: String, value: Value)] = [], schedule: ScheduleInstance? = nil,
  procedure: any Procedure = PlainProcedure(), peers: [Model] = [], threads: Int = 1,
  adjust: (inout TrainerOptions) -> Void = { _ in }
) throws -> Trainer {
  let workers = Workers(count: threads)
  var options = TrainerOptions()
  options.batchSize = 16
  adjust(&options)
  let method = try catalogue.find(optimizer, kinds: [.optimizer])
  return try Trainer(
    [model] + peers, loss: makeLoss(name, lossValues, workers: workers), optimizer: method,
    Arguments(values, for: method.parameters), schedule: schedule, procedure: procedure, options: options,
    workers: workers)
}

/// Points of `classes` Gaussian clouds around corners of a cube, well apart for a small `spread`.
func clouds(
  _ count: Int, features: Int = 4, classes: Int = 3, spread: Double = 0.3, seed: UInt64 = 1, type: DType = .float32
) throws -> Dataset {
  var random = Random(seed: seed, stream: "clouds")
  var x: [Double] = []
  var y: [Int64] = []
  for index in 0..<count {
    let label = index % classes
    y.append(Int64(label))
    for feature in 0..<features {
      let noise = (0..<4).reduce(0.0) { sum, _ in sum + random.uniform() - 0.5 }
      x.append((feature % classes == label ? 1 : 0) + spread * noise)
    }
  }
  return Dataset(x: try Tensor(x, shape: [count, features]).copy(as: type), y: try Tensor(y))
}

/// The bytes of everything that a run consists of.
func bits(_ trainer: Trainer) throws -> [[UInt64]] {
  let tensors =
    trainer.weights + trainer.networks.flatMap { $0.optimizerStates.map(\.tensor) } + trainer.run.kept.map(\.tensor)
  return try tensors.map { try $0.array(of: Double.self).map(\.bitPattern) }
}

/// A history without what the clock says.
func figures(_ history: History) -> [EpochRecord] {
  history.epochs.map { record in
    var record = record
    record.seconds = 0
    return record
  }
}

func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return ""
  } catch let error as TemperError {
    return error.description
  } catch {
    return "foreign: \(error)"
  }
}

struct TemporaryFile {
  let path: String
  init(_ name: String) { path = "/tmp/temper-\(getpid())-\(name).safetensors" }
  func remove() { unlink(path) }
}
