import TemperCatalogue
import TemperGraph
import TemperTraining

extension StepGraph {
  /// 1 for the floor(share * n), but at least one, samples with the smallest values among the n that count; (B, 1). Of
  /// equal values the earlier sample is smaller.
  func smallest(_ values: Expression, share: Expression, counted: Expression? = nil) -> Expression {
    let all = counted.map { Expression.select($0, values, .constant(1e30)) } ?? values
    let count = values.shape.count
    let rank = all.reshaped([1, count]).sortOrder().sortOrder().reshaped([count, 1])
    let total = counted.map { $0.sumAll() } ?? .constant(Double(count))
    // A share of 0.8 of 20 is 16, also where 0.8 is a little less.
    let kept = maximum(floor(share * total + 1e-4), 1)
    let chosen = rank .< kept
    return (counted.map { chosen .& $0 } ?? chosen).stopGradient
  }
}

extension Expression {
  /// The mean of these values over the samples that a mask of 0 and 1, or weights, choose.
  func mean(over chosen: Expression) -> Expression {
    (self * chosen).sumAll() / TemperGraph.maximum(chosen.sumAll(), 1e-12)
  }
}

/// The share of samples to keep when a share `forget` of the labels is taken to be wrong: 1 at first, falling to
/// 1 - forget over `ramp` epochs.
struct KeptShare {
  let forget: Double
  let ramp: Int
  let exponent: Double

  static let parameters: [Parameter] = [
    .real("forget_rate", 0.2, in: .belowOne, "The share of samples that are left out in the end: the noise rate."),
    .integer("ramp", 10, in: 1 ... .max, "Epochs until that share is reached."),
    .real("exponent", 1, in: .positive, "1 grows linearly, 2 later and faster."),
  ]

  init(_ arguments: Arguments) {
    (forget, ramp, exponent) = (
      arguments.real("forget_rate"), arguments.integer("ramp"), arguments.real("exponent")
    )
  }

  /// 1 - forget * min(epoch^exponent / ramp, 1)
  func callAsFunction(_ position: Position) -> Double {
    1 - forget * min(power(Double(position.epoch), exponent) / Double(ramp), 1)
  }
}
