import CTemper
import TemperCatalogue
import TemperCore
import TemperIsolation

/// The arrays of one call as they lie in the arena: a block with the call itself, then each array in pages of its own,
/// its last byte before a page that traps, known bytes before its first.
@safe struct IsolatedBatch {
  @safe struct Array {
    let name: String
    /// Here, outside the arena.
    let pointer: UnsafeMutableRawPointer
    let byteCount: Int
    let isResult: Bool
    var slot: isolation_slot

    /// Where its first byte lies in the arena.
    var offset: Int { Int(slot.offset + slot.bytes) - byteCount }
  }

  private let call: temper_loss_call
  private let inputCount: Int
  private let parameterCount: Int
  /// By input: which array it is, and which its gradient.
  private var inputArrays: [Int?] = []
  private var gradientArrays: [Int?] = []
  private(set) var arrays: [Array] = []
  private let texts: [[UInt8]]
  private let block: isolation_slot

  private static let page = 4096
  private static let canary: UInt8 = 0xA5
  private static let callSize = unsafe (MemoryLayout<temper_loss_call>.size + 15) / 16 * 16

  init(_ call: temper_loss_call, _ loss: LossDescriptor) {
    unsafe self.call = unsafe call
    (inputCount, parameterCount) = (loss.inputs.count, loss.parameters.count)
    texts = (0..<loss.parameters.count).map { index in
      guard let text = unsafe call.parameters[index].text else { return [] }
      return Swift.Array(unsafe String(cString: text).utf8) + [0]
    }
    let width = unsafe call.dtype == TEMPER_PLUGIN_FLOAT64 ? 8 : 4
    let blockBytes =
      unsafe IsolatedBatch.callSize + inputCount * (MemoryLayout<temper_plugin_array>.stride + 8)
      + parameterCount * MemoryLayout<temper_plugin_value>.stride + texts.reduce(0) { $0 + $1.count }
    var next = 0
    func slot(_ bytes: Int, isWritable: Bool) -> isolation_slot {
      let pages = Swift.max((bytes + IsolatedBatch.page - 1) / IsolatedBatch.page, 1) * IsolatedBatch.page
      defer { next += pages + IsolatedBatch.page }
      return isolation_slot(offset: UInt64(next), bytes: UInt64(pages), is_writable: isWritable ? 1 : 0)
    }
    block = slot(blockBytes, isWritable: false)
    if let values = unsafe call.values {
      let bytes = unsafe Int(call.count) * width
      unsafe arrays.append(
        Array(
          name: "the values", pointer: values, byteCount: bytes, isResult: true, slot: slot(bytes, isWritable: true)))
    }
    for (index, input) in loss.inputs.enumerated() {
      let array = unsafe call.inputs[index]
      let elements = unsafe withUnsafeBytes(of: array.sizes) { sizes in
        unsafe (0..<Int(array.rank)).reduce(1) { unsafe $0 * Int(sizes.load(fromByteOffset: $1 * 8, as: Int64.self)) }
      }
      var isIndex = false
      if case .index = input.forms[0].element { isIndex = true }
      unsafe inputArrays.append(array.data == nil ? nil : arrays.count)
      if let data = unsafe array.data {
        let bytes = elements * (isIndex ? 4 : width)
        unsafe arrays.append(
          Array(
            name: "the input \(input.name)", pointer: unsafe UnsafeMutableRawPointer(mutating: data), byteCount: bytes,
            isResult: false, slot: slot(bytes, isWritable: false)))
      }
      let gradient = unsafe call.gradients[index]
      unsafe gradientArrays.append(gradient == nil ? nil : arrays.count)
      if let gradient = unsafe gradient {
        let bytes = elements * width
        unsafe arrays.append(
          Array(
            name: "the gradient for \(input.name)", pointer: unsafe gradient, byteCount: bytes, isResult: true,
            slot: slot(bytes, isWritable: true)))
      }
    }
    byteCount = next
  }

  /// All of the arena that it needs.
  let byteCount: Int

  var slots: [isolation_slot] { [block] + arrays.map(\.slot) }

  /// What tells layouts apart.
  var sizes: [Int] { [Int(block.bytes)] + arrays.map { $0.isResult ? -1 - $0.byteCount : $0.byteCount } }

