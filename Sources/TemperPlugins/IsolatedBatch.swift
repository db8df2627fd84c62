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
  private let parameterCount: Int
  private(set) var arrays: [Array] = []
  /// Which array each input is, and so on.
  private var inputs: [Int?] = [], gradients: [Int?] = [], states: [Int?] = [], newStates: [Int?] = []
  private var directions: [Int?] = [], products: [Int?] = []
  private let texts: [[UInt8]]
  private let block: isolation_slot

  private static let page = 4096
  private static let canary: UInt8 = 0xA5
  private static let callSize = unsafe (MemoryLayout<temper_loss_call>.size + 15) / 16 * 16
  private static let arraySize = unsafe MemoryLayout<temper_plugin_array>.stride

  init(_ call: temper_loss_call, _ loss: LossDescriptor) {
    unsafe self.call = unsafe call
    parameterCount = loss.parameters.count
    texts = (0..<loss.parameters.count).map { index in
      guard let text = unsafe call.parameters[index].text else { return [] }
      return unsafe Swift.Array(String(cString: text).utf8) + [0]
    }
    let blockBytes =
      unsafe IsolatedBatch.callSize + (loss.inputs.count + loss.states.count) * (IsolatedBatch.arraySize + 3 * 8)
      + parameterCount * MemoryLayout<temper_plugin_value>.stride + texts.reduce(0) { $0 + $1.count }
    var next = 0
    func slot(_ bytes: Int, isWritable: Bool) -> isolation_slot {
      let pages = Swift.max((bytes + IsolatedBatch.page - 1) / IsolatedBatch.page, 1) * IsolatedBatch.page
      defer { next += pages + IsolatedBatch.page }
      return isolation_slot(offset: UInt64(next), bytes: UInt64(pages), is_writable: isWritable ? 1 : 0)
    }
    block = slot(blockBytes, isWritable: false)
    var made: [Array] = []
    func add(_ name: String, _ pointer: UnsafeMutableRawPointer?, _ bytes: Int, isResult: Bool) -> Int? {
      guard let pointer = unsafe pointer else { return nil }
      unsafe made.append(
        Array(
          name: name, pointer: pointer, byteCount: bytes, isResult: isResult, slot: slot(bytes, isWritable: isResult)))
      return made.count - 1
    }
    let width = unsafe call.dtype == TEMPER_PLUGIN_FLOAT64 ? 8 : 4
    _ = unsafe add("the values", call.values, Int(call.count) * width, isResult: true)
    for (index, input) in loss.inputs.enumerated() {
      let array = unsafe call.inputs[index]
      let (name, elements) = unsafe (input.name, array.elementCount)
      var isIndex = false
      if case .index = input.forms[0].element { isIndex = true }
      let (data, bytes) = unsafe (UnsafeMutableRawPointer(mutating: array.data), elements * width)
      unsafe inputs.append(add("the input \(name)", unsafe data, isIndex ? elements * 4 : bytes, isResult: false))
      unsafe gradients.append(add("the gradient for \(name)", unsafe call.gradients[index], bytes, isResult: true))
      guard let directed = unsafe call.directions, let wanted = unsafe call.products else { continue }
      let direction = unsafe UnsafeMutableRawPointer(mutating: directed[index])
      unsafe directions.append(add("the direction for \(name)", unsafe direction, bytes, isResult: false))
      unsafe products.append(add("the product for \(name)", unsafe wanted[index], bytes, isResult: true))
    }
    for (index, state) in loss.states.enumerated() {
      let array = unsafe call.states[index]
      let (data, bytes) = unsafe (UnsafeMutableRawPointer(mutating: array.data), array.elementCount * width)
      unsafe states.append(add("the state \(state.name)", unsafe data, bytes, isResult: false))
      unsafe newStates.append(add("the new state \(state.name)", unsafe call.new_states[index], bytes, isResult: true))
    }
    arrays = made
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
    func address(_ index: Int?) -> UnsafeMutableRawPointer? { unsafe index.map { unsafe arena + arrays[$0].offset } }
    func pointers(_ list: [Int?]) -> UnsafeMutablePointer<UnsafeMutableRawPointer?> {
      let made = unsafe place.bindMemory(to: UnsafeMutableRawPointer?.self, capacity: list.count)
      for (index, array) in list.enumerated() { unsafe (made + index).initialize(to: address(array)) }
      unsafe place += list.count * 8
      return unsafe made
    }
    func copies(
      _ list: [Int?], of source: UnsafePointer<temper_plugin_array>?
    ) -> UnsafeMutablePointer<temper_plugin_array> {
      let made = unsafe place.bindMemory(to: temper_plugin_array.self, capacity: list.count)
      for (index, at) in list.enumerated() {
        guard var array = unsafe source?[index] else { continue }
        unsafe array.data = unsafe UnsafeRawPointer(address(at))
        unsafe (made + index).initialize(to: array)
      }
      unsafe place += list.count * IsolatedBatch.arraySize
      return unsafe made
    }
    var sent = unsafe call
    unsafe sent.values = unsafe call.values == nil ? nil : address(0)
    unsafe (sent.inputs, sent.gradients) = unsafe (
      UnsafePointer(copies(inputs, of: call.inputs)), UnsafePointer(pointers(gradients))
    )
    unsafe (sent.states, sent.new_states) = unsafe (
      UnsafePointer(copies(states, of: call.states)), UnsafePointer(pointers(newStates))
    )
    if unsafe call.directions != nil {
      unsafe sent.directions = unsafe UnsafePointer(
        UnsafeMutableRawPointer(pointers(directions)).assumingMemoryBound(to: UnsafeRawPointer?.self))
      unsafe sent.products = unsafe UnsafePointer(pointers(products))
    }
    let parameters = unsafe place.bindMemory(to: temper_plugin_value.self, capacity: parameterCount)
    unsafe place += parameterCount * MemoryLayout<temper_plugin_value>.stride
    for index in 0..<parameterCount {
      var value = unsafe call.parameters[index]
      if !texts[index].isEmpty {
        unsafe place.copyMemory(from: texts[index], byteCount: texts[index].count)
        unsafe value.text = unsafe UnsafePointer(place.assumingMemoryBound(to: CChar.self))
        unsafe place += texts[index].count
      }
      unsafe (parameters + index).initialize(to: value)
    }
    unsafe sent.parameters = unsafe UnsafePointer(parameters)
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

extension temper_plugin_array {
  /// The number of its elements.
  var elementCount: Int {
    unsafe withUnsafeBytes(of: sizes) { sizes in
      unsafe (0..<Int(rank)).reduce(1) { unsafe $0 * Int(sizes.load(fromByteOffset: $1 * 8, as: Int64.self)) }
    }
  }
}
