import TemperCore
import TemperKernels

/// Runs a kernel over dense arrays in pieces cut by shape.
@safe final class KernelRunner: Runner {
  /// What a piece works on. Pointers are valid while the step runs.
  @unsafe struct Arrays {
    var inputs: [UnsafeMutableRawPointer]
    var output: UnsafeMutableRawPointer
  }

  private let inputs: [View], output: View
  private let pieces: Int
  let scratchBytes: Int
  private let body: (Arrays, _ piece: Int, _ scratch: UnsafeMutableRawPointer) -> Void
  private var arrays: Arrays?

  init(
    _ inputs: [View], _ output: View, pieces: Int, scratchBytes: Int = 0,
    body: @escaping (Arrays, _ piece: Int, _ scratch: UnsafeMutableRawPointer) -> Void
  ) {
    (self.inputs, self.output, self.pieces, self.scratchBytes) = (inputs, output, pieces, scratchBytes)
    unsafe self.body = unsafe body
  }

  func resolve(_ memory: [Memory]) {
    unsafe arrays = unsafe Arrays(
      inputs: inputs.map { unsafe memory[$0.root].pointer($0.offset) },
      output: unsafe memory[output.root].pointer(output.offset))
  }

  func run(_ workers: Workers, _ scratch: Scratch) {
    let arrays = unsafe arrays!
    workers.run(pieces) { piece, worker in unsafe body(arrays, piece, scratch.pointer(of: worker)) }
  }
}

/// `count` things cut into ranges of about `work` elements, each thing having `size` of them.
private struct Cut {
  let count: Int, step: Int
  var pieces: Int { (count + step - 1) / step }

  init(_ count: Int, size: Int, work: Int = 1 << 15) { (self.count, step) = (count, max(work / max(size, 1), 1)) }

  func range(_ piece: Int) -> (Int64, Int64) { (Int64(piece * step), Int64(min((piece + 1) * step, count))) }
}

extension View {
  /// Elements of the last axis, and how many such rows there are.
  fileprivate var columns: Int { sizes.last ?? 1 }
  fileprivate var rows: Int { sizes.dropLast().reduce(1, *) }
  fileprivate var count: Int { sizes.reduce(1, *) }
}

