import TemperKernels
import Testing

/// The two working types with their C names.
protocol Real: BinaryFloatingPoint, Sendable { static var element: temper_element { get } }
extension Float: Real { static var element: temper_element { TEMPER_ELEMENT_F32 } }
extension Double: Real { static var element: temper_element { TEMPER_ELEMENT_F64 } }

private func same<T: Real>(_ a: T, _ b: T) -> Bool { a == b || (a.isNaN && b.isNaN) }

@Suite struct ColumnReduceTests {
  static let shapes = [
    (1, 128, 128), (1, 5000, 10), (3, 7, 5), (2, 65, 300), (4, 100, 1), (2, 0, 3), (1, 9000, 3), (1, 300, 63),
    (5, 1, 257), (1, 17, 64),
  ]

  @Test(arguments: shapes, [true, false])
  func reduces(shape: (Int, Int, Int), single: Bool) {
    single ? check(shape, Float.self, tolerance: 1e-6) : check(shape, Double.self, tolerance: 1e-14)
  }

  func check<T: Real>(_ shape: (outer: Int, reduced: Int, inner: Int), _: T.Type, tolerance: Double) {
    for gap in [0, 3] {
      var numbers = Numbers(shape.reduced)
      let rowStride = shape.inner + gap
      let outerStride = shape.reduced * rowStride + gap
      let input = (0..<shape.outer * outerStride + 1).map { _ in T(Float(numbers.between(-1, 1))) }
      var special = input
      for i in stride(from: 0, to: special.count, by: 501) { special[i] = .nan }
      for reduction in [TEMPER_REDUCE_SUM, TEMPER_REDUCE_MAX, TEMPER_REDUCE_MIN] {
        let source = reduction == TEMPER_REDUCE_SUM ? input : special
        func run(cuts: [Int]) -> [T] {
          var out = [T](repeating: 7, count: shape.outer * shape.inner)
          source.withUnsafeBytes { source in
            out.withUnsafeMutableBytes { out in
              var job = temper_column_reduce_job(
                element: T.element, reduction: reduction, outer: Int64(shape.outer), reduced: Int64(shape.reduced),
                inner: Int64(shape.inner), in: source.baseAddress, outer_stride: Int64(outerStride),
                reduced_stride: Int64(rowStride), out: out.baseAddress)
              var begin: Int64 = 0
              for end in cuts.filter({ $0 < shape.outer * shape.inner }) + [shape.outer * shape.inner] {
                temper_column_reduce(&job, begin, Int64(end))
                begin = Int64(end)
              }
            }
          }
          return out
        }
        let out = run(cuts: [])
        for o in 0..<shape.outer {
          for i in 0..<shape.inner {
            let column = (0..<shape.reduced).map { Double(source[o * outerStride + $0 * rowStride + i]) }
            let got = Double(out[o * shape.inner + i])
            let nan = column.contains(where: \.isNaN)
            switch reduction {
            case TEMPER_REDUCE_SUM: #expect(abs(got - column.reduce(0, +)) <= tolerance * 30)
            case TEMPER_REDUCE_MAX: #expect(same(got, nan ? .nan : column.max() ?? -.infinity))
            default: #expect(same(got, nan ? .nan : column.min() ?? .infinity))
            }
          }
        }
        let cut = run(cuts: [1, 2, 100, 260])
        #expect(zip(cut, out).allSatisfy(same))
      }
    }
  }

  /// A long sum of equal parts in float: a running total would lose one part in a thousand.
  @Test func longSumsKeepAccuracy() {
    let input = [Float](repeating: 0.1, count: 1 << 20)
    var out: Float = 0
    input.withUnsafeBytes { input in
      var job = temper_column_reduce_job(
        element: TEMPER_ELEMENT_F32, reduction: TEMPER_REDUCE_SUM, outer: 1, reduced: 1 << 20, inner: 1,
        in: input.baseAddress, outer_stride: 0, reduced_stride: 1, out: &out)
      temper_column_reduce(&job, 0, 1)
    }
    #expect(abs(out / 104857.6 - 1) < 4e-6)
  }
}

