import Glibc
import Synchronization
import TemperCore

/// What can stand behind a handle; `kind` is part of the handle's first word.
protocol Handled {
  static var kind: HandleKind { get }
}

enum HandleKind: UInt64 {
  case context = 1
  case tensor, tensorMap, loss, op, optimizer, schedule, model, trainer, quantizer, quantized, plugin, decoder, metric
  case procedure
  case sampler, generator, detector, calibrator
  case file

  var typeName: String {
    switch self {
    case .context: "temper_context"
    case .tensor: "temper_tensor"
    case .tensorMap: "temper_tensor_map"
    case .loss: "temper_loss"
    case .op: "temper_op"
    case .optimizer: "temper_optimizer"
    case .schedule: "temper_schedule"
    case .model: "temper_model"
    case .trainer: "temper_trainer"
    case .quantizer: "temper_quantizer"
    case .quantized: "temper_quantized"
    case .plugin: "temper_plugin"
    case .decoder: "temper_decoder"
    case .metric: "temper_metric"
    case .procedure: "temper_procedure"
    case .sampler: "temper_sampler"
    case .generator: "temper_generator"
    case .detector: "temper_detector"
    case .calibrator: "temper_calibrator"
    case .file: "temper_file"
    }
  }
}

private final class Box<Value: Handled> {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// All handles of the process, as slots of one reserved range of addresses: whether a pointer is a handle, of which
/// kind, and whether it was freed can be told without touching memory that is not ours.
///
/// A freed slot is used again only after many others, so that a second free is found out and not taken for another's.
@safe final class Handles: @unchecked Sendable {
  static let all = Handles()

  private struct Slot {
    /// magic and kind
    var mark: UInt64
    /// the object; in a freed slot the next freed one
    var content: UInt
  }

  private struct State {
    var used = 0
    /// Freed slots, first in first out.
    var firstFreed = 0, lastFreed = 0, freedCount = 0
  }

  private static let live: UInt64 = 0x5445_4D50_4552_0000  // "TEMPER"
  private static let freed: UInt64 = 0x6672_6565_6421_0000  // "freed!"
  private static let capacity = 1 << 22
  private static let rest = 1 << 14

  private let slots: UnsafeMutablePointer<Slot>?
  private let state = Mutex(State())

