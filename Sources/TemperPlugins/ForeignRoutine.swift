import CTemper
import TemperCatalogue
import TemperCore
import TemperForeign

/// The arrays of one batch, and how long a sample of each is.
@safe struct ForeignArguments {
  let call: temper_loss_call
  let samples: Int
  let isDouble: Bool
  let inputs: [UnsafeRawPointer?]
  let gradients: [UnsafeMutableRawPointer?]
  /// Elements of one sample; 0 where the first axis is not N.
  let widths: [Int]
  let sizes: [String: Int]
  let isIndex: [Bool]

  @unsafe init(_ call: temper_loss_call, _ loss: LossDescriptor) {
    unsafe self.call = call
    (samples, isDouble) = unsafe (Int(call.count), call.dtype == TEMPER_PLUGIN_FLOAT64)
    var (inputs, gradients): ([UnsafeRawPointer?], [UnsafeMutableRawPointer?]) = unsafe ([], [])
    var (widths, sizes, isIndex): ([Int], [String: Int], [Bool]) = ([], [:], [])
    for (index, input) in loss.inputs.enumerated() {
      let array = unsafe call.inputs[index]
      unsafe inputs.append(array.data)
      unsafe gradients.append(call.gradients[index])
      let numbers = unsafe withUnsafeBytes(of: array.sizes) { bytes in
        (0..<Int(unsafe array.rank)).map { unsafe Int(bytes.load(fromByteOffset: $0 * 8, as: Int64.self)) }
      }
      for (letter, size) in zip(input.forms[0].shape, numbers) { sizes[letter] = size }
      widths.append(input.forms[0].shape.first == "N" ? numbers.dropFirst().reduce(1, *) : 0)
      if case .index = input.forms[0].element { isIndex.append(true) } else { isIndex.append(false) }
    }
    unsafe (self.inputs, self.gradients) = unsafe (inputs, gradients)
    (self.widths, self.sizes, self.isIndex) = (widths, sizes, isIndex)
  }

  func bytes(_ input: Int) -> Int { isIndex[input] ? 4 : isDouble ? 8 : 4 }
}

/// One function of a library and how it is called.
@safe final class ForeignRoutine: Sendable {
  let plan: ForeignPlan
  private let signature: ForeignSignature
  private let function: OpaqueFunction

  @safe private struct OpaqueFunction: @unchecked Sendable { let pointer: OpaquePointer }

  @unsafe init(
    _ signature: ForeignSignature, _ plan: ForeignPlan, _ code: UnsafeRawPointer, _ symbol: String
  ) throws(TemperError) {
    (self.signature, self.plan) = (signature, plan)
    let types = signature.arguments.map { $0.isPointer ? Int32(FOREIGN_POINTER) : $0.number.rawValue }
    guard let function = unsafe foreign_prepare(code, signature.result.rawValue, types, UInt32(types.count)) else {
      throw TemperError(.unsupported, "libffi has no way to call \(symbol) as \"\(signature.text)\".")
    }
    self.function = unsafe OpaqueFunction(pointer: function)
  }

  deinit { unsafe foreign_free(function.pointer) }

