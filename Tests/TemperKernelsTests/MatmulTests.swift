import TemperKernels
import Testing

/// One operand in memory: a matrix with any strides inside a buffer that is filled to its end.
private enum Layout: CaseIterable {
  case rows, columns, strided, paddedRows

  func strides(rows: Int, columns: Int) -> (row: Int, column: Int) {
    switch self {
    case .rows: (columns, 1)
    case .columns: (1, rows)
    case .strided: (2 * columns + 3, 2)
    case .paddedRows: (columns + 5, 1)
    }
  }
}

private struct Product: CustomStringConvertible {
  var m = 1
  var n = 1
  var k = 1
  var batch = 1
  var a = Layout.rows
  var b = Layout.rows
  var cPadding = 0
  var alpha = 1.0
  var accumulate = false
  var bias = false
  var relu = false

  var description: String {
    "\(m)x\(n)x\(k) batch \(batch), A \(a), B \(b), C padded \(cPadding), alpha \(alpha), "
      + "accumulate \(accumulate), bias \(bias), relu \(relu)"
  }
}

private let variants = [TEMPER_VARIANT_PLAIN, TEMPER_VARIANT_AVX2, TEMPER_VARIANT_AVX512]
  .filter(temper_variant_available)

/// The order in which a run visits the pieces of a phase.
private enum Schedule: CaseIterable {
  case forward, backward, strided

  func order(_ count: Int) -> [Int] {
    switch self {
    case .forward: Array(0..<count)
    case .backward: (0..<count).reversed()
    case .strided: (0..<3).flatMap { stride(from: $0, to: count, by: 3) }
    }
  }
}

/// A job with its memory.
private final class Fixture<Element: BinaryFloatingPoint> {
  var job = temper_matmul_job()
  let a, b, bias, initialC: UnsafeMutableBufferPointer<Element>
  let countC: Int

  init(_ product: Product, element: temper_element) {
    var random = SplitMix(state: 7)
    func filled(_ count: Int) -> UnsafeMutableBufferPointer<Element> {
      let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: max(count, 1))
      for i in buffer.indices { buffer.initializeElement(at: i, to: Element(random.next())) }
      return buffer
    }
    let (m, n, k) = (product.m, product.n, product.k)
    let aStrides = product.a.strides(rows: m, columns: k)
    let bStrides = product.b.strides(rows: k, columns: n)
    func extent(_ rows: Int, _ columns: Int, _ strides: (row: Int, column: Int)) -> Int {
      rows == 0 || columns == 0 ? 0 : (rows - 1) * strides.row + (columns - 1) * strides.column + 1
    }
    let aCount = extent(m, k, aStrides)
    let bCount = extent(k, n, bStrides)
    let cStride = n + product.cPadding
    countC = m * cStride
    a = filled(aCount * product.batch)
    b = filled(bCount * product.batch)
    bias = filled(n)
    initialC = filled(countC * product.batch)

    job.element = element
    job.activation = product.relu ? TEMPER_ACTIVATION_RELU : TEMPER_ACTIVATION_NONE
    job.accumulate = product.accumulate
    job.alpha = product.alpha
    (job.m, job.n, job.k, job.batch) = (Int64(m), Int64(n), Int64(k), Int64(product.batch))
    job.a = UnsafeRawPointer(a.baseAddress)
    (job.a_row_stride, job.a_column_stride) = (Int64(aStrides.row), Int64(aStrides.column))
    job.a_batch_stride = Int64(aCount)
    job.b = UnsafeRawPointer(b.baseAddress)
    (job.b_row_stride, job.b_column_stride) = (Int64(bStrides.row), Int64(bStrides.column))
    job.b_batch_stride = Int64(bCount)
    job.c_row_stride = Int64(cStride)
    job.c_batch_stride = Int64(countC)
    job.bias = product.bias ? UnsafeRawPointer(bias.baseAddress) : nil
  }

  deinit {
    for buffer in [a, b, bias, initialC] { buffer.deallocate() }
  }

  /// C, including its padding, after `body` has worked on a copy of the initial contents.
  func result(_ body: (inout temper_matmul_job) -> Void) -> [Element] {
    let c = UnsafeMutableBufferPointer<Element>.allocate(capacity: initialC.count)
    defer { c.deallocate() }
    _ = c.initialize(from: initialC)
    job.c = UnsafeMutableRawPointer(c.baseAddress)
    body(&job)
    return Array(c)
  }

  func reference() -> [Element] { result { temper_matmul_reference(&$0) } }

  func run(_ schedule: Schedule, _ variant: temper_variant) -> [Element] {
    result { job in
      job.variant = variant
      var plan = temper_matmul_plan_make(&job)
      let workspace = GuardedMemory(bytes: Int(plan.workspace_bytes))
      let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
      let counts = [Int(plan.piece_counts.0), Int(plan.piece_counts.1)]
      for phase in 0..<Int(plan.phase_count) {
        for piece in schedule.order(counts[phase]) {
          temper_matmul_run_piece(&job, &plan, Int32(phase), Int64(piece), workspace.base, scratch.base)
        }
      }
      #expect(workspace.isIntact && scratch.isIntact, "a kernel wrote beyond its memory")
    }
  }
}

private func check<Element: BinaryFloatingPoint>(
  _ product: Product, _ element: temper_element, _: Element.Type, unitRoundoff: Double
) {
  let fixture = Fixture<Element>(product, element: element)
  let expected = fixture.reference()
  // Random signs: partial sums grow like sqrt(k), so the sum of k rounding errors of their size grows like k.
  let tolerance = unitRoundoff * Double(8 + 2 * product.k)
  for variant in variants {
    let results = Schedule.allCases.map { fixture.run($0, variant) }
    let worst = zip(expected, results[0]).map { abs(Double($0) - Double($1)) }.max() ?? 0
    #expect(worst <= tolerance, "\(product), variant \(variant.rawValue)")
    for other in results.dropFirst() {
      #expect(other == results[0], "\(product), variant \(variant.rawValue): the schedule changes the bits")
    }
  }
}

