import TemperCatalogue
import TemperCore
import TemperNetworks

/// The weights of a safetensors or GGUF file, quantized one after the other: one of them is in memory at a time, and
/// what comes of it is written at once. The new file appears whole or not at all; what a run that is cancelled has
/// finished is kept beside it, and the next such run goes on from there.
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
  /// GGUF file comes of its blocks, put aside as safetensors first. Tensors in `skip` are copied. `progress` is called
  /// after each tensor, and stops everything by throwing; tensors that an earlier run has finished are told again.
  package func run(
    from source: String, to target: String, skip: Set<String> = [], progress: (Step) throws(TemperError) -> Void
  ) throws(TemperError) {
    guard !quantizer.needsInputs else { throw quantizer.missingCalibration }
    let file = try WeightFile(source, workers: workers)
    guard file.metadata[QuantizedModel.metadataName] == nil else {
      throw TemperError(.wrongState, "Its weights are packed already; quantize the float model.").from(source)
    }
    if let unknown = skip.subtracting(file.entries.map(\.name)).min() {
      throw TemperError(.unknownName, "The file has no tensor \"\(unknown)\" that could be skipped.").from(source)
    }
    let aside = target + ".partial"
    try pack(file, skip, to: aside, asBlocks: StoredTensor.isGGUF(target), progress)
    guard StoredTensor.isGGUF(target) else { return try File.rename(aside, to: target) }
    try GGUF.write(try PackedFile(aside), to: target, catalogue: catalogue, workers: workers)
    try File.remove(aside)
  }

  private func pack(
    _ file: WeightFile, _ skip: Set<String>, to aside: String, asBlocks: Bool,
    _ progress: (Step) throws(TemperError) -> Void
  ) throws(TemperError) {
    let packable = try chosen(file).subtracting(skip)
    let isModel = file.metadata[Model.metadataName] != nil
    // One buffer for all: memory that is taken and given back anew leaves gaps.
    let largest = file.entries.reduce(0) { packable.contains($1.name) ? max($0, $1.range.count) : $0 }
    let buffer = try Tensor(zeros: [largest], .uint8)
    // The header comes first in the file and is known last: it gets as much room as it can need.
    let room = FileQuantization.headerRoom(file)
    let skipped = skip.isEmpty ? "" : " without " + JSON.array(skip.sorted().map { .text($0) }).serialized
    let key = "\(settings)\(skipped) \(file.file.byteCount) \(file.file.modified) \(room)"
    let count = file.entries.count
    let earlier = PartialFile(aside, key: key, file.entries.map(\.shape))
    var stopped: TemperError?
    try File.replace(aside) { writer throws(TemperError) in
      try writer.write([UInt8](repeating: 0x20, count: room))
      var state = PartialFile.State(key: key)
      do throws(TemperError) {
        if let earlier {
          state = earlier.state
          try writer.copy(room..<earlier.file.byteCount, of: earlier.file)
          for (index, report) in state.reports.enumerated() {
            try progress(Step(name: file.entries[index].name, done: index + 1, count: count, report: report))
          }
        }
        for (index, entry) in file.entries.enumerated().dropFirst(state.reports.count) {
          var quantized: QuantizedWeight?
          do throws(TemperError) {
            if packable.contains(entry.name) {
              let weight = try Weight(try file.tensor(entry, into: buffer))
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
              state.placed.append(try file.copy(entry, to: &writer, at: writer.count - room))
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
      var metadata = file.metadata
      metadata[QuantizedModel.metadataName] = QuantizedModel.described(state.descriptions)
      if stopped != nil { metadata[PartialFile.metadataName] = state.text }
      try writer.overwrite(try Safetensors.header(metadata, state.placed, byteCount: room), at: 0)
    }
    if let stopped { throw stopped }
  }

  /// The names of the tensors that are quantized. Of a model only what has one axis is read to know its parameters.
  private func chosen(_ file: WeightFile) throws(TemperError) -> Set<String> {
    let names = Set(file.entries.filter { $0.isFloating && $0.shape.rank >= 2 }.map(\.name))
    guard file.metadata[Model.metadataName] != nil else { return names }
    var small = Safetensors(metadata: file.metadata)
    for entry in file.entries where !names.contains(entry.name) {
      small.tensors.append((entry.name, try file.tensor(entry)))
    }
    let model = try Model(restoring: small, catalogue: catalogue, absent: names)
    return Set(model.parameters.filter(\.isPackable).map(\.name)).intersection(names)
  }

  /// Each tensor may become as many as a weight in a file has, with names a little longer and numbers of 19 digits; what
  /// a cancelled run leaves says some numbers of each.
  private static func headerRoom(_ file: WeightFile) -> Int {
    let texts = file.metadata.reduce(0) { $0 + 6 * ($1.key.utf8.count + $1.value.utf8.count) + 16 }
    let entries = file.entries.reduce(0) { sum, entry in
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
  init?(_ path: String, key: String, _ shapes: [Shape]) {
    guard let file = try? ReadableFile(path), let listing = try? SafetensorsListing(reading: file),
      let text = listing.metadata[PartialFile.metadataName], let json = try? JSON(parsing: text),
      json["key"] == .text(key), case .array(let rows)? = json["tensors"], rows.count <= shapes.count,
      let described = listing.metadata[QuantizedModel.metadataName], let weights = try? JSON(parsing: described),
      case .object(let members)? = weights["weights"]
    else { return nil }
    var state = State(key: key)
    state.descriptions = members
    for (row, shape) in zip(rows, shapes) { state.reports.append(QuantizationReport(row, shape: shape)) }
    let start = listing.entries.first?.range.lowerBound ?? file.byteCount
    for entry in listing.entries {
      state.placed.append(Safetensors.Placed(entry, at: entry.range.lowerBound - start))
    }
    (self.file, self.state) = (file, state)
  }
}
