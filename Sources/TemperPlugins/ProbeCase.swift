import CTemper
import TemperCatalogue
import TemperCore

/// One batch that the probe calls a FUNCTION loss with: sizes, type, and what fills the inputs.
struct ProbeCase {
  let title: String
  let samples: Int
  let type: DType
  /// Whether optional inputs come.
  var hasOptional = true
  /// Inputs are NaN: nothing is asked of the result.
  var isNotANumber = false
  /// Whether gradients are held to finite differences.
  var checksGradient = false

  /// Cases in the order in which they run, for the types that the function takes.
  static func all(_ types: [DType], hasOptional: Bool) -> [ProbeCase] {
    var cases: [ProbeCase] = []
    for type in types {
      cases.append(ProbeCase(title: "6 samples", samples: 6, type: type, checksGradient: true))
      cases.append(ProbeCase(title: "1 sample", samples: 1, type: type))
      cases.append(ProbeCase(title: "257 samples", samples: 257, type: type))
      if hasOptional {
        cases.append(
          ProbeCase(title: "no optional inputs", samples: 6, type: type, hasOptional: false, checksGradient: true))
      }
      cases.append(ProbeCase(title: "NaN", samples: 6, type: type, isNotANumber: true))
    }
    return cases
  }

  /// The sizes that letters stand for.
  func size(_ letter: String) -> Int {
    if let number = Int(letter) { return number }
    if letter == "N" { return samples }
    let others = [5, 4, 3, 7, 6]
    return letter == "C" ? 5 : others[Int(letter.utf8.first ?? 0) % others.count]
  }

  func shape(_ state: SampleState) -> Shape { Shape([samples] + state.shape.map { size($0) }) }

  func shape(_ input: Input) -> Shape { Shape(input.forms[0].shape.map { size($0) }) }

  func elementType(_ input: Input) -> DType {
    if case .index = input.forms[0].element { .int32 } else { type }
  }

  /// Numbers for an input: in its range, away from the range's ends so that finite differences stay inside.
  func values(_ input: Input, _ range: ClosedRange<Double>, _ random: inout Random) -> [Double] {
    let count = shape(input).count
    switch input.forms[0].element {
    case .index(let below):
      let bound = below.map { size($0) } ?? 5
      return (0..<count).map { _ in Double(random.below(bound)) }
    case .mask: return (0..<count).map { _ in random.uniform() < 0.5 ? 0 : 1 }
    case .real:
      if isNotANumber { return [Double](repeating: .nan, count: count) }
      let (low, width) = (range.lowerBound, range.upperBound - range.lowerBound)
      return (0..<count).map { _ in
        let value = low + width * (0.05 + 0.9 * random.uniform())
        return type == .float64 ? value : Double(Float(value))
      }
    }
  }
}
