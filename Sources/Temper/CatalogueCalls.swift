import CTemper
import TemperCatalogue
import TemperCore

private func methods(
  _ context: Context, _ kind: UnsafePointer<CChar>?, _ argument: Int32
) throws(TemperError) -> [Method] {
  guard let kind = unsafe try kinds(kind, argument) else { return context.catalogue.methods }
  return context.catalogue.methods.filter { kind.contains($0.kind) }
}

private func kinds(_ kind: UnsafePointer<CChar>?, _ argument: Int32) throws(TemperError) -> Set<MethodKind>? {
  guard unsafe kind != nil else { return nil }
  let name = unsafe try text(kind, "kind", argument)
  if let kind = MethodKind(rawValue: name) { return [kind] }
  let known = MethodKind.allCases.map(\.rawValue).joined(separator: ", ")
  throw TemperError(.unknownName, "There is no kind \"\(name)\"; there are \(known).", argument: argument)
}

@implementation @c public func temper_catalogue_count(
  _ out: UnsafeMutablePointer<UInt64>?, _ handle: OpaquePointer?, _ kind: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let out = unsafe try required(out, "out", 0)
    unsafe out.pointee = unsafe UInt64(try methods(try context(handle, 1), kind, 2).count)
  }
}

@implementation @c public func temper_catalogue_name(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ kind: UnsafePointer<CChar>?, _ index: UInt64,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let methods = unsafe try methods(try context(handle, 3), kind, 4)
    guard index < UInt64(methods.count) else {
      throw TemperError(.outOfRange, "There are \(methods.count) methods; index \(index) came.", argument: 5)
    }
    unsafe try deliver(methods[Int(index)].name, buffer, capacity, length)
  }
}

@implementation @c public func temper_catalogue_find(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ kind: UnsafePointer<CChar>?, _ name: UnsafePointer<CChar>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let context = unsafe try context(handle, 3)
    let (kinds, name) = unsafe (try kinds(kind, 4), try text(name, "name", 5))
    let method = try located(5) { () throws(TemperError) in try context.catalogue.find(name, kinds: kinds) }
    unsafe try deliver(method.name, buffer, capacity, length)
  }
}

@implementation @c public func temper_catalogue_describe(
  _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: UInt64, _ length: UnsafeMutablePointer<UInt64>?,
  _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ form: Int32,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (context, format) = unsafe (try context(handle, 3), try format(form, 5))
    var methods = context.catalogue.methods
    if unsafe name != nil {
      let name = unsafe try text(name, "name", 4)
      methods = [try located(4) { () throws(TemperError) in try context.catalogue.find(name) }]
    }
    let result: String
    switch format {
    case .json: result = unsafe name == nil ? context.catalogue.json.serialized : methods[0].json.serialized
    case .text: result = methods.map { $0.described(.text) }.joined(separator: "\n")
    }
    unsafe try deliver(result, buffer, capacity, length)
  }
}

enum Format: Int32 {
  case text = 0
  case json = 1
}

func format(_ number: Int32, _ argument: Int32) throws(TemperError) -> Format {
  guard let format = Format(rawValue: number) else {
    throw TemperError(
      .invalidArgument, "\(number) is not a format: TEMPER_FORMAT_TEXT is 0, TEMPER_FORMAT_JSON 1.",
      argument: argument)
  }
  return format
}

extension Method {
  func described(_ format: Format) -> String {
    switch format {
    case .json: json.serialized
    case .text: "\(name) (\(kind.rawValue))\n\(documentation)"
    }
  }
}
