// Sorts, in this room, which is compiled for speed: in rooms compiled for size the end of the standard library's sort is a
// copy of memory that loses the error register (Tests/ABI/tail_copies.py).

/// Numbers in ascending order.
@inline(never) package func ascending(_ values: [Double]) -> [Double] { values.sorted() }

/// The places of numbers in ascending order; of equal ones the first comes first.
package func ascendingOrder(_ values: [Double]) -> [Int] {
  placesInOrder(values.count) { (values[$0], $0) < (values[$1], $1) }
}

@inline(never) private func placesInOrder(_ count: Int, _ precedes: (Int, Int) -> Bool) -> [Int] {
  (0..<count).sorted(by: precedes)
}

extension Collection {
  package func inOrder(_ precedes: (Element, Element) -> Bool) -> [Element] {
    let elements = Array(self)
    return placesInOrder(elements.count) { precedes(elements[$0], elements[$1]) }.map { elements[$0] }
  }
}
