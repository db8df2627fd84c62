import TemperKernels
import Testing

/// The programs that optimizers' rules become, as the plans of TemperGraph write them: `arrays` come first among the
/// slots, then numbers.
struct KnownRule: CustomTestStringConvertible {
  struct Line {
    var op: temper_opcode
    var registers: [Int16]  // result and operands
    var slot: Int
    var immediate: Double
    init(_ op: temper_opcode, _ registers: [Int16], slot: Int = -1, immediate: Double = 0) {
      (self.op, self.registers, self.slot, self.immediate) = (op, registers, slot, immediate)
    }
  }

  var name: String
  var arrays, numbers: Int
  var rows: [Int16]  // registers of one value
  var code: [Line]
  var testDescription: String { name }

  static let all: [KnownRule] = [
    KnownRule(
      name: "adam", arrays: 4, numbers: 2, rows: [4, 5, 6],
      code: [
        .init(TEMPER_LOAD, [0], slot: 0),
        .init(TEMPER_LOAD, [1], slot: 1),
        .init(TEMPER_MULTIPLY, [2, -1, 1], immediate: 0.1),
        .init(TEMPER_MULTIPLY_ADD, [3, -1, 0, 2], immediate: 0.9),
        .init(TEMPER_STORE, [-1, 3], slot: 0),
        .init(TEMPER_LOAD, [2], slot: 2),
        .init(TEMPER_SQUARE, [0, 1]),
        .init(TEMPER_MULTIPLY, [1, -1, 0], immediate: 0.001),
        .init(TEMPER_MULTIPLY_ADD, [0, -1, 2, 1], immediate: 0.999),
        .init(TEMPER_STORE, [-1, 0], slot: 2),
        .init(TEMPER_LOAD, [4], slot: 4),
        .init(TEMPER_NEGATE, [5, 4]),
        .init(TEMPER_LOAD, [6], slot: 5),
        .init(TEMPER_SQRT, [1, 0]),
        .init(TEMPER_MULTIPLY_ADD, [0, 6, 1], immediate: 1e-08),
        .init(TEMPER_DIVIDE, [1, 3, 0]),
        .init(TEMPER_LOAD, [0], slot: 3),
        .init(TEMPER_MULTIPLY_ADD, [3, 5, 1, 0]),
        .init(TEMPER_STORE, [-1, 3], slot: 3),
      ]),
    KnownRule(
      name: "adamw", arrays: 4, numbers: 3, rows: [4, 5, 6, 7],
      code: [
        .init(TEMPER_LOAD, [0], slot: 0),
        .init(TEMPER_LOAD, [1], slot: 1),
        .init(TEMPER_MULTIPLY, [2, -1, 1], immediate: 0.1),
        .init(TEMPER_MULTIPLY_ADD, [3, -1, 0, 2], immediate: 0.9),
        .init(TEMPER_STORE, [-1, 3], slot: 0),
        .init(TEMPER_LOAD, [2], slot: 2),
        .init(TEMPER_SQUARE, [0, 1]),
        .init(TEMPER_MULTIPLY, [1, -1, 0], immediate: 0.001),
        .init(TEMPER_MULTIPLY_ADD, [0, -1, 2, 1], immediate: 0.999),
        .init(TEMPER_STORE, [-1, 0], slot: 2),
        .init(TEMPER_LOAD, [4], slot: 4),
        .init(TEMPER_NEGATE, [5, 4]),
        .init(TEMPER_LOAD, [6], slot: 5),
        .init(TEMPER_SQRT, [1, 0]),
        .init(TEMPER_MULTIPLY_ADD, [0, 6, 1], immediate: 1e-08),
        .init(TEMPER_DIVIDE, [1, 3, 0]),
        .init(TEMPER_LOAD, [7], slot: 6),
        .init(TEMPER_LOAD, [0], slot: 3),
        .init(TEMPER_MULTIPLY, [3, 7, 0]),
        .init(TEMPER_MULTIPLY_ADD, [0, 5, 1, 3]),
        .init(TEMPER_STORE, [-1, 0], slot: 3),
      ]),
    KnownRule(
      name: "adabelief", arrays: 4, numbers: 2, rows: [4, 5, 6],
      code: [
        .init(TEMPER_LOAD, [0], slot: 0),
        .init(TEMPER_LOAD, [1], slot: 1),
        .init(TEMPER_MULTIPLY, [2, -1, 1], immediate: 0.1),
        .init(TEMPER_MULTIPLY_ADD, [3, -1, 0, 2], immediate: 0.9),
        .init(TEMPER_STORE, [-1, 3], slot: 0),
        .init(TEMPER_LOAD, [2], slot: 2),
        .init(TEMPER_SUBTRACT, [0, 1, 3]),
        .init(TEMPER_SQUARE, [1, 0]),
        .init(TEMPER_MULTIPLY, [0, -1, 1], immediate: 0.001),
        .init(TEMPER_MULTIPLY_ADD, [1, -1, 2, 0], immediate: 0.999),
        .init(TEMPER_ADD, [0, 1], immediate: 1e-16),
        .init(TEMPER_STORE, [-1, 0], slot: 2),
        .init(TEMPER_LOAD, [4], slot: 4),
        .init(TEMPER_NEGATE, [5, 4]),
        .init(TEMPER_LOAD, [6], slot: 5),
        .init(TEMPER_SQRT, [1, 0]),
        .init(TEMPER_MULTIPLY_ADD, [0, 6, 1], immediate: 1e-16),
        .init(TEMPER_DIVIDE, [1, 3, 0]),
        .init(TEMPER_LOAD, [0], slot: 3),
        .init(TEMPER_MULTIPLY_ADD, [3, 5, 1, 0]),
        .init(TEMPER_STORE, [-1, 3], slot: 3),
      ]),
    KnownRule(
      name: "adan", arrays: 6, numbers: 5, rows: [4, 7, 8, 9, 10],
      code: [
        .init(TEMPER_LOAD, [0], slot: 0),
        .init(TEMPER_LOAD, [1], slot: 1),
        .init(TEMPER_MULTIPLY, [2, -1, 1], immediate: 0.02),
        .init(TEMPER_MULTIPLY_ADD, [3, -1, 0, 2], immediate: 0.98),
        .init(TEMPER_STORE, [-1, 3], slot: 0),
        .init(TEMPER_LOAD, [2], slot: 2),
        .init(TEMPER_LOAD, [4], slot: 6),
        .init(TEMPER_LOAD, [0], slot: 3),
        .init(TEMPER_SUBTRACT, [5, 1, 0]),
        .init(TEMPER_SELECT, [0, 4, -1, 5]),
        .init(TEMPER_MULTIPLY, [5, -1, 0], immediate: 0.08),
        .init(TEMPER_MULTIPLY_ADD, [6, -1, 2, 5], immediate: 0.92),
        .init(TEMPER_STORE, [-1, 6], slot: 2),
        .init(TEMPER_LOAD, [5], slot: 4),
        .init(TEMPER_MULTIPLY_ADD, [2, -1, 0, 1], immediate: 0.92),
        .init(TEMPER_SQUARE, [0, 2]),
        .init(TEMPER_MULTIPLY, [2, -1, 0], immediate: 0.01),
        .init(TEMPER_MULTIPLY_ADD, [0, -1, 5, 2], immediate: 0.99),
        .init(TEMPER_STORE, [-1, 0], slot: 4),
        .init(TEMPER_LOAD, [2], slot: 5),
        .init(TEMPER_LOAD, [7], slot: 7),
        .init(TEMPER_LOAD, [8], slot: 8),
        .init(TEMPER_MULTIPLY, [5, 8, 6]),
        .init(TEMPER_MULTIPLY_ADD, [6, 7, 3, 5]),
        .init(TEMPER_LOAD, [9], slot: 9),
        .init(TEMPER_SQRT, [5, 0]),
        .init(TEMPER_MULTIPLY_ADD, [0, 9, 5], immediate: 1e-08),
        .init(TEMPER_DIVIDE, [5, 6, 0]),
        .init(TEMPER_SUBTRACT, [0, 2, 5]),
        .init(TEMPER_LOAD, [10], slot: 10),
        .init(TEMPER_MULTIPLY, [5, 0, 10]),
        .init(TEMPER_STORE, [-1, 5], slot: 5),
        .init(TEMPER_COPY, [5, 1]),
        .init(TEMPER_STORE, [-1, 5], slot: 3),
      ]),
    KnownRule(
      name: "sgd with momentum", arrays: 3, numbers: 2, rows: [1, 4, 5],
      code: [
        .init(TEMPER_LOAD, [0], slot: 0),
        .init(TEMPER_LOAD, [1], slot: 3),
        .init(TEMPER_LOAD, [2], slot: 1),
        .init(TEMPER_MULTIPLY, [3, 1, 2]),
        .init(TEMPER_MULTIPLY_ADD, [2, -1, 0, 3], immediate: 0.9),
        .init(TEMPER_STORE, [-1, 2], slot: 0),
        .init(TEMPER_LOAD, [4], slot: 4),
        .init(TEMPER_NEGATE, [5, 4]),
        .init(TEMPER_LOAD, [3], slot: 2),
        .init(TEMPER_MULTIPLY_ADD, [0, 5, 2, 3]),
        .init(TEMPER_STORE, [-1, 0], slot: 2),
      ]),
    KnownRule(
      name: "lion", arrays: 3, numbers: 1, rows: [0, 1],
      code: [
        .init(TEMPER_LOAD, [0], slot: 3),
        .init(TEMPER_NEGATE, [1, 0]),
        .init(TEMPER_LOAD, [2], slot: 0),
        .init(TEMPER_LOAD, [3], slot: 1),
        .init(TEMPER_MULTIPLY, [4, -1, 3], immediate: 0.1),
        .init(TEMPER_MULTIPLY_ADD, [5, -1, 2, 4], immediate: 0.9),
        .init(TEMPER_SIGN, [4, 5]),
        .init(TEMPER_LOAD, [5], slot: 2),
        .init(TEMPER_MULTIPLY_ADD, [6, 1, 4, 5]),
        .init(TEMPER_STORE, [-1, 6], slot: 2),
        .init(TEMPER_MULTIPLY, [6, -1, 3], immediate: 0.01),
        .init(TEMPER_MULTIPLY_ADD, [3, -1, 2, 6], immediate: 0.99),
        .init(TEMPER_STORE, [-1, 3], slot: 0),
      ]),
  ]
}

