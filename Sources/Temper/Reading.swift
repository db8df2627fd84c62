import CTemper
import Glibc
import TemperCatalogue
import TemperCore

/// What comes in through C, checked before anything is made of it.

func required<T>(
  _ pointer: UnsafeMutablePointer<T>?, _ name: String, _ argument: Int32
) throws(TemperError) -> UnsafeMutablePointer<T> {
  guard let pointer = unsafe pointer else {
    throw TemperError(.invalidArgument, "`\(name)` must not be NULL.", argument: argument)
  }
  return unsafe pointer
}

let longestText = 1 << 24

/// A text: NUL-terminated UTF-8.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String, _ argument: Int32) throws(TemperError) -> String {
  guard let pointer = unsafe pointer else {
    throw TemperError(.invalidArgument, "`\(name)` must be a text; NULL came.", argument: argument)
  }
  let length = unsafe strnlen(pointer, longestText + 1)
  guard length <= longestText else {
    throw TemperError(.invalidArgument, "`\(name)` is longer than 16 MB.", argument: argument)
  }
  let bytes = unsafe UnsafeRawBufferPointer(start: pointer, count: length)
  guard let text = unsafe String(validating: bytes, as: UTF8.self) else {
    throw TemperError(.invalidArgument, "`\(name)` is not UTF-8.", argument: argument)
  }
  return text
}

/// The path of a file: a text that is not empty.
func path(_ pointer: UnsafePointer<CChar>?, _ argument: Int32) throws(TemperError) -> String {
  let path = unsafe try text(pointer, "path", argument)
  guard !path.isEmpty else {
    throw TemperError(.invalidArgument, "`path` must name a file; an empty text came.", argument: argument)
  }
  return path
}

/// What `read` makes of each of `count` elements from `pointer`; `limit` keeps absurd counts from being believed.
func list<T, Result>(
  _ pointer: UnsafePointer<T>?, _ count: UInt64, _ name: String, _ argument: Int32, limit: UInt64 = 1 << 16,
  _ read: (T) throws(TemperError) -> Result
) throws(TemperError) -> [Result] {
  guard count <= limit else {
    throw TemperError(
      .outOfRange, "At most \(limit) entries of `\(name)` may come; \(count) came.", argument: argument + 1)
  }
  if count == 0 { return [] }
  guard let pointer = unsafe pointer else {
    throw TemperError(.invalidArgument, "`\(name)` is NULL and has \(count) entries.", argument: argument)
  }
  var results: [Result] = []
  for index in 0..<Int(count) { results.append(try read(unsafe pointer[index])) }
  return results
}

/// A struct that begins with its size: shorter ones are filled up with zeros; what a longer one has beyond must be zero.
func sized<T>(
  _ pointer: UnsafePointer<T>, _ initial: T, _ name: String, _ argument: Int32
) throws(TemperError) -> T {
  let size = unsafe try sizeOfStruct(UnsafeRawPointer(pointer), name, argument)
  let raw = unsafe UnsafeRawBufferPointer(start: pointer, count: size)
  var value = initial
  let known = Swift.min(size, MemoryLayout<T>.size)
  unsafe withUnsafeMutableBytes(of: &value) {
    unsafe $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[..<known]))
  }
  if let offset = unsafe raw[known...].firstIndex(where: { $0 != 0 }) {
    throw TemperError(
      .unsupported,
      "`\(name)` has a field set at byte \(offset) that this library (version \(versionText)) does not know.",
      argument: argument)
  }
  return value
}

/// The struct_size at the start of a struct.
func sizeOfStruct(_ pointer: UnsafeRawPointer, _ name: String, _ argument: Int32) throws(TemperError) -> Int {
  let size = unsafe Int(pointer.loadUnaligned(as: UInt32.self))
  guard size >= 4, size <= 4096 else {
    throw TemperError(
      .invalidArgument, "`\(name)`: struct_size must be sizeof(the struct); \(size) came.", argument: argument)
  }
  return size
}

func dtype(_ number: Int32, _ argument: Int32) throws(TemperError) -> DType {
  guard let type = DType(rawValue: number) else {
    let known = DType.allCases.map { "\($0.name) (\($0.rawValue))" }.joined(separator: ", ")
    throw TemperError(
      .invalidArgument, "\(number) is not a dtype; there are \(known).", argument: argument)
  }
  return type
}

/// `rank` numbers, such as the sizes of a shape.
func integers(
  _ pointer: UnsafePointer<Int64>?, rank: Int32, _ name: String, _ argument: Int32
) throws(TemperError) -> [Int] {
  guard rank >= 0, Int(rank) <= Shape.maximumRank else {
    throw TemperError(
      .invalidShape, "A rank is 0 to \(Shape.maximumRank); \(rank) came.", argument: argument - 1)
  }
  return unsafe try list(pointer, UInt64(rank), name, argument) { Int($0) }
}

func shape(
  _ pointer: UnsafePointer<Int64>?, rank: Int32, _ name: String, _ argument: Int32
) throws(TemperError) -> Shape {
  try located(argument) { () throws(TemperError) in
    try Shape(validating: unsafe try integers(pointer, rank: rank, name, argument))
  }
}

/// An error of `body` is said to be of this argument, unless it names one.
func located<T>(_ argument: Int32, _ body: () throws(TemperError) -> T) throws(TemperError) -> T {
  do throws(TemperError) { return try body() } catch {
    var error = error
    if error.argument < 0 { error.argument = argument }
    throw error
  }
}

/// Named values of a method's parameters.
func parameters(
  _ pointer: UnsafePointer<temper_param>?, _ count: UInt64, _ argument: Int32
) throws(TemperError) -> [(name: String, value: Value)] {
  var seen = Set<String>()
  return unsafe try list(pointer, count, "params", argument, limit: 4096) { param throws(TemperError) in
    let name = unsafe try text(param.name, "name of parameter \(seen.count)", argument)
    guard seen.insert(name).inserted else {
      throw TemperError(.invalidArgument, "Parameter \(name) is given twice.", argument: argument)
    }
    return (name, unsafe try value(param, name, argument))
  }
}

private func value(_ param: temper_param, _ name: String, _ argument: Int32) throws(TemperError) -> Value {
  switch unsafe param.type {
  case TEMPER_PARAM_NONE: return .none
  case TEMPER_PARAM_BOOLEAN: return .boolean(unsafe try flag(param.boolean, "parameter \(name)", argument))
  case TEMPER_PARAM_INTEGER: return unsafe .integer(Int(param.integer))
  case TEMPER_PARAM_REAL: return unsafe .real(param.real)
  case TEMPER_PARAM_TEXT: return unsafe .text(try text(param.text, "text of parameter \(name)", argument))
  default:
    throw TemperError(
      .invalidArgument, "Parameter \(name): \(unsafe param.type) is not a TEMPER_PARAM_* type.", argument: argument)
  }
}

func flag(_ value: Int32, _ name: String, _ argument: Int32) throws(TemperError) -> Bool {
  guard value == 0 || value == 1 else {
    throw TemperError(.outOfRange, "\(name) is 0 or 1; \(value) came.", argument: argument)
  }
  return value == 1
}
