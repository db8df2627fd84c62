import TemperKernels
import Testing

private let variants = [
  TEMPER_VARIANT_BEST, TEMPER_VARIANT_PLAIN, TEMPER_VARIANT_AVX2, TEMPER_VARIANT_AVX512, TEMPER_VARIANT_AVX512_VNNI,
].filter(temper_variant_available)

private func bytes(_ count: Int, seed: UInt64) -> [Int8] {
  var random = SplitMix(state: seed)
  return (0..<count).map { _ in Int8(truncatingIfNeeded: Int((random.next() + 1) * 128)) }
}

/// A product in every way to store it, with gaps between rows.
private struct Product: CustomStringConvertible {
  var (m, n, k) = (1, 1, 1)
  var isTransposed = false
  var description: String { "\(m) x \(k) x \(n), B \(isTransposed ? "by columns" : "by rows")" }

  /// C between guards, rows one element apart; the gaps must keep what was there.
  func run(_ body: (inout temper_int8_product) -> Void) -> [Int32] {
    let (a, b) = (bytes(m * (k + 1) + 1, seed: 1), bytes((k + 1) * (n + 1), seed: 2))
    let c = GuardedMemory(bytes: max(1, m * (n + 1)) * 4)
    let start = c.base.assumingMemoryBound(to: Int32.self)
    for i in 0..<(m * (n + 1)) { start[i] = 77 }
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        var product = temper_int8_product(
          variant: TEMPER_VARIANT_BEST, m: Int64(m), n: Int64(n), k: Int64(k), a: a.baseAddress,
          a_row_stride: Int64(k + 1), b: b.baseAddress, b_row_stride: isTransposed ? 1 : Int64(n + 1),
          b_column_stride: isTransposed ? Int64(k + 1) : 1, c: start, c_row_stride: Int64(n + 1))
        body(&product)
      }
    }
    #expect(c.isIntact, "\(self) wrote beyond C")
    #expect((0..<m).allSatisfy { start[$0 * (n + 1) + n] == 77 }, "\(self) wrote between rows of C")
    return Array(UnsafeBufferPointer(start: start, count: m * (n + 1)))
  }

  /// On one thread in order, or as several may come to it: from the last piece to the first.
  func planned(_ variant: temper_variant, threads: Int64) -> [Int32] {
    run { product in
      product.variant = variant
      var plan = temper_int8_plan_make(&product, threads)
      let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
      let pieces = Array(0..<plan.piece_count)
      for piece in threads > 1 ? pieces.reversed() : pieces {
        temper_int8_run_piece(&product, &plan, piece, scratch.base)
      }
      #expect(scratch.isIntact, "\(self) wrote beyond its scratch memory")
    }
  }
}

private let products: [Product] =
  [
    (1, 1, 1), (1, 5, 3), (3, 17, 64), (4, 64, 65), (5, 65, 130), (8, 600, 33), (9, 1, 7), (9, 33, 4), (12, 32, 64),
    (13, 31, 100), (25, 70, 129), (40, 400, 35), (11, 40, 2100), (150, 260, 520), (2, 40, 4200), (30, 1100, 5),
    (3, 9, 0), (20, 9, 0), (0, 4, 4), (4, 0, 4),
  ].flatMap { m, n, k in [false, true].map { Product(m: m, n: n, k: k, isTransposed: $0) } }

@Suite struct Int8Tests {
  @Test func productsAreExact() {
    for product in products {
      let expected = product.run { temper_int8_product_reference(&$0) }
      for variant in variants {
        #expect(product.planned(variant, threads: 1) == expected, "\(product), variant \(variant.rawValue)")
        #expect(product.planned(variant, threads: 2) == expected, "\(product), variant \(variant.rawValue)")
      }
    }
  }

  /// -128 times -128 as often as an int32 can hold it.
  @Test func theLargestSumsFit() {
    let k = Int(TEMPER_INT8_EXACT_DEPTH)
    let lowest = [Int8](repeating: -128, count: k)
    for variant in variants {
      for m in [1, 9] {
        let a = [Int8](repeating: -128, count: m * k)
        var c = [Int32](repeating: 0, count: m)
        var product = temper_int8_product(
          variant: variant, m: Int64(m), n: 1, k: Int64(k), a: a, a_row_stride: Int64(k), b: lowest, b_row_stride: 1,
          b_column_stride: Int64(k), c: &c, c_row_stride: 1)
        let plan = temper_int8_plan_make(&product, 2)
        let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
        a.withUnsafeBufferPointer { a in
          lowest.withUnsafeBufferPointer { b in
            c.withUnsafeMutableBufferPointer { c in
              (product.a, product.b, product.c) = (a.baseAddress, b.baseAddress, c.baseAddress)
              var plan = plan
              for piece in 0..<plan.piece_count { temper_int8_run_piece(&product, &plan, piece, scratch.base) }
            }
          }
        }
        #expect(c == [Int32](repeating: 16384 * Int32(k), count: m))
      }
    }
  }

