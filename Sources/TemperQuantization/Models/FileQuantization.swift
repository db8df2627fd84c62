import TemperCatalogue
import TemperCore
import TemperNetworks

/// The weights of a safetensors file, quantized one after the other: one of them is in memory at a time, and what comes
/// of it is written at once. The new file appears whole or not at all; what a run that is cancelled has finished is kept
/// beside it, and the next such run goes on from there.
package struct FileQuantization {
  /// What became of one tensor of the file.
  package struct Step: Sendable {
    package let name: String
    /// How many tensors are done with it, and how many there are.
    package let done: Int, count: Int
    /// nil where it was copied as it is.
    package let report: QuantizationReport?
  }

  let quantizer: any Quantizer
  /// The quantizer's name and parameters: a run goes on only with the same.
  let settings: String
  let catalogue: Catalogue
  let workers: Workers

  package init(_ quantizer: any Quantizer, settings: String, catalogue: Catalogue, workers: Workers) {
    (self.quantizer, self.settings, self.catalogue, self.workers) = (quantizer, settings, catalogue, workers)
  }

  /// All that `QuantizedModel` packs, if the file holds a model; else all matrices of floats. The rest is copied. A
  /// GGUF file comes of its blocks, put aside as safetensors first. `progress` is called after each tensor, and stops
  /// everything by throwing; tensors that an earlier run has finished are told again.
  package func run(
    from source: String, to target: String, progress: (Step) throws(TemperError) -> Void
  ) throws(TemperError) {
    guard !quantizer.needsInputs else { throw quantizer.missingCalibration }
    let file = try ReadableFile(source)
    let listing = try SafetensorsListing(reading: file)
    guard listing.metadata[QuantizedModel.metadataName] == nil else {
      throw TemperError(.wrongState, "Its weights are packed already; quantize the float model.").from(source)
    }
    let aside = target + ".partial"
    try pack(file, listing, to: aside, asBlocks: StoredTensor.isGGUF(target), progress)
    guard StoredTensor.isGGUF(target) else { return try File.rename(aside, to: target) }
    try GGUF.write(try PackedFile(aside), to: target, catalogue: catalogue, workers: workers)
    try File.remove(aside)
  }

  private func pack(
    _ file: ReadableFile, _ listing: SafetensorsListing, to aside: String, asBlocks: Bool,
    _ progress: (Step) throws(TemperError) -> Void
  ) throws(TemperError) {
    let isPackable = try chosen(listing, file)
    let isModel = listing.metadata[Model.metadataName] != nil
    // One buffer for all: memory that is taken and given back anew leaves gaps.
    let largest = listing.entries.reduce(0) { isPackable($1) ? max($0, $1.byteCount) : $0 }
    let buffer = try Tensor(zeros: [largest], .uint8)
    // The header comes first in the file and is known last: it gets as much room as it can need.
    let room = FileQuantization.headerRoom(listing)
    let key = "\(settings) \(file.byteCount) \(file.modified) \(room)"
    let count = listing.entries.count
    let earlier = PartialFile(aside, key: key, listing)
    var stopped: TemperError?
    try File.replace(aside) { writer throws(TemperError) in
      try writer.write([UInt8](repeating: 0x20, count: room))
      var state = PartialFile.State(key: key)
      do throws(TemperError) {
        if let earlier {
          state = earlier.state
          try copy(room..<earlier.file.byteCount, of: earlier.file, to: &writer)
          for (index, report) in state.reports.enumerated() {
            try progress(Step(name: listing.entries[index].name, done: index + 1, count: count, report: report))
          }
        }
        for (index, entry) in listing.entries.enumerated().dropFirst(state.reports.count) {
          var quantized: QuantizedWeight?
          do throws(TemperError) {
            if isPackable(entry) {
              let weight = try Weight(try entry.tensor(try file.read(entry.range, into: buffer)))
              quantized = try quantizer.quantize(weight, inputs: nil, workers: workers)
              if asBlocks { quantized = try quantized?.inBlocks(of: weight, isOfModel: isModel, workers: workers) }
            }
            if let quantized {
              state.descriptions.append(JSON.Member(entry.name, quantized.matrix.storedDescription))
              for (name, tensor) in try quantized.matrix.storedTensors(of: entry.name, workers: workers) {
                state.placed.append(Safetensors.Placed(name, tensor, at: writer.count - room))
                try writer.write(tensor)
              }
            } else {
              state.placed.append(Safetensors.Placed(entry, at: writer.count - room))
              try copy(entry.range, of: file, to: &writer)
            }
          } catch {
            throw TemperError(error.code, "\"\(entry.name)\": \(error.message)", origin: error.origin)
          }
          state.reports.append(quantized?.report)
          try progress(Step(name: entry.name, done: index + 1, count: count, report: quantized?.report))
        }
      } catch {
        guard error.code == .cancelled else { throw error }
        stopped = error
      }
      var metadata = listing.metadata
      metadata[QuantizedModel.metadataName] = QuantizedModel.described(state.descriptions)
      if stopped != nil { metadata[PartialFile.metadataName] = state.text }
      try writer.overwrite(try Safetensors.header(metadata, state.placed, byteCount: room), at: 0)
    }
    if let stopped { throw stopped }
  }

  /// Which tensors are quantized. Of a model only what has one axis is read to know its parameters.
  private func chosen(
    _ listing: SafetensorsListing, _ file: ReadableFile
  ) throws(TemperError) -> (SafetensorsListing.Entry) -> Bool {
    let matrices = listing.entries.filter { $0.isFloating && $0.shape.rank >= 2 }
    guard listing.metadata[Model.metadataName] != nil else {
      let names = Set(matrices.map(\.name))
      return { names.contains($0.name) }
    }
    let names = Set(matrices.map(\.name))
    var small = Safetensors(metadata: listing.metadata)
    for entry in listing.entries where !names.contains(entry.name) {
      small.tensors.append((entry.name, try entry.tensor(try file.read(entry.range))))
    }
    let model = try Model(restoring: small, catalogue: catalogue, absent: names)
    let packable = Set(model.parameters.filter(\.isPackable).map(\.name)).intersection(names)
    return { packable.contains($0.name) }
  }

  private func copy(
    _ range: Range<Int>, of file: ReadableFile, to writer: inout FileWriter
  ) throws(TemperError) {
    let step = 1 << 20
    for start in stride(from: range.lowerBound, to: range.upperBound, by: step) {
      try writer.write(try file.read(start..<min(start + step, range.upperBound)))
    }
  }

  /// Each tensor may become as many as a weight in a file has, with names a little longer and numbers of 19 digits; what
  /// a cancelled run leaves says some numbers of each.
  private static func headerRoom(_ listing: SafetensorsListing) -> Int {
    let texts = listing.metadata.reduce(0) { $0 + 6 * ($1.key.utf8.count + $1.value.utf8.count) + 16 }
    let entries = listing.entries.reduce(0) { sum, entry in
      // Quoted text takes at most six bytes for one; once more quoted in the metadata, twice that.
      let name = 12 * entry.name.utf8.count + 64
      return sum + (StoredWeight.suffixes.count + 1) * (name + 200 + 21 * entry.shape.rank) + 400
    }
    return (texts + entries + 4096) / 64 * 64
  }
}

