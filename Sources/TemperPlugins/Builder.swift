import CTemper
import TemperCatalogue
import TemperCore
import TemperGraph

/// The graph that a compose call is building. Wrong uses become error expressions, which nothing made of them forgets.
@safe final class Build {
  /// A guard against endless loops; graphs that are deeper than this could not be taken apart again either.
  private static let limit = 10_000

  private let formula: Formula
  private let descriptor: LossDescriptor
  private var expressions: [Expression] = []
  private var texts: [(name: String, copy: UnsafeMutablePointer<CChar>)] = unsafe []

  init(_ formula: Formula, _ descriptor: LossDescriptor) { (self.formula, self.descriptor) = (formula, descriptor) }

  deinit { for index in unsafe texts.indices { unsafe texts[index].copy.deallocate() } }

  subscript(_ x: temper_expr) -> Expression {
    expressions.indices.contains(Int(x.id) - 1)
      ? expressions[Int(x.id) - 1]
      : .invalid(.pluginFailed, "\(x.id) is not an expression of this compose call.")
  }

  func add(_ expression: Expression) -> temper_expr {
    guard expressions.count < Build.limit else {
      expressions[Build.limit - 1] = .invalid(
        .pluginFailed, "The loss is made of more than \(Build.limit) expressions.")
      return temper_expr(id: Int32(Build.limit))
    }
    expressions.append(expression)
    return temper_expr(id: Int32(expressions.count))
  }

  func input(_ name: String?) -> Expression {
    guard let name, descriptor.inputs.contains(where: { $0.name == name }) else {
      return .invalid(.pluginFailed, "The loss declares no input \"\(name ?? "NULL")\".")
    }
    return formula.has(name)
      ? formula[name] : .invalid(.pluginFailed, "The optional input \(name) did not come; ask `has` first.")
  }

  func has(_ name: String?) -> Bool { name.map { formula.has($0) } ?? false }

  func number(_ name: String?) -> Double {
    switch name.flatMap({ formula.arguments.values[$0] }) {
    case .real(let value)?: value
    case .integer(let value)?: Double(value)
    case .boolean(let value)?: value ? 1 : 0
    default: .nan
    }
  }

  @unsafe func text(_ name: String?) -> UnsafePointer<CChar>? {
    guard let name, case .text(let value)? = formula.arguments.values[name] else { return nil }
    if let made = unsafe texts.first(where: { unsafe $0.name == name }) { return unsafe UnsafePointer(made.copy) }
    let copy = unsafe duplicate(value)
    unsafe texts.append((name, copy))
    return unsafe UnsafePointer(copy)
  }
}

extension Build {
  func unary(_ operation: Int32, _ x: Expression) -> Expression {
    switch operation {
    case TEMPER_NEGATE: -x
    case TEMPER_ABS: abs(x)
    case TEMPER_SIGN: sign(x)
    case TEMPER_SQUARE: square(x)
    case TEMPER_SQRT: sqrt(x)
    case TEMPER_RECIPROCAL: reciprocal(x)
    case TEMPER_EXP: exp(x)
    case TEMPER_EXPM1: expm1(x)
    case TEMPER_LOG: log(x)
    case TEMPER_LOG1P: log1p(x)
    case TEMPER_TANH: tanh(x)
    case TEMPER_SIGMOID: sigmoid(x)
    case TEMPER_SOFTPLUS: softplus(x)
    case TEMPER_ERF: erf(x)
    case TEMPER_SIN: sin(x)
    case TEMPER_COS: cos(x)
    case TEMPER_FLOOR: floor(x)
    case TEMPER_CEIL: ceil(x)
    case TEMPER_ROUND: round(x)
    case TEMPER_NOT: not(x)
    case TEMPER_IS_FINITE: isFinite(x)
    case TEMPER_LOG_GAMMA: logGamma(x)
    case TEMPER_DIGAMMA: digamma(x)
    case TEMPER_ATAN: atan(x)
    case TEMPER_INVERSE_ERF: erfInverse(x)
    case TEMPER_NORMAL_CDF: normalCDF(x)
    case TEMPER_RELU: relu(x)
    case TEMPER_STOP_GRADIENT: x.stopGradient
    case TEMPER_SOFTMAX: x.softmax()
    case TEMPER_LOG_SOFTMAX: x.logSoftmax()
    case TEMPER_SORT_ASCENDING: x.sorted()
    case TEMPER_SORT_DESCENDING: x.sorted(descending: true)
    case TEMPER_CUMULATIVE_SUM: x.cumulativeSum()
    default: .invalid(.pluginFailed, "\(operation) is not an operation of one argument.")
    }
  }

