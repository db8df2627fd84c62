import TemperCore

/// A shared library as its file says it will lie in memory: what can be known of it without running any of it.
///
/// Every offset of the file is checked before it is followed, so that a truncated or hostile file gives an error.
struct ElfImage {
  private let file: [UInt8]
  private let segments: [Segment]
  /// Where a pointer of the file will point after loading: by its own address.
  private let relocated: [UInt64: Target]
  private let dynamic: [Int64: UInt64]

  private struct Segment {
    let address: UInt64, fileOffset: UInt64, fileSize: UInt64, memorySize: UInt64
    let isExecutable: Bool
  }

  private enum Target {
    case address(UInt64)
    /// In another library.
    case elsewhere
  }

  static func malformed(_ what: String) -> TemperError {
    TemperError(.pluginFailed, "The file is not a shared library that can be loaded: \(what).")
  }

  init(_ file: [UInt8]) throws(TemperError) {
    self.file = file
    guard file.count >= 64, file.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else {
      throw ElfImage.malformed("it does not begin as one")
    }
    guard file[4] == 2, file[5] == 1 else { throw ElfImage.malformed("it is not of 64 bits, little-endian") }
    func number<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type, _ at: UInt64) throws(TemperError) -> T {
      try ElfImage.number(file, type, at)
    }
    guard try number(UInt16.self, 16) == 3 else { throw ElfImage.malformed("it is not of the kind that is loaded") }
    #if arch(x86_64)
      let machine: UInt16 = 62
    #elseif arch(arm64)
      let machine: UInt16 = 183
    #endif
    guard try number(UInt16.self, 18) == machine else { throw ElfImage.malformed("it is for another processor") }
    let (table, entrySize, count) = (
      try number(UInt64.self, 32), try number(UInt16.self, 54), try number(UInt16.self, 56)
    )
    guard entrySize >= 56 else { throw ElfImage.malformed("its program headers are too short") }