@Suite struct StridedCopyTests {
  /// Sizes with the order of dimensions in dst (last fastest).
  static let cases: [([Int], [Int])] = [
    ([7], [0]), ([37, 53], [1, 0]), ([37, 53], [0, 1]), ([3, 40, 5], [2, 0, 1]), ([4, 3, 17, 18], [0, 3, 1, 2]),
    ([2, 3, 4, 5, 6], [4, 3, 2, 1, 0]), ([2, 3, 2, 3, 2, 33], [5, 0, 2, 4, 1, 3]), ([1, 9, 1], [2, 1, 0]),
    ([16, 1, 100], [2, 0, 1]),
  ]

  @Test(arguments: cases, [1, 4, 8])
  func permutes(layout: ([Int], [Int]), size: Int) {
    let (sizes, order) = layout
    for broadcast in [false, true] {
      for reversed in [false, true] {
        var source = [Int](repeating: 1, count: sizes.count)
        for d in (0..<sizes.count - 1).reversed() { source[d] = source[d + 1] * sizes[d + 1] }
        let total = sizes.reduce(1, *)
        if broadcast { source[sizes.count / 2] = 0 }
        if reversed { source[sizes.count - 1] *= -1 }
        var target = [Int](repeating: 0, count: sizes.count)
        var span = 1
        for d in order.reversed() {
          target[d] = span
          span *= sizes[d]
        }
        let first = reversed ? (sizes.last! - 1) * abs(source.last!) : 0
        let from = (0..<total * size).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 >> 8) }
        for cuts in [[], Array(1..<sizes[0])] {
          var to = [UInt8](repeating: 7, count: total * size)
          var job = temper_strided_copy_job()
          job.element_size = size
          job.rank = Int32(sizes.count)
          withUnsafeMutableBytes(of: &job) { job in
            func set(_ field: Int, _ values: [Int]) {
              for (d, value) in values.enumerated() {
                job.storeBytes(of: Int64(value), toByteOffset: field + 8 * d, as: Int64.self)
              }
            }
            set(MemoryLayout<temper_strided_copy_job>.offset(of: \.sizes)!, sizes)
            set(MemoryLayout<temper_strided_copy_job>.offset(of: \.dst_strides)!, target)
            set(MemoryLayout<temper_strided_copy_job>.offset(of: \.src_strides)!, source)
          }
          from.withUnsafeBytes { from in
            to.withUnsafeMutableBytes { to in
              job.dst = to.baseAddress
              job.src = from.baseAddress! + first * size
              var begin: Int64 = 0
              for end in cuts + [sizes[0]] {
                temper_strided_copy(&job, begin, Int64(end))
                begin = Int64(end)
              }
            }
          }
          var expected = [UInt8](repeating: 7, count: total * size)
          for flat in 0..<total {
            var rest = flat
            var (s, t) = (first, 0)
            for d in (0..<sizes.count).reversed() {
              s += rest % sizes[d] * source[d]
              t += rest % sizes[d] * target[d]
              rest /= sizes[d]
            }
            for b in 0..<size { expected[t * size + b] = from[s * size + b] }
          }
          #expect(to == expected, "\(sizes) \(order) \(broadcast) \(reversed)")
        }
      }
    }
  }
}

@Suite struct RowOrderTests {
  @Test(arguments: [1, 2, 3, 10, 48, 49, 300, 5000], [true, false])
  func sorts(columns: Int, single: Bool) {
    single ? sort(columns, Float.self) : sort(columns, Double.self)
  }

