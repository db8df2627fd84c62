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

  func store(_ value: Double, _ array: UnsafeMutableRawPointer?, _ index: Int) {
    guard let array = unsafe array else { return }
    if isDouble {
      unsafe array.storeBytes(of: value, toByteOffset: index * 8, as: Double.self)
    } else {
      unsafe array.storeBytes(of: Float(value), toByteOffset: index * 4, as: Float.self)
    }
  }

  /// Element `element` of a sample's; of inputs with one number for a sample that.
  func number(_ input: Int, _ sample: Int, _ element: Int) -> Double {
    guard let data = unsafe inputs[input] else { return 0 }
    let width = widths[input]
    let at = width == 0 ? 0 : sample * width + (width == widths[0] ? element : 0)
    if isIndex[input] { return unsafe Double(data.load(fromByteOffset: at * 4, as: Int32.self)) }
    return unsafe isDouble
      ? data.load(fromByteOffset: at * 8, as: Double.self) : Double(data.load(fromByteOffset: at * 4, as: Float.self))
  }
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

  /// Calls it for the batch, each sample, or each element. Values go where they are wanted if `isValue`, gradients too;
  /// what nobody asked for goes to scratch memory.
  func run(_ batch: ForeignArguments, isMean: Bool, isValue: Bool, returnsGradient: Int?) {
    let frame = ForeignFrame(signature, plan, batch, isValue: isValue)
    switch plan.extent {
    case .batch:
      frame.move(to: 0, 0)
      unsafe foreign_call(function.pointer, frame.arguments, frame.result)
    case .sample:
      let returnsValue = isValue && signature.result.isReal && !plan.roles.contains(.values)
      for sample in 0..<batch.samples {
        frame.move(to: sample, 0)
        unsafe foreign_call(function.pointer, frame.arguments, frame.result)
        if returnsValue { unsafe batch.store(frame.returned(signature.result), batch.call.values, sample) }
      }
    case .element:
      let width = Swift.max(batch.widths[0], 1)
      let scale = isMean ? 1 / Double(width) : 1
      let valueAt = plan.roles.firstIndex(of: .values)
      // Which argument a derivative is written to; none where it is returned.
      var wanted: [(input: Int, argument: Int?)] = []
      for input in unsafe batch.gradients.indices where unsafe batch.gradients[input] != nil {
        let argument = plan.roles.firstIndex(of: .gradient(input))
        if argument != nil || returnsGradient == input { wanted.append((input, argument)) }
      }
      for sample in 0..<batch.samples {
        var (sum, slope) = (0.0, 0.0)
        for element in 0..<width {
          frame.move(to: sample, element)
          unsafe foreign_call(function.pointer, frame.arguments, frame.result)
          let returned = frame.returned(signature.result)
          if isValue { sum += valueAt.map { frame.written($0) } ?? returned }
          for (input, argument) in wanted {
            let derivative = (argument.map { frame.written($0) } ?? returned) * scale
            if batch.widths[input] == width {
              unsafe batch.store(derivative, batch.gradients[input], sample * width + element)
            } else {
              slope += derivative
              unsafe batch.store(slope, batch.gradients[input], sample)
            }
          }
        }
        if isValue { unsafe batch.store(sum * scale, batch.call.values, sample) }
      }
    }
  }
}
