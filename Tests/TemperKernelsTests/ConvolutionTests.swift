import TemperKernels
import Testing

private struct Convolution: CustomStringConvertible {
  var images = 2
  var channels = 1
  var size = (5, 5)
  var outChannels = 1
  var kernel = (3, 3)
  var stride = (1, 1)
  var padding = (0, 0)
  var dilation = (1, 1)
  var groups = 1
  var bias = false
  var relu = false

  var description: String {
    "\(images)x\(channels)x\(size), \(outChannels) filters of \(kernel), stride \(stride), padding \(padding), "
      + "dilation \(dilation), groups \(groups), bias \(bias), relu \(relu)"
  }

  func job(_ kind: temper_convolution_kind, _ element: temper_element) -> temper_convolution_job {
    var job = temper_convolution_job()
    job.element = element
    job.kind = kind
    (job.images, job.channels, job.out_channels) = (Int64(images), Int64(channels), Int64(outChannels))
    (job.height, job.width) = (Int64(size.0), Int64(size.1))
    (job.kernel_height, job.kernel_width) = (Int64(kernel.0), Int64(kernel.1))
    (job.stride_height, job.stride_width) = (Int64(stride.0), Int64(stride.1))
    (job.padding_height, job.padding_width) = (Int64(padding.0), Int64(padding.1))
    (job.dilation_height, job.dilation_width) = (Int64(dilation.0), Int64(dilation.1))
    job.groups = Int64(groups)
    if kind == TEMPER_CONVOLUTION_FORWARD && relu { job.activation = TEMPER_ACTIVATION_RELU }
    return job
  }
}

private let variants = [TEMPER_VARIANT_PLAIN, TEMPER_VARIANT_AVX2, TEMPER_VARIANT_AVX512]
  .filter(temper_variant_available)

private let kinds = [
  TEMPER_CONVOLUTION_FORWARD, TEMPER_CONVOLUTION_INPUT_GRADIENT, TEMPER_CONVOLUTION_WEIGHT_GRADIENT,
]

/// A job with its tensors.
private final class Fixture<Element: BinaryFloatingPoint> {
  var job: temper_convolution_job
  let input, weight, output, bias: UnsafeMutableBufferPointer<Element>

  init(_ convolution: Convolution, _ kind: temper_convolution_kind, _ element: temper_element) {
    job = convolution.job(kind, element)
    var random = SplitMix(state: 11)
    func filled(_ count: Int64) -> UnsafeMutableBufferPointer<Element> {
      let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: Int(count))
      for i in buffer.indices { buffer.initializeElement(at: i, to: Element(random.next())) }
      return buffer
    }
    let outPositions = temper_convolution_out_height(&job) * temper_convolution_out_width(&job)
    input = filled(job.images * job.channels * job.height * job.width)
    weight = filled(job.out_channels * (job.channels / job.groups) * job.kernel_height * job.kernel_width)
    output = filled(job.images * job.out_channels * outPositions)
    bias = filled(job.out_channels)
    job.input = UnsafeMutableRawPointer(input.baseAddress)
    job.weight = UnsafeMutableRawPointer(weight.baseAddress)
    job.output = UnsafeMutableRawPointer(output.baseAddress)
    if convolution.bias && kind == TEMPER_CONVOLUTION_FORWARD { job.bias = UnsafeRawPointer(bias.baseAddress) }
  }

  deinit {
    for buffer in [input, weight, output, bias] { buffer.deallocate() }
  }

  var written: UnsafeMutableBufferPointer<Element> {
    switch job.kind {
    case TEMPER_CONVOLUTION_FORWARD: output
    case TEMPER_CONVOLUTION_INPUT_GRADIENT: input
    default: weight
    }
  }

  /// Terms in the sum of one written element, at most.
  var terms: Int {
    let filter = weight.count / Int(job.out_channels)
    return switch job.kind {
    case TEMPER_CONVOLUTION_FORWARD: filter
    case TEMPER_CONVOLUTION_INPUT_GRADIENT: weight.count / Int(job.channels)
    default: output.count / Int(job.out_channels)
    }
  }

  func reference() -> [Element] {
    written.update(repeating: .nan)
    temper_convolution_reference(&job)
    return Array(written)
  }

  /// Runs the pieces of every phase in order, or backwards, each with dirty scratch.
  func run(_ variant: temper_variant, backwards: Bool) -> [Element] {
    written.update(repeating: .nan)
    job.variant = variant
    var plan = temper_convolution_plan_make(&job)
    let workspace = GuardedMemory(bytes: Int(plan.workspace_bytes))
    let counts = [plan.piece_counts.0, plan.piece_counts.1]
    for phase in 0..<Int(plan.phase_count) {
      let pieces = Array(0..<counts[phase])
      for piece in backwards ? pieces.reversed() : pieces {
        let scratch = GuardedMemory(bytes: Int(plan.scratch_bytes))
        temper_convolution_run_piece(&job, &plan, Int32(phase), piece, workspace.base, scratch.base)
        #expect(scratch.isIntact, "a kernel wrote beyond its scratch memory")
      }
    }
    #expect(workspace.isIntact, "a kernel wrote beyond its workspace")
    return Array(written)
  }
}

private func check<Element: BinaryFloatingPoint>(
  _ convolution: Convolution, _ element: temper_element, _: Element.Type, unitRoundoff: Double
) {
  for kind in kinds {
    let fixture = Fixture<Element>(convolution, kind, element)
    let expected = fixture.reference()
    let tolerance = unitRoundoff * Double(8 + 2 * fixture.terms)
    for variant in variants {
      let result = fixture.run(variant, backwards: false)
      let isClose = zip(expected, result).allSatisfy { abs(Double($0) - Double($1)) <= tolerance }
      #expect(isClose, "\(convolution), kind \(kind.rawValue), variant \(variant.rawValue)")
      #expect(
        fixture.run(variant, backwards: true) == result,
        "\(convolution), kind \(kind.rawValue), variant \(variant.rawValue): the schedule changes the bits")
    }
  }
}

