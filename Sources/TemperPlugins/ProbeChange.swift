import TemperCore

/// The calls that tell the derivative for one input.
struct Change {
  let input: Int
  let name: String
  let width: Int
  let sides: [(up: ProbeCall, down: ProbeCall)]
  let alone: ProbeCall

  var calls: [ProbeCall] { sides.flatMap { [$0.up, $0.down] } + [alone] }

  /// A line for the report, or an error that says where gradient and finite difference part.
  func verdict(_ base: ProbeCall, _ probe: ProbeCase, isNumerical: Bool) throws(TemperError) -> String {
    let type = probe.type
    let values = base.values.numbers(as: type)
    let movedAlone = alone.values.numbers(as: type)
    let epsilon = type == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
    for sample in 1..<max(probe.samples, 1)
    where Swift.abs(movedAlone[sample] - values[sample]) > 1e3 * epsilon * Swift.max(1, Swift.abs(values[sample])) {
      throw TemperError(
        .pluginFailed,
        "The value of sample \(sample) changes from \(values[sample]) to \(movedAlone[sample]) when only sample 0 of \(name) does; losses of this form are by sample."
      )
    }
    guard let gradient = base.gradients[input]?.numbers(as: type) else { return "\(name): no gradient was asked for" }
    if isNumerical { return "\(name): samples one by one; gradient by finite differences of its values" }
    var largest = 0.0
    for (column, side) in sides.enumerated() {
      let (up, down) = (side.up.values.numbers(as: type), side.down.values.numbers(as: type))
      for sample in 0..<probe.samples {
        let place = sample * width + column
        let x = base.numbers[input][place]
        let (ahead, behind) = (side.up.numbers[input][place] - x, x - side.down.numbers[input][place])
        let (right, left) = ((up[sample] - values[sample]) / ahead, (values[sample] - down[sample]) / behind)
        let central = (up[sample] - down[sample]) / (ahead + behind)
        // Rounding of the values over the step, and curvature; at a kink any slope between the two sides is right.
        let scale = [values[sample], up[sample], down[sample], 1].map { Swift.abs($0) }.max() ?? 1
        let size = Swift.max(Swift.abs(central), Swift.abs(gradient[place]))
        let slack = 8 * epsilon * scale / (ahead + behind) + (type == .float64 ? 1e-5 : 1e-2) * size + 1e-4
        let isBetween =
          gradient[place] >= Swift.min(left, right) - slack && gradient[place] <= Swift.max(left, right) + slack
        guard Swift.abs(central - gradient[place]) <= slack || isBetween else {
          throw TemperError(
            .pluginFailed,
            "Its gradient for \(name) is not that of its value: at sample \(sample), element \(column) it gives \(gradient[place]), and the finite difference is \(central)."
          )
        }
        largest = Swift.max(largest, Swift.abs(central - gradient[place]) / Swift.max(size, 1))
      }
    }
    return
      "\(name): samples one by one; gradient as finite differences, largest deviation \(Float(largest)) over \(sides.count * probe.samples) elements"
  }
}
