import TemperCatalogue
import TemperCore

/// What every declaration of an input must fulfil, from whatever file it is read.
enum InputRules {
  enum Element { case real, index, mask }

  /// lower_case, at most 64 characters.
  static func isName(_ name: String) -> Bool {
    (1...64).contains(name.utf8.count)
      && name.utf8.allSatisfy {
        UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
          || $0 == UInt8(ascii: "_")
      }
  }

  /// The input and where the probe draws its values from; a `range` of (0, 0) is the usual one.
  static func input(
    _ name: String, shape: [String], _ element: Element, below: String?, summary: String,
    _ range: (lower: Double, upper: Double), isOptional: Bool, isDifferentiable: Bool, isFirst: Bool
  ) throws(TemperError) -> (Input, ClosedRange<Double>) {
    func wrong(_ what: String) -> TemperError { TemperError(.pluginFailed, "Input \(name): \(what).") }
    let isShape = shape.allSatisfy { size in
      (Int(size).map { (1...65536).contains($0) } ?? false)
        || size.utf8.count == 1 && size.utf8.allSatisfy { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 }
    }
    guard isShape, !shape.isEmpty, shape.count < Shape.maximumRank else {
      throw wrong("its shape is a list of capital letters and numbers, such as \"N,C\"")
    }
    guard !isFirst || shape[0] == "N" && !isOptional else {
      throw wrong("the first input has N as its first size and is not optional")
    }
    guard !isDifferentiable || element == .real && shape[0] == "N" else {
      throw wrong("an input with a gradient is REAL and has N as its first size")
    }
    let (lower, upper) = range
    guard lower.isFinite, upper.isFinite, lower < upper || lower == 0 && upper == 0 else {
      throw wrong("its range goes from \(lower) to \(upper)")
    }
    let kind: Input.Element =
      switch element {
      case .real: .real
      case .index: .index(below: below)
      case .mask: .mask
      }
    return (
      Input(name, [.init(shape, kind)], isOptional: isOptional, isDifferentiable: isDifferentiable, summary),
      lower < upper ? lower...upper : isDifferentiable ? -2...2 : 0...1
    )
  }
}

extension [String] {
  var firstRepeated: String? {
    var seen = Set<String>()
    return first { !seen.insert($0).inserted }
  }
}