  /// Copies the call and the inputs, and puts known bytes where results go. What a function of the process receives.
  func send(to arena: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    for array in arrays {
      let slot = unsafe UnsafeMutableRawBufferPointer(
        start: arena + Int(array.slot.offset), count: Int(array.slot.bytes))
      if array.isResult {
        unsafe slot.initializeMemory(as: UInt8.self, repeating: IsolatedBatch.canary)
      } else {
        unsafe (arena + array.offset).copyMemory(from: array.pointer, byteCount: array.byteCount)
      }
    }
    var place = unsafe arena + IsolatedBatch.callSize
    let inputs = unsafe place.bindMemory(to: temper_plugin_array.self, capacity: inputCount)
    unsafe place += inputCount * MemoryLayout<temper_plugin_array>.stride
    let gradients = unsafe place.bindMemory(to: UnsafeMutableRawPointer?.self, capacity: inputCount)
    unsafe place += inputCount * 8
    let parameters = unsafe place.bindMemory(to: temper_plugin_value.self, capacity: parameterCount)
    unsafe place += parameterCount * MemoryLayout<temper_plugin_value>.stride
    for index in 0..<inputCount {
      var array = unsafe call.inputs[index]
      unsafe array.data = unsafe inputArrays[index].map { unsafe UnsafeRawPointer(arena + arrays[$0].offset) }
      unsafe (inputs + index).initialize(to: array)
      unsafe (gradients + index).initialize(to: gradientArrays[index].map { unsafe arena + arrays[$0].offset })
    }
    for index in 0..<parameterCount {
      var value = unsafe call.parameters[index]
      if !texts[index].isEmpty {
        unsafe place.copyMemory(from: texts[index], byteCount: texts[index].count)
        unsafe value.text = unsafe UnsafePointer(place.assumingMemoryBound(to: CChar.self))
        unsafe place += texts[index].count
      }
      unsafe (parameters + index).initialize(to: value)
    }
    var sent = unsafe call
    unsafe (sent.inputs, sent.gradients) = unsafe (UnsafePointer(inputs), UnsafePointer(gradients))
    unsafe sent.parameters = unsafe UnsafePointer(parameters)
    unsafe sent.values = unsafe call.values == nil ? nil : arena + arrays[0].offset
    unsafe sent.message = unsafe temper_message()
    unsafe arena.storeBytes(of: sent, as: temper_loss_call.self)
    return unsafe arena
  }

  func receive(from arena: UnsafeMutableRawPointer) {
    for array in arrays where array.isResult {
      unsafe array.pointer.copyMemory(from: arena + array.offset, byteCount: array.byteCount)
    }
  }

  /// A result before whose start something was written.
  func damage(in arena: UnsafeMutableRawPointer) -> String? {
    arrays.first { array in
      unsafe array.isResult
        && UnsafeRawBufferPointer(start: arena + Int(array.slot.offset), count: Int(array.slot.bytes) - array.byteCount)
          .contains { $0 != IsolatedBatch.canary }
    }?.name
  }

  /// What lies at a faulting address: "12 bytes past the end of the values"; nil if it is nothing of the arena.
  func describe(_ address: UInt64, arena: UInt) -> String? {
    for array in arrays {
      let end = UInt64(arena) + array.slot.offset + array.slot.bytes
      let start = end - UInt64(array.byteCount)
      if address >= end && address < end + UInt64(IsolatedBatch.page) {
        return "\(address - end) bytes past the end of \(array.name)"
      }
      if address >= start && address < end { return "\(array.name), which is only to be read" }
    }
    if address >= UInt64(arena) && address < UInt64(arena) + UInt64(byteCount) {
      return "memory between the arrays of the batch, at byte \(address - UInt64(arena))"
    }
    return nil
  }

  func fillWithNaN() {
    let isDouble = unsafe call.dtype == TEMPER_PLUGIN_FLOAT64
    for array in arrays where array.isResult {
      for offset in stride(from: 0, to: array.byteCount, by: isDouble ? 8 : 4) {
        if isDouble {
          unsafe array.pointer.storeBytes(of: .nan, toByteOffset: offset, as: Double.self)
        } else {
          unsafe array.pointer.storeBytes(of: .nan, toByteOffset: offset, as: Float.self)
        }
      }
    }
  }
}
