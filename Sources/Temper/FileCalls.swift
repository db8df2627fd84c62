import CTemper
import TemperCatalogue
import TemperCore
import TemperQuantization

/// A file open for reading, with the context whose threads decode it.
final class ContextFile: Handled {
  static var kind: HandleKind { .file }
  let file: TensorFile
  let context: Context
  init(_ file: TensorFile, _ context: Context) { (self.file, self.context) = (file, context) }
}

private func file(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> ContextFile {
  unsafe try Handles.all.value(handle, argument: argument)
}

@implementation @c public func temper_file_open(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    return ContextFile(try TensorFile(reading: unsafe try path(name, 2)), context)
  }
}

@implementation @c public func temper_file_describe(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ form: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let file = unsafe try file(handle, 3).file
    unsafe try deliver(try format(form, 4) == .text ? file.table : file.json.serialized, buffer, capacity, length)
  }
}

@implementation @c public func temper_file_tensor(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let handle = unsafe try file(handle, 1)
    return try handle.file.tensor(unsafe try text(name, "name", 2), workers: handle.context.workers)
  }
}

@implementation @c public func temper_file_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, ContextFile.self)
}

@implementation @c public func temper_model_fill(
  _ handle: OpaquePointer?, _ source: OpaquePointer?, _ names: UnsafePointer<temper_param>?, _ nameCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (model, file) = unsafe (try model(handle, 0), try file(source, 1))
    var given: [String: String] = [:]
    for (name, value) in unsafe try parameters(names, nameCount, 2) {
      guard case .text(let text) = value else {
        throw TemperError(.invalidType, "The name for \"\(name)\" must be a text.", argument: 2)
      }
      given[name] = text
    }
    try file.file.fill(model.model, names: given, workers: model.context.workers)
  }
}

@implementation @c public func temper_file_write(
  _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ tensors: UnsafePointer<temper_stored_tensor>?,
  _ tensorCount: UInt64, _ metadata: UnsafePointer<temper_param>?, _ metadataCount: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (context, path) = unsafe (try context(handle, 0), try path(name, 1))
    let stored = unsafe try list(tensors, tensorCount, "tensors", 2) { entry throws(TemperError) in
      unsafe try storedTensor(entry)
    }
    let values = unsafe try parameters(metadata, metadataCount, 4).map { ($0.name, GGUF.Value($0.value)) }
    try StoredTensor.write(stored, metadata: values, to: path, workers: context.workers)
  }
}

private func storedTensor(_ entry: temper_stored_tensor) throws(TemperError) -> StoredTensor {
  let name = unsafe try text(entry.name, "name of a tensor", 2)
  let type = unsafe entry.type == nil ? nil : try GGUFType(named: try text(entry.type, "type of \(name)", 2))
  switch unsafe (entry.tensor, entry.quantized) {
  case (let handle?, nil): return StoredTensor(name, .numbers(unsafe try tensor(handle, 2)), type: type)
  case (nil, let handle?): return StoredTensor(name, .quantized(unsafe try quantized(handle, 2).matrix), type: type)
  default:
    throw TemperError(
      .invalidArgument, "\"\(name)\" is either a tensor or a quantized matrix; give one of the two.", argument: 2)
  }
}

extension GGUF.Value {
  init(_ value: Value) {
    switch value {
    case .none: self = .text("")
    case .boolean(let value): self = .boolean(value)
    case .integer(let value): self = value < 0 ? .integer(value) : .unsigned(UInt(value))
    case .real(let value): self = .real(value)
    case .text(let value): self = .text(value)
    }
  }
}
