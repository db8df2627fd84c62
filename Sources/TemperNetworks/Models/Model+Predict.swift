import TemperCatalogue
import TemperCore
import TemperGraph

/// A plan of the model at one batch size with its memory, kept for the next call.
final class Prediction {
  let count: Int
  let workers: Workers
  let execution: Execution
  let readsInput: Bool
  let readsMask: Bool
  /// Where inputs of another type or layout are converted to; made when the first one comes.
  private var staging: [String: Tensor] = [:]

  init(_ model: Model, count: Int, workers: Workers) throws(TemperError) {
    (self.count, self.workers) = (count, workers)
    let mask: Expression? = model.needsMask ? .input("mask", [count, model.input.shape[0]]) : nil
    let x = Expression.input("x", Shape([count] + model.input.shape.sizes), model.input.kind)
    let plan = try Plan([Output(model.forward(x, model.pass(.inference, mask: mask)))], type: model.dtype)
    execution = try Execution(plan, workers: workers)
    readsInput = plan.inputs.contains { $0.name == "x" }
    readsMask = plan.inputs.contains { $0.name == "mask" }
    try model.bind(to: execution)
  }

  /// Binds `tensor`, or its elements converted.
  func bind(_ name: String, to tensor: Tensor, as dtype: DType) throws(TemperError) {
    if tensor.dtype == dtype && tensor.isDense { return try execution.bind(name, to: tensor) }
    let target: Tensor
    if let kept = staging[name] { target = kept } else { target = try Tensor(zeros: tensor.shape, dtype) }
    staging[name] = target
    try target.assign(from: tensor)
    try execution.bind(name, to: target)
  }
}

extension Model {
  /// Plans kept: whole batches, the remainder of the last one, and a second such pair.
  private static let keptPredictions = 4
  /// Samples in a batch of a prediction.
  package static let predictionBatch = 256

  /// The outputs for x (N, …), in a fresh array.
  package func predict(
    _ x: Tensor, mask: Tensor? = nil, workers: Workers, batchSize: Int = predictionBatch
  ) throws(TemperError) -> Tensor {
    try checkInput(x)
    let y = try Tensor(zeros: Shape([x.shape[0]] + output.sizes), dtype)
    try predict(x, mask: mask, into: y, workers: workers, batchSize: batchSize)
    return y
  }

  /// The outputs for x (N, …) into `y`, dense and of the model's type; x and y do not overlap. Works in batches of
  /// `batchSize`; plans and memory stay for the next call of the same N.
  package func predict(
    _ x: Tensor, mask: Tensor? = nil, into y: Tensor, workers: Workers, batchSize: Int = predictionBatch
  ) throws(TemperError) {
    try checkInput(x)
    let count = x.shape[0]
    let expected = Shape([count] + output.sizes)
    guard y.shape == expected, y.dtype == dtype, y.isDense, !y.isReadOnly else {
      throw TemperError(
        .invalidShape,
        "The result goes into a dense, writable \(dtype.name) array of shape \(expected); \(y.dtype.name) of shape \(y.shape) came."
      )
    }
    guard batchSize > 0 else {
      throw TemperError(.outOfRange, "The batch size must be above 0; \(batchSize) came.")
    }
    try checkMask(mask, count)
    for start in stride(from: 0, to: count, by: batchSize) {
      let range = start..<min(start + batchSize, count)
      let prediction = try prediction(range.count, workers)
      if prediction.readsInput {
        try prediction.bind("x", to: try x.slice(range), as: input.kind == .index ? .int32 : dtype)
      }
      if prediction.readsMask, let mask { try prediction.bind("mask", to: try mask.slice(range), as: dtype) }
      try prediction.execution.bind(output: 0, to: try y.slice(range))
      try refreshNoise()
      try prediction.execution.run()
    }
  }

  private func prediction(_ count: Int, _ workers: Workers) throws(TemperError) -> Prediction {
    if let index = predictions.firstIndex(where: { $0.count == count && $0.workers === workers }) {
      let found = predictions.remove(at: index)
      predictions.append(found)
      return found
    }
    let made = try Prediction(self, count: count, workers: workers)
    if predictions.count >= Model.keptPredictions { predictions.removeFirst() }
    predictions.append(made)
    return made
  }

  /// x must be a batch of samples of the input's shape; indices must be whole numbers below `indexLimit`.
  package func checkInput(_ x: Tensor) throws(TemperError) {
    guard x.shape.rank >= 1, Array(x.shape.sizes.dropFirst()) == input.shape.sizes else {
      let letters = (["N"] + input.shape.sizes.map(String.init)).joined(separator: ", ")
      throw TemperError(.invalidShape, "The model takes an array of shape (\(letters)); \(x.shape) came.")
    }
    guard input.kind == .index else { return }
    guard !x.dtype.isFloating else {
      throw TemperError(.invalidType, "The model takes indices (int32 or int64); \(x.dtype.name) came.")
    }
    if let wrong = try x.firstOutside(indexLimit) {
      throw TemperError(.outOfRange, "Indices must be from 0 to \(indexLimit - 1); \(wrong.value) came.")
    }
  }

  /// Whatever numbers came, dense and of the type that plans of this model read: its own, or int32 for indices.
  package func prepared(_ x: Tensor) throws(TemperError) -> Tensor {
    try checkInput(x)
    let wanted: DType = input.kind == .index ? .int32 : dtype
    return x.dtype == wanted ? try x.dense() : try x.copy(as: wanted)
  }

  func checkMask(_ mask: Tensor?, _ count: Int) throws(TemperError) {
    guard needsMask else {
      if mask == nil { return }
      throw TemperError(.invalidArgument, "The model takes no mask.")
    }
    let expected: Shape = [count, input.shape[0]]
    guard let mask, mask.shape == expected else {
      throw TemperError(
        .invalidShape,
        "The model attends under a mask of shape \(expected), 1 to attend; \(mask.map { "\($0.shape)" } ?? "none") came."
      )
    }
  }
}
