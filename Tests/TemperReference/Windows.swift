import TemperCore
import TemperGraph

/// What convolutions and pooling windows cover.
extension ReferenceInterpreter {
  typealias Tap = (input: Int, weight: Int, output: Int)

  /// The sum over every tap (input x, weight w and output y that meet) of the value that `term` adds at its place.
  static func taps(
    _ c: Convolution, _ x: Shape, _ w: Shape, _ y: Shape, _ count: Int, _ term: (Tap) -> (place: Int, value: Double)
  ) -> [Double] {
    var result = [Double](repeating: 0, count: count)
    let perGroup = w[0] / c.groups
    for index in indices(y) {
      for i in 0..<w[1] {
        for a in 0..<w[2] {
          for b in 0..<w[3] {
            let row = index[2] * c.stride[0] + a * c.dilation[0] - c.padding[0]
            let column = index[3] * c.stride[1] + b * c.dilation[1] - c.padding[1]
            guard row >= 0, column >= 0, row < x[2], column < x[3] else { continue }
            let channel = index[1] / perGroup * w[1] + i
            let (place, value) = term(
              (offset([index[0], channel, row, column], x), offset([index[1], i, a, b], w), offset(index, y)))
            result[place] += value
          }
        }
      }
    }
    return result
  }

  /// The elements of the window that gives the output at `index`: in the whole array and in their plane.
  static func inside(_ window: Window, _ index: [Int], _ from: Shape) -> [(flat: Int, inPlane: Int)] {
    var result: [(flat: Int, inPlane: Int)] = []
    for a in 0..<window.size[0] {
      for b in 0..<window.size[1] {
        let row = index[2] * window.stride[0] + a - window.padding[0]
        let column = index[3] * window.stride[1] + b - window.padding[1]
        if row >= 0, column >= 0, row < from[2], column < from[3] {
          result.append((offset([index[0], index[1], row, column], from), row * from[3] + column))
        }
      }
    }
    return result
  }
}