private struct Table: CustomTestStringConvertible {
  let testDescription: String
  let products: [Product]
}

private let tileEdges: [Product] = {
  let sizes = [1, 2, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33]
  return sizes.flatMap { m in sizes.map { n in Product(m: m, n: n, k: (3 * m + 5 * n) % 23, bias: n % 2 == 0) } }
}()

private let layouts: [Product] = Layout.allCases.flatMap { a in
  Layout.allCases.flatMap { b in
    [(33, 47, 29), (1, 70, 65), (70, 1, 65), (61, 10, 128), (128, 128, 64), (130, 200, 300)].map { m, n, k in
      Product(m: m, n: n, k: k, a: a, b: b, cPadding: 3)
    }
  }
}

private let finishes: [Product] = [(20, 37, 19), (1, 300, 40), (300, 1, 40), (40, 40, 600), (30, 70, 3000)].flatMap {
  m, n, k in
  [1.0, 0.5].flatMap { alpha in
    [false, true].flatMap { accumulate in
      [false, true].flatMap { bias in
        [false, true].map { relu in
          Product(m: m, n: n, k: k, alpha: alpha, accumulate: accumulate, bias: bias, relu: relu)
        }
      }
    }
  }
}

private let special: [Product] = [
  Product(m: 0, n: 5, k: 5), Product(m: 5, n: 0, k: 5),
  // k = 0: C is beta * C + bias
  Product(m: 5, n: 5, k: 0, accumulate: true, bias: true), Product(m: 1, n: 40, k: 0, bias: true),
  Product(m: 40, n: 1, k: 0), Product(m: 30, n: 30, k: 0),
  // blocks of k, of columns, and many pieces
  Product(m: 20, n: 1100, k: 257, b: .columns), Product(m: 300, n: 290, k: 513, a: .columns, accumulate: true),
  Product(m: 2000, n: 3, k: 400), Product(m: 3, n: 2000, k: 400), Product(m: 64, n: 128, k: 5000, a: .columns),
  // batches: several products in a piece, several pieces in a product
  Product(m: 9, n: 11, k: 7, batch: 5, bias: true), Product(m: 100, n: 100, k: 150, batch: 3, b: .columns),
  Product(m: 1, n: 64, k: 50, batch: 4), Product(m: 64, n: 1, k: 50, batch: 4, b: .strided),
]

@Suite struct MatmulTests {
  @Test(arguments: [
    Table(testDescription: "tile edges", products: tileEdges), Table(testDescription: "layouts", products: layouts),
    Table(testDescription: "finishes", products: finishes), Table(testDescription: "special", products: special),
  ])
  fileprivate func agreesWithTheReferenceInEverySchedule(table: Table) {
    for product in table.products {
      check(product, TEMPER_ELEMENT_F32, Float.self, unitRoundoff: 0x1p-24)
      check(product, TEMPER_ELEMENT_F64, Double.self, unitRoundoff: 0x1p-53)
    }
  }

  @Test func overwritesNaNWhenNotAccumulating() {
    for variant in variants {
      for (m, n) in [(1, 40), (40, 1), (20, 20)] {
        let fixture = Fixture<Float>(Product(m: m, n: n, k: 9), element: TEMPER_ELEMENT_F32)
        for i in fixture.initialC.indices { fixture.initialC[i] = .nan }
        #expect(fixture.run(.forward, variant).allSatisfy { !$0.isNaN })
      }
    }
  }

  @Test func reluKeepsNaN() {
    for variant in variants {
      for (m, n) in [(1, 40), (40, 1), (20, 20)] {
        let fixture = Fixture<Float>(
          Product(m: m, n: n, k: 9, relu: true), element: TEMPER_ELEMENT_F32)
        for i in fixture.a.indices { fixture.a[i] = .nan }
        #expect(fixture.run(.forward, variant).allSatisfy { $0.isNaN })
      }
    }
  }

  @Test func rowsDoNotDependOnOneAnother() {
    for variant in variants {
      let many = Fixture<Float>(Product(m: 90, n: 70, k: 600), element: TEMPER_ELEMENT_F32)
      let few = Fixture<Float>(Product(m: 5, n: 70, k: 600), element: TEMPER_ELEMENT_F32)
      _ = few.a.update(fromContentsOf: many.a[..<few.a.count])
      _ = few.b.update(fromContentsOf: many.b)
      #expect(few.run(.forward, variant)[...] == many.run(.forward, variant)[..<(5 * 70)])
    }
  }

  /// Small products are not worth a second thread; large ones give every thread of a big machine work.
  @Test func piecesFollowTheAmountOfWork() {
    func pieces(_ m: Int, _ n: Int, _ k: Int) -> Int64 {
      let fixture = Fixture<Float>(Product(m: m, n: n, k: k), element: TEMPER_ELEMENT_F32)
      return temper_matmul_plan_make(&fixture.job).piece_counts.0
    }
    for (m, n, k) in [(64, 64, 64), (128, 128, 64), (128, 10, 128), (64, 128, 128), (8, 8, 8)] {
      #expect(pieces(m, n, k) == 1)
    }
    #expect(pieces(256, 256, 256) >= 4)
    #expect(pieces(1024, 1024, 1024) >= 8)
    #expect(pieces(64, 64, 100_000) >= 8)
  }
}
