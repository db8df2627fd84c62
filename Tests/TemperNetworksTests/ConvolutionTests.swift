import TemperCore
import Testing

@testable import TemperNetworks

@Suite struct ConvolutionTests {
  /// (kernel, stride, padding before, padding after, dilation, groups) with what the description says.
  struct ConvolutionCase: Sendable {
    let options: String
    let kernel: [Int], stride: [Int], before: [Int], after: [Int], dilation: [Int], groups: Int
  }

  static let convolutions = [
    ConvolutionCase(
      options: "", kernel: [3, 3], stride: [1, 1], before: [0, 0], after: [0, 0], dilation: [1, 1],
      groups: 1),
    ConvolutionCase(
      options:
        #", "kernel": [2, 3], "stride": [2, 1], "padding": [1, 2], "dilation": [1, 2], "groups": 2"#,
      kernel: [2, 3], stride: [2, 1], before: [1, 2], after: [1, 2], dilation: [1, 2], groups: 2),
    // 7 rows by 2 -> 4: (4 - 1) 2 + 3 - 7 = 2, one each; 6 columns by 2 -> 3: (3 - 1) 2 + 4 - 6 = 2.
    ConvolutionCase(
      options: #", "kernel": [3, 4], "stride": 2, "padding": "same""#, kernel: [3, 4],
      stride: [2, 2], before: [1, 1],
      after: [1, 1], dilation: [1, 1], groups: 1),
    // An even kernel: one more after than before. 4 - 1 = 3: 1 and 2; 2 (2 - 1) = 2: 1 and 1.
    ConvolutionCase(
      options: #", "kernel": [4, 2], "dilation": [1, 2], "padding": "same""#, kernel: [4, 2],
      stride: [1, 1],
      before: [1, 1], after: [2, 1], dilation: [1, 2], groups: 1),
  ]

  @Test(arguments: convolutions) func conv2d(_ c: ConvolutionCase) throws {
    let (channels, inputs, size) = (6, 4, [7, 6])
    let (model, x, y, _) = try output(
      #"[{"conv2d": {"channels": 6\#(c.options)}}]"#, input: [inputs, size[0], size[1]])
    let (w, b) = (try value(model, "0.weight"), try value(model, "0.bias"))
    let out: [Int] = (0..<2).map { axis in
      let padded: Int = size[axis] + c.before[axis] + c.after[axis]
      return (padded - c.dilation[axis] * (c.kernel[axis] - 1) - 1) / c.stride[axis] + 1
    }
    #expect(model.output == [channels, out[0], out[1]])
    let (inGroup, outGroup) = (inputs / c.groups, channels / c.groups)
    var expected: [Double] = []
    for n in 0..<3 {
      for o in 0..<channels {
        for i in 0..<out[0] {
          for j in 0..<out[1] {
            var sum = b[o]
            for k in 0..<inGroup {
              for p in 0..<c.kernel[0] {
                for q in 0..<c.kernel[1] {
                  let row = i * c.stride[0] + p * c.dilation[0] - c.before[0]
                  let column = j * c.stride[1] + q * c.dilation[1] - c.before[1]
                  guard (0..<size[0]).contains(row), (0..<size[1]).contains(column) else {
                    continue
                  }
                  let channel = o / outGroup * inGroup + k
                  sum +=
                    x[((n * inputs + channel) * size[0] + row) * size[1] + column]
                    * w[((o * inGroup + k) * c.kernel[0] + p) * c.kernel[1] + q]
                }
              }
            }
            expected.append(sum)
          }
        }
      }
    }
    expectClose(y, expected)
  }

  static let networks: [GradientTests.Network] = [
    GradientTests.Network(#"[{"conv2d": 4}]"#, [2, 5, 6]),
    GradientTests.Network(
      #"[{"conv2d": {"channels": 4, "kernel": [2, 3], "stride": [2, 1], "padding": [1, 0]}}]"#,
      [2, 5, 6]),
    GradientTests.Network(
      #"[{"conv2d": {"channels": 6, "kernel": 3, "dilation": 2, "groups": 2, "padding": "same"}}]"#,
      [4, 5, 6]),
    GradientTests.Network(
      #"[{"conv2d": {"channels": 3, "kernel": [2, 4], "stride": 2, "padding": "same", "bias": false}}]"#,
      [2, 5, 7]),
    GradientTests.Network(
      #"[{"parallel": {"branches": [{"conv2d": 2}, {"conv2d": {"channels": 3}}], "axis": 0}}]"#,
      [2, 4, 4]),
  ]

  @Test(arguments: networks) func gradientsMatchDifferences(_ network: GradientTests.Network) throws {
    try GradientTests.check(network)
  }
}
