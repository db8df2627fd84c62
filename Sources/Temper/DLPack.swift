import CTemper
import TemperCore

/// DLPack's struct, version 1: zero-copy exchange with NumPy, PyTorch, JAX and others.

@implementation @c public func temper_tensor_from_dlpack(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ managed: UnsafeMutablePointer<DLManagedTensorVersioned>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let managed = unsafe try required(managed, "managed", 1)
    return try located(1) { () throws(TemperError) in unsafe try take(managed) }
  }
}

private func take(_ managed: UnsafeMutablePointer<DLManagedTensorVersioned>) throws(TemperError) -> Tensor {
  guard unsafe managed.pointee.version.major == DLPACK_MAJOR_VERSION else {
    throw TemperError(
      .unsupported, "DLPack \(DLPACK_MAJOR_VERSION) is read; version \(unsafe managed.pointee.version.major) came.")
  }
  let array = unsafe managed.pointee.dl_tensor
  guard unsafe array.device.device_type == kDLCPU else {
    throw TemperError(
      .unsupported,
      "Only memory of the CPU can be read; device type \(unsafe array.device.device_type.rawValue) came. Copy it first."
    )
  }
  let type = try dtype(unsafe array.dtype)
  let shape = unsafe try shape(array.shape, rank: array.ndim, "shape", 1)
  let strides =
    unsafe array.strides == nil ? shape.denseStrides : try integers(array.strides, rank: array.ndim, "strides", 1)
  var (low, high) = (0, shape.count > 0 ? type.byteCount : 0)
  for (size, step) in zip(shape.sizes, strides) where shape.count > 0 {
    let (reach, overflow) = ((size - 1) * type.byteCount).multipliedReportingOverflow(by: step)
    guard !overflow, abs(reach) <= Shape.maximumCount * 8 else {
      throw TemperError(.invalidShape, "Strides \(strides) reach beyond any memory for shape \(shape).")
    }
    if reach < 0 { low += reach } else { high += reach }
  }
  let first = unsafe UInt64(UInt(bitPattern: array.data)).addingReportingOverflow(array.byte_offset)
  guard unsafe shape.count == 0 || array.data != nil && !first.overflow, first.partialValue <= UInt64(Int.max),
    let base = unsafe UnsafeMutableRawPointer(bitPattern: shape.count == 0 ? 64 : Int(first.partialValue) + low)
  else {
    throw TemperError(.invalidArgument, "The array has \(shape.count) elements and its address is not one.")
  }
  let owner = unsafe ManagedOwner(managed)
  let storage = unsafe Storage(
    borrowing: base, byteCount: high - low,
    isReadOnly: managed.pointee.flags & UInt64(DLPACK_FLAG_BITMASK_READ_ONLY) != 0
  ) { owner.release() }
  return try Tensor(storage: storage, byteOffset: -low, dtype: type, shape: shape, strides: strides)
}

/// Calls the producer's deleter.
@safe private struct ManagedOwner: @unchecked Sendable {
  let managed: UnsafeMutablePointer<DLManagedTensorVersioned>
  @unsafe init(_ managed: UnsafeMutablePointer<DLManagedTensorVersioned>) { unsafe self.managed = managed }
  func release() { if let deleter = unsafe managed.pointee.deleter { unsafe deleter(managed) } }
}

private func dtype(_ type: DLDataType) throws(TemperError) -> DType {
  if type.lanes == 1 {
    switch (UInt32(type.code), type.bits) {
    case (kDLFloat.rawValue, 32): return .float32
    case (kDLFloat.rawValue, 64): return .float64
    case (kDLInt.rawValue, 32): return .int32
    case (kDLInt.rawValue, 64): return .int64
    case (kDLUInt.rawValue, 8): return .uint8
    case (kDLInt.rawValue, 8): return .int8
    case (kDLBool.rawValue, 8): return .bool
    default: break
    }
  }
  throw TemperError(
    .invalidType,
    "Elements may be float32, float64, int32, int64, int8, uint8 or bool; DLPack code \(type.code) with \(type.bits) bits and \(type.lanes) lanes came."
  )
}

private func code(_ type: DType) -> DLDataType {
  let code =
    switch type {
    case .float32, .float64: kDLFloat
    case .int32, .int64, .int8: kDLInt
    case .uint8: kDLUInt
    case .bool: kDLBool
    }
  return DLDataType(code: UInt8(code.rawValue), bits: UInt8(type.byteCount * 8), lanes: 1)
}

@implementation @c public func temper_tensor_to_dlpack(
  _ out: UnsafeMutablePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  if let out = unsafe out { unsafe out.pointee = nil }
  return unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = export(try tensor(handle, 1))
  }
}

/// The tensor, the struct and its sizes, in one piece that the deleter takes apart.
private final class Exported {
  let tensor: Tensor
  init(_ tensor: Tensor) { self.tensor = tensor }
}

private func export(_ tensor: Tensor) -> UnsafeMutablePointer<DLManagedTensorVersioned> {
  let rank = tensor.shape.rank
  let numbers = UnsafeMutablePointer<Int64>.allocate(capacity: 2 * rank + 1)
  for axis in 0..<rank {
    unsafe numbers[axis] = Int64(tensor.shape[axis])
    unsafe numbers[rank + axis] = Int64(tensor.strides[axis])
  }
  let managed = UnsafeMutablePointer<DLManagedTensorVersioned>.allocate(capacity: 1)
  var value = unsafe DLManagedTensorVersioned()
  unsafe value.version = DLPackVersion(
    major: UInt32(DLPACK_MAJOR_VERSION), minor: UInt32(DLPACK_MINOR_VERSION))
  unsafe value.manager_ctx = Unmanaged.passRetained(Exported(tensor)).toOpaque()
  unsafe value.deleter = { managed in
    guard let managed = unsafe managed else { return }
    if let context = unsafe managed.pointee.manager_ctx { unsafe Unmanaged<Exported>.fromOpaque(context).release() }
    unsafe managed.pointee.dl_tensor.shape.deallocate()
    unsafe managed.deallocate()
  }
  unsafe value.flags = tensor.isReadOnly ? UInt64(DLPACK_FLAG_BITMASK_READ_ONLY) : 0
  unsafe value.dl_tensor = DLTensor(
    data: tensor.pointer, device: DLDevice(device_type: kDLCPU, device_id: 0), ndim: Int32(rank),
    dtype: code(tensor.dtype), shape: numbers, strides: numbers + rank, byte_offset: 0)
  unsafe managed.initialize(to: value)
  return unsafe managed
}