  func sort<T: Real>(_ columns: Int, _: T.Type) {
    let rows = 4
    var numbers = Numbers(columns)
    let input = (0..<rows * columns).map { i -> T in
      switch numbers.below(12) {
      case 0: i % columns % 2 == 0 ? .nan : -.nan
      case 1: i % 2 == 0 ? .infinity : -.infinity
      case 2...5: i % 2 == 0 ? 0 : -0.0
      default: i / columns == 0 ? T(numbers.below(5) - 2) : T(Float(numbers.between(-1, 1) * 1e-3))
      }
    }
    for descending in [true, false] {
      var values = [T](repeating: 7, count: input.count)
      var indices = [Int32](repeating: 7, count: input.count)
      let scratch = GuardedMemory(bytes: temper_sort_scratch(Int64(columns)))
      input.withUnsafeBytes { input in
        values.withUnsafeMutableBytes { values in
          temper_sort_rows(
            T.element, descending, input.baseAddress, Int64(columns), values.baseAddress, &indices, Int64(columns), 0,
            Int64(rows), scratch.base)
        }
      }
      #expect(scratch.isIntact)
      for r in 0..<rows {
        let row = Array(input[r * columns..<(r + 1) * columns])
        let expected = row.indices.sorted { a, b in
          let (x, y) = (row[a], row[b])
          if x.isNaN || y.isNaN { return x.isNaN && y.isNaN ? a < b : y.isNaN }
          return x == y ? a < b : descending ? x > y : x < y
        }
        let got = indices[r * columns..<(r + 1) * columns].map(Int.init)
        #expect(got == expected)
        #expect(zip(values[r * columns..<(r + 1) * columns], expected.map { row[$0] }).allSatisfy(same))
      }
    }
  }

  @Test(arguments: [true, false])
  func cumulativeSums(reversed: Bool) {
    let input: [Double] = [1, 2, 3, 4, 99, 5, 6, 7, 8, 99]
    var output = [Double](repeating: 7, count: 8)
    temper_cumulative_sum(TEMPER_ELEMENT_F64, reversed, input, 5, &output, 4, 4, 0, 2)
    #expect(output == (reversed ? [10, 9, 7, 4, 26, 21, 15, 8] : [1, 3, 6, 10, 5, 11, 18, 26]))
    var inPlace: [Float] = [1, 2, 3, 4, 5, 6]
    inPlace.withUnsafeMutableBytes {
      temper_cumulative_sum(TEMPER_ELEMENT_F32, reversed, $0.baseAddress, 3, $0.baseAddress, 3, 3, 1, 2)
    }
    #expect(inPlace == (reversed ? [1, 2, 3, 15, 11, 6] : [1, 2, 3, 4, 9, 15]))
  }
}

@Suite struct GatherTests {
  @Test(arguments: [1, 3, 8, 33])
  func gathersAndScatters(columns: Int) {
    let tableRows = 6
    let indices: [Int32] = [3, 0, 3, -1, 5, 6, 3, 1_000_000]
    let table = (0..<tableRows * columns).map { Float($0) + 0.5 }
    var out = [Float](repeating: 7, count: indices.count * columns)
    for (begin, end) in [(0, 3), (3, indices.count)] {
      temper_gather_rows(
        table, Int64(tableRows), Int64(4 * columns), indices, &out, 4 * columns, Int64(begin), Int64(end))
    }
    for (i, index) in indices.enumerated() {
      for c in 0..<columns {
        #expect(out[i * columns + c] == ((0..<6).contains(index) ? table[Int(index) * columns + c] : 0))
      }
    }

    let rows = (0..<indices.count * columns).map { Float($0 % 7) }
    var expected = table
    for (i, index) in indices.enumerated() where (0..<6).contains(index) {
      for c in 0..<columns { expected[Int(index) * columns + c] += rows[i * columns + c] }
    }
    var byRow = table
    for (begin, end) in [(0, 3), (3, 6)] {
      temper_scatter_add_rows(
        TEMPER_ELEMENT_F32, rows, indices, Int64(indices.count), &byRow, Int64(columns), Int64(begin), Int64(end), 0,
        Int64(columns))
    }
    #expect(byRow == expected)
    var byColumn = table.map(Double.init)
    for (begin, end) in [(0, columns / 2), (columns / 2, columns)] {
      temper_scatter_add_rows(
        TEMPER_ELEMENT_F64, rows.map(Double.init), indices, Int64(indices.count), &byColumn, Int64(columns), 0, 6,
        Int64(begin), Int64(end))
    }
    #expect(byColumn == expected.map(Double.init))
  }
}

