import TemperCore
import TemperNetworks

/// Vectors of neighbouring weights of a row as sums of one vector from each of several tables, times the row's scale. All
/// vectors share the tables, or each place of a row has tables of its own.
package struct VectorCodes: WeightForm {
  static let formName = "vectors"

  package let shape: Shape
  /// (tables, vectors of a table, length of a vector), float32; the number of vectors is a power of two up to 256. Where
  /// places have tables of their own: those of the first, those of the second, …
  package let tables: Tensor
  /// (rows,), float32
  package let scales: Tensor
  /// Codes in the layout of one packed row a row: of each vector one code a table, one after the other.
  let codes: PackedMatrix

  /// Tables that a vector is summed from.
  package let tableCount: Int
  package var tableSize: Int { tables.shape[1] }
  package var length: Int { tables.shape[2] }
  package var bits: Double { Double(tableCount * codes.grid.bits) / Double(length) }
  package var byteCount: Int { codes.codes.byteCount + tables.byteCount + scales.byteCount }

  /// Vectors of a row; the last one may reach beyond it.
  static func vectors(columns: Int, length: Int) -> Int { (columns + length - 1) / length }

  /// `looseCodes` (rows, vectors of a row · tables), uint8.
  init(
    shape: Shape, tables: Tensor, perVector: Int, scales: Tensor, looseCodes: Tensor, workers: Workers
  ) throws(TemperError) {
    let rows = PackedMatrix.rows(of: shape)
    let size = tables.shape.rank == 3 ? tables.shape[1] : 0
    guard tables.dtype == .float32, tables.shape.rank == 3, tables.shape[0] > 0, tables.shape[2] > 0,
      (2...256).contains(size), size.nonzeroBitCount == 1
    else {
      throw TemperError(
        .invalidShape,
        "Tables are float32 (tables, vectors, length) with 2 to 256 vectors, a power of two; \(tables.shape) came.")
    }
    guard scales.dtype == .float32, scales.shape == [rows] else {
      throw TemperError(
        .invalidShape, "The scales of vectors are float32 of shape \(Shape([rows])); \(scales.shape) came.")
    }
    let numbers = try tables.array(of: Float.self) + (try scales.array(of: Float.self))
    guard numbers.allSatisfy({ abs($0) <= 0x1p60 }) else {
      throw TemperError(.notFinite, "Tables and scales of vectors are finite and at most 2^60 in size.")
    }
    let vectors = VectorCodes.vectors(columns: PackedMatrix.columns(of: shape), length: tables.shape[2])
    guard perVector > 0, tables.shape[0] == perVector || tables.shape[0] == perVector * vectors else {
      throw TemperError(
        .invalidShape,
        "Vectors of \(perVector) tables have as many, or \(perVector) for each of \(vectors) places; \(tables.shape[0]) came."
      )
    }
    let width = vectors * perVector
    codes = try PackedMatrix(
      shape: [rows, width], grid: try Grid(.unsigned, bits: size.trailingZeroBitCount), groupSize: max(width, 1),
      scales: try Tensor([Float](repeating: 1, count: width > 0 ? 1 : 0), shape: [1, width > 0 ? 1 : 0]), zeros: nil,
      looseCodes: looseCodes, workers: workers)
    (self.shape, self.tables, self.scales, tableCount) = (shape, try tables.dense(), try scales.dense(), perVector)
  }

  package func looseCodes(workers: Workers) throws(TemperError) -> Tensor { try codes.looseCodes(workers: workers) }

  package var storedDescription: [JSON.Member] {
    [
      JSON.Member("form", .text(Self.formName)),
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
      JSON.Member("tables", .integer(tableCount)),
    ]
  }

  package func storedTensors(workers: Workers) throws(TemperError) -> [(suffix: String, tensor: Tensor)] {
    [(".codes", try codes.storedCodes(workers: workers)), (".tables", tables), (".scales", scales)]
  }

  init(stored: StoredWeight, workers: Workers) throws(TemperError) {
    let shape = try stored.shape
    let tables = try stored.tensor(".tables").copy()
    guard tables.shape.rank == 3, tables.shape[0] > 0, tables.shape[1] >= 2, tables.shape[2] > 0 else {
      throw TemperError(.malformedFile, "Its tables are not (tables, vectors, length).")
    }
    let perVector = try stored.integer("tables")
    guard (1...tables.shape[0]).contains(perVector) else {
      throw TemperError(.malformedFile, "Its vectors are of \(perVector) tables, of \(tables.shape[0]).")
    }
    let width = VectorCodes.vectors(columns: PackedMatrix.columns(of: shape), length: tables.shape[2]) * perVector
    let codes = try PackedMatrix.restoredCodes(
      try stored.tensor(".codes"), shape: [PackedMatrix.rows(of: shape), width],
      bits: min(tables.shape[1], 256).trailingZeroBitCount, workers: workers)
    try self.init(
      shape: shape, tables: tables, perVector: perVector, scales: try stored.tensor(".scales").copy(),
      looseCodes: codes, workers: workers)
  }
}
