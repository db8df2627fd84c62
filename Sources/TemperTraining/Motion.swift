import TemperCatalogue
import TemperCore

/// What moves the parameters of a network: an update rule, or a search that measures the loss at points of its choosing.
enum Motion {
  case rule(UpdateEngine)
  case search(SearchEngine, Arrays)

  /// Whether a step takes the loss or its gradient at several points.
  var needsClosure: Bool {
    switch self {
    case .rule(let engine): engine.needsClosure
    case .search: true
    }
  }

  /// Numbers kept beside arrays, group by group.
  var scalars: [Double] {
    guard case .rule(let engine) = self else { return [] }
    return engine.scalars.flatMap { $0.map(\.value) }
  }

  /// As many as `scalars`, in its order.
  func setScalars(_ values: [Double]) {
    guard case .rule(let engine) = self else { return }
    var left = values[...]
    engine.setScalars(engine.scalars.map { group in group.map { ($0.name, left.popFirst() ?? $0.value) } })
  }

  /// What a search keeps: vectors whose lengths differ from step to step.
  var searchState: [(name: String, tensor: Tensor)] {
    if case .search(let engine, _) = self { engine.state } else { [] }
  }

  func loadSearch(_ state: [(name: String, tensor: Tensor)]) throws(TemperError) {
    if case .search(let engine, _) = self { try engine.load(state) }
  }
}

extension Network {
  /// Where the optimizer wants the model evaluated, laid out as `parameters`; nil where that is the parameters.
  func evaluationPoint() throws(TemperError) -> Tensor? {
    guard case .rule(let engine) = motion, engine.hasEvaluation else { return nil }
    let point = try parameters.copy()
    var places: [Tensor] = []
    for part in parts {
      places.append(
        try Tensor(
          storage: point.storage, byteOffset: point.byteOffset + part.parameter.byteOffset - parameters.byteOffset,
          dtype: part.parameter.dtype, shape: part.parameter.shape, strides: part.parameter.strides))
    }
    try engine.evaluationPoint(into: places)
    return point
  }
}

extension Trainer {
  /// Runs `body` with the parameters of every network where its optimizer wants them evaluated: at the average that it
  /// keeps, if it keeps one.
  func atEvaluationPoints<Result>(_ body: () throws(TemperError) -> Result) throws(TemperError) -> Result {
    var moved: [(network: Network, parameters: Tensor)] = []
    if run.position.steps > 0 {
      for network in networks {
        guard let point = try network.evaluationPoint() else { continue }
        moved.append((network, try network.parameters.copy()))
        network.parameters.copyBytes(from: point)
      }
    }
    defer { for (network, parameters) in moved { network.parameters.copyBytes(from: parameters) } }
    return try body()
  }
}