@Suite struct PoolingTests {
  struct Case: Sendable {
    var size: (Int, Int), kernel: (Int, Int), stride: (Int, Int), padding: (Int, Int), out: (Int, Int), count: Bool
  }
  static let cases = [
    Case(size: (6, 8), kernel: (2, 2), stride: (2, 2), padding: (0, 0), out: (3, 4), count: true),
    Case(size: (7, 5), kernel: (3, 2), stride: (2, 1), padding: (1, 1), out: (4, 6), count: true),
    Case(size: (7, 5), kernel: (3, 2), stride: (2, 1), padding: (1, 1), out: (4, 6), count: false),
    Case(size: (4, 4), kernel: (1, 1), stride: (3, 3), padding: (0, 0), out: (2, 2), count: false),
    Case(size: (3, 3), kernel: (2, 2), stride: (2, 2), padding: (2, 2), out: (3, 3), count: false),
  ]

  @Test(arguments: cases, [true, false])
  func pools(c: Case, single: Bool) { single ? check(c, Float.self) : check(c, Double.self) }

  func check<T: Real>(_ c: Case, _: T.Type) {
    let planes = 3
    let area = c.size.0 * c.size.1
    let outArea = c.out.0 * c.out.1
    var numbers = Numbers(area)
    var input = (0..<planes * area).map { _ in T(numbers.below(9)) }
    input[area + 4] = .nan
    let gradient = (0..<planes * outArea).map { _ in T(numbers.below(9)) }
    var pooling = temper_pooling(
      element: T.element, height: Int64(c.size.0), width: Int64(c.size.1), out_height: Int64(c.out.0),
      out_width: Int64(c.out.1), kernel_height: Int64(c.kernel.0), kernel_width: Int64(c.kernel.1),
      stride_height: Int64(c.stride.0), stride_width: Int64(c.stride.1), padding_height: Int64(c.padding.0),
      padding_width: Int64(c.padding.1), count_padding: c.count)
    var largest = [T](repeating: 7, count: planes * outArea)
    var average = largest
    var argmax = [Int32](repeating: 7, count: planes * outArea)
    var largestGradient = [T](repeating: 7, count: planes * area)
    var averageGradient = largestGradient
    for (begin, end) in [(Int64(0), Int64(1)), (1, 3)] {
      input.withUnsafeBytes { input in
        largest.withUnsafeMutableBytes {
          temper_max_pool(&pooling, input.baseAddress, $0.baseAddress, &argmax, begin, end)
        }
        average.withUnsafeMutableBytes { temper_average_pool(&pooling, input.baseAddress, $0.baseAddress, begin, end) }
      }
      gradient.withUnsafeBytes { gradient in
        largestGradient.withUnsafeMutableBytes {
          temper_max_pool_backward(&pooling, gradient.baseAddress, argmax, $0.baseAddress, begin, end)
        }
        averageGradient.withUnsafeMutableBytes {
          temper_average_pool_backward(&pooling, gradient.baseAddress, $0.baseAddress, begin, end)
        }
      }
    }
    var expectedLargestGradient = [T](repeating: 0, count: planes * area)
    var expectedAverageGradient = expectedLargestGradient
    for plane in 0..<planes {
      for y in 0..<c.out.0 {
        for x in 0..<c.out.1 {
          let o = plane * outArea + y * c.out.1 + x
          var inside: [Int] = []
          for i in 0..<c.kernel.0 {
            for j in 0..<c.kernel.1 {
              let (row, column) = (y * c.stride.0 - c.padding.0 + i, x * c.stride.1 - c.padding.1 + j)
              if (0..<c.size.0).contains(row) && (0..<c.size.1).contains(column) {
                inside.append(row * c.size.1 + column)
              }
            }
          }
          let values = inside.map { input[plane * area + $0] }
          let best = values.firstIndex(where: \.isNaN) ?? values.max().flatMap { values.firstIndex(of: $0) }
          #expect(same(largest[o], best.map { values[$0] } ?? -.infinity))
          #expect(argmax[o] == best.map { Int32(inside[$0]) } ?? -1)
          if let best { expectedLargestGradient[plane * area + inside[best]] += gradient[o] }
          let weight = inside.isEmpty ? 0 : 1 / Double(c.count ? c.kernel.0 * c.kernel.1 : inside.count)
          let mean = Double(values.reduce(0, +)) * weight
          #expect(same(Double(average[o]), mean) || abs(Double(average[o]) - mean) <= 1e-6)
          for i in inside { expectedAverageGradient[plane * area + i] += gradient[o] * T(weight) }
        }
      }
    }
    #expect(largestGradient == expectedLargestGradient)
    #expect(zip(averageGradient, expectedAverageGradient).allSatisfy { abs($0 - $1) <= 1e-5 })
  }
}

