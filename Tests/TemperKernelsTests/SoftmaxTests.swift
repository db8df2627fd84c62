import Foundation
import TemperKernels
import Testing

private let classCounts = [1, 2, 3, 10, 16, 31, 32, 33, 100, 1000, 1025]

@Suite struct SoftmaxTests {
  @Test(arguments: classCounts, [true, false])
  func softmax(classes: Int, single: Bool) {
    single ? checkSoftmax(classes, Float.self, 4e-7) : checkSoftmax(classes, Double.self, 1e-15)
  }

  func checkSoftmax<T: Real>(_ classes: Int, _: T.Type, _ tolerance: Double) {
    var numbers = Numbers(classes)
    let rows = classes > 100 ? 3 : 150
    for gap in [0, 5] {
      let stride = classes + gap
      let logits = (0..<rows * stride).map { i in T(Float(numbers.between(-20, 20) + (i / stride == 1 ? 500 : 0))) }
      for logarithm in [true, false] {
        for variant in machineVariants {
          func run(cuts: [Int], inPlace: Bool) -> [T] {
            var out = inPlace ? logits : [T](repeating: 7, count: logits.count)
            logits.withUnsafeBytes { logits in
              out.withUnsafeMutableBytes { out in
                var job = temper_softmax_job(
                  element: T.element, variant: variant, logarithm: logarithm, classes: Int64(classes),
                  logits: inPlace ? UnsafeRawPointer(out.baseAddress) : logits.baseAddress, row_stride: Int64(stride),
                  out: out.baseAddress, out_row_stride: Int64(stride))
                var begin: Int64 = 0
                for end in cuts.filter({ $0 < rows }) + [rows] {
                  temper_softmax(&job, begin, Int64(end))
                  begin = Int64(end)
                }
              }
            }
            return out
          }
          let out = run(cuts: [], inPlace: false)
          for row in 0..<rows {
            let x = logits[row * stride..<row * stride + classes].map(Double.init)
            let largest = x.max()!
            let sum = x.map { exp($0 - largest) }.reduce(0, +)
            for c in 0..<classes {
              let expected = logarithm ? x[c] - largest - log(sum) : exp(x[c] - largest) / sum
              let scale = logarithm ? 1 + abs(expected) : 1
              #expect(abs(Double(out[row * stride + c]) - expected) <= tolerance * scale)
            }
            #expect((classes..<stride).allSatisfy { out[row * stride + $0] == 7 })
          }
          #expect(run(cuts: [1, 2, 17, 64, 65], inPlace: false) == out)
          let inPlace = run(cuts: [], inPlace: true)
          #expect(
            (0..<rows).allSatisfy { r in (0..<classes).allSatisfy { inPlace[r * stride + $0] == out[r * stride + $0] } }
          )
        }
      }
    }
  }

  @Test(arguments: classCounts, [true, false])
  func crossEntropy(classes: Int, single: Bool) {
    single ? checkCrossEntropy(classes, Float.self, 6e-7) : checkCrossEntropy(classes, Double.self, 2e-15)
  }

  func checkCrossEntropy<T: Real>(_ classes: Int, _: T.Type, _ tolerance: Double) {
    var numbers = Numbers(classes)
    let rows = classes > 100 ? 5 : 150
    for gap in [0, 5] {
      let stride = classes + gap
      let logits = (0..<rows * stride).map { _ in T(Float(numbers.between(-9, 9))) }
      let targets = (0..<rows).map { _ in Int32(numbers.below(classes + 2) - 1) }
      let scales = (0..<rows).map { _ in T(Float(numbers.between(0, 2))) }
      for variant in machineVariants {
        func run(cuts: [Int], gradient wanted: Bool, scaled: Bool) -> (loss: [T], gradient: [T]) {
          var loss = [T](repeating: 7, count: rows)
          var gradient = [T](repeating: 7, count: rows * stride)
          logits.withUnsafeBytes { logits in
            scales.withUnsafeBytes { scales in
              loss.withUnsafeMutableBytes { loss in
                gradient.withUnsafeMutableBytes { gradient in
                  targets.withUnsafeBufferPointer { targets in
                    var job = temper_softmax_cross_entropy_job(
                      element: T.element, variant: variant, classes: Int64(classes), logits: logits.baseAddress,
                      row_stride: Int64(stride), targets: targets.baseAddress, loss: loss.baseAddress,
                      gradient: wanted ? gradient.baseAddress : nil, gradient_row_stride: Int64(stride),
                      row_scales: scaled ? scales.baseAddress : nil, scale: 0.5)
                    var begin: Int64 = 0
                    for end in cuts.filter({ $0 < rows }) + [rows] {
                      temper_softmax_cross_entropy(&job, begin, Int64(end))
                      begin = Int64(end)
                    }
                  }
                }
              }
            }
          }
          return (loss, gradient)
        }
        for scaled in [true, false] {
          let (loss, gradient) = run(cuts: [], gradient: true, scaled: scaled)
          for row in 0..<rows {
            let x = logits[row * stride..<row * stride + classes].map(Double.init)
            let largest = x.max()!
            let sum = x.map { exp($0 - largest) }.reduce(0, +)
            let y = Int(targets[row])
            let counts = (0..<classes).contains(y)
            let expected = counts ? largest + log(sum) - x[y] : 0
            #expect(abs(Double(loss[row]) - expected) <= tolerance * 20)
            let factor = counts ? 0.5 * (scaled ? Double(scales[row]) : 1) : 0
            for c in 0..<classes {
              let expected = factor * (exp(x[c] - largest) / sum - (c == y ? 1 : 0))
              #expect(abs(Double(gradient[row * stride + c]) - expected) <= tolerance)
            }
            #expect((classes..<stride).allSatisfy { gradient[row * stride + $0] == 7 })
          }
          let cut = run(cuts: [1, 2, 17, 64, 65], gradient: true, scaled: scaled)
          #expect(cut.loss == loss && cut.gradient == gradient)
        }
        let only = run(cuts: [], gradient: false, scaled: false)
        #expect(only.gradient.allSatisfy { $0 == 7 })
        let (loss, _) = run(cuts: [], gradient: true, scaled: false)
        #expect(zip(only.loss, loss).allSatisfy { abs($0 - $1) <= T(tolerance) * (1 + abs($1)) })
      }
    }
  }
}
