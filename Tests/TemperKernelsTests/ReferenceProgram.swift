import Foundation
import TemperKernels

/// A row program written down in Swift, with the plainest possible interpreter: whole registers, one instruction after
/// the other, in Double.
struct ReferenceProgram {
  enum Register: UInt8 { case full, row, carried }

  var rows: Int
  var columns: Int
  var outerSizes: [Int]
  var registers: [Register] = []
  var instructions: [temper_instruction] = []

  init(rows: Int, columns: Int, outerSizes: [Int]? = nil) {
    self.rows = rows
    self.columns = columns
    self.outerSizes = outerSizes ?? [rows]
  }

  mutating func register(_ kind: Register) -> Int16 {
    registers.append(kind)
    return Int16(registers.count - 1)
  }

  mutating func emit(
    _ op: temper_opcode, _ dst: Int16 = -1, _ a: Int16 = -1, _ b: Int16 = -1, _ c: Int16 = -1, slot: Int = -1,
    immediate: Double = 0, phase: Int = 0
  ) {
    instructions.append(
      temper_instruction(
        op: op, phase: UInt16(phase), dst: dst, a: a, b: b, c: c, slot: Int16(slot), immediate: immediate))
  }
}

/// Memory of one input or output. Values are kept as Double, which holds every element type used here exactly.
struct Slot {
  var element: temper_element = TEMPER_ELEMENT_F64
  var columnStride: Int
  var outerStrides: [Int]
  var values: [Double]

  static func dense(_ program: ReferenceProgram, element: temper_element, _ value: (Int, Int) -> Double) -> Slot {
    var strides = [Int](repeating: program.columns, count: program.outerSizes.count)
    for d in stride(from: strides.count - 2, through: 0, by: -1) {
      strides[d] = strides[d + 1] * program.outerSizes[d + 1]
    }
    let values = (0..<program.rows).flatMap { r in (0..<program.columns).map { value(r, $0) } }
    return Slot(element: element, columnStride: 1, outerStrides: strides, values: values)
  }

  static func perRow(_ program: ReferenceProgram, element: temper_element, _ value: (Int) -> Double) -> Slot {
    var strides = [Int](repeating: 1, count: program.outerSizes.count)
    for d in stride(from: strides.count - 2, through: 0, by: -1) {
      strides[d] = strides[d + 1] * program.outerSizes[d + 1]
    }
    return Slot(element: element, columnStride: 0, outerStrides: strides, values: (0..<program.rows).map(value))
  }

  func offset(_ program: ReferenceProgram, _ row: Int, _ column: Int) -> Int {
    var rest = row
    var result = column * columnStride
    for d in stride(from: program.outerSizes.count - 1, through: 0, by: -1) {
      result += rest % program.outerSizes[d] * outerStrides[d]
      rest /= program.outerSizes[d]
    }
    return result
  }
}

func elementSize(_ element: temper_element) -> Int {
  switch element {
  case TEMPER_ELEMENT_F32, TEMPER_ELEMENT_I32: 4
  case TEMPER_ELEMENT_U8: 1
  default: 8
  }
}

// MARK: - The reference

/// One value of an element-wise instruction.
func referenceValue(_ op: temper_opcode, _ x: Double, _ y: Double, _ z: Double) -> Double {
  func truth(_ condition: Bool) -> Double { condition ? 1 : 0 }
  switch op {
  case TEMPER_COPY: return x
  case TEMPER_NEGATE: return -x
  case TEMPER_ABS: return abs(x)
  case TEMPER_SIGN: return x > 0 ? 1 : x < 0 ? -1 : x
  case TEMPER_SQUARE: return x * x
  case TEMPER_SQRT: return x.squareRoot()
  case TEMPER_RECIPROCAL: return 1 / x
  case TEMPER_EXP: return exp(x)
  case TEMPER_EXPM1: return expm1(x)
  case TEMPER_LOG: return log(x)
  case TEMPER_LOG1P: return log1p(x)
  case TEMPER_TANH: return tanh(x)
  case TEMPER_SIGMOID: return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x))
  case TEMPER_SOFTPLUS: return x.isNaN ? x : max(x, 0) + log1p(exp(-abs(x)))
  case TEMPER_ERF: return erf(x)
  case TEMPER_SIN: return sin(x)
  case TEMPER_COS: return cos(x)
  case TEMPER_FLOOR: return x.rounded(.down)
  case TEMPER_CEIL: return x.rounded(.up)
  case TEMPER_ROUND: return x.rounded(.toNearestOrEven)
  case TEMPER_NOT: return truth(x == 0)
  case TEMPER_IS_FINITE: return truth(x.isFinite)
  case TEMPER_LGAMMA: return lgamma(x)
  case TEMPER_DIGAMMA: return referenceDigamma(x)
  case TEMPER_ATAN: return atan(x)
  case TEMPER_ERFINV: return referenceErfinv(x)
  case TEMPER_NORMAL_CDF: return 0.5 * erfc(-x / 2.0.squareRoot())
  case TEMPER_ADD: return x + y
  case TEMPER_SUBTRACT: return x - y
  case TEMPER_MULTIPLY: return x * y
  case TEMPER_DIVIDE: return x / y
  case TEMPER_POWER: return pow(x, y)
  case TEMPER_MAXIMUM: return x.isNaN || y.isNaN ? .nan : max(x, y)
  case TEMPER_MINIMUM: return x.isNaN || y.isNaN ? .nan : min(x, y)
  case TEMPER_REMAINDER:
    let r = fmod(x, y)
    return r != 0 && (r < 0) != (y < 0) ? r + y : r
  case TEMPER_EQUAL: return truth(x == y)
  case TEMPER_NOT_EQUAL: return truth(x != y)
  case TEMPER_LESS: return truth(x < y)
  case TEMPER_LESS_EQUAL: return truth(x <= y)
  case TEMPER_AND: return truth(x != 0 && y != 0)
  case TEMPER_OR: return truth(x != 0 || y != 0)
  case TEMPER_SELECT: return x != 0 ? y : z
  case TEMPER_MULTIPLY_ADD: return x * y + z
  default: fatalError("no element-wise instruction: \(op)")
  }
}

