/// Elements in memory that stays where it is, for C to read and write.
@safe final class CArray<Element> {
  let pointer: UnsafeMutablePointer<Element>
  let count: Int

  init(_ elements: [Element]) {
    count = elements.count
    unsafe pointer = .allocate(capacity: Swift.max(count, 1))
    for (index, element) in elements.enumerated() { unsafe (pointer + index).initialize(to: element) }
  }

  deinit {
    unsafe pointer.deinitialize(count: count)
    unsafe pointer.deallocate()
  }
}