func makeKernelRunner(
  _ operation: Operation, _ inputs: [View], _ output: View, _ kinds: (input: Kind, type: DType)
) throws(TemperError) -> any Runner {
  let type = kinds.type
  let element = type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32
  let bytes = type.byteCount
  let x = inputs[0]
  switch operation {
  case .reshape: return try copyRunner(x, output, elementBytes: kinds.input == .index ? 4 : bytes)

  case .reduceAxis(let reduction, let axis):
    let sizes = x.sizes
    let (outer, reduced, inner) = (
      sizes[..<axis].reduce(1, *), sizes[axis], sizes[(axis + 1)...].reduce(1, *)
    )
    let kinds: [Reduction: temper_reduction] = [
      .sum: TEMPER_REDUCE_SUM, .maximum: TEMPER_REDUCE_MAX, .minimum: TEMPER_REDUCE_MIN,
    ]
    guard let kind = kinds[reduction] else {
      throw TemperError(.internalFault, "A \(reduction) along an inner axis should have been permuted.")
    }
    let cut = Cut(outer * inner, size: reduced)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      var job = unsafe temper_column_reduce_job(
        element: element, reduction: kind, outer: Int64(outer), reduced: Int64(reduced), inner: Int64(inner),
        in: arrays.inputs[0], outer_stride: Int64(reduced * inner), reduced_stride: Int64(inner), out: arrays.output)
      let (begin, end) = cut.range(piece)
      unsafe temper_column_reduce(&job, begin, end)
    }

  case .cumulativeSum(let reverse):
    let columns = Int64(x.columns)
    let cut = Cut(x.rows, size: x.columns)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      let (begin, end) = cut.range(piece)
      unsafe temper_cumulative_sum(
        element, reverse, arrays.inputs[0], columns, arrays.output, columns, columns, begin, end)
    }

  case .sortOrder(let descending):
    let columns = Int64(x.columns)
    let cut = Cut(x.rows, size: x.columns * 16)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces, scratchBytes: temper_sort_scratch(columns)) {
      arrays, piece, scratch in
      let (begin, end) = cut.range(piece)
      unsafe temper_sort_rows(
        element, descending, arrays.inputs[0], columns, nil, arrays.output.assumingMemoryBound(to: Int32.self), columns,
        begin, end, scratch)
    }

  case .takeAlong:
    // Each row is a table of single elements.
    let (columns, taken) = (x.columns, output.columns)
    let cut = Cut(output.rows, size: taken)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      let (begin, end) = cut.range(piece)
      for row in Int(begin)..<Int(end) {
        unsafe temper_gather_rows(
          arrays.inputs[0] + row * columns * bytes, Int64(columns), Int64(bytes),
          (arrays.inputs[1] + row * taken * 4).assumingMemoryBound(to: Int32.self), arrays.output + row * taken * bytes,
          bytes, 0, Int64(taken))
      }
    }

  case .scatterAlong(let columns):
    let taken = x.columns
    let cut = Cut(x.rows, size: columns)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      let (begin, end) = cut.range(piece)
      for row in Int(begin)..<Int(end) {
        let target = unsafe arrays.output + row * columns * bytes
        unsafe target.initializeMemory(as: UInt8.self, repeating: 0, count: columns * bytes)
        unsafe temper_scatter_add_rows(
          element, arrays.inputs[0] + row * taken * bytes,
          (arrays.inputs[1] + row * taken * 4).assumingMemoryBound(to: Int32.self), Int64(taken), target, 1, 0,
          Int64(columns), 0, 1)
      }
    }

  case .gatherRows:
    let width = x.columns
    let cut = Cut(output.rows, size: width)
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      let (begin, end) = cut.range(piece)
      unsafe temper_gather_rows(
        arrays.inputs[0], Int64(x.rows), Int64(width * bytes), arrays.inputs[1].assumingMemoryBound(to: Int32.self),
        arrays.output, width * bytes, begin, end)
    }

  case .scatterRows(let tableRows):
    let width = x.columns
    // All rows are gone through for a line of columns, not for less of it.
    let size = x.rows + tableRows, cut = Cut(width, size: size, work: max(1 << 17, 16 * size))
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      let (begin, end) = cut.range(piece)
      for row in 0..<tableRows {
        unsafe (arrays.output + (row * width + Int(begin)) * bytes)
          .initializeMemory(as: UInt8.self, repeating: 0, count: Int(end - begin) * bytes)
      }
      unsafe temper_scatter_add_rows(
        element, arrays.inputs[0], arrays.inputs[1].assumingMemoryBound(to: Int32.self), Int64(x.rows), arrays.output,
        Int64(width), 0, Int64(tableRows), begin, end)
    }

  case .convolution(let c):
    return ConvolutionRunner(TEMPER_CONVOLUTION_FORWARD, c, input: x, weight: inputs[1], output: output, type)
  case .convolutionInput(let c, _):
    return ConvolutionRunner(TEMPER_CONVOLUTION_INPUT_GRADIENT, c, input: output, weight: inputs[1], output: x, type)
  case .convolutionWeight(let c, _):
    return ConvolutionRunner(
      TEMPER_CONVOLUTION_WEIGHT_GRADIENT, c, input: x, weight: output, output: inputs[1], type)

  case .poolMaximumIndices(let window):
    let pooling = temper_pooling(window, element, plane: x.sizes, out: output.sizes)
    let (inPlane, outPlane) = (x.sizes[2] * x.sizes[3], output.sizes[2] * output.sizes[3])
    let cut = Cut(x.sizes[0] * x.sizes[1], size: inPlane)
    // The maxima themselves are taken again by index, so that they have a derivative.
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces, scratchBytes: outPlane * bytes) {
      arrays, piece, scratch in
      var pooling = pooling
      let (begin, end) = cut.range(piece)
      for plane in Int(begin)..<Int(end) {
        unsafe temper_max_pool(
          &pooling, arrays.inputs[0] + plane * inPlane * bytes, scratch,
          (arrays.output + plane * outPlane * 4).assumingMemoryBound(to: Int32.self), 0, 1)
      }
    }

  case .poolAverage(let window):
    let pooling = temper_pooling(window, element, plane: x.sizes, out: output.sizes)
    let cut = Cut(x.sizes[0] * x.sizes[1], size: x.sizes[2] * x.sizes[3])
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      var pooling = pooling
      let (begin, end) = cut.range(piece)
      unsafe temper_average_pool(&pooling, arrays.inputs[0], arrays.output, begin, end)
    }

  case .poolAverageGradient(let window, let input):
    let pooling = temper_pooling(window, element, plane: input.sizes, out: x.sizes)
    let cut = Cut(input[0] * input[1], size: input[2] * input[3])
    return unsafe KernelRunner(inputs, output, pieces: cut.pieces) { arrays, piece, _ in
      var pooling = pooling
      let (begin, end) = cut.range(piece)
      unsafe temper_average_pool_backward(&pooling, arrays.inputs[0], arrays.output, begin, end)
    }

  default: throw TemperError(.internalFault, "\(operation) has no kernel.")
  }
}

