import TemperCore

/// What a node of an expression does. Shapes are those of the node and its inputs; derivatives stand in
/// `Differentiate.swift`, lowering in `RowLowering.swift` and `Steps.swift`.
package enum Operation: Hashable, Sendable {
  // sources
  case input(name: String)
  case constant(Double)
  /// Index of the element along an axis.
  case iota(axis: Int)
  /// Philox uniforms in [0, 1); the one input is the (key, counter) pair, four int32 words.
  case uniform(stream: UInt32)

  // element by element; run in row programs
  case unary(Unary)
  case binary(Binary)
  case select
  case stopGradient
  /// The first input, held constant, whose derivatives by the inputs 1, 3, … are the inputs 2, 4, …; these are computed
  /// where a derivative is wanted.
  case withSlopes

  // along the last axis, which stays with size 1; run in row programs
  case reduce(Reduction)
  case argument(Extremum)
  /// x[..., i], one index for each row; 0 where the index is outside.
  case pick
  /// The value at column i of each row, 0 elsewhere.
  case place(columns: Int)

  // the same elements seen otherwise
  case broadcast
  case reshape
  case permute([Int])
  case slice(axis: Int, start: Int)

  // elements moved
  case concatenate(axis: Int)
  /// Reduction along an axis that is not the last; it stays with size 1.
  case reduceAxis(Reduction, Int)
  case cumulativeSum(reverse: Bool)
  /// Positions that sort each row, NaN last.
  case sortOrder(descending: Bool)
  /// Along the last axis: y[..., j] = x[..., i[..., j]].
  case takeAlong
  /// Transpose of `takeAlong`: y[..., i[..., j]] += x[..., j].
  case scatterAlong(columns: Int)
  case gatherRows
  /// Transpose of `gatherRows`: y[i[j], :] += x[j, :].
  case scatterRows(rows: Int)

  // products
  /// Over the last two axes, batched over the others.
  case matmul(transposeA: Bool, transposeB: Bool)
  case convolution(Convolution)
  case convolutionInput(Convolution, Shape)
  case convolutionWeight(Convolution, Shape)
  case poolMaximumIndices(Window)
  case poolAverage(Window)
  case poolAverageGradient(Window, Shape)

  /// A foreign function: output 0 is the value by row, output k its gradient for input k - 1.
  case external(ExternalFunction, output: Int)

  /// One result of an operation of another room.
  case custom(CustomOperation, output: Int)

  /// Does not run: an error found while the expression was built.
  case invalid(TemperError)
}

package enum Unary: Hashable, Sendable, CaseIterable {
  case negate, abs, sign, square, sqrt, reciprocal, exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, sin, cos
  case floor, ceil, round, not, isFinite, logGamma, digamma, atan, inverseErf, normalCDF
}

package enum Binary: Hashable, Sendable, CaseIterable {
  case add, subtract, multiply, divide, power, maximum, minimum, remainder
  case equal, notEqual, less, lessEqual, and, or
}

package enum Reduction: Hashable, Sendable, CaseIterable { case sum, maximum, minimum, product }

package enum Extremum: Hashable, Sendable { case maximum, minimum }

/// Stride, zero padding, dilation and groups of a two-dimensional convolution (N, C, H, W).
package struct Convolution: Hashable, Sendable {
  package var stride: [Int], padding: [Int], dilation: [Int], groups: Int
  package init(stride: [Int] = [1, 1], padding: [Int] = [0, 0], dilation: [Int] = [1, 1], groups: Int = 1) {
    (self.stride, self.padding, self.dilation, self.groups) = (stride, padding, dilation, groups)
  }
}

/// A pooling window over (N, C, H, W); padding counts as absent.
package struct Window: Hashable, Sendable {
  package var size: [Int], stride: [Int], padding: [Int]
  package init(size: [Int], stride: [Int], padding: [Int] = [0, 0]) {
    (self.size, self.stride, self.padding) = (size, stride, padding)
  }
}

/// A function from outside (a plug-in's value-and-gradient pair). Compared by identity.
package final class ExternalFunction: Hashable, Sendable {
  package let name: String
  /// Inputs that it has a gradient for.
  package let differentiable: [Bool]
  /// Second derivatives: for each input, the function of all inputs and a direction in its shape that gives, in place of
  /// gradients, sum over n of direction[n] . d (gradient for that input)[n] / d input; empty where there are none.
  package let curvatures: [ExternalFunction]
  /// Reads `inputs`, writes the value by row (N, 1) to outputs[0] and, where wanted, gradients to outputs[1...];
  /// all dense. Runs on the calling thread.
  package let evaluate: @Sendable (_ inputs: [Tensor], _ outputs: [Tensor?]) throws(TemperError) -> Void

  package init(
    name: String, differentiable: [Bool], curvatures: [ExternalFunction] = [],
    evaluate: @escaping @Sendable ([Tensor], [Tensor?]) throws(TemperError) -> Void
  ) {
    (self.name, self.differentiable, self.evaluate) = (name, differentiable, evaluate)
    self.curvatures = curvatures
  }

  package static func == (a: ExternalFunction, b: ExternalFunction) -> Bool { a === b }
  package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
