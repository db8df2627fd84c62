import TemperCatalogue
import TemperCore

/// A check that all elements of these inputs lie where the formula holds: "above 0".
func elements(
  of names: String..., are words: String, _ holds: @escaping @Sendable (Double) -> Bool
) -> Method.Check {
  { (inputs, _) throws(TemperError) in
    for name in names {
      guard let values = try inputs[name]?.array(of: Double.self), let bad = values.firstIndex(where: { !holds($0) })
      else { continue }
      throw TemperError(.outOfRange, "\(name) must be \(words); element \(bad) is \(values[bad]).")
    }
  }
}
