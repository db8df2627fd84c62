import TemperCore

/// NumPy's file of one array, mapped: a header, then the elements as they are in memory.
///
/// 6 bytes of magic, two of the version, the header's length (2 bytes in version 1, 4 in 2 and 3), and the header, a
/// dictionary as Python writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } (NumPy, NEP 1).
package enum NPY {
  private static let types: [(descr: String, type: DType)] = [
    ("<f4", .float32), ("<f8", .float64), ("<i4", .int32), ("<i8", .int64), ("|u1", .uint8), ("|b1", .bool),
    ("|i1", .int8),
  ]
  /// NumPy itself reads no longer ones unless it is told that the file is trusted.
  private static let longestHeader = 10_000

  /// A read-only tensor over the file, which must stay as it is as long as the tensor is used.
  package static func open(_ path: String) throws(TemperError) -> Tensor {
    let file = try ReadableFile(path)
    do throws(TemperError) { return try open(file) } catch {
      throw TemperError(error.code, "\"\(path)\": \(error.message)")
    }
  }

  private static func open(_ file: ReadableFile) throws(TemperError) -> Tensor {
    guard file.byteCount >= 10 else { throw malformed("\(file.byteCount) bytes are too few for a .npy file") }
    let start = try file.read(0..<min(12, file.byteCount)).array(of: UInt8.self)
    guard start[0] == 0x93, start[1..<6].elementsEqual("NUMPY".utf8) else {
      throw malformed("it does not begin as a .npy file does")
    }
    guard (1...3).contains(start[6]), start[7] == 0 else {
      throw TemperError(.unsupported, "Its .npy version is \(start[6]).\(start[7]); 1.0, 2.0 and 3.0 are known.")
    }
    let prefix = start[6] == 1 ? 10 : 12
    guard start.count >= prefix else { throw malformed("it ends within its header") }
    let length = start[8..<prefix].reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= longestHeader, prefix + length <= file.byteCount else {
      throw malformed("its header says that it has \(length) bytes")
    }
    var header = Header(try file.read(prefix..<prefix + length).array(of: UInt8.self))
    let entries = try header.parse()

    guard let type = types.first(where: { $0.descr == entries.descr })?.type else {
      let known = types.map { "\($0.descr) (\($0.type.name))" }.joined(separator: ", ")
      throw TemperError(.unsupported, "Its elements are of type \(entries.descr); \(known) can be read.")
    }
    let shape = try Shape(validating: entries.shape)
    let begin = prefix + length
    guard file.byteCount - begin == shape.count * type.byteCount else {
      throw malformed(
        "shape \(shape) of \(type.name) needs \(shape.count * type.byteCount) bytes; \(file.byteCount - begin) follow")
    }
    // In Fortran's order the first axis is the one without gaps.
    let strides = entries.isFortran ? Array(Shape(shape.sizes.reversed()).denseStrides.reversed()) : shape.denseStrides
    return try Tensor(
      storage: try file.mapped(), byteOffset: begin, dtype: type, shape: shape, strides: strides)
  }

  fileprivate static func malformed(_ what: String) -> TemperError { TemperError(.malformedFile, "\(what).") }

  /// The dictionary: its three keys, each once, in any order, and nothing else.
  private struct Header {
    private let bytes: [UInt8]
    private var place = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func parse() throws(TemperError) -> (descr: String, isFortran: Bool, shape: [Int]) {
      var descr: String?
      var isFortran: Bool?
      var shape: [Int]?
      try expect("{")
      while !take("}") {
        let key = try text()
        try expect(":")
        switch key {
        case "descr" where descr == nil: descr = try text()
        case "fortran_order" where isFortran == nil:
          if take("True") { isFortran = true } else { isFortran = false; try expect("False") }
        case "shape" where shape == nil: shape = try sizes()
        default: throw NPY.malformed("its header has \"\(key)\" where only descr, fortran_order and shape stand, once")
        }
        if !take(",") {
          try expect("}")
          break
        }
      }
      skipSpace()
      guard place == bytes.count else { throw NPY.malformed("its header goes on after the dictionary") }
      guard let descr, let isFortran, let shape else {
        throw NPY.malformed("its header does not have all of descr, fortran_order and shape")
      }
      return (descr, isFortran, shape)
    }

    private mutating func sizes() throws(TemperError) -> [Int] {
      var sizes: [Int] = []
      try expect("(")
      while !take(")") {
        var (size, digits) = (0, 0)
        skipSpace()
        while place < bytes.count, (0x30...0x39).contains(bytes[place]), digits < 18 {
          size = size * 10 + Int(bytes[place] - 0x30)
          (place, digits) = (place + 1, digits + 1)
        }
        guard digits > 0 else { throw NPY.malformed("its header has no number where a size should stand") }
        sizes.append(size)
        if !take(",") {
          // (3) is a number to Python, and no shape.
          guard sizes.count > 1 else { throw NPY.malformed("its shape is not a tuple") }
          try expect(")")
          break
        }
      }
      return sizes
    }

    /// Between quotes of either kind, without escapes.
    private mutating func text() throws(TemperError) -> String {
      skipSpace()
      guard place < bytes.count, bytes[place] == 0x27 || bytes[place] == 0x22 else {
        throw NPY.malformed("its header has no text where one should stand")
      }
      let quote = bytes[place]
      let rest = bytes[(place + 1)...]
      guard let end = rest.firstIndex(of: quote), rest[..<end].allSatisfy({ (0x20...0x7E).contains($0) && $0 != 0x5C })
      else { throw NPY.malformed("its header has a text that does not end, or is not plain") }
      place = end + 1
      return String(decoding: rest[..<end], as: UTF8.self)
    }

    private mutating func skipSpace() {
      while place < bytes.count, bytes[place] == 0x20 || bytes[place] == 0x0A { place += 1 }
    }

    private mutating func take(_ word: String) -> Bool {
      skipSpace()
      guard bytes[place...].starts(with: word.utf8) else { return false }
      place += word.utf8.count
      return true
    }

    private mutating func expect(_ word: String) throws(TemperError) {
      guard take(word) else { throw NPY.malformed("its header has no \(word) at byte \(place)") }
    }
  }
}