  /// Calls it for the batch, each sample, or each element. A value goes to `values`, and a gradient where it is wanted.
  @unsafe func run(_ batch: inout ForeignArguments, isMean: Bool, isValue: Bool, returnsGradient: Int?) {
    let width = plan.extent == .element ? Swift.max(batch.widths[0], 1) : 1
    let calls = plan.extent == .batch ? 1 : batch.samples
    let scale = isMean && plan.extent == .element ? 1 / Double(width) : 1
    let count = signature.arguments.count
    // For each argument a slot of 8 bytes for its value or what it points to, and one for the address.
    unsafe withUnsafeTemporaryAllocation(byteCount: (count + 1) * 32, alignment: 16) { room in
      guard let base = room.baseAddress else { return }
      let result = unsafe base + count * 32
      unsafe withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: count) { pointers in
        for index in 0..<count { unsafe (pointers.baseAddress! + index).initialize(to: base + index * 32) }
        // What the function writes and nobody asked for goes to scratch memory.
        var scratch: [[UInt8]] = []
        var places: [UnsafeMutableRawPointer?] = unsafe [UnsafeMutableRawPointer?](repeating: nil, count: count)
        for (index, role) in plan.roles.enumerated() {
          guard plan.extent != .element else { break }
          var bytes = 0
          if case .gradient(let input) = role, unsafe batch.gradients[input] == nil {
            bytes = (plan.extent == .batch ? batch.samples : 1) * batch.widths[input] * 8
          }
          if role == .values, !isValue { bytes = (plan.extent == .batch ? batch.samples : 1) * 8 }
          guard bytes > 0 else { continue }
          scratch.append([UInt8](repeating: 0, count: bytes))
          unsafe scratch[scratch.count - 1].withUnsafeMutableBytes { unsafe places[index] = $0.baseAddress }
        }
        withExtendedLifetime(scratch) {
          for sample in 0..<calls {
            var (sum, slope) = (0.0, 0.0)
            for element in 0..<width {
              for (index, argument) in signature.arguments.enumerated() {
                let slot = unsafe base + index * 32
                unsafe fill(slot, argument, plan.roles[index], batch, sample, element, places[index])
              }
              unsafe foreign_call(function.pointer, pointers.baseAddress, result)
              let returned = signature.result.isReal ? unsafe number(result, signature.result) : 0
              if plan.extent == .element {
                let value = unsafe written(.values, base) ?? returned
                sum += isValue ? value : 0
                for input in unsafe batch.gradients.indices {
                  guard let gradient = unsafe batch.gradients[input] else { continue }
                  let derivative =
                    unsafe written(.gradient(input), base) ?? (returnsGradient == input ? returned : nil)
                  guard let derivative else { continue }
                  if batch.widths[input] == width {
                    unsafe store(derivative * scale, gradient, sample * width + element, batch)
                  } else {
                    slope += derivative * scale
                    unsafe store(slope, gradient, sample, batch)
                  }
                }
              } else if isValue, signature.result.isReal, !plan.roles.contains(.values) {
                sum = returned
              }
            }
            if isValue, plan.extent == .element || plan.extent == .sample && !plan.roles.contains(.values) {
              unsafe store(sum * scale, batch.call.values, sample, batch)
            }
          }
        }
      }
    }
  }

  /// Puts the value of one argument into its slot, or the address of an array or of the value.
  @unsafe private func fill(
    _ slot: UnsafeMutableRawPointer, _ argument: ForeignSignature.Argument, _ role: ForeignPlan.Role,
    _ batch: ForeignArguments, _ sample: Int, _ element: Int, _ scratch: UnsafeMutableRawPointer?
  ) {
    let isWhole = plan.extent == .batch
    func address(_ pointer: UnsafeMutableRawPointer?) {
      unsafe slot.storeBytes(of: pointer, as: UnsafeMutableRawPointer?.self)
    }
    var number = 0.0
    switch role {
    case .input(let index):
      guard let data = unsafe batch.inputs[index] else { return address(nil) }
      let width = batch.widths[index]
      if plan.extent != .element, argument.isPointer {
        return unsafe address(
          UnsafeMutableRawPointer(mutating: data) + (isWhole ? 0 : sample * width * batch.bytes(index)))
      }
      let at = width == 0 ? 0 : sample * width + (width == batch.widths[0] ? element : 0)
      number =
        batch.isIndex[index]
        ? Double(unsafe data.load(fromByteOffset: at * 4, as: Int32.self))
        : batch.isDouble
          ? unsafe data.load(fromByteOffset: at * 8, as: Double.self)
          : Double(unsafe data.load(fromByteOffset: at * 4, as: Float.self))
    case .values, .gradient:
      if plan.extent == .element {
        unsafe (slot + 16).storeBytes(of: 0, as: UInt64.self)
        return unsafe address(slot + 16)
      }
      if let scratch = unsafe scratch { return unsafe address(scratch) }
      if case .gradient(let index) = role, let gradient = unsafe batch.gradients[index] {
        return unsafe address(gradient + (isWhole ? 0 : sample * batch.widths[index] * batch.bytes(index)))
      }
      return unsafe address(batch.call.values.map { unsafe $0 + (isWhole ? 0 : sample * (batch.isDouble ? 8 : 4)) })
    case .size(let letter): number = Double(batch.sizes[letter] ?? 0)
    case .parameter(let index): number = unsafe batch.call.parameters[index].real
    case .literal(let value): number = value
    }
    let place = unsafe argument.isPointer ? slot + 16 : slot
    switch argument.number {
    case .float: unsafe place.storeBytes(of: Float(number), as: Float.self)
    case .double, .void: unsafe place.storeBytes(of: number, as: Double.self)
    case .int32: unsafe place.storeBytes(of: Int32(truncatingIfNeeded: Int64(number)), as: Int32.self)
    case .int64: unsafe place.storeBytes(of: Int64(number), as: Int64.self)
    }
    if argument.isPointer { unsafe address(place) }
  }

  /// What the function wrote for an argument of this role, of one element.
  @unsafe private func written(_ role: ForeignPlan.Role, _ base: UnsafeMutableRawPointer) -> Double? {
    guard let index = plan.roles.firstIndex(of: role) else { return nil }
    return unsafe number(base + index * 32 + 16, signature.arguments[index].number)
  }

  @unsafe private func number(_ place: UnsafeMutableRawPointer, _ number: ForeignSignature.Number) -> Double {
    number == .float ? Double(unsafe place.load(as: Float.self)) : unsafe place.load(as: Double.self)
  }

  @unsafe private func store(
    _ value: Double, _ array: UnsafeMutableRawPointer?, _ index: Int, _ batch: ForeignArguments
  ) {
    guard let array = unsafe array else { return }
    if batch.isDouble {
      unsafe array.storeBytes(of: value, toByteOffset: index * 8, as: Double.self)
    } else {
      unsafe array.storeBytes(of: Float(value), toByteOffset: index * 4, as: Float.self)
    }
  }
}
