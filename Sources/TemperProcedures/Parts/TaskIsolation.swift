import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// Tasks learned one after the other by sparse matrices that share their weights: what an earlier task used, later ones
/// read and do not change. Vectors and running statistics are each task's own.
///
/// After a task its whole network, zeros outside its mask, is kept as "task0.0.weight" and so on: assigned to a model it
/// gives the task's outputs, the same bits ever after.
struct TaskIsolation {
  let tasks: Int
  let epochsPerTask: Int
  let matrices: SparseMatrices

  func task(_ position: Position) -> Int { min((position.epoch - 1) / epochsPerTask, tasks - 1) }

  private func isFirstEpoch(_ position: Position) -> Bool {
    (position.epoch - 1) % epochsPerTask == 0 && (position.epoch - 1) / epochsPerTask < tasks
  }

  /// How much of its task a run has behind it, from 0 to 1 and beyond.
  func progress(_ position: Position) -> Double {
    let epochs = Double(position.epoch - 1 - task(position) * epochsPerTask)
    return (epochs + Double(position.step) / Double(max(position.stepsPerEpoch, 1))) / Double(epochsPerTask)
  }

  /// Arrays of a model that a task has of its own, by name.
  private func arrays(_ training: Training) -> [(name: String, tensor: Tensor)] {
    let model = training.networks[0].model
    return (model.trained + model.kept).compactMap { variable in variable.tensor.map { (variable.name, $0) } }
  }

  func prepare(_ training: Training, classes: [Int]) throws(TemperError) {
    let width = training.networks[0].model.output.last
    var seen = [Double](repeating: 0, count: tasks * width)
    for (sample, task) in try taskIds(training).enumerated() { seen[task * width + classes[sample]] = 1 }
    try training.keep("classes", [tasks, width]).assign(from: try Tensor(seen, shape: [tasks, width]))
    try training.keep("current", [1, width])
    for (name, tensor) in arrays(training) {
      try training.keep("start." + name, tensor.shape).assign(from: tensor)
      for task in 0..<tasks { try training.keep("task\(task).\(name)", tensor.shape) }
    }
    for (index, shape) in matrices.shapes(training).enumerated() {
      try training.keep("weights\(index)", shape).assign(from: try matrices.weights(training, index))
      try training.keep("frozen\(index)", shape)
    }
  }

  private func taskIds(_ training: Training) throws(TemperError) -> [Int] {
    guard let field = training.samples.rows["task"] else {
      throw TemperError(.invalidArgument, "Several tasks need the input \"task\", the task of each sample from 0.")
    }
    var ids: [Int] = []
    for value in try field.tensor.array(of: Double.self) {
      guard let id = Int(exactly: value), (0..<tasks).contains(id) else {
        throw TemperError(.outOfRange, "Tasks are whole numbers from 0 to \(tasks - 1); \(value) came.")
      }
      ids.append(id)
    }
    return ids
  }

  /// The current task's samples, shuffled.
  func order(_ training: Training) throws(TemperError) -> [Int32] {
    let (task, ids) = (task(training.position), try taskIds(training))
    let own = ids.indices.filter { ids[$0] == task }
    guard !own.isEmpty else { throw TemperError(.invalidArgument, "Task \(task) has no samples.") }
    var random = training.random("shuffle").stream(training.position.epoch)
    return random.permutation(own.count).map { Int32(truncatingIfNeeded: own[$0]) }
  }

  /// Logits of classes that are not the task's are out of the game.
  func logits(_ step: StepGraph, _ output: Expression) throws(TemperError) -> Expression {
    .select(try step.whole("current") .> 0, output, .constant(-1e9))
  }

  /// A new task: connections anywhere, over the weights that earlier tasks left and the first ones elsewhere; vectors,
  /// statistics and the optimizer as at the beginning.
  func beginEpoch(_ training: Training) throws(TemperError) {
    guard isFirstEpoch(training.position) else { return }
    let task = task(training.position)
    let current = try training.kept("current")
    let all = try training.kept("classes").array(of: Double.self)
    try current.assign(
      from: try Tensor(Array(all[task * current.count..<(task + 1) * current.count]), shape: current.shape))
    if task > 0 {
      for (name, tensor) in arrays(training) { try tensor.assign(from: try training.kept("start." + name)) }
      for index in matrices.shapes(training).indices {
        var mask = try matrices.mask(training, index)
        let count = mask.reduce(0) { $0 + Int($1) }
        var random = training.random("connections of tasks").stream(task).stream(index)
        mask = [Double](repeating: 0, count: mask.count)
        for place in random.permutation(mask.count).prefix(count) { mask[place] = 1 }
        let kept = try training.kept("mask\(index)")
        try kept.assign(from: try Tensor(mask, shape: kept.shape))
        try training.kept("fired\(index)").assign(from: kept)
        try matrices.weights(training, index).assign(from: try training.kept("weights\(index)"))
      }
      try training.forgetMoments()
    }
    try matrices.apply(training)
  }

  /// What earlier tasks left is put back after a step, inside the mask and outside, without a past in the optimizer.
  func restore(_ training: Training) throws(TemperError) {
    if task(training.position) == 0 { return }
    for index in matrices.shapes(training).indices {
      let frozen = try training.kept("frozen\(index)")
      try matrices.weights(training, index).replace(
        by: try training.kept("weights\(index)"), where: frozen, isSet: true)
      for state in try matrices.states(training, index) where state.tensor.count == frozen.count {
        state.tensor.replace(by: nil, where: frozen, isSet: true)
      }
    }
  }

  /// The values with which connections begin: 0, or what an earlier task left there.
  func beginnings(_ training: Training, _ index: Int, _ places: [Int]) throws(TemperError) -> [(Int, Double)] {
    let frozen = try training.kept("frozen\(index)").array(of: Double.self)
    let all = try training.kept("weights\(index)").array(of: Double.self)
    return places.map { ($0, frozen[$0] != 0 ? all[$0] : 0) }
  }

  func endEpoch(_ training: Training) throws(TemperError) {
    guard training.position.epoch % epochsPerTask == 0, training.position.epoch / epochsPerTask <= tasks else { return }
    for (index, _) in matrices.shapes(training).enumerated() {
      let mask = try matrices.mask(training, index)
      let weights = try matrices.weights(training, index).array(of: Double.self)
      let (kept, marked) = (try training.kept("weights\(index)"), try training.kept("frozen\(index)"))
      var (all, frozen) = (try kept.array(of: Double.self), try marked.array(of: Double.self))
      for place in mask.indices where mask[place] != 0 { (all[place], frozen[place]) = (weights[place], 1) }
      try kept.assign(from: try Tensor(all, shape: kept.shape))
      try marked.assign(from: try Tensor(frozen, shape: marked.shape))
    }
    let task = task(training.position)
    for (name, tensor) in arrays(training) { try training.kept("task\(task).\(name)").assign(from: tensor) }
  }
}
