import TemperCore
import TemperNetworks

/// A safetensors or GGUF file, of which one tensor is in memory at a time.
struct WeightFile {
  struct Entry {
    let name: String
    /// That of the model's parameter, where a GGUF file stores it in another.
    let shape: Shape
    /// Whether its numbers are float32 or float64.
    let isFloating: Bool
    /// In the file.
    let range: Range<Int>
    fileprivate let index: Int
  }

  private enum Format {
    case safetensors(SafetensorsListing)
    case gguf(GGUF)
  }

  let file: ReadableFile
  /// As a safetensors file can have it: texts. Of a GGUF file with a model only what describes the model.
  let metadata: [String: String]
  let entries: [Entry]
  private let format: Format
  private let workers: Workers

  init(_ path: String, workers: Workers) throws(TemperError) {
    file = try ReadableFile(path)
    self.workers = workers
    guard try GGUF.begins(file) else {
      let listing = try SafetensorsListing(reading: file)
      format = .safetensors(listing)
      metadata = listing.metadata
      entries = listing.entries.enumerated().map { index, entry in
        Entry(name: entry.name, shape: entry.shape, isFloating: entry.isFloating, range: entry.range, index: index)
      }
      return
    }
    let gguf = try GGUF(reading: file)
    format = .gguf(gguf)
    metadata = gguf.texts
    var entries: [Entry] = []
    let shapes = try gguf.shapesOfModel()
    for (index, entry) in gguf.tensors.enumerated() {
      let shape = shapes[entry.name] ?? entry.shape
      guard shape.count == entry.shape.count else {
        throw GGUF.malformed("\"\(entry.name)\" of shape \(entry.shape) is said to have shape \(shape)").from(path)
      }
      entries.append(
        Entry(
          name: entry.name, shape: shape, isFloating: (entry.type.copied ?? .float32).isFloating, range: entry.range,
          index: index))
    }
    self.entries = entries
  }

  /// Its numbers: of a safetensors file views of `buffer`, if that is given and their type allows it.
  func tensor(_ entry: Entry, into buffer: Tensor? = nil) throws(TemperError) -> Tensor {
    let bytes = if let buffer { try file.read(entry.range, into: buffer) } else { try file.read(entry.range) }
    switch format {
    case .safetensors(let listing): return try listing.entries[entry.index].tensor(bytes)
    case .gguf(let gguf):
      let stored = gguf.tensors[entry.index]
      return try stored.type.decode(bytes, shape: stored.shape, workers: workers).reshaped(entry.shape)
    }
  }

  /// Writes the tensor as it is, or its numbers where safetensors files know no such type; says what was written.
  func copy(
    _ entry: Entry, to writer: inout FileWriter, at offset: Int
  ) throws(TemperError) -> Safetensors.Placed {
    guard case .safetensors(let listing) = format else {
      let numbers = try tensor(entry)
      try writer.write(numbers)
      return Safetensors.Placed(entry.name, numbers, at: offset)
    }
    try writer.copy(entry.range, of: file)
    return Safetensors.Placed(listing.entries[entry.index], at: offset)
  }
}

extension FileWriter {
  /// A part of another file, a little at a time.
  mutating func copy(_ range: Range<Int>, of file: ReadableFile) throws(TemperError) {
    let step = 1 << 20
    for start in stride(from: range.lowerBound, to: range.upperBound, by: step) {
      try write(try file.read(start..<min(start + step, range.upperBound)))
    }
  }
}