  /// Integers times integers are floats without rounding while scales are powers of two: every way gives the same.
  @Test func packedProductsFollowTheDefinition() {
    let groupSizes = [32, 64, 96, 7, 50, 4000]
    for bits in 1...8 {
      for (index, (rows, columns, m)) in [
        (5, 70, 1), (33, 200, 3), (70, 64, 8), (40, 330, 9), (64, 2300, 13), (3, 0, 2),
      ]
      .enumerated() {
        let groupSize = groupSizes[(bits + index) % groupSizes.count]
        let hasZeros = (bits + index) % 2 == 0
        let groups = (columns + groupSize - 1) / groupSize
        var random = SplitMix(state: UInt64(bits * 100 + columns))
        let x = (0..<(m * columns)).map { _ in Float(random.next()) }
        let loose = (0..<(rows * columns)).map { _ in UInt8((random.next() + 1) / 2 * Double(1 << bits)) }
        let scales = (0..<(rows * groups)).map { _ in random.next() < 0 ? Float(0.5) : 0.25 }
        let zeros = (0..<(rows * groups)).map { _ in UInt8((random.next() + 1) / 2 * Double(1 << bits)) }
        var codes = [UInt8](
          repeating: 0, count: max(1, rows * Int(temper_packed_row_bytes(Int64(columns), Int32(bits)))))
        temper_pack_rows(Int64(columns), Int32(bits), loose, 0, Int64(rows), &codes)
        // y / s, in the definition's own words.
        func expected(_ values: [Int8], _ i: Int, _ row: Int) -> Float {
          (0..<columns).reduce(Float(0)) { sum, c in
            let group = row * groups + c / groupSize
            let level = Float(loose[row * columns + c]) - (hasZeros ? Float(zeros[group]) : Float(1 << (bits - 1)))
            return sum + scales[group] * level * Float(values[i * Int(temper_int8_pitch(Int64(columns))) + c])
          }
        }
        scales.withUnsafeBufferPointer { scales in
          zeros.withUnsafeBufferPointer { zeros in
            codes.withUnsafeBufferPointer { codes in
              var matrix = temper_packed_matrix()
              (matrix.rows, matrix.columns, matrix.bits) = (Int64(rows), Int64(columns), Int32(bits))
              matrix.first_level = hasZeros ? 0 : -Float(1 << (bits - 1))
              (matrix.codes, matrix.scales) = (codes.baseAddress, scales.baseAddress)
              matrix.zeros = hasZeros ? zeros.baseAddress : nil
              (matrix.group_size, matrix.scale_row_stride) = (Int64(groupSize), Int64(groups))
              let pitch = Int(temper_int8_pitch(Int64(columns)))
              let values = GuardedMemory(bytes: m * pitch)
              let parts =
                (columns + Int(temper_int8_part_columns(&matrix)) - 1) / Int(temper_int8_part_columns(&matrix))
              var inputScales = [Float](repeating: 0, count: m)
              var sums = [Int32](repeating: 0, count: max(1, m * parts))
              inputScales.withUnsafeMutableBufferPointer { inputScales in
                sums.withUnsafeMutableBufferPointer { sums in
                  var activations = temper_int8_activations(
                    m: Int64(m), values: values.base.assumingMemoryBound(to: Int8.self),
                    scales: inputScales.baseAddress, sums: sums.baseAddress)
                  temper_int8_round_rows(&matrix, x, Int64(columns), 0, Int64(m), &activations)
                  let rounded = Array(UnsafeBufferPointer(start: activations.values, count: m * pitch))
                  for i in 0..<m {
                    let largest = x[(i * columns)..<((i + 1) * columns)].map(abs).max() ?? 0
                    #expect(activations.scales[i] == (largest == 0 ? 1 : largest / 127))
                    for c in 0..<columns {
                      let exact = (x[i * columns + c] / activations.scales[i]).rounded(.toNearestOrEven)
                      #expect(Float(rounded[i * pitch + c]) == exact)
                    }
                    #expect((columns..<max(columns, pitch)).allSatisfy { rounded[i * pitch + $0] == 0 })
                    activations.scales[i] = 1
                  }
                  let wanted = (0..<m).flatMap { i in (0..<rows).map { expected(rounded, i, $0) } }
                  for variant in variants {
                    let y = GuardedMemory(bytes: max(1, m * rows * 4))
                    var product = temper_int8_packed_product(
                      matrix: &matrix, variant: variant, x: &activations,
                      y: y.base.assumingMemoryBound(to: Float.self), y_row_stride: Int64(rows))
                    func found() -> [Float] { Array(UnsafeBufferPointer(start: product.y, count: m * rows)) }
                    withUnsafePointer(to: &matrix) { matrix in
                      withUnsafePointer(to: &activations) { activations in
                        (product.matrix, product.x) = (matrix, activations)
                        temper_int8_packed_reference(&product, 0, Int64(rows))
                        #expect(
                          found() == wanted, "reference: \(bits) bits, \(rows)x\(columns), groups of \(groupSize)")
                        for i in 0..<(m * rows) { product.y[i] = .nan }
                        var plan = temper_int8_packed_plan_make(&product)
                        let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
                        for piece in (0..<plan.piece_count).reversed() {
                          temper_int8_packed_run_piece(&product, &plan, piece, scratch.base)
                        }
                        #expect(
                          found() == wanted,
                          "\(bits) bits, \(rows)x\(columns), groups of \(groupSize), \(m) rows, variant \(variant.rawValue)"
                        )
                        #expect(scratch.isIntact && y.isIntact)
                      }
                    }
                  }
                }
              }
              #expect(values.isIntact)
            }
          }
        }
      }
    }
  }
}
