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
    let base = UnsafeMutableRawPointer(slots.pointer)
    pointers = CArray((0..<count).map { base + $0 * ForeignFrame.slot })
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
      case .parameter(let parameter): fill(index, batch.call.parameters[parameter].real)
      case .literal(let number): fill(index, number)
      case .values where !isValue: scratch[index] = CArray([Double](repeating: 0, count: samples))
      case .gradient(let input) where batch.gradients[input] == nil:
        scratch[index] = CArray([Double](repeating: 0, count: samples * Swift.max(batch.widths[input], 1)))
      case .input, .values, .gradient: break
      }
    }
  }

  var arguments: UnsafeMutablePointer<UnsafeMutableRawPointer?> { pointers.pointer }
  var result: UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(slots.pointer) + signature.arguments.count * ForeignFrame.slot
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
          point(index, batch.inputs[input].map { UnsafeMutableRawPointer(mutating: $0) }, sample, batch.widths[input] * batch.bytes(input))
        }
      case .values:
        result(index, batch.call.values, sample, batch.isDouble ? 8 : 4)
      case .gradient(let input):
        result(index, batch.gradients[input], sample, batch.widths[input] * (batch.isDouble ? 8 : 4))
      case .size, .parameter, .literal: break
      }
    }
  }

  /// What the function gave back.
  func returned(_ number: ForeignSignature.Number) -> Double { number.isReal ? read(result, number) : 0 }

  /// What the function wrote for an argument, of one element.
  func written(_ index: Int) -> Double {
    read(place(index) + ForeignFrame.behind, signature.arguments[index].number)
  }

  private func place(_ index: Int) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(slots.pointer) + index * ForeignFrame.slot
  }

  private func read(_ place: UnsafeMutableRawPointer, _ number: ForeignSignature.Number) -> Double {
    number == .float ? Double(place.load(as: Float.self)) : place.load(as: Double.self)
  }

  /// The address of a sample's part of an array.
  private func point(_ index: Int, _ array: UnsafeMutableRawPointer?, _ sample: Int, _ bytes: Int) {
    let part = array.map { $0 + (plan.extent == .batch ? 0 : sample * bytes) }
    place(index).storeBytes(of: part, as: UnsafeMutableRawPointer?.self)
  }

  private func result(_ index: Int, _ array: UnsafeMutableRawPointer?, _ sample: Int, _ bytes: Int) {
    if plan.extent == .element {
      fill(index, 0)
    } else if let spare = scratch[index] {
      point(index, UnsafeMutableRawPointer(spare.pointer), 0, 0)
    } else {
      point(index, array, sample, bytes)
    }
  }

  /// A number as the argument's type, in its slot or behind its address.
  private func fill(_ index: Int, _ number: Double) {
    let (argument, slot) = (signature.arguments[index], place(index))
    let target = argument.isPointer ? slot + ForeignFrame.behind : slot
    switch argument.number {
    case .float: target.storeBytes(of: Float(number), as: Float.self)
    case .double, .void: target.storeBytes(of: number, as: Double.self)
    case .int32: target.storeBytes(of: Int32(truncatingIfNeeded: Int64(number)), as: Int32.self)
    case .int64: target.storeBytes(of: Int64(number), as: Int64.self)
    }
    if argument.isPointer { slot.storeBytes(of: target, as: UnsafeMutableRawPointer?.self) }
  }
}
