import CTemper
import TemperCore
import TemperGraph

/// The table of functions that compose calls receive. The only file that turns its C arguments into expressions.
extension Build {
  static let table: ConstantTable = unsafe ConstantTable(
    unsafe temper_builder(
      struct_size: UInt32(MemoryLayout<temper_builder>.size), revision: UInt32(TEMPER_PLUGIN_REVISION),
      input: { b, name in unsafe with(b) { unsafe $0.input(string(name)) } },
      has: { b, name in unsafe build(b)?.has(string(name)) == true ? 1 : 0 },
      number: { b, name in unsafe build(b)?.number(string(name)) ?? .nan },
      text: { b, name in unsafe build(b)?.text(string(name)) },
      shape: { b, x, sizes in
        guard let expression = unsafe build(b)?[x], expression.error == nil else { return -1 }
        if let sizes = unsafe sizes {
          for (axis, size) in expression.shape.sizes.enumerated() { unsafe sizes[axis] = Int64(size) }
        }
        return Int32(expression.shape.rank)
      },
      constant: { b, value in unsafe with(b) { _ in .constant(value) } },
      iota: { b, rank, sizes, axis in
        unsafe with(b) { unsafe $0.shaped(rank, sizes) { .iota($0, axis: Int(axis)) } }
      },
      unary: { b, operation, x in unsafe with(b) { $0.unary(operation, $0[x]) } },
      binary: { b, operation, x, y in unsafe with(b) { $0.binary(operation, $0[x], $0[y]) } },
      select: { b, mask, x, y in unsafe with(b) { .select($0[mask], $0[x], $0[y]) } },
      reduce: { b, operation, x, axis in unsafe with(b) { $0.reduce(operation, $0[x], axis: axis) } },
      pick: { b, x, index in unsafe with(b) { $0[x].pick($0[index]) } },
      place: { b, value, index, count in
        unsafe with(b) { build in build.columns(count) { .place(build[value], at: build[index], columns: $0) } }
      },
      one_hot: { b, index, count in
        unsafe with(b) { build in build.columns(count) { .oneHot(build[index], columns: $0) } }
      },
      reshape: { b, x, rank, sizes in
        unsafe with(b) { build in unsafe build.shaped(rank, sizes) { build[x].reshaped($0) } }
      },
      broadcast: { b, x, rank, sizes in
        unsafe with(b) { build in unsafe build.shaped(rank, sizes) { build[x].broadcast(to: $0) } }
      },
      permute: { b, x, axes, count in
        unsafe with(b) { build in
          guard count >= 0, count <= Int32(Shape.maximumRank), let axes = unsafe axes else {
            return .invalid(.pluginFailed, "permute: \(count) axes came.")
          }
          return build[x].permuted((0..<Int(count)).map { unsafe Int(axes[$0]) })
        }
      },
      slice: { b, x, axis, start, count in unsafe with(b) { $0.slice($0[x], axis, start, count) } },
      concatenate: { b, parts, count, axis in
        unsafe with(b) { build in
          guard count >= 1, count <= 1024, let parts = unsafe parts else {
            return .invalid(.pluginFailed, "concatenate: \(count) parts came; 1 to 1024 are possible.")
          }
          return .concatenate((0..<Int(count)).map { unsafe build[parts[$0]] }, axis: Int(axis))
        }
      },
      matmul: { b, x, y, transpose in
        unsafe with(b) {
          transpose & ~(TEMPER_TRANSPOSE_A | TEMPER_TRANSPOSE_B) == 0
            ? .matmul(
              $0[x], $0[y], transposeA: transpose & TEMPER_TRANSPOSE_A != 0,
              transposeB: transpose & TEMPER_TRANSPOSE_B != 0)
            : .invalid(.pluginFailed, "matmul: \(transpose) is not a choice of transposes.")
        }
      }))
}

/// A table that lives as long as the process.
@safe struct ConstantTable: @unchecked Sendable {
  let pointer: UnsafePointer<temper_builder>
  @unsafe init(_ table: temper_builder) {
    let memory = UnsafeMutablePointer<temper_builder>.allocate(capacity: 1)
    unsafe memory.initialize(to: table)
    unsafe pointer = UnsafePointer(memory)
  }
}

/// The build behind the pointer that compose received.
private func build(_ pointer: OpaquePointer?) -> Build? {
  guard let pointer = unsafe UnsafeRawPointer(pointer) else { return nil }
  return unsafe Unmanaged<Build>.fromOpaque(pointer).takeUnretainedValue()
}

private func with(_ pointer: OpaquePointer?, _ make: (Build) -> Expression) -> temper_expr {
  guard let build = unsafe build(pointer) else { return temper_expr(id: 0) }
  return build.add(make(build))
}

private func string(_ pointer: UnsafePointer<CChar>?) -> String? { unsafe pointer.map { unsafe String(cString: $0) } }
