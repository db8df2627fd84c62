import CTemper
import TemperCore

/// The arguments of one call: for each a slot with its value, or with the address of an array, or of the number behind
/// it. What does not change from call to call is filled in once.
@safe final class ForeignFrame {
  private static let slot = 32, behind = 16

  private let signature: ForeignSignature
  private let plan: ForeignPlan
  private let batch: ForeignArguments
  private let slots: CArray<UInt64>
  private let pointers: CArray<UnsafeMutableRawPointer?>
  /// Where results go that nobody asked for, by argument.
  private var scratch: [Int: CArray<Double>] = [:]
  private let moving: [Int]
  private let isValue: Bool

  init(_ signature: ForeignSignature, _ plan: ForeignPlan, _ batch: ForeignArguments, isValue: Bool) {
    (self.signature, self.plan, self.batch, self.isValue) = (signature, plan, batch, isValue)
    let count = signature.arguments.count
    slots = CArray([UInt64](repeating: 0, count: (count + 1) * ForeignFrame.slot / 8))
    let base = unsafe UnsafeMutableRawPointer(slots.pointer)
    unsafe pointers = unsafe CArray((0..<count).map { unsafe base + $0 * ForeignFrame.slot })
    moving = plan.roles.indices.filter { index in
      switch plan.roles[index] {
      case .input, .values, .gradient: true
      case .size, .parameter, .literal: false
      }
    }
    for (index, role) in plan.roles.enumerated() {
      let samples = plan.extent == .batch ? batch.samples : 1
      switch role {
      case .size(let letter): fill(index, Double(batch.sizes[letter] ?? 0))
      case .parameter(let parameter): unsafe fill(index, batch.call.parameters[parameter].real)
      case .literal(let number): fill(index, number)
      case .values where !isValue: scratch[index] = CArray([Double](repeating: 0, count: samples))
      case .gradient(let input) where unsafe batch.gradients[input] == nil:
        scratch[index] = CArray([Double](repeating: 0, count: samples * Swift.max(batch.widths[input], 1)))
      case .input, .values, .gradient: break
      }
    }
  }

  var arguments: UnsafeMutablePointer<UnsafeMutableRawPointer?> { unsafe pointers.pointer }
  var result: UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(slots.pointer) + signature.arguments.count * ForeignFrame.slot
  }

  /// Makes the arguments those of an element, a sample, or the batch.
  func move(to sample: Int, _ element: Int) {
    for index in moving {
      let isPointer = signature.arguments[index].isPointer
      switch plan.roles[index] {
      case .input(let input):
        if plan.extent == .element || !isPointer {
          fill(index, batch.number(input, sample, element))
        } else {
          unsafe point(
            index, batch.inputs[input].map { unsafe UnsafeMutableRawPointer(mutating: $0) }, sample,
            batch.widths[input] * batch.bytes(input))
        }
      case .values:
        unsafe result(index, batch.call.values, sample, batch.isDouble ? 8 : 4)
      case .gradient(let input):
        unsafe result(index, batch.gradients[input], sample, batch.widths[input] * (batch.isDouble ? 8 : 4))
      case .size, .parameter, .literal: break
      }
    }
  }

  /// What the function gave back.
  func returned(_ number: ForeignSignature.Number) -> Double { unsafe number.isReal ? read(result, number) : 0 }

  /// What the function wrote for an argument, of one element.
  func written(_ index: Int) -> Double {
    unsafe read(place(index) + ForeignFrame.behind, signature.arguments[index].number)
  }

  private func place(_ index: Int) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(slots.pointer) + index * ForeignFrame.slot
  }

  private func read(_ place: UnsafeMutableRawPointer, _ number: ForeignSignature.Number) -> Double {
    unsafe number == .float ? Double(place.load(as: Float.self)) : place.load(as: Double.self)
  }

  /// The address of a sample's part of an array.
  private func point(_ index: Int, _ array: UnsafeMutableRawPointer?, _ sample: Int, _ bytes: Int) {
    let part = unsafe array.map { unsafe $0 + (plan.extent == .batch ? 0 : sample * bytes) }
    unsafe place(index).storeBytes(of: part, as: UnsafeMutableRawPointer?.self)
  }

  private func result(_ index: Int, _ array: UnsafeMutableRawPointer?, _ sample: Int, _ bytes: Int) {
    if plan.extent == .element {
      fill(index, 0)
    } else if let spare = scratch[index] {
      unsafe point(index, UnsafeMutableRawPointer(spare.pointer), 0, 0)
    } else {
      unsafe point(index, array, sample, bytes)
    }
  }

  /// A number as the argument's type, in its slot or behind its address.
  private func fill(_ index: Int, _ number: Double) {
    let (argument, slot) = unsafe (signature.arguments[index], place(index))
    let target = unsafe argument.isPointer ? slot + ForeignFrame.behind : slot
    switch argument.number {
    case .float: unsafe target.storeBytes(of: Float(number), as: Float.self)
    case .double, .void: unsafe target.storeBytes(of: number, as: Double.self)
    case .int32: unsafe target.storeBytes(of: Int32(truncatingIfNeeded: whole(number)), as: Int32.self)
    case .int64: unsafe target.storeBytes(of: whole(number), as: Int64.self)
    }
    if argument.isPointer { unsafe slot.storeBytes(of: target, as: UnsafeMutableRawPointer?.self) }
  }
}

/// A number without its fraction, as far as 64 bits go; NaN is 0.
private func whole(_ number: Double) -> Int64 {
  Int64(exactly: number.rounded(.towardZero)) ?? (number.isNaN ? 0 : number < 0 ? .min : .max)
}
