/// Extents of a tensor, outermost first. A scalar has rank 0.
public struct Shape: Sendable, Hashable, ExpressibleByArrayLiteral, CustomStringConvertible {
  public static let maximumRank = 8
  /// No tensor has more elements: sums of products of sizes below it cannot overflow.
  public static let maximumCount = 1 << 46

  public var sizes: [Int]

  public init(_ sizes: [Int]) { self.sizes = sizes }
  public init(arrayLiteral sizes: Int...) { self.sizes = sizes }

  /// A shape from sizes that nobody has checked yet.
  public init(validating sizes: [Int]) throws(TemperError) {
    guard sizes.count <= Shape.maximumRank else {
      throw TemperError(.invalidShape, "A tensor has at most \(Shape.maximumRank) dimensions; \(sizes.count) came.")
    }
    var count = 1
    for size in sizes {
      guard size >= 0 else {
        throw TemperError(.invalidShape, "Sizes must be 0 or more; shape \(Shape(sizes)) came.")
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: Swift.max(size, 1))
      guard !overflow, product <= Shape.maximumCount else {
        throw TemperError(.invalidShape, "Shape \(Shape(sizes)) has more than 2^46 elements.")
      }
      count = product
    }
    self.sizes = sizes
  }

  public var rank: Int { sizes.count }
  /// Elements; what does not fit an Int counts as Int.max, and no such shape gets memory.
  public var count: Int { sizes.reduce(1, Shape.saturatingProduct) }
  public subscript(axis: Int) -> Int { sizes[axis] }
  public var last: Int { sizes.last ?? 1 }

  /// Strides in elements of the dense row-major layout.
  public var denseStrides: [Int] {
    var strides = [Int](repeating: 1, count: rank)
    var step = 1
    for axis in stride(from: rank - 1, through: 0, by: -1) {
      strides[axis] = step
      step = Shape.saturatingProduct(step, Swift.max(sizes[axis], 1))
    }
    return strides
  }

  private static func saturatingProduct(_ a: Int, _ b: Int) -> Int {
    let (product, overflow) = a.multipliedReportingOverflow(by: b)
    return overflow ? .max : product
  }

  /// The shape that NumPy's rules give two shapes together, or nil.
  public static func broadcast(_ a: Shape, _ b: Shape) -> Shape? {
    let rank = Swift.max(a.rank, b.rank)
    var sizes = [Int](repeating: 1, count: rank)
    for axis in 0..<rank {
      let (i, j) = (axis - (rank - a.rank), axis - (rank - b.rank))
      let (p, q) = (i < 0 ? 1 : a[i], j < 0 ? 1 : b[j])
      guard p == q || p == 1 || q == 1 else { return nil }
      sizes[axis] = p == 1 ? q : p
    }
    return Shape(sizes)
  }

  public var description: String {
    "(" + sizes.map(String.init).joined(separator: ", ") + (rank == 1 ? ",)" : ")")
  }
}