/// Copies what a view shows to where another view lies.
private func copyRunner(_ source: View, _ target: View, elementBytes: Int) throws(TemperError) -> any Runner {
  // Axes that both walk through as one are one.
  var axes: [(size: Int, from: Int, to: Int)] = []
  for (size, (from, to)) in zip(source.sizes, zip(source.strides, target.strides)) where size != 1 {
    if let last = axes.last, last.from == from * size, last.to == to * size {
      axes[axes.count - 1] = (last.size * size, from, to)
    } else {
      axes.append((size, from, to))
    }
  }
  if axes.isEmpty { axes = [(1, 0, 0)] }
  guard axes.count <= Int(TEMPER_COPY_MAX_RANK) else {
    throw TemperError(
      .unsupported, "A view of \(axes.count) axes is more than can be copied (\(TEMPER_COPY_MAX_RANK)).")
  }
  var template = unsafe temper_strided_copy_job()
  unsafe template.element_size = elementBytes
  unsafe template.rank = Int32(axes.count)
  for (axis, (size, from, to)) in axes.enumerated() {
    unsafe withUnsafeMutableBytes(of: &template.sizes) {
      unsafe $0.storeBytes(of: Int64(size), toByteOffset: axis * 8, as: Int64.self)
    }
    unsafe withUnsafeMutableBytes(of: &template.src_strides) {
      unsafe $0.storeBytes(of: Int64(from), toByteOffset: axis * 8, as: Int64.self)
    }
    unsafe withUnsafeMutableBytes(of: &template.dst_strides) {
      unsafe $0.storeBytes(of: Int64(to), toByteOffset: axis * 8, as: Int64.self)
    }
  }
  let job = unsafe template
  let cut = Cut(axes[0].size, size: source.count / axes[0].size, work: 1 << 16)
  return unsafe KernelRunner([source], target, pieces: cut.pieces) { arrays, piece, _ in
    var job = unsafe job
    unsafe job.src = unsafe UnsafeRawPointer(arrays.inputs[0])
    unsafe job.dst = unsafe arrays.output
    let (begin, end) = cut.range(piece)
    unsafe temper_strided_copy(&job, begin, end)
  }
}

extension temper_pooling {
  fileprivate init(_ window: Window, _ element: temper_element, plane: [Int], out: [Int]) {
    self.init(
      element: element, height: Int64(plane[2]), width: Int64(plane[3]), out_height: Int64(out[2]),
      out_width: Int64(out[3]), kernel_height: Int64(window.size[0]), kernel_width: Int64(window.size[1]),
      stride_height: Int64(window.stride[0]), stride_width: Int64(window.stride[1]),
      padding_height: Int64(window.padding[0]), padding_width: Int64(window.padding[1]), count_padding: false)
  }
}
