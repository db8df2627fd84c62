import TemperCatalogue
import TemperCore

/// The calls that tell the second derivatives along a random direction of one input: their products, and the gradients
/// a step ahead and a step behind.
struct Turn {
  let products: ProbeCall
  private let ahead: ProbeCall, here: ProbeCall, behind: ProbeCall
  private let name: String
  private let names: [String]
  private let step: Double

  init(
    _ descriptor: LossDescriptor, _ probe: ProbeCase, _ present: [Bool], _ inputs: [[Double]], _ index: Int,
    _ random: inout Random
  ) throws(TemperError) {
    let range = descriptor.ranges[index]
    let isDouble = probe.type == .float64
    let direction = inputs[index].map { _ in
      let value = random.uniform() - 0.5
      return isDouble ? value : Double(Float(value))
    }
    let step = (range.upperBound - range.lowerBound) / 4 * (isDouble ? 0x1p-17 : 0x1p-7)
    func moved(_ step: Double) throws(TemperError) -> ProbeCall {
      var changed = inputs
      changed[index] = zip(inputs[index], direction).map { $0 + step * $1 }
      return try ProbeCall(descriptor, probe, present, changed, .gradients)
    }
    products = try ProbeCall(descriptor, probe, present, inputs, .products(input: index, direction: direction))
    (ahead, here, behind) = (try moved(step), try moved(0), try moved(-step))
    (name, names, self.step) = (descriptor.inputs[index].name, descriptor.inputs.map(\.name), step)
  }

  var calls: [ProbeCall] { [products, ahead, here, behind] }

  func verdict(_ probe: ProbeCase) throws(TemperError) -> String {
    let epsilon = probe.type == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
    var (largest, count) = (0.0, 0)
    for (index, product) in products.products.enumerated() {
      guard let given = product?.numbers(as: probe.type), let after = ahead.gradients[index]?.numbers(as: probe.type),
        let middle = here.gradients[index]?.numbers(as: probe.type),
        let before = behind.gradients[index]?.numbers(as: probe.type)
      else { continue }
      for place in given.indices {
        let (right, left) = ((after[place] - middle[place]) / step, (middle[place] - before[place]) / step)
        let central = (right + left) / 2
        let size = Swift.max(Swift.abs(central), Swift.abs(given[place]))
        let scale = [after[place], middle[place], before[place], 1].map { Swift.abs($0) }.max() ?? 1
        let slack = 16 * epsilon * scale / step + (probe.type == .float64 ? 1e-5 : 2e-2) * size + 1e-4
        let isBetween =
          given[place] >= Swift.min(left, right) - slack && given[place] <= Swift.max(left, right) + slack
        guard Swift.abs(central - given[place]) <= slack || isBetween else {
          throw TemperError(
            .pluginFailed,
            "Its product for \(names[index]), along a direction of \(name), is not that of its gradient: at element \(place) it gives \(given[place]), and the finite difference is \(central)."
          )
        }
        largest = Swift.max(largest, Swift.abs(central - given[place]) / Swift.max(size, 1))
        count += 1
      }
    }
    return
      "\(name): second derivatives as finite differences of the gradient, largest deviation \(Float(largest)) over \(count) elements"
  }
}
