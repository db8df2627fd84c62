/// Numbers in ascending order. A function of this room, which is compiled for speed: in rooms compiled for size the end
/// of the standard library's sort is a copy of memory that loses the error register (Tests/ABI/tail_copies.py).
@inline(never) package func ascending(_ values: [Double]) -> [Double] { values.sorted() }

/// The places of numbers in ascending order; of equal ones the first comes first.
@inline(never) package func ascendingOrder(_ values: [Double]) -> [Int] {
  values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
}