  private init() {
    let byteCount = Handles.capacity * MemoryLayout<Slot>.stride
    let memory = unsafe mmap(
      nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    unsafe slots =
      memory == MAP_FAILED ? nil : memory?.bindMemory(to: Slot.self, capacity: Handles.capacity)
  }

  func make<Value: Handled>(_ value: Value) throws(TemperError) -> OpaquePointer {
    guard let slots = unsafe slots else {
      throw TemperError(.outOfMemory, "The system refused memory for handles.")
    }
    let content = unsafe Unmanaged.passRetained(Box(value)).toOpaque()
    let index = state.withLock { state -> Int? in
      if state.freedCount > Handles.rest || state.used == Handles.capacity && state.freedCount > 0 {
        let index = state.firstFreed
        unsafe state.firstFreed = Int(slots[index].content)
        state.freedCount -= 1
        return index
      }
      if state.used == Handles.capacity { return nil }
      state.used += 1
      return state.used - 1
    }
    guard let index else {
      unsafe Unmanaged<Box<Value>>.fromOpaque(content).release()
      throw TemperError(.outOfMemory, "There are \(Handles.capacity) live handles; free those no longer needed.")
    }
    unsafe slots[index] = Slot(mark: Handles.live | Value.kind.rawValue, content: UInt(bitPattern: content))
    return unsafe OpaquePointer(slots + index)
  }

  /// What the handle stands for, or an error that says what came instead.
  func value<Value: Handled>(
    _ pointer: OpaquePointer?, as type: Value.Type = Value.self, argument: Int32
  ) throws(TemperError) -> Value {
    let slot = unsafe try find(pointer, Value.kind, argument)
    guard let object = unsafe UnsafeRawPointer(bitPattern: slot.pointee.content) else {
      throw TemperError(.internalFault, "A live handle is empty.")
    }
    return unsafe Unmanaged<Box<Value>>.fromOpaque(object).takeUnretainedValue().value
  }

  func free<Value: Handled>(_ pointer: OpaquePointer?, as type: Value.Type) throws(TemperError) {
    let slot = unsafe try find(pointer, Value.kind, 0)
    guard let slots = unsafe slots, let object = unsafe UnsafeRawPointer(bitPattern: slot.pointee.content) else {
      throw TemperError(.internalFault, "A live handle is empty.")
    }
    let index = unsafe slot - slots
    state.withLock { state in
      unsafe slots[index] = Slot(mark: Handles.freed | Value.kind.rawValue, content: 0)
      if state.freedCount == 0 {
        state.firstFreed = index
      } else {
        unsafe slots[state.lastFreed].content = UInt(index)
      }
      state.lastFreed = index
      state.freedCount += 1
    }
    unsafe Unmanaged<Box<Value>>.fromOpaque(object).release()
  }

  /// What stands behind live handles, kept alive while the result lives.
  func hold(_ pointers: UnsafePointer<OpaquePointer?>, _ count: Int) -> HeldHandles {
    var objects: [(address: UInt, content: UInt)] = []
    for index in 0..<count {
      let address = unsafe UInt(bitPattern: pointers[index])
      guard let slot = unsafe UnsafePointer<Slot>(bitPattern: address) else { continue }
      objects.append((address, unsafe slot.pointee.content))
    }
    return HeldHandles(objects)
  }

  /// Whether these are the handles of `held`, all alive still: the objects behind them are then the same.
  func are(_ pointers: UnsafePointer<OpaquePointer?>, _ count: Int, _ held: HeldHandles) -> Bool {
    guard held.objects.count == count else { return false }
    for index in 0..<count {
      let known = held.objects[index]
      guard unsafe UInt(bitPattern: pointers[index]) == known.address,
        let slot = unsafe UnsafePointer<Slot>(bitPattern: known.address),
        unsafe slot.pointee.content == known.content, unsafe slot.pointee.mark & ~0xFFFF == Handles.live
      else { return false }
    }
    return true
  }

  private func find(
    _ pointer: OpaquePointer?, _ kind: HandleKind, _ argument: Int32
  ) throws(TemperError) -> UnsafeMutablePointer<Slot> {
    func refuse(_ what: String) -> TemperError {
      TemperError(.invalidHandle, "A \(kind.typeName) is needed; \(what).", argument: argument)
    }
    guard let pointer = unsafe pointer else { throw refuse("NULL came") }
    guard let slots = unsafe slots else { throw refuse("this pointer is not a handle of Temper") }
    let distance = UInt(bitPattern: pointer) &- UInt(bitPattern: slots)
    let size = UInt(MemoryLayout<Slot>.stride)
    guard distance < UInt(Handles.capacity) * size, distance % size == 0 else {
      throw refuse("this pointer is not a handle of Temper")
    }
    let slot = unsafe slots + Int(distance / size)
    let mark = unsafe slot.pointee.mark
    switch mark & ~0xFFFF {
    case Handles.live where mark & 0xFFFF == kind.rawValue: return unsafe slot
    case Handles.live:
      throw refuse("a \(HandleKind(rawValue: mark & 0xFFFF)?.typeName ?? "handle of another kind") came")
    case Handles.freed: throw refuse("this handle was freed already")
    default: throw refuse("this pointer is not a handle of Temper")
    }
  }
}

/// The objects behind handles: no other object can take the place of one meanwhile.
@safe final class HeldHandles {
  fileprivate let objects: [(address: UInt, content: UInt)]

  fileprivate init(_ objects: [(address: UInt, content: UInt)]) {
    self.objects = objects
    for object in objects { _ = unsafe HeldHandles.unmanaged(object.content)?.retain() }
  }

  deinit { for object in objects { unsafe HeldHandles.unmanaged(object.content)?.release() } }

  private static func unmanaged(_ content: UInt) -> Unmanaged<AnyObject>? {
    unsafe UnsafeRawPointer(bitPattern: content).map { unsafe Unmanaged<AnyObject>.fromOpaque($0) }
  }
}