/// Strides, paddings and dilations, different along the two axes, on images smaller and larger than the window's reach.
private let windows: [Convolution] = (1...3).flatMap { stride in
  (0...3).flatMap { padding in
    (1...2).flatMap { dilation in
      [(1, 1), (2, 3), (3, 2), (4, 4)].map { kernel in
        Convolution(
          channels: 2, size: (7, 10), outChannels: 3, kernel: kernel, stride: (stride, 4 - stride),
          padding: (padding, 3 - padding), dilation: (dilation, 3 - dilation))
      }
    }
  }
}

/// Rows of results that are whole vectors, parts of vectors, and neither.
private let widths: [Convolution] = [1, 2, 4, 7, 8, 14, 16, 17, 32].flatMap { width in
  [(3, 1), (5, 2), (1, 0)].map { kernel, padding in
    Convolution(
      images: 3, channels: 3, size: (width, width), outChannels: 14, kernel: (kernel, kernel),
      padding: (padding, padding))
  }
}

/// Channels around the edges of tiles, groups up to depthwise.
private let channels: [Convolution] =
  [1, 4, 5, 6, 7, 12, 13, 25].map {
    Convolution(channels: 14 - min($0, 13), size: (6, 8), outChannels: $0, padding: (1, 1), bias: true)
  } + [
    Convolution(channels: 6, outChannels: 9, padding: (1, 1), groups: 3, bias: true, relu: true),
    Convolution(channels: 8, size: (9, 11), outChannels: 8, stride: (2, 2), padding: (1, 1), groups: 8, relu: true),
    Convolution(channels: 5, size: (16, 16), outChannels: 10, kernel: (5, 5), padding: (2, 2), groups: 5, bias: true),
  ]

/// Several pieces, bands of large images, batches whose images share registers, more taps than are passed over at once.
private let sizes: [Convolution] = [
  Convolution(images: 1, channels: 40, size: (90, 70), outChannels: 20, padding: (1, 1)),
  Convolution(images: 1, channels: 30, size: (101, 64), outChannels: 20, stride: (2, 2), padding: (1, 1)),
  Convolution(images: 37, channels: 9, size: (8, 8), outChannels: 30, padding: (1, 1)),
  Convolution(images: 2, channels: 100, size: (5, 5), outChannels: 15, padding: (1, 1), bias: true, relu: true),
  Convolution(images: 70, channels: 3, size: (4, 4), outChannels: 5, padding: (1, 1), relu: true),
]

private struct Table: CustomTestStringConvertible {
  let testDescription: String
  let convolutions: [Convolution]
}

@Suite struct ConvolutionTests {
  @Test(arguments: [
    Table(testDescription: "windows", convolutions: windows), Table(testDescription: "widths", convolutions: widths),
    Table(testDescription: "channels", convolutions: channels), Table(testDescription: "sizes", convolutions: sizes),
  ])
  fileprivate func agreesWithTheReferenceInEverySchedule(table: Table) {
    for convolution in table.convolutions {
      check(convolution, TEMPER_ELEMENT_F32, Float.self, unitRoundoff: 0x1p-24)
      check(convolution, TEMPER_ELEMENT_F64, Double.self, unitRoundoff: 0x1p-53)
    }
  }

  /// The sizes above reach what they are meant to reach.
  @Test func largeWorkIsCut() {
    func plan(_ convolution: Convolution, _ kind: temper_convolution_kind) -> temper_convolution_plan {
      var job = convolution.job(kind, TEMPER_ELEMENT_F32)
      return temper_convolution_plan_make(&job)
    }
    #expect(plan(sizes[0], TEMPER_CONVOLUTION_FORWARD).bands > 1)
    #expect(plan(sizes[0], TEMPER_CONVOLUTION_FORWARD).piece_counts.1 > 1)
    #expect(plan(sizes[0], TEMPER_CONVOLUTION_WEIGHT_GRADIENT).bands > 1)
    #expect(plan(sizes[0], TEMPER_CONVOLUTION_WEIGHT_GRADIENT).phase_count == 2)
    #expect(plan(sizes[2], TEMPER_CONVOLUTION_WEIGHT_GRADIENT).images_together > 1)
  }

  /// The three kinds belong together: <dy, conv(x, w)> = <x, dx> = <w, dw> for any x, w, dy.
  @Test func gradientsAreAdjoint() {
    for convolution in widths + channels where !convolution.bias && !convolution.relu {
      let fixtures = kinds.map { Fixture<Double>(convolution, $0, TEMPER_ELEMENT_F64) }
      let tensors = (
        x: Array(fixtures[0].input), w: Array(fixtures[0].weight), dy: Array(fixtures[0].output)
      )
      func inner(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).map(*).reduce(0, +) }
      let results = fixtures.map { $0.run(TEMPER_VARIANT_BEST, backwards: false) }
      let products = [inner(tensors.dy, results[0]), inner(tensors.x, results[1]), inner(tensors.w, results[2])]
      let scale = 1e-12 * Double(tensors.dy.count)
      #expect(abs(products[0] - products[1]) <= scale && abs(products[0] - products[2]) <= scale, "\(convolution)")
    }
  }

  @Test func noImagesGiveNoWeightGradient() {
    let fixture = Fixture<Float>(
      Convolution(images: 0), TEMPER_CONVOLUTION_WEIGHT_GRADIENT, TEMPER_ELEMENT_F32)
    #expect(fixture.run(TEMPER_VARIANT_BEST, backwards: false).allSatisfy { $0 == 0 })
  }
}