/// How a rule's gradient, slot 1, is taken times a number before: not, from either side, or where it is read first only.
enum GradientScale: CaseIterable {
  case none, right, left, firstReader
}

extension KnownRule {
  func scaled(_ scale: GradientScale) -> KnownRule {
    guard scale != .none, let load = code.firstIndex(where: { $0.op == TEMPER_LOAD && $0.slot == 1 }) else {
      return self
    }
    var rule = self
    let gradient = code[load].registers[0]
    let free = (code.flatMap(\.registers).max() ?? 0) + 1
    let product = scale == .firstReader ? free + 1 : gradient
    let factors = scale == .left ? [free, gradient] : [gradient, free]
    rule.numbers += 1
    rule.rows.append(free)
    rule.code.insert(
      contentsOf: [
        .init(TEMPER_LOAD, [free], slot: arrays + numbers), .init(TEMPER_MULTIPLY, [product] + factors),
      ], at: load + 1)
    if scale == .firstReader {
      let reader = rule.code[(load + 3)...].firstIndex { $0.registers.dropFirst().contains(gradient) }!
      rule.code[reader].registers = rule.code[reader].registers.map { $0 == gradient ? product : $0 }
    }
    return rule
  }
}

/// Rules that have a loop of their own (known_chains.h) keep the bits of the loops for each instruction, which do what
/// is shorter than a few vectors, and the values of the plain interpreter.
@Suite struct KnownChainTests {
  @Test(arguments: KnownRule.all, GradientScale.allCases)
  func areTheirInstructions(rule: KnownRule, scale: GradientScale) {
    for single in [true, false] { check(rule.scaled(scale), single: single) }
  }

