import CTemper
import TemperCore
import TemperData

extension Tensor: Handled { static var kind: HandleKind { .tensor } }

func tensor(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> Tensor {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_tensor_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ type: Int32, _ rank: Int32, _ sizes: UnsafePointer<Int64>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    try Tensor(zeros: unsafe try shape(sizes, rank: rank, "sizes", 3), try dtype(type, 1))
  }
}

@implementation @c public func temper_tensor_borrow(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ buffer: UnsafePointer<temper_buffer>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    guard let buffer = unsafe buffer else {
      throw TemperError(.invalidArgument, "`buffer` must not be NULL.", argument: 1)
    }
    return unsafe try borrow(try sized(buffer, temper_buffer(), "buffer", 1))
  }
}

private func borrow(_ buffer: temper_buffer) throws(TemperError) -> Tensor {
  try located(1) { () throws(TemperError) in
    let type = unsafe try dtype(buffer.dtype, 1)
    let shape = unsafe try shape(buffer.sizes, rank: buffer.rank, "sizes", 1)
    let strides =
      unsafe buffer.strides == nil
      ? shape.denseStrides : try integers(buffer.strides, rank: buffer.rank, "strides", 1)
    guard unsafe buffer.flags & ~TEMPER_BUFFER_READ_ONLY == 0 else {
      throw TemperError(.unsupported, "`flags` has bits set that are not TEMPER_BUFFER_READ_ONLY.")
    }
    let (length, offset) = unsafe (buffer.byte_length, buffer.byte_offset)
    let start = unsafe UInt64(UInt(bitPattern: buffer.data))
    guard length <= UInt64(Shape.maximumCount) * 8, offset <= length, !start.addingReportingOverflow(length).overflow
    else {
      throw TemperError(
        .invalidShape, "byte_length \(length) and byte_offset \(offset) do not describe memory of this process.")
    }
    guard unsafe buffer.data != nil || length == 0 else {
      throw TemperError(.invalidArgument, "`data` is NULL and byte_length is \(length).")
    }
    // No element fits into no bytes, so this address is never read.
    let base = unsafe buffer.data ?? UnsafeMutableRawPointer(bitPattern: 64).unsafelyUnwrapped
    let isReadOnly = unsafe buffer.flags & TEMPER_BUFFER_READ_ONLY != 0
    func view(_ release: @escaping @Sendable () -> Void) throws(TemperError) -> Tensor {
      let storage = unsafe Storage(
        borrowing: base, byteCount: Int(length), isReadOnly: isReadOnly, release: release)
      return try Tensor(storage: storage, byteOffset: Int(offset), dtype: type, shape: shape, strides: strides)
    }
    // Checked first over storage without a release: a call that fails takes nothing over.
    _ = try view {}
    let owner = unsafe ForeignOwner(buffer.release_user, buffer.release)
    return try view { withExtendedLifetime(owner) {} }
  }
}

@implementation @c public func temper_tensor_slice(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ axis: Int32, _ start: Int64,
  _ count: Int64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let tensor = unsafe try tensor(handle, 1)
    let axis = try resolved(axis, tensor.shape, 2)
    guard start >= 0, count >= 0, Int(start) <= tensor.shape[axis], Int(count) <= tensor.shape[axis] - Int(start) else {
      throw TemperError(
        .outOfRange,
        "Elements \(start) to \(start &+ count) of axis \(axis) are not all inside shape \(tensor.shape).", argument: 3)
    }
    return try tensor.slice(Int(start)..<Int(start + count), axis: axis)
  }
}

func resolved(_ axis: Int32, _ shape: Shape, _ argument: Int32) throws(TemperError) -> Int {
  let at = axis < 0 ? Int(axis) + shape.rank : Int(axis)
  guard at >= 0, at < shape.rank else {
    throw TemperError(.outOfRange, "Axis \(axis) is outside shape \(shape).", argument: argument)
  }
  return at
}

@implementation @c public func temper_tensor_reshape(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ rank: Int32,
  _ sizes: UnsafePointer<Int64>?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    try unsafe tensor(handle, 1).reshaped(unsafe try shape(sizes, rank: rank, "sizes", 3))
  }
}

@implementation @c public func temper_tensor_permute(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ axes: UnsafePointer<Int32>?,
  _ axisCount: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let tensor = unsafe try tensor(handle, 1)
    guard axisCount >= 0, Int(axisCount) == tensor.shape.rank else {
      throw TemperError(
        .invalidShape, "Shape \(tensor.shape) has \(tensor.shape.rank) axes; \(axisCount) came.", argument: 3)
    }
    let order = unsafe try list(axes, UInt64(axisCount), "axes", 2) { Int($0) }
    return try located(2) { () throws(TemperError) in try tensor.permuted(order) }
  }
}

@implementation @c public func temper_tensor_copy(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ type: Int32,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    try unsafe tensor(handle, 1).copy(as: type == 0 ? nil : try dtype(type, 2))
  }
}

@implementation @c public func temper_tensor_assign(
  _ target: OpaquePointer?, _ source: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (target, source) = unsafe (try result(target, "target", 0), try tensor(source, 1))
    try target.apart(from: source, "target", "source", 0)
    try located(0) { () throws(TemperError) in try target.assign(from: source) }
  }
}

@implementation @c public func temper_tensor_open_npy(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ file: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in try NPY.open(unsafe try path(file, 1)) }
}

@implementation @c public func temper_tensor_get_info(
  _ out: UnsafeMutablePointer<temper_tensor_info>?, _ handle: OpaquePointer?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let tensor = unsafe try tensor(handle, 1)
    var info = unsafe temper_tensor_info()
    unsafe info.dtype = tensor.dtype.rawValue
    unsafe info.rank = Int32(tensor.shape.rank)
    unsafe info.flags =
      (tensor.isReadOnly ? TEMPER_TENSOR_READ_ONLY : 0) | (tensor.isDense ? TEMPER_TENSOR_DENSE : 0)
    unsafe info.count = Int64(tensor.count)
    unsafe withUnsafeMutableBytes(of: &info.sizes) { bytes in
      for (axis, size) in tensor.shape.sizes.enumerated() {
        unsafe bytes.storeBytes(of: Int64(size), toByteOffset: axis * 8, as: Int64.self)
      }
    }
    unsafe withUnsafeMutableBytes(of: &info.strides) { bytes in
      for (axis, step) in tensor.strides.enumerated() {
        unsafe bytes.storeBytes(of: Int64(step), toByteOffset: axis * 8, as: Int64.self)
      }
    }
    unsafe info.data = unsafe tensor.pointer
    unsafe try fill(out, "out", 0, info)
  }
}

@implementation @c public func temper_tensor_data(_ handle: OpaquePointer?) -> UnsafeMutableRawPointer? {
  var data: UnsafeMutableRawPointer?
  _ = edge(nil) { () throws(TemperError) in unsafe data = unsafe try tensor(handle, 0).pointer }
  return unsafe data
}

@implementation @c public func temper_tensor_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, Tensor.self)
}