  func binary(_ operation: Int32, _ x: Expression, _ y: Expression) -> Expression {
    switch operation {
    case TEMPER_ADD: x + y
    case TEMPER_SUBTRACT: x - y
    case TEMPER_MULTIPLY: x * y
    case TEMPER_DIVIDE: x / y
    case TEMPER_POWER: pow(x, y)
    case TEMPER_MAXIMUM: maximum(x, y)
    case TEMPER_MINIMUM: minimum(x, y)
    case TEMPER_REMAINDER: remainder(x, y)
    case TEMPER_EQUAL: x .== y
    case TEMPER_NOT_EQUAL: x .!= y
    case TEMPER_LESS: x .< y
    case TEMPER_LESS_EQUAL: x .<= y
    case TEMPER_AND: x .& y
    case TEMPER_OR: x .| y
    default: .invalid(.pluginFailed, "\(operation) is not an operation of two arguments.")
    }
  }

  func reduce(_ operation: Int32, _ x: Expression, axis: Int32) -> Expression {
    let axis = Int(axis)
    func last(_ make: () -> Expression) -> Expression {
      axis == -1 || axis == x.shape.rank - 1
        ? make() : .invalid(.pluginFailed, "This reduction goes along the last axis; axis \(axis) came.")
    }
    switch operation {
    case TEMPER_REDUCE_SUM: return x.sum(axis: axis)
    case TEMPER_REDUCE_MEAN: return x.mean(axis: axis)
    case TEMPER_REDUCE_MAX: return x.maximum(axis: axis)
    case TEMPER_REDUCE_MIN: return x.minimum(axis: axis)
    case TEMPER_REDUCE_PRODUCT: return x.product(axis: axis)
    case TEMPER_REDUCE_LOG_SUM_EXP: return last { x.logSumExp() }
    case TEMPER_REDUCE_ARGMAX: return last { x.argmax() }
    case TEMPER_REDUCE_ARGMIN: return last { x.argmin() }
    default: return .invalid(.pluginFailed, "\(operation) is not a reduction.")
    }
  }

  func columns(_ columns: Int64, _ make: (Int) -> Expression) -> Expression {
    columns >= 1 && columns <= 1 << 31
      ? make(Int(columns)) : .invalid(.pluginFailed, "A number of columns is 1 or more; \(columns) came.")
  }

  func slice(_ x: Expression, _ axis: Int32, _ start: Int64, _ count: Int64) -> Expression {
    start >= 0 && count >= 0 && start <= 1 << 46 && count <= 1 << 46
      ? x.slice(Int(start)..<Int(start + count), axis: Int(axis))
      : .invalid(.pluginFailed, "slice: \(count) elements from \(start) on are no range.")
  }

  /// An expression with a shape that the plug-in gives, once it has been checked.
  func shaped(_ rank: Int32, _ sizes: UnsafePointer<Int64>?, _ make: (Shape) -> Expression) -> Expression {
    guard rank >= 0, rank <= Int32(Shape.maximumRank), unsafe rank == 0 || sizes != nil else {
      return .invalid(.pluginFailed, "A shape has 0 to \(Shape.maximumRank) sizes; \(rank) came.")
    }
    do throws(TemperError) {
      return make(try Shape(validating: (0..<Int(rank)).map { unsafe Int(sizes?[$0] ?? 0) }))
    } catch { return .invalid(error) }
  }
}
