import TemperCore
import TemperKernels
import TemperNetworks

/// Packed matrices in safetensors files: codes as uint8 (rows, bytes of a row), column c of a row in bits [b c, b c + b)
/// of its bytes, lowest first; scales as float32, or, where the description says so, as uint8 exponents (2^(e − 127)); zero
/// points as uint8; the levels of a table that was learned as float32; and a description in the metadata.
extension PackedMatrix {
  /// {"shape": [...], "bits": b, "levels": the grid's name, "group_size": g, "scales": "exponents" if they are}
  package var storedDescription: [JSON.Member] {
    let members = [
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
      JSON.Member("bits", .integer(grid.bits)),
      JSON.Member("levels", .text(grid.name)),
      JSON.Member("group_size", .integer(groupSize)),
    ]
    return hasExponents ? members + [JSON.Member("scales", .text("exponents"))] : members
  }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    var tensors = [(".codes", try storedCodes(workers: workers)), (".scales", try storedScales)]
    if let zeros { tensors.append((".zeros", zeros)) }
    if let codebook = grid.codebook, codebook.isLearned { tensors.append((".levels", try Tensor(codebook.levels))) }
    return tensors
  }

  private var storedScales: Tensor {
    get throws(TemperError) {
      guard hasExponents else { return scales }
      return try Tensor(
        try scales.array(of: Float.self).map { UInt8(clamping: Int($0.exponent) + 127) }, shape: scales.shape)
    }
  }

  private static func restoredScales(_ stored: Tensor) throws(TemperError) -> Tensor {
    guard stored.dtype == .uint8 else { return try stored.copy() }
    return try Tensor(
      try stored.array(of: UInt8.self).map { Float(sign: .plus, exponent: Int($0) - 127, significand: 1) },
      shape: stored.shape)
  }

  /// What `storedDescription` and `storedTensors` say; whatever is missing or does not fit is an error.
  init(stored: StoredWeight, workers: Workers) throws(TemperError) {
    let (bits, groupSize) = (try stored.integer("bits"), try stored.integer("group_size"))
    let shape = try stored.shape
    let levels = try stored.text("levels")
    let grid =
      levels == Codebook.learnedName
      ? Grid(try Codebook(learned: try stored.tensor(".levels").array(of: Float.self)))
      : try Grid(named: levels, bits: bits)
    guard grid.bits == bits else {
      throw TemperError(
        .malformedFile, "A table of \(1 << grid.bits) levels has codes of \(grid.bits) bits; not \(bits).")
    }
    // Copies: a view would keep the whole file in memory.
    let hasExponents = stored.description["scales"] != nil
    let scales = try stored.tensor(".scales")
    guard scales.dtype == (hasExponents ? .uint8 : .float32) else {
      throw TemperError(.malformedFile, "Its scales are \(scales.dtype.name), which is not what its description says.")
    }
    let matrix = try PackedMatrix(
      shape: shape, grid: grid, groupSize: groupSize, scales: try PackedMatrix.restoredScales(scales),
      zeros: try stored.optionalTensor(".zeros")?.copy(),
      looseCodes: try PackedMatrix.restoredCodes(
        try stored.tensor(".codes"), shape: shape, bits: bits, workers: workers), workers: workers)
    self = hasExponents ? try matrix.withExponents() : matrix
  }
}