  private func check(_ rule: KnownRule, single: Bool) {
    let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
    var program = ReferenceProgram(rows: 1, columns: 5003)
    let registers = (rule.code.flatMap(\.registers).max() ?? 0) + 1
    for register in 0..<registers { _ = program.register(rule.rows.contains(register) ? .row : .full) }
    for line in rule.code {
      let r = line.registers + [Int16](repeating: -1, count: 4 - line.registers.count)
      program.emit(line.op, r[0], r[1], r[2], r[3], slot: line.slot, immediate: line.immediate)
    }
    // The first number decides, where one does (the first step of adan).
    for first in [0, 0.7] {
      var numbers = Numbers(7)
      let slots = (0..<rule.arrays + rule.numbers).map { slot -> Slot in
        slot < rule.arrays
          ? .dense(program, element: element) { _, _ in Double(Float(numbers.between(0.1, 1))) }
          : .perRow(program, element: element) { _ in
            slot == rule.arrays ? Double(Float(first)) : Double(Float(numbers.between(0.5, 1)))
          }
      }
      var expected = slots
      program.runReference(&expected, single: single)
      for variant in machineVariants {
        var (whole, cut) = (slots, slots)
        program.run(&whole, single: single, on: variant)
        program.run(&cut, single: single, on: variant, columnCuts: Array(stride(from: 3, to: 5003, by: 3)))
        for slot in 0..<rule.arrays {
          #expect(whole[slot].values == cut[slot].values, "slot \(slot), variant \(variant.rawValue)")
          #expect(largestError(whole[slot].values, expected[slot].values) <= (single ? 1e-6 : 1e-14))
        }
      }
    }
  }
}