    var segments: [Segment] = []
    var dynamicRange: (offset: UInt64, size: UInt64)?
    for index in 0..<UInt64(count) {
      let at = table &+ index &* UInt64(entrySize)
      let kind = try number(UInt32.self, at)
      let segment = Segment(
        address: try number(UInt64.self, at &+ 16), fileOffset: try number(UInt64.self, at &+ 8),
        fileSize: try number(UInt64.self, at &+ 32), memorySize: try number(UInt64.self, at &+ 40),
        isExecutable: try number(UInt32.self, at &+ 4) & 1 != 0)
      guard kind == 1 || kind == 2 else { continue }
      guard segment.fileSize <= UInt64(file.count), segment.fileOffset <= UInt64(file.count) - segment.fileSize,
        segment.fileSize <= segment.memorySize, segment.memorySize < 1 << 40, segment.address < 1 << 46
      else { throw ElfImage.malformed("it is truncated: a segment lies beyond its end") }
      if kind == 1 { segments.append(segment) } else { dynamicRange = (segment.fileOffset, segment.fileSize) }
    }
    guard let dynamicRange else { throw ElfImage.malformed("it has no dynamic section") }
    self.segments = segments
    var dynamic: [Int64: UInt64] = [:]
    for at in stride(from: dynamicRange.offset, to: dynamicRange.offset + dynamicRange.size / 16 * 16, by: 16) {
      let tag = Int64(bitPattern: try number(UInt64.self, at))
      if tag == 0 { break }
      dynamic[tag] = try number(UInt64.self, at + 8)
    }
    self.dynamic = dynamic
    relocated = try ElfImage.relocations(file, segments, dynamic)
  }

  // MARK: reading by address

  func bytes(at address: UInt64, count: UInt64) throws(TemperError) -> ArraySlice<UInt8> {
    guard let segment = segments.first(where: { $0.address <= address && address - $0.address < $0.fileSize }),
      count <= segment.fileSize - (address - segment.address)
    else { throw ElfImage.malformed("it points to address \(address), where the file has nothing") }
    let start = Int(segment.fileOffset + address - segment.address)
    return file[start..<(start + Int(count))]
  }

  func number<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type, at address: UInt64) throws(TemperError) -> T {
    try bytes(at: address, count: UInt64(MemoryLayout<T>.size)).reversed().reduce(0) { $0 << 8 | T($1) }
  }

  /// Where the pointer at `address` will point; nil for NULL.
  func pointer(at address: UInt64) throws(TemperError) -> UInt64? {
    switch relocated[address] {
    case .address(let target)?: return target
    case .elsewhere?: throw ElfImage.malformed("it takes constants from another library")
    case nil:
      // Packed relative relocations leave the address in place.
      let raw = try number(UInt64.self, at: address)
      return raw == 0 ? nil : raw
    }
  }

  func isExecutable(_ address: UInt64) -> Bool {
    segments.contains { $0.isExecutable && $0.address <= address && address - $0.address < $0.memorySize }
  }

  /// A text that ends with NUL within `limit` bytes.
  func text(at address: UInt64, limit: Int = 4096) throws(TemperError) -> String {
    guard let segment = segments.first(where: { $0.address <= address && address - $0.address < $0.fileSize }) else {
      throw ElfImage.malformed("a text lies at address \(address), where the file has nothing")
    }
    let start = Int(segment.fileOffset + address - segment.address)
    let end = Swift.min(Int(segment.fileOffset + segment.fileSize), start + limit)
    guard let stop = file[start..<end].firstIndex(of: 0) else {
      throw ElfImage.malformed("a text at address \(address) has no end within \(limit) bytes")
    }
    guard let text = String(validating: file[start..<stop], as: UTF8.self) else {
      throw ElfImage.malformed("a text at address \(address) is not UTF-8")
    }
    return text
  }

  // MARK: symbols

  /// The address of an object that the library exports; nil if it does not.
  func symbol(_ name: String) throws(TemperError) -> UInt64? {
    guard let strings = dynamic[5], let table = dynamic[6] else { return nil }
    for index in try candidates(name) {
      let entry = table &+ index &* 24
      let nameOffset = UInt64(try number(UInt32.self, at: entry))
      let section = try number(UInt16.self, at: entry &+ 6)
      guard section != 0, try text(at: strings &+ nameOffset) == name else { continue }
      return try number(UInt64.self, at: entry &+ 8)
    }
    return nil
  }

  /// Indices of symbols that may have this name, by the library's hash table (the GNU one or that of System V).
  private func candidates(_ name: String) throws(TemperError) -> [UInt64] {
    var found: [UInt64] = []
    if let hashes = dynamic[0x6FFF_FEF5] {
      let hash = name.utf8.reduce(UInt32(5381)) { $0 &* 33 &+ UInt32($1) }
      let (buckets, first) = (try number(UInt32.self, at: hashes), try number(UInt32.self, at: hashes &+ 4))
      let bloom = try number(UInt32.self, at: hashes &+ 8)
      guard buckets > 0 else { return [] }
      let bucketTable = hashes &+ 16 &+ UInt64(bloom) &* 8
      let chains = bucketTable &+ UInt64(buckets) &* 4
      var index = try number(UInt32.self, at: bucketTable &+ UInt64(hash % buckets) &* 4)
      guard index >= first else { return [] }
      while found.count < 1 << 20 {
        let chained = try number(UInt32.self, at: chains &+ UInt64(index - first) &* 4)
        if chained | 1 == hash | 1 { found.append(UInt64(index)) }
        if chained & 1 == 1 || index == .max { break }
        index += 1
      }
    } else if let hashes = dynamic[4] {
      let count = try number(UInt32.self, at: hashes &+ 4)
      guard count < 1 << 20 else { throw ElfImage.malformed("it claims \(count) symbols") }
      found = (0..<UInt64(count)).map { $0 }
    }
    return found
  }

  private static func relocations(
    _ file: [UInt8], _ segments: [Segment], _ dynamic: [Int64: UInt64]
  ) throws(TemperError) -> [UInt64: Target] {
    guard let table = dynamic[7], let size = dynamic[8] else { return [:] }
    func offset(_ address: UInt64, _ count: UInt64) throws(TemperError) -> UInt64 {
      guard let segment = segments.first(where: { $0.address <= address && address - $0.address < $0.fileSize }),
        count <= segment.fileSize - (address - segment.address)
      else { throw malformed("a table lies beyond its end") }
      return segment.fileOffset + address - segment.address
    }
    let start = try offset(table, size)
    var relocated: [UInt64: Target] = [:]
    for at in stride(from: start, to: start + size / 24 * 24, by: 24) {
      let (place, information, addend) = (
        try number(file, UInt64.self, at), try number(file, UInt64.self, at + 8), try number(file, UInt64.self, at + 16)
      )
      switch information & 0xFFFF_FFFF {
      case 8, 1027: relocated[place] = .address(addend)  // relative (x86-64, AArch64)
      case 1, 6, 257, 1025:  // of a symbol
        let symbols = dynamic[6] ?? 0
        let entry = try offset(symbols &+ (information >> 32) &* 24, 24)
        let section = try number(file, UInt16.self, entry + 6)
        relocated[place] = section == 0 ? .elsewhere : .address(try number(file, UInt64.self, entry + 8) &+ addend)
      default: continue
      }
    }
    return relocated
  }

  private static func number<T: FixedWidthInteger & UnsignedInteger>(
    _ file: [UInt8], _ type: T.Type, _ at: UInt64
  ) throws(TemperError) -> T {
    let size = UInt64(MemoryLayout<T>.size)
    guard at <= UInt64(file.count), size <= UInt64(file.count) - at else {
      throw malformed("it is truncated")
    }
    return file[Int(at)..<Int(at + size)].reversed().reduce(0) { $0 << 8 | T($1) }
  }
}
