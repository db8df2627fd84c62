import TemperKernels
import Testing

/// A packed matrix with its memory, every code and scale arbitrary.
private final class PackedFixture {
  let rows: Int, columns: Int, bits: Int
  let loose: [UInt8]
  var matrix = temper_packed_matrix()
  private let codes: UnsafeMutableBufferPointer<UInt8>
  private let zeros: UnsafeMutableBufferPointer<UInt8>
  private let scales: UnsafeMutableBufferPointer<Float>
  private let levels: UnsafeMutableBufferPointer<Float>

  struct Form: CustomStringConvertible {
    var bits = 4
    var rows = 5
    var columns = 70
    var groupSize = 32
    var oneScale = false
    var zeros = false
    var levels = false
    var description: String {
      "\(bits) bits, \(rows)x\(columns), groups of \(groupSize), one scale \(oneScale), zeros \(zeros), table \(levels)"
    }
  }

  init(_ form: Form) {
    var random = SplitMix(state: UInt64(form.bits * 1000 + form.columns))
    (rows, columns, bits) = (form.rows, form.columns, form.bits)
    func byte(below bound: Int) -> UInt8 { UInt8((random.next() + 1) / 2 * Double(bound)) }
    loose = (0..<(rows * columns)).map { _ in byte(below: 1 << form.bits) }
    let groups = (columns + form.groupSize - 1) / form.groupSize
    let scaleRows = form.oneScale ? 1 : rows
    codes = .allocate(capacity: max(1, rows * Int(temper_packed_row_bytes(Int64(columns), Int32(bits)))))
    codes.initialize(repeating: 0xff)
    scales = .allocate(capacity: max(1, scaleRows * groups))
    for i in scales.indices { scales.initializeElement(at: i, to: Float(random.next())) }
    zeros = .allocate(capacity: max(1, scaleRows * groups))
    for i in zeros.indices { zeros.initializeElement(at: i, to: byte(below: 1 << form.bits)) }
    levels = .allocate(capacity: 1 << bits)
    for i in levels.indices { levels.initializeElement(at: i, to: Float(random.next())) }
    temper_pack_rows(Int64(columns), Int32(bits), loose, 0, Int64(rows), codes.baseAddress)
    matrix.rows = Int64(rows)
    matrix.columns = Int64(columns)
    matrix.bits = Int32(bits)
    matrix.first_level = form.zeros ? 0 : -Float(1 << (bits - 1))
    matrix.levels = form.levels ? UnsafePointer(levels.baseAddress) : nil
    matrix.codes = UnsafePointer(codes.baseAddress)
    matrix.group_size = Int64(form.groupSize)
    matrix.scale_row_stride = form.oneScale ? 0 : Int64(groups)
    matrix.scales = UnsafePointer(scales.baseAddress)
    matrix.zeros = form.zeros ? UnsafePointer(zeros.baseAddress) : nil
  }

  deinit {
    codes.deallocate()
    scales.deallocate()
    zeros.deallocate()
    levels.deallocate()
  }

  /// scale · (level − zero) in the definition's own words.
  func weight(_ row: Int, _ column: Int) -> Float {
    let code = Int(loose[row * columns + column])
    let group = row * Int(matrix.scale_row_stride) + column / Int(matrix.group_size)
    let level = matrix.levels == nil ? matrix.first_level + Float(code) : levels[code]
    return scales[group] * (level - (matrix.zeros == nil ? 0 : Float(zeros[group])))
  }

  /// Y for X of `m` rows, from `run`, which sees a product whose Y is followed by a guard.
  func product<Element: BinaryFloatingPoint>(
    _ x: [Element], m: Int, _ element: temper_element, _ variant: temper_variant,
    _ run: (inout temper_packed_product) -> Void
  ) -> [Element] {
    let y = GuardedMemory(bytes: max(1, m * rows) * MemoryLayout<Element>.stride)
    withUnsafePointer(to: &matrix) { matrix in
      x.withUnsafeBytes { x in
        var product = temper_packed_product(
          matrix: matrix, element: element, variant: variant, m: Int64(m), x: x.baseAddress,
          x_row_stride: Int64(columns), y: y.base, y_row_stride: Int64(rows))
        run(&product)
      }
    }
    #expect(y.isIntact, "a kernel wrote beyond Y")
    return Array(UnsafeBufferPointer(start: y.base.assumingMemoryBound(to: Element.self), count: m * rows))
  }

