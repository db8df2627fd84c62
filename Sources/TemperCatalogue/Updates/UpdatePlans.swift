import TemperCore
import TemperGraph

/// The plans of a rule for one shape, type and set of arguments: one for each stage, the update itself, and where to
/// evaluate.
final class UpdatePlans {
  let rule: UpdateRule
  /// Of the stages in their order, then the update.
  let levels: [Plan]
  let evaluation: Plan?
  /// The gradient that the caller's memory holds while a level runs.
  let presentGradients: [String]
  /// Gradients that a level reads when the caller's memory holds another one by then.
  let keptGradients: Set<String>
  /// Levels from here on read the parameter as it was before the first step away from it.
  let firstAway: Int?
  /// Inputs that the update writes in place; others it only writes.
  let updatedInPlace: Set<String>

  init(_ rule: UpdateRule, _ type: DType) throws(TemperError) {
    self.rule = rule
    firstAway = rule.stages.firstIndex(where: \.isGradient)
    var levels: [Plan] = []
    var present = ["gradient"]
    for stage in rule.stages {
      levels.append(try Plan(stage.expressions.map { Output($0) }, type: type))
      if case .gradient(let name, _, _) = stage {
        present.append("gradient." + name)
      } else {
        present.append(present[present.count - 1])
      }
    }
    let targets = [("parameter", rule.parameter)] + rule.states.map { ("state." + $0.name, $0.value.made($0.name)) }
    let read = Node.inputNames(targets.map(\.1))
    let isAway = firstAway != nil
    let inPlace = Set(targets.map(\.0).filter { read.contains($0) && !(isAway && $0 == "parameter") })
    levels.append(
      try Plan(targets.map { Output($0.1, inPlaceOf: inPlace.contains($0.0) ? $0.0 : nil) }, type: type))
    var kept = Set<String>()
    for (level, plan) in levels.enumerated() {
      for input in plan.inputs where input.name.hasPrefix("gradient") && input.name != present[level] {
        kept.insert(input.name)
      }
    }
    var evaluation: Plan?
    if let point = rule.evaluation { evaluation = try Plan([Output(point)], type: type) }
    (self.levels, self.evaluation, presentGradients, keptGradients) = (levels, evaluation, present, kept)
    updatedInPlace = inPlace
  }
}

extension Expression {
  /// State that becomes another input as it is (the last gradient) is made by the update's own pass: what only shows
  /// another's elements would be copied, in a pass of its own.
  fileprivate func made(_ state: String) -> Expression {
    guard case .input(let name) = node.operation, name != "state." + state else { return self }
    return TemperGraph.maximum(self, self)
  }
}

extension Node {
  /// Names of the inputs that expressions depend on.
  static func inputNames(_ expressions: [Expression]) -> Set<String> {
    var (names, seen, stack) = (Set<String>(), Set<ObjectIdentifier>(), expressions.map(\.node))
    while let next = stack.popLast() {
      guard seen.insert(ObjectIdentifier(next)).inserted else { continue }
      if case .input(let name) = next.operation { names.insert(name) }
      stack += next.inputs
    }
    return names
  }
}
