import CTemper
import Glibc
import TemperCore

/// Gives a function without a gradient one, by central differences:
///
///     d value[n] / d x[n, c] = (value[n](x + h e_c) - value[n](x - h e_c)) / 2h,    h = cbrt(epsilon) max(1, |x|)
///
/// Samples are independent, so one call moves a column of all of them: 2 calls for each column. Values are exact, the
/// gradient has about two thirds of their digits.
struct NumericalGradient: BatchFunction {
  let function: any BatchFunction

  /// In float64 where that is possible: float32 would leave 4 digits.
  var precisions: Precisions { function.precisions == .float32 ? .float32 : .float64 }
  var hasGradient: Bool { true }
  var isolation: Isolation? { function.isolation }
  var worksInChild: Bool { function.worksInChild }
  var fork: (@convention(c) () -> Int32)? { function.fork }

  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError) {
    let count = unsafe Int(call.input_count)
    let none = unsafe CArray([UnsafeMutableRawPointer?](repeating: nil, count: Swift.max(count, Int(call.state_count))))
    defer { unsafe withExtendedLifetime(none) {} }
    var plain = unsafe call
    unsafe plain.gradients = UnsafePointer(none.pointer)
    try unsafe function.evaluate(plain)
    // What samples keep moves with the batch itself, not with the differences.
    unsafe plain.new_states = UnsafePointer(none.pointer)
    for index in 0..<count {
      guard let gradient = unsafe call.gradients[index] else { continue }
      if unsafe call.dtype == TEMPER_PLUGIN_FLOAT64 {
        try unsafe differences(Double.self, plain, index, gradient)
      } else {
        try unsafe differences(Float.self, plain, index, gradient)
      }
    }
  }

  @unsafe private func differences<T: BinaryFloatingPoint>(
    _ type: T.Type, _ call: temper_loss_call, _ index: Int, _ gradient: UnsafeMutableRawPointer
  ) throws(TemperError) {
    let samples = unsafe Int(call.count)
    let original = unsafe call.inputs[index]
    let elements = unsafe original.elementCount
    guard samples > 0, let data = unsafe original.data?.assumingMemoryBound(to: T.self) else { return }
    let width = elements / samples
    let result = unsafe gradient.assumingMemoryBound(to: T.self)
    let root = T(cbrt(Double(T.ulpOfOne)))
    var moved = unsafe Array(UnsafeBufferPointer(start: data, count: elements))
    var (above, below) = ([T](repeating: 0, count: samples), [T](repeating: 0, count: samples))
    var inputs = unsafe Array(UnsafeBufferPointer(start: call.inputs, count: Int(call.input_count)))
    for column in 0..<width {
      for side in 0..<2 {
        for sample in 0..<samples {
          let x = unsafe data[sample * width + column]
          let step = root * Swift.max(1, abs(x))
          moved[sample * width + column] = side == 0 ? x + step : x - step
        }
        var values = [T](repeating: 0, count: samples)
        try unsafe moved.withUnsafeBufferPointer { moved throws(TemperError) in
          unsafe inputs[index].data = UnsafeRawPointer(moved.baseAddress)
          try unsafe inputs.withUnsafeBufferPointer { inputs throws(TemperError) in
            try unsafe values.withUnsafeMutableBufferPointer { values throws(TemperError) in
              var changed = unsafe call
              unsafe changed.inputs = inputs.baseAddress
              unsafe changed.values = UnsafeMutableRawPointer(values.baseAddress)
              try unsafe function.evaluate(changed)
            }
          }
        }
        if side == 0 { above = values } else { below = values }
      }
      for sample in 0..<samples {
        let place = sample * width + column
        let x = unsafe data[place]
        let step = root * Swift.max(1, abs(x))
        // The steps as they were rounded.
        unsafe result[place] = (above[sample] - below[sample]) / ((x + step) - (x - step))
        moved[place] = x
      }
    }
  }
}
