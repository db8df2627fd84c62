import TemperCatalogue
import TemperCore
import TemperGraph
import TemperLosses
import TemperNetworks
import TemperOptimizers
import TemperTraining

// Microseconds of one training step of a 64-128-10 network, batch 128, Adam: all of it, from gathering the rows to the
// updated parameters, as `fit` runs it.

let catalogue = Catalogue(Losses.all + Optimizers.all + Layers.all + Activations.all)

func stepTime(threads: Int, loss name: String, clipping: GradientClipping = GradientClipping()) throws -> Double {
  let workers = Workers(count: threads)
  let model = try Model(
    Description(parsing: "[{\"dense\": 128}, \"relu\", {\"dense\": 10}]"), input: [64], catalogue: catalogue)
  var random = Random(seed: 0, stream: "benchmark")
  let samples = 128 * 100
  let x = try Tensor((0..<samples * 64).map { _ in Float(random.uniform()) }, shape: [samples, 64])
  let y = try Tensor((0..<samples).map { _ in Int64(random.below(10)) })
  let (loss, adam) = (try catalogue.find(name), try catalogue.find("adam"))
  var options = TrainerOptions()
  options.clipping = clipping
  let trainer = try Trainer(
    [model], loss: LossInstance(loss, Arguments([], for: loss.parameters), workers: workers), optimizer: adam,
    Arguments([], for: adam.parameters), options: options, workers: workers)
  let history = try trainer.fit(Dataset(x: x, y: y), epochs: 30)
  let best = history.epochs.dropFirst(2).map(\.seconds).min() ?? 0
  return best / 100 * 1e6
}

for threads in [1, 2] {
  for name in ["cross_entropy", "generalized_cross_entropy", "early_learning_regularization"] {
    let plain = try stepTime(threads: threads, loss: name)
    let clipped = try stepTime(threads: threads, loss: name, clipping: GradientClipping(norm: 1))
    print(
      "64-128-10, batch 128, adam, \(name), \(threads) threads: \(plain) us a step, \(clipped) us with clipping by norm"
    )
  }
}