@Suite struct PhiloxTests {
  /// The known answers that the authors publish with their code.
  @Test(arguments: [
    (UInt64(0), UInt64(0), UInt64(0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8] as [UInt32]),
    (.max, .max, .max, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    (
      0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e, 0x299f_31d0_a409_3822,
      [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    ),
  ])
  func knownAnswers(low: UInt64, high: UInt64, key: UInt64, expected: [UInt32]) {
    let word = temper_philox(low, high, key).word
    #expect([word.0, word.1, word.2, word.3] == expected)
  }

  /// UNIFORM against the block function, across every layout.
  @Test(arguments: [1, 3, 10, 32, 33, 100, 2050], [true, false])
  func uniform(columns: Int, single: Bool) {
    let rows = columns > 100 ? 3 : 70
    var program = ReferenceProgram(rows: rows, columns: columns)
    let u = program.register(.full)
    program.emit(TEMPER_UNIFORM, u, slot: 0, immediate: 6)
    program.emit(TEMPER_STORE, -1, u, slot: 1)
    let (key, counter) = (UInt64(0x1234_5678_9ABC), UInt64(99))
    for variant in machineVariants {
      var slots: [Slot] = [
        Slot(
          element: TEMPER_ELEMENT_I64, columnStride: 0, outerStrides: [0], values: [Double(key), Double(counter)]),
        .dense(program, element: single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64) { _, _ in 7 },
      ]
      program.run(&slots, single: single, on: variant, rowCuts: [5, 6])
      var expected: [Double] = []
      for e in 6..<6 + rows * columns {
        func word(_ counter: UInt64) -> UInt32 {
          let word = temper_philox(UInt64(e / 4), counter, key).word
          return [word.0, word.1, word.2, word.3][e % 4]
        }
        let high = word(counter)
        expected.append(
          single
            ? Double(high >> 8) * 0x1p-24
            : Double(UInt64(high) << 21 | UInt64(word(counter ^ 1 << 63) >> 11)) * 0x1p-53)
      }
      #expect(slots[1].values == expected)
    }
  }
}

@Suite struct ExtremesTests {
  @Test(arguments: [0, 1, 63, 64, 65, 131, 1000])
  func areThoseOfSortedNumbers(count: Int) {
    var numbers = Numbers(count + 1)
    var floats = (0..<count).map { _ in Float(numbers.between(-9, 9)) }
    for at in stride(from: 3, to: count, by: 7) { floats[at] = .nan }
    let sorted = floats.filter { !$0.isNaN }.sorted()
    var (least, greatest) = (Float.nan, Float.nan)
    temper_extremes_f32(floats, Int64(count), &least, &greatest)
    #expect(least == sorted.first ?? .infinity && greatest == sorted.last ?? -.infinity)
    var (low, high) = (Double.nan, Double.nan)
    temper_extremes_f64(floats.map(Double.init), Int64(count), &low, &high)
    #expect(low == Double(least) && high == Double(greatest))
  }

  /// A number anywhere among what is none is found, and what comes after it in its lane does not hide it.
  @Test func numbersAmongWhatIsNone() {
    for place in 0..<200 {
      var floats = [Float](repeating: .nan, count: 200)
      floats[place] = 3
      var (least, greatest) = (Float.nan, Float.nan)
      temper_extremes_f32(floats, 200, &least, &greatest)
      #expect(least == 3 && greatest == 3)
    }
  }
}