extension QuantizedWeight {
  /// What a GGUF file will hold of it, with the error of that; nil where its rows are no whole blocks of any type and
  /// nothing would be gained. A model may store a weight in another shape, a file of plain tensors may not.
  fileprivate func inBlocks(
    of weight: Weight, isOfModel: Bool, workers: Workers
  ) throws(TemperError) -> QuantizedWeight? {
    let wanted = try matrix.ggufType()
    var (type, shape) = try GGUF.place(weight.shape, wanted)
    if !isOfModel, shape != weight.shape { (type, shape) = (.float32, weight.shape) }
    let isBlocks = matrix.form is GGUFBlocks
    if !isOfModel, type == .float32, isBlocks || wanted != .float32 { return nil }
    guard !isBlocks else { return self }
    let found = type
    let blocks = try QuantizedMatrix(
      GGUFBlocks(shape: weight.shape, found, workers: workers) { rows throws(TemperError) in
        try matrix.ggufNumbers(found, rows: rows, workers: workers)
      })
    return QuantizedWeight(matrix: blocks, report: try blocks.report(of: weight, inputs: nil, workers: workers))
  }
}

/// What a cancelled run has left: a safetensors file of the tensors it finished, whose metadata say how far it came.
private struct PartialFile {
  static let metadataName = "temper.partial"

  struct State {
    let key: String
    var placed: [Safetensors.Placed] = []
    var descriptions: [JSON.Member] = []
    /// Of each tensor that is done.
    var reports: [QuantizationReport?] = []

    /// {"key": …, "tensors": [null or the report's numbers, …]}
    var text: String {
      JSON.object([
        JSON.Member("key", .text(key)), JSON.Member("tensors", .array(reports.map { $0?.numbers ?? .null })),
      ]).serialized
    }
  }

  let file: ReadableFile
  let state: State

  /// nil where there is none, or one of another run: that is replaced.
  init?(_ path: String, key: String, _ source: SafetensorsListing) {
    guard let file = try? ReadableFile(path), let listing = try? SafetensorsListing(reading: file),
      let text = listing.metadata[PartialFile.metadataName], let json = try? JSON(parsing: text),
      json["key"] == .text(key), case .array(let rows)? = json["tensors"], rows.count <= source.entries.count,
      let described = listing.metadata[QuantizedModel.metadataName], let weights = try? JSON(parsing: described),
      case .object(let members)? = weights["weights"]
    else { return nil }
    var state = State(key: key)
    state.descriptions = members
    for (row, entry) in zip(rows, source.entries) {
      state.reports.append(QuantizationReport(row, shape: entry.shape))
    }
    let start = listing.entries.first?.range.lowerBound ?? file.byteCount
    for entry in listing.entries {
      state.placed.append(Safetensors.Placed(entry, at: entry.range.lowerBound - start))
    }
    (self.file, self.state) = (file, state)
  }
}