  func reference<Element: BinaryFloatingPoint>(_ x: [Element], m: Int, _ element: temper_element) -> [Element] {
    product(x, m: m, element, TEMPER_VARIANT_PLAIN) { temper_packed_product_reference(&$0) }
  }

  func run<Element: BinaryFloatingPoint>(
    _ x: [Element], m: Int, _ element: temper_element, _ variant: temper_variant, backward: Bool = false
  ) -> [Element] {
    product(x, m: m, element, variant) { product in
      var plan = temper_packed_plan_make(&product)
      let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
      let pieces = Array(0..<plan.piece_count)
      for piece in backward ? pieces.reversed() : pieces {
        temper_packed_run_piece(&product, &plan, piece, scratch.base)
      }
      #expect(scratch.isIntact, "a kernel wrote beyond its scratch memory")
    }
  }
}

private let variants = [TEMPER_VARIANT_PLAIN, TEMPER_VARIANT_AVX2, TEMPER_VARIANT_AVX512]
  .filter(temper_variant_available)

private func inputs<Element: BinaryFloatingPoint>(_ count: Int, as type: Element.Type = Element.self) -> [Element] {
  var random = SplitMix(state: 11)
  return (0..<count).map { _ in Element(random.next()) }
}

private func wholeLevels(bits: Int, lowest: Int, first: Float) -> temper_levels {
  temper_levels(
    lowest_code: Int32(lowest), highest_code: Int32((1 << bits) - 1), first_level: first, count: 0, thresholds: nil,
    levels: nil, codes: nil)
}

private let forms: [PackedFixture.Form] =
  (1...8).flatMap { bits in
    [false, true].flatMap { levels in
      [1, 15, 31, 32, 33, 64, 100].map { columns in
        PackedFixture.Form(bits: bits, columns: columns, groupSize: columns, levels: levels)
      }
    }
  }
  + [4, 8, 3].flatMap { bits in
    [1, 7, 16, 32, 50, 64, 96, 200].flatMap { groupSize in
      [false, true].map { zeros in
        PackedFixture.Form(
          bits: bits, rows: 6, columns: 200, groupSize: groupSize, oneScale: groupSize == 64, zeros: zeros)
      }
    }
  }

@Suite struct QuantizedTests {
  @Test func packingKeepsEveryCode() {
    for bits in 1...8 {
      for columns in [0, 1, 2, 16, 17, 31, 32, 33, 95, 96, 97] {
        let fixture = PackedFixture(.init(bits: bits, rows: 3, columns: columns, groupSize: 32))
        var loose = [UInt8](repeating: 0xff, count: 3 * columns)
        temper_unpack_rows(&fixture.matrix, 0, 3, &loose)
        #expect(loose == fixture.loose, "\(bits) bits, \(columns) columns")
      }
    }
  }

