import TemperKernels
import Testing

/// Tables, scales and codes, all arbitrary.
private final class VectorFixture {
  let loose: [UInt8]
  let tables: [Float], scales: [Float], codes: [UInt8]
  let rows: Int, columns: Int, length: Int, tableCount: Int, bits: Int

  init(rows: Int, columns: Int, length: Int, tableCount: Int, bits: Int) {
    (self.rows, self.columns, self.length) = (rows, columns, length)
    (self.tableCount, self.bits) = (tableCount, bits)
    var random = SplitMix(state: UInt64(columns * 100 + bits))
    let width = (columns + length - 1) / length * tableCount
    tables = (0..<(tableCount << bits) * length).map { _ in Float(random.next()) }
    scales = (0..<rows).map { _ in Float(random.next()) }
    loose = (0..<rows * width).map { _ in UInt8((random.next() + 1) / 2 * Double(1 << bits)) }
    var packed = [UInt8](repeating: 0, count: max(1, rows * Int(temper_packed_row_bytes(Int64(width), Int32(bits)))))
    temper_pack_rows(Int64(width), Int32(bits), loose, 0, Int64(rows), &packed)
    codes = packed
  }

  /// scale · Σ tables[t][code][p], in the definition's own words.
  func weight(_ row: Int, _ column: Int) -> Double {
    let width = (columns + length - 1) / length * tableCount
    let (vector, place) = (column / length, column % length)
    let sum = (0..<tableCount).reduce(0.0) { sum, table in
      let code = Int(loose[row * width + vector * tableCount + table])
      return sum + Double(tables[((table << bits) + code) * length + place])
    }
    return Double(scales[row]) * sum
  }

  func with(_ body: (inout temper_vector_codes) -> Void) {
    tables.withUnsafeBufferPointer { tables in
      scales.withUnsafeBufferPointer { scales in
        codes.withUnsafeBufferPointer { codes in
          var matrix = temper_vector_codes(
            rows: Int64(rows), columns: Int64(columns), length: Int64(length), table_count: Int64(tableCount),
            bits: Int32(bits), tables: tables.baseAddress, scales: scales.baseAddress, codes: codes.baseAddress)
          body(&matrix)
        }
      }
    }
  }
}

@Suite struct VectorCodesTests {
  private let forms: [(rows: Int, columns: Int, length: Int, tables: Int, bits: Int)] = [
    (1, 1, 1, 1, 1), (3, 64, 8, 1, 8), (5, 70, 8, 2, 8), (4, 33, 4, 3, 4), (200, 50, 5, 1, 3), (7, 9, 16, 2, 6),
    (2, 0, 4, 1, 4), (0, 8, 4, 1, 4), (3, 300, 2, 4, 5),
  ]

  @Test func rowsAreSumsOfVectors() {
    for form in forms {
      let fixture = VectorFixture(
        rows: form.rows, columns: form.columns, length: form.length, tableCount: form.tables, bits: form.bits)
      let count = form.rows * form.columns
      let out = GuardedMemory(bytes: max(1, count) * 4)
      let found = out.base.assumingMemoryBound(to: Float.self)
      fixture.with { temper_vector_codes_decode(&$0, 0, Int64(form.rows), found) }
      for row in 0..<form.rows {
        for column in 0..<form.columns {
          let expected = fixture.weight(row, column)
          #expect(abs(Double(found[row * form.columns + column]) - expected) <= 1e-6 * Double(form.tables), "\(form)")
        }
      }
      #expect(out.isIntact)
    }
  }

  @Test func lookingUpGivesTheProducts() {
    for form in forms {
      let fixture = VectorFixture(
        rows: form.rows, columns: form.columns, length: form.length, tableCount: form.tables, bits: form.bits)
      var random = SplitMix(state: 5)
      let x = (0..<form.columns).map { _ in Float(random.next()) }
      let y = GuardedMemory(bytes: max(1, form.rows) * 4)
      let found = y.base.assumingMemoryBound(to: Float.self)
      fixture.with { matrix in
        let width = temper_vector_codes_width(&matrix)
        let lookUp = GuardedMemory(bytes: Int(temper_vector_codes_lookup_bytes(&matrix)))
        let entries = lookUp.base.assumingMemoryBound(to: Float.self)
        // In parts, the last first.
        for part in (0...(width / 32)).reversed() {
          temper_vector_codes_dots(&matrix, x, 32 * part, min(width, 32 * part + 32), entries)
        }
        let half = Int64(form.rows / 2)
        temper_vector_codes_look_up(&matrix, entries, half, Int64(form.rows), found)
        temper_vector_codes_look_up(&matrix, entries, 0, half, found)
        #expect(lookUp.isIntact && y.isIntact)
        var reference = [Float](repeating: .nan, count: max(1, form.rows))
        temper_vector_codes_product_reference(&matrix, x, &reference)
        for row in 0..<form.rows {
          let exact = (0..<form.columns).reduce(0.0) { $0 + Double(x[$1]) * fixture.weight(row, $1) }
          #expect(abs(Double(reference[row]) - exact) <= 1e-6 * (1 + abs(exact)))
          #expect(abs(Double(found[row]) - exact) <= 1e-6 * Double(form.columns * form.tables + 1), "\(form)")
        }
      }
    }
  }

  /// All 65536 of them, against the toolchain's own type.
  @Test func halfNumbersAreExact() {
    let halves = Array(UInt16.min...UInt16.max)
    var found = [Float](repeating: 0, count: halves.count)
    temper_float16_to_float32(halves, Int64(halves.count), &found)
    for (half, value) in zip(halves, found) {
      let expected = Float(Float16(bitPattern: half))
      #expect(value.isNaN ? expected.isNaN : value.bitPattern == expected.bitPattern)
    }
    temper_bfloat16_to_float32(halves, Int64(halves.count), &found)
    #expect(zip(halves, found).allSatisfy { $1.bitPattern == UInt32($0) << 16 })
  }
}
