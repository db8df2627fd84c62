import TemperCatalogue
import TemperCore
import TemperNetworks

/// The weights of a safetensors file, quantized one after the other: one of them is in memory at a time, and what comes
/// of it is written at once. The new file appears whole or not at all.
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
  let catalogue: Catalogue
  let workers: Workers

  package init(_ quantizer: any Quantizer, catalogue: Catalogue, workers: Workers) {
    (self.quantizer, self.catalogue, self.workers) = (quantizer, catalogue, workers)
  }

  /// All that `QuantizedModel` packs, if the file holds a model; else all matrices of floats. The rest is copied.
  /// `progress` is called after each tensor, and stops everything by throwing.
  package func run(
    from source: String, to target: String, progress: (Step) throws(TemperError) -> Void
  ) throws(TemperError) {
    guard !quantizer.needsInputs else { throw quantizer.missingCalibration }
    let file = try ReadableFile(source)
    let listing = try SafetensorsListing(reading: file)
    guard listing.metadata[QuantizedModel.metadataName] == nil else {
      throw TemperError(.wrongState, "Its weights are packed already; quantize the float model.").from(source)
    }
    let isPackable = try chosen(listing, file)
    // One buffer for all: memory that is taken and given back anew leaves gaps.
    let largest = listing.entries.reduce(0) { isPackable($1) ? max($0, $1.byteCount) : $0 }
    let buffer = try Tensor(zeros: [largest], .uint8)
    try File.replace(target) { writer throws(TemperError) in
      // The header comes first in the file and is known last: it gets as much room as it can need.
      let room = FileQuantization.headerRoom(listing)
      try writer.write([UInt8](repeating: 0x20, count: room))
      var placed: [Safetensors.Placed] = []
      var descriptions: [JSON.Member] = []
      for (index, entry) in listing.entries.enumerated() {
        var report: QuantizationReport?
        if isPackable(entry) {
          do throws(TemperError) {
            let weight = try Weight(try entry.tensor(try file.read(entry.range, into: buffer)))
            let quantized = try quantizer.quantize(weight, inputs: nil, workers: workers)
            report = quantized.report
            descriptions.append(JSON.Member(entry.name, quantized.matrix.storedDescription))
            for (name, tensor) in try quantized.matrix.storedTensors(of: entry.name, workers: workers) {
              placed.append(Safetensors.Placed(name, tensor, at: writer.count - room))
              try writer.write(tensor)
            }
          } catch {
            throw TemperError(error.code, "\"\(entry.name)\": \(error.message)", origin: error.origin)
          }
        } else {
          placed.append(Safetensors.Placed(entry, at: writer.count - room))
          try copy(entry.range, of: file, to: &writer)
        }
        try progress(Step(name: entry.name, done: index + 1, count: listing.entries.count, report: report))
      }
      var metadata = listing.metadata
      metadata[QuantizedModel.metadataName] = QuantizedModel.described(descriptions)
      try writer.overwrite(try Safetensors.header(metadata, placed, byteCount: room), at: 0)
    }
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

  /// Each tensor may become as many as a weight in a file has, with names a little longer and numbers of 19 digits.
  private static func headerRoom(_ listing: SafetensorsListing) -> Int {
    let texts = listing.metadata.reduce(0) { $0 + 6 * ($1.key.utf8.count + $1.value.utf8.count) + 16 }
    let entries = listing.entries.reduce(0) { sum, entry in
      // Quoted text takes at most six bytes for one; once more quoted in the metadata, twice that.
      let name = 12 * entry.name.utf8.count + 64
      return sum + (StoredWeight.suffixes.count + 1) * (name + 200 + 21 * entry.shape.rank)
    }
    return (texts + entries + 4096) / 64 * 64
  }
}
