import Glibc
import TemperCore
import Testing

@Suite final class FilesTests {
  private let directory: String

  init() {
    var template = Array("/tmp/temper-files-XXXXXX".utf8CString)
    directory = String(cString: mkdtemp(&template)!)
  }

  deinit {
    for name in names { unlink(directory + "/" + name) }
    rmdir(directory)
  }

  private var names: [String] {
    var names: [String] = []
    let handle = opendir(directory)!
    defer { closedir(handle) }
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  @Test func whatIsWrittenIsRead() throws {
    let path = directory + "/a"
    let view = try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2]).permuted([1, 0])
    try File.replace(path) { (writer) throws(TemperError) in
      try writer.write([1, 2, 3])
      try writer.write([])
      try writer.write(view)
      #expect(writer.count == 19)
    }
    let bytes = try File.read(path)
    #expect(try bytes.slice(0..<3).array(of: UInt8.self) == [1, 2, 3])
    #expect(bytes.count == 19)
    try File.replace(path) { (writer) throws(TemperError) in try writer.write([9]) }
    #expect(try File.read(path).array(of: UInt8.self) == [9])
    #expect(names == ["a"])
  }

  @Test func aFailedWriteLeavesTheOldFile() throws {
    let path = directory + "/a"
    try File.replace(path) { (writer) throws(TemperError) in try writer.write([1, 2, 3]) }
    #expect(throws: TemperError.self) {
      try File.replace(path) { (writer) throws(TemperError) in
        try writer.write([4])
        throw TemperError(.cancelled, "Stop.")
      }
    }
    #expect(try File.read(path).array(of: UInt8.self) == [1, 2, 3])
    #expect(names == ["a"])
  }

  @Test func badPathsAreErrors() {
    for path in ["", "\0", directory, "/dev/zero", directory + "/missing", directory + "/missing/x"] {
      #expect(throws: TemperError.self, "\(path)") { try File.read(path) }
    }
    for path in ["", "a\0b", directory, directory + "/", directory + "/missing/x"] {
      #expect(throws: TemperError.self, "\(path)") {
        try File.replace(path) { (writer) throws(TemperError) in try writer.write([1]) }
      }
    }
    #expect(names == [])
  }
}
