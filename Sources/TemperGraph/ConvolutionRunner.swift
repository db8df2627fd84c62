import TemperCore
import TemperKernels

/// Runs a convolution or one of its two gradients in the pieces that its kernel cuts.
@safe final class ConvolutionRunner: Runner {
  private let input: View, weight: View, output: View
  private let job: UnsafeMutablePointer<temper_convolution_job>
  private let plan: UnsafeMutablePointer<temper_convolution_plan>
  var workspaceBytes: Int { unsafe plan.pointee.workspace_bytes }
  var scratchBytes: Int { unsafe plan.pointee.scratch_bytes }
  /// Each output takes a kernel's worth: weight (O, C / groups, kH, kW), and so in both gradients.
  var multiplications: Int { output.sizes.reduce(1, *) * weight.sizes.dropFirst().reduce(1, *) }

  /// Whatever the kind writes, `input` is (N, C, H, W), `weight` (O, C / groups, kH, kW), `output` (N, O, H', W').
  init(
    _ kind: temper_convolution_kind, _ c: Convolution, input: View, weight: View, output: View, _ type: DType
  ) {
    (self.input, self.weight, self.output) = (input, weight, output)
    unsafe job = .allocate(capacity: 1)
    unsafe plan = .allocate(capacity: 1)
    let (x, w) = (input.sizes.map(Int64.init), weight.sizes.map(Int64.init))
    func pair(_ values: [Int]) -> (Int64, Int64) { (Int64(values[0]), Int64(values[1])) }
    let (stride, padding, dilation) = (pair(c.stride), pair(c.padding), pair(c.dilation))
    unsafe job.initialize(
      to: temper_convolution_job(
        element: type == .float64 ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32, variant: TEMPER_VARIANT_BEST, kind: kind,
        activation: TEMPER_ACTIVATION_NONE, images: x[0], channels: x[1], height: x[2], width: x[3], out_channels: w[0],
        kernel_height: w[2], kernel_width: w[3], stride_height: stride.0, stride_width: stride.1,
        padding_height: padding.0, padding_width: padding.1, dilation_height: dilation.0, dilation_width: dilation.1,
        groups: Int64(c.groups), input: nil, weight: nil, output: nil, bias: nil))
    unsafe plan.initialize(to: temper_convolution_plan_make(job))
  }

  deinit {
    unsafe job.deallocate()
    unsafe plan.deallocate()
  }

  func resolve(_ memory: [Memory]) {
    unsafe job.pointee.input = unsafe memory[input.root].pointer(input.offset)
    unsafe job.pointee.weight = unsafe memory[weight.root].pointer(weight.offset)
    unsafe job.pointee.output = unsafe memory[output.root].pointer(output.offset)
  }

  func run(_ workers: Workers, _ scratch: Scratch) {
    for phase in unsafe 0..<(plan.pointee.phase_count) {
      let pieces = unsafe phase == 0 ? plan.pointee.piece_counts.0 : plan.pointee.piece_counts.1
      workers.run(Int(pieces)) { piece, worker in
        unsafe temper_convolution_run_piece(
          job, plan, phase, Int64(piece), scratch.shared.base, scratch.pointer(of: worker))
      }
    }
  }
}
