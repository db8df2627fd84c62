import CTemper
import Glibc
import TemperCore

/// An ordered list of named tensors. Names are kept as C texts, which callers borrow.
@safe final class TensorMap: Handled {
  static var kind: HandleKind { .tensorMap }
  let entries: [(name: String, tensor: Tensor)]
  private let names: [UnsafeMutablePointer<CChar>]

  init(_ entries: [(name: String, tensor: Tensor)]) throws(TemperError) {
    self.entries = entries
    var names: [UnsafeMutablePointer<CChar>] = unsafe []
    for entry in entries { if let name = unsafe strdup(entry.name) { unsafe names.append(name) } }
    unsafe self.names = names
    guard unsafe names.count == entries.count else {
      throw TemperError(.outOfMemory, "The names did not fit into memory.")
    }
  }

  deinit { for index in unsafe names.indices { unsafe free(names[index]) } }

  @unsafe func name(_ index: Int) -> UnsafePointer<CChar> { unsafe UnsafePointer(names[index]) }
}

@implementation @c public func temper_tensor_map_count(
  _ out: UnsafeMutablePointer<UInt64>?, _ map: OpaquePointer?, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = UInt64(try Handles.all.value(map, as: TensorMap.self, argument: 1).entries.count)
  }
}

@implementation @c public func temper_tensor_map_get(
  _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>?, _ tensor: UnsafeMutablePointer<OpaquePointer?>?,
  _ map: OpaquePointer?, _ index: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  if let tensor = unsafe tensor { unsafe tensor.pointee = nil }
  return unsafe edge(error) { () throws(TemperError) in
    let map = unsafe try Handles.all.value(map, as: TensorMap.self, argument: 2)
    guard index < UInt64(map.entries.count) else {
      throw TemperError(.outOfRange, "The map has \(map.entries.count) entries; index \(index) came.", argument: 3)
    }
    if let tensor = unsafe tensor {
      unsafe tensor.pointee = try Handles.all.make(map.entries[Int(index)].tensor)
    }
    if let name = unsafe name { unsafe name.pointee = map.name(Int(index)) }
  }
}

@implementation @c public func temper_tensor_map_find(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ map: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let map = unsafe try Handles.all.value(map, as: TensorMap.self, argument: 1)
    let name = unsafe try text(name, "name", 2)
    if let entry = map.entries.first(where: { $0.name == name }) { return entry.tensor }
    let names = map.entries.prefix(20).map(\.name).joined(separator: ", ")
    throw TemperError(
      .unknownName, "There is no tensor \"\(name)\"; there are \(names)\(map.entries.count > 20 ? ", ..." : "").",
      argument: 2)
  }
}

@implementation @c public func temper_tensor_map_free(_ map: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: map, TensorMap.self)
}

/// Named tensors as they come in: unique names, live handles.
func named(
  _ pointer: UnsafePointer<temper_named_tensor>?, _ count: UInt64, _ what: String, _ argument: Int32
) throws(TemperError) -> [(name: String, tensor: Tensor)] {
  var seen = Set<String>()
  return unsafe try list(pointer, count, what, argument) { entry throws(TemperError) in
    let name = unsafe try text(entry.name, "name of entry \(seen.count) of \(what)", argument)
    guard seen.insert(name).inserted else {
      throw TemperError(.invalidArgument, "\"\(name)\" comes twice in `\(what)`.", argument: argument)
    }
    return (name, unsafe try tensor(entry.tensor, argument))
  }
}

/// Named tensors that a call writes: writable, apart from each other and from what it reads.
func namedResults(
  _ pointer: UnsafePointer<temper_named_tensor>?, _ count: UInt64, _ what: String, _ argument: Int32,
  reading inputs: [(name: String, tensor: Tensor)]
) throws(TemperError) -> [(name: String, tensor: Tensor)] {
  let entries = unsafe try named(pointer, count, what, argument)
  for (index, entry) in entries.enumerated() {
    try entry.tensor.writable("\(what): \(entry.name)", argument)
    for other in entries[..<index] {
      try entry.tensor.apart(from: other.tensor, "\(what): \(entry.name)", "\(what): \(other.name)", argument)
    }
    for input in inputs {
      try entry.tensor.apart(from: input.tensor, "\(what): \(entry.name)", input.name, argument)
    }
  }
  return entries
}