  /// Against arithmetic on the whole row as one number.
  @Test func storedRowsAreOneLongNumber() {
    for bits in 1...8 {
      for columns in [0, 1, 3, 7, 8, 9, 15] {
        let loose = PackedFixture(.init(bits: bits, rows: 2, columns: columns, groupSize: 8)).loose
        let rowBytes = Int(temper_stored_row_bytes(Int64(columns), Int32(bits)))
        #expect(rowBytes == (columns * bits + 7) / 8)
        var stored = [UInt8](repeating: 0xff, count: 2 * rowBytes + 1)
        temper_store_rows(Int64(columns), Int32(bits), loose, 0, 2, &stored)
        #expect(stored.last == 0xff)
        for row in 0..<2 {
          let number = (0..<columns).reduce(UInt128(0)) { $0 | UInt128(loose[row * columns + $1]) << (bits * $1) }
          #expect(
            (0..<rowBytes).allSatisfy { stored[row * rowBytes + $0] == UInt8(truncatingIfNeeded: number >> (8 * $0)) })
        }
        var back = [UInt8](repeating: 0xff, count: 2 * columns)
        temper_restore_rows(Int64(columns), Int32(bits), stored, 0, 2, &back)
        #expect(back == loose, "\(bits) bits, \(columns) columns")
      }
    }
  }

  @Test func fourBitUnitsInterleaveHalves() {
    let loose = (0..<32).map { UInt8($0 / 2) }
    var packed = [UInt8](repeating: 0, count: 16)
    temper_pack_rows(32, 4, loose, 0, 1, &packed)
    #expect(packed == (0..<16).map { loose[$0] | loose[$0 + 16] << 4 })
  }

  @Test func dequantizingFollowsTheDefinition() {
    for form in forms {
      let fixture = PackedFixture(form)
      let expected = (0..<form.rows).flatMap { row in (0..<form.columns).map { fixture.weight(row, $0) } }
      for variant in variants {
        var found = [Float](repeating: .nan, count: expected.count + 1)
        found.withUnsafeMutableBufferPointer { found in
          for row in 0..<form.rows {
            let out = found.baseAddress! + row * form.columns
            temper_dequantize_row(&fixture.matrix, variant, Int64(row), 0, Int64(form.columns), out)
          }
        }
        #expect(found.dropLast() == expected[...], "\(form), variant \(variant.rawValue)")
        #expect(found.last!.isNaN, "\(form), variant \(variant.rawValue): wrote behind the row")
      }
    }
  }

  @Test func dequantizingPartOfARow() {
    let fixture = PackedFixture(.init(bits: 5, rows: 2, columns: 300, groupSize: 64))
    for variant in variants {
      for (begin, end) in [(0, 1), (32, 40), (64, 300), (256, 256), (160, 192)] {
        var found = [Float](repeating: .nan, count: end - begin)
        temper_dequantize_row(&fixture.matrix, variant, 1, Int64(begin), Int64(end), &found)
        #expect(found == (begin..<end).map { fixture.weight(1, $0) })
      }
    }
  }

  @Test func productsAgreeWithTheReference() {
    for form in forms {
      let fixture = PackedFixture(form)
      for m in [1, 7, 34] {
        let x = inputs(m * form.columns, as: Float.self)
        let x64 = inputs(m * form.columns, as: Double.self)
        let expected = fixture.reference(x, m: m, TEMPER_ELEMENT_F32)
        let expected64 = fixture.reference(x64, m: m, TEMPER_ELEMENT_F64)
        // |x| < 1; levels are below 2^bits and scales below 1.
        let size = Double(form.columns) * Double(1 << form.bits)
        for variant in variants {
          let found = fixture.run(x, m: m, TEMPER_ELEMENT_F32, variant)
          let found64 = fixture.run(x64, m: m, TEMPER_ELEMENT_F64, variant)
          let worst = zip(expected, found).map { Double(abs($0 - $1)) }.max() ?? 0
          let worst64 = zip(expected64, found64).map { abs($0 - $1) }.max() ?? 0
          #expect(worst <= size * 0x1p-22, "\(form), \(m) rows, variant \(variant.rawValue)")
          #expect(worst64 <= size * 0x1p-51, "\(form), \(m) rows, variant \(variant.rawValue)")
        }
      }
    }
  }

  /// Many pieces of rows, of inputs, and several slices of columns.
  @Test func largeProductsInAnyOrderOfPieces() {
    let shapes: [(rows: Int, columns: Int, m: Int)] = [
      (700, 1601, 1), (301, 1601, 5), (40, 100, 1100), (1, 3000, 3), (4100, 1, 7), (129, 1536, 70),
    ]
    for (rows, columns, m) in shapes {
      let fixture = PackedFixture(.init(bits: 4, rows: rows, columns: columns, groupSize: 128, zeros: true))
      let x = inputs(m * columns, as: Float.self)
      let expected = fixture.reference(x, m: m, TEMPER_ELEMENT_F32)
      for variant in variants {
        let found = fixture.run(x, m: m, TEMPER_ELEMENT_F32, variant)
        let worst = zip(expected, found).map { Double(abs($0 - $1)) }.max() ?? 0
        #expect(worst <= Double(columns) * 16 * 0x1p-22, "\(rows)x\(columns), \(m) rows, variant \(variant.rawValue)")
        #expect(fixture.run(x, m: m, TEMPER_ELEMENT_F32, variant, backward: true) == found)
      }
    }
  }

  @Test func oneRowGivesTheSameBitsOnEveryWideInstructionSet() {
    for form in forms where form.groupSize % 32 == 0 || form.groupSize == form.columns {
      let fixture = PackedFixture(form)
      let x = inputs(form.columns, as: Float.self)
      let results = variants.filter { $0 != TEMPER_VARIANT_PLAIN }.map { fixture.run(x, m: 1, TEMPER_ELEMENT_F32, $0) }
      for result in results.dropFirst() { #expect(result == results[0], "\(form)") }
    }
  }

  /// Each row of X for itself, or several at a time: the same bits.
  @Test func rowsOfSmallBatchesDoNotDependOnEachOther() {
    for form in forms where form.groupSize % 32 == 0 || form.groupSize == form.columns {
      let fixture = PackedFixture(form)
      let x = inputs(11 * form.columns, as: Float.self)
      for variant in variants {
        let alone = (0..<11).flatMap { i in
          fixture.run(Array(x[(i * form.columns)..<((i + 1) * form.columns)]), m: 1, TEMPER_ELEMENT_F32, variant)
        }
        #expect(fixture.run(x, m: 11, TEMPER_ELEMENT_F32, variant) == alone, "\(form), variant \(variant.rawValue)")
      }
    }
  }

  @Test func emptyProducts() {
    for variant in variants {
      let none = PackedFixture(.init(rows: 0, columns: 8, groupSize: 8))
      #expect(none.run(inputs(16, as: Float.self), m: 2, TEMPER_ELEMENT_F32, variant).isEmpty)
      let some = PackedFixture(.init(rows: 3, columns: 8, groupSize: 8))
      #expect(some.run([Float](), m: 0, TEMPER_ELEMENT_F32, variant).isEmpty)
      // A sum of no terms is 0.
      let narrow = PackedFixture(.init(rows: 3, columns: 0, groupSize: 1))
      for m in [1, 2] {
        #expect(narrow.run([Float](), m: m, TEMPER_ELEMENT_F32, variant) == [Float](repeating: 0, count: 3 * m))
      }
    }
  }

  @Test func rangesOfGroups() {
    let weights: [Float] = [3, -1, 2, 0, 5, 5, -7, -8, -9, 1, 0, -0.5]
    var minima = [Float](repeating: .nan, count: 4)
    var maxima = minima
    #expect(temper_group_ranges(weights, 6, 4, 0, 2, &minima, &maxima))
    #expect(minima == [-1, 5, -9, -0.5] && maxima == [3, 5, 1, 0])
  }

  @Test func rangesSeeEveryValueThatIsNotFinite() {
    for bad in [Float.nan, .infinity, -.infinity] {
      for place in 0..<37 {
        var weights = inputs(37, as: Float.self)
        weights[place] = bad
        var minima: Float = 0
        var maxima: Float = 0
        #expect(!temper_group_ranges(weights, 37, 37, 0, 1, &minima, &maxima))
      }
    }
  }

  /// Against a search over all levels.
  @Test func encodingFindsTheNearestLevel() {
    for bits in 2...8 {
      for zeros in [false, true] {
        for groupSize in [5, 32, 1500] {
          let fixture = PackedFixture(.init(bits: bits, rows: 2, columns: 1500, groupSize: groupSize, zeros: zeros))
          // Encoding divides by the scale, which is positive by contract.
          let scales = UnsafeMutablePointer(mutating: fixture.matrix.scales!)
          for i in 0..<(2 * ((1500 + groupSize - 1) / groupSize)) { scales[i] = abs(scales[i]) + 0.01 }
          // Some weights lie beyond the grid's ends.
          let weights = inputs(3000, as: Float.self).map { $0 * Float(1 << bits) }
          var codes = [UInt8](repeating: 0, count: 2 * Int(temper_packed_row_bytes(1500, Int32(bits))))
          let lowest = zeros ? 0 : 1
          var levels = wholeLevels(bits: bits, lowest: lowest, first: fixture.matrix.first_level)
          temper_encode_rows(&fixture.matrix, &levels, weights, 0, 2, &codes)
          var matrix = fixture.matrix
          let wrong = codes.withUnsafeBufferPointer { codes in
            matrix.codes = codes.baseAddress
            var found = [Float](repeating: 0, count: 3000)
            for row in 0..<2 {
              found.withUnsafeMutableBufferPointer {
                temper_dequantize_row_reference(&matrix, Int64(row), 0, 1500, $0.baseAddress! + row * 1500)
              }
            }
            return (0..<3000).filter { i in
              let group = i / 1500 * Int(matrix.scale_row_stride) + i % 1500 / groupSize
              let scale = matrix.scales[group]
              let zero = zeros ? Float(matrix.zeros[group]) : 0
              let levels = (lowest..<(1 << bits)).map { scale * (matrix.first_level + Float($0) - zero) }
              let nearest = levels.map { abs($0 - weights[i]) }.min()!
              return abs(found[i] - weights[i]) > nearest + scale * 1e-4
            }
          }
          #expect(wrong.isEmpty, "\(bits) bits, zeros \(zeros), groups of \(groupSize)")
        }
      }
    }
  }

  @Test func tiesGoToEvenLevels() {
    let fixture = PackedFixture(.init(bits: 4, rows: 1, columns: 6, groupSize: 6))
    UnsafeMutablePointer(mutating: fixture.matrix.scales!)[0] = 1
    var codes = [UInt8](repeating: 0, count: 16)
    var levels = wholeLevels(bits: 4, lowest: 1, first: -8)
    temper_encode_rows(&fixture.matrix, &levels, [0.5, 1.5, -0.5, -1.5, 2.5, -2.5], 0, 1, &codes)
    #expect(codes[0..<6] == [8, 10, 8, 6, 10, 6])
  }

  /// Tables short enough to count in, and long ones.
  @Test func roundingToATable() {
    for count in [1, 2, 3, 15, 16, 17, 100, 255, 256] {
      let table = inputs(count, as: Float.self).sorted()
      let thresholds = zip(table, table.dropFirst()).map { ($0 + $1) / 2 }
      let codes = (0..<count).map { UInt8(255 - $0) }
      let values = inputs(500, as: Float.self).map { $0 * 2 }
      var rounded = [UInt8](repeating: 0, count: 500)
      var error = 0.0
      thresholds.withUnsafeBufferPointer { thresholds in
        table.withUnsafeBufferPointer { table in
          codes.withUnsafeBufferPointer { codes in
            var levels = temper_levels(
              lowest_code: 0, highest_code: 0, first_level: 0, count: Int32(count), thresholds: thresholds.baseAddress,
              levels: table.baseAddress, codes: codes.baseAddress)
            temper_round_values(&levels, values, 500, 0.5, 0, &rounded)
            error = temper_rounding_error(&levels, values, 500, 0.5, 0)
          }
        }
      }
      var expected = 0.0
      for (value, code) in zip(values, rounded) {
        let nearest = table.map { abs($0 * 0.5 - value) }.min()!
        #expect(abs(abs(table[255 - Int(code)] * 0.5 - value) - nearest) <= 1e-6)
        expected += Double(nearest) * Double(nearest)
      }
      #expect(abs(error - expected) <= 1e-6 * expected)
    }
  }

  @Test func errorOfRoundingToWholeLevels() {
    let values = inputs(1003, as: Float.self)
    for (bits, zero, scale) in [(4, Float(0), Float(0.1)), (8, 100, 0.01), (2, 1, 0.3)] {
      let first = zero == 0 ? -Float(1 << (bits - 1)) : 0
      var levels = wholeLevels(bits: bits, lowest: zero == 0 ? 1 : 0, first: first)
      var codes = [UInt8](repeating: 0, count: 1003)
      temper_round_values(&levels, values, 1003, scale, zero, &codes)
      let expected = zip(values, codes).reduce(0.0) { sum, pair in
        let difference = Double(pair.0) - Double(scale * (first + Float(pair.1) - zero))
        return sum + difference * difference
      }
      let found = temper_rounding_error(&levels, values, 1003, scale, zero)
      #expect(abs(found - expected) <= 1e-12 * expected)
    }
  }

  @Test func errorsOfRows() {
    let fixture = PackedFixture(.init(bits: 3, rows: 2, columns: 1100, groupSize: 32))
    let weights = inputs(2200, as: Float.self)
    for row in 0..<2 {
      let found = temper_packed_row_error(&fixture.matrix, weights, Int64(row))
      let differences = (0..<1100).map { Double(fixture.weight(row, $0)) - Double(weights[row * 1100 + $0]) }
      let squared = differences.reduce(0) { $0 + $1 * $1 }
      let energy = weights[(row * 1100)..<(row * 1100 + 1100)].reduce(0) { $0 + Double($1) * Double($1) }
      #expect(abs(found.squared_error - squared) < 1e-12 * squared)
      #expect(abs(found.squared_weight - energy) < 1e-12 * energy)
      #expect(found.largest_error == differences.map(abs).max())
    }
  }
}