/// The difference quotient of log gamma, accurate enough to tell a right digamma from a wrong one.
func referenceDigamma(_ x: Double) -> Double {
  if x <= 0 && x == x.rounded() { return x == 0 ? (x.sign == .minus ? .infinity : -.infinity) : .nan }
  if x == .infinity { return x }
  // Move up until the quotient is smooth: psi(x) = psi(x + 1) - 1 / x.
  var x = x
  var sum = 0.0
  while x < 20 {
    sum -= 1 / x
    x += 1
  }
  let h = 1e-2 * x
  let quotient = { (h: Double) in (lgamma(x + h) - lgamma(x - h)) / (2 * h) }
  return sum + (4 * quotient(h / 2) - quotient(h)) / 3
}

/// Bisection on erf (on erfc in the tails).
func referenceErfinv(_ x: Double) -> Double {
  if !(abs(x) < 1) { return abs(x) == 1 ? x * .infinity : .nan }
  var low = 0.0
  var high = 7.0
  for _ in 0..<200 {
    let middle = (low + high) / 2
    let below = abs(x) < 0.5 ? erf(middle) < abs(x) : erfc(middle) > 1 - abs(x)
    if below { low = middle } else { high = middle }
  }
  return x < 0 ? -high : high
}

extension ReferenceProgram {
  /// Runs the program; stores change `slots`. Registers and stored values are rounded to the working type.
  func runReference(_ slots: inout [Slot], single: Bool) {
    func rounded(_ x: Double) -> Double { single ? Double(Float(x)) : x }
    var values = registers.map { [Double](repeating: 0, count: $0 == .row ? rows : rows * columns) }
    for i in instructions {
      func operand(_ reg: Int16, _ row: Int, _ column: Int) -> Double {
        if reg < 0 { return rounded(i.immediate) }
        return registers[Int(reg)] == .row ? values[Int(reg)][row] : values[Int(reg)][row * columns + column]
      }
      func set(_ value: (Int, Int) -> Double) {
        let full = registers[Int(i.dst)] != .row
        let width = full ? columns : 1
        var result = [Double](repeating: 0, count: rows * width)
        for row in 0..<rows { for column in 0..<width { result[row * width + column] = rounded(value(row, column)) } }
        values[Int(i.dst)] = result
      }
      func reduce(_ step: ([Double]) -> Double) {
        set { row, _ in step((0..<columns).map { operand(i.a, row, $0) }) }
      }
      func extreme(_ better: @escaping (Double, Double) -> Bool) -> ([Double]) -> Double {
        { row in
          var best = 0
          for c in row.indices where !row[best].isNaN && (row[c].isNaN || better(row[c], row[best])) { best = c }
          return Double(best)
        }
      }
      switch i.op {
      case TEMPER_LOAD:
        let slot = slots[Int(i.slot)]
        set { rounded(slot.values[slot.offset(self, $0, $1)]) }
      case TEMPER_STORE:
        var slot = slots[Int(i.slot)]
        for row in 0..<rows {
          for column in 0..<columns {
            let value = operand(i.a, row, column)
            slot.values[slot.offset(self, row, column)] =
              slot.element == TEMPER_ELEMENT_F32
              ? Double(Float(value))
              : slot.element == TEMPER_ELEMENT_F64
                ? value
                : value.isNaN ? 0 : clampInteger(value.rounded(.towardZero), slot.element)
          }
        }
        slots[Int(i.slot)] = slot
      case TEMPER_FILL: set { _, _ in i.immediate }
      case TEMPER_COLUMN: set { Double($1) }
      case TEMPER_ROW: set { row, _ in Double(row) }
      case TEMPER_ROW_SUM: reduce { $0.reduce(0, +) }
      case TEMPER_ROW_PRODUCT: reduce { $0.reduce(1, *) }
      case TEMPER_ROW_MAX: reduce { row in row.contains(where: \.isNaN) ? .nan : row.max()! }
      case TEMPER_ROW_MIN: reduce { row in row.contains(where: \.isNaN) ? .nan : row.min()! }
      case TEMPER_ROW_ARGMAX: reduce(extreme(>))
      case TEMPER_ROW_ARGMIN: reduce(extreme(<))
      case TEMPER_PICK:
        set { row, _ in
          let at = operand(i.b, row, 0)
          return at >= 0 && at < Double(columns) ? operand(i.a, row, Int(at)) : 0
        }
      case TEMPER_PLACE: set { Double($1) == operand(i.a, $0, 0) ? operand(i.b, $0, 0) : 0 }
      case TEMPER_PLACE_ADD:
        set { operand(i.a, $0, $1) + (Double($1) == operand(i.b, $0, 0) ? operand(i.c, $0, 0) : 0) }
      default: set { referenceValue(i.op, operand(i.a, $0, $1), operand(i.b, $0, $1), operand(i.c, $0, $1)) }
      }
    }
  }
}

private func clampInteger(_ x: Double, _ element: temper_element) -> Double {
  switch element {
  case TEMPER_ELEMENT_I32: min(max(x, -0x1p31), 0x1p31 - 1)
  case TEMPER_ELEMENT_U8: min(max(x, 0), 255)
  default: x
  }
}
