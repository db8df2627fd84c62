import Foundation
import TemperKernels
import Testing

/// Runs one instruction on two lists of arguments.
private func apply(_ op: temper_opcode, _ x: [Double], _ y: [Double], single: Bool, variant: temper_variant) -> [Double]
{
  let element = single ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64
  var program = ReferenceProgram(rows: 1, columns: x.count)
  for _ in 0..<3 { _ = program.register(.full) }
  program.emit(TEMPER_LOAD, 0, slot: 0)
  program.emit(TEMPER_LOAD, 1, slot: 1)
  program.emit(op, 2, 0, 1)
  program.emit(TEMPER_STORE, -1, 2, slot: 2)
  var slots = [x, y, x].map { Slot(element: element, columnStride: 1, outerStrides: [0], values: $0) }
  program.run(&slots, single: single, on: variant)
  return slots[2].values
}

private func same(_ a: Double, _ b: Double) -> Bool {
  a.isNaN ? b.isNaN : a == b && a.sign == b.sign
}

@Suite struct VectorMathTests {
  /// Values that must be exact, signs of zero included. float and double share them.
  static let exact: [(temper_opcode, [(Double, Double)])] = [
    (
      TEMPER_EXP,
      [(0, 1), (-0.0, 1), (.infinity, .infinity), (-.infinity, 0), (.nan, .nan), (1e4, .infinity), (-1e4, 0)]
    ),
    (TEMPER_EXPM1, [(0, 0), (-0.0, -0.0), (.infinity, .infinity), (-.infinity, -1), (.nan, .nan), (1e4, .infinity)]),
    (
      TEMPER_LOG,
      [
        (1, 0), (0, -.infinity), (-0.0, -.infinity), (.infinity, .infinity), (-1, .nan), (-.infinity, .nan),
        (.nan, .nan),
      ]
    ),
    (
      TEMPER_LOG1P,
      [
        (0, 0), (-0.0, -0.0), (-1, -.infinity), (-2, .nan), (.infinity, .infinity), (-.infinity, .nan), (.nan, .nan),
        (0x1p-60, 0x1p-60),
      ]
    ),
    (
      TEMPER_TANH,
      [(0, 0), (-0.0, -0.0), (.infinity, 1), (-.infinity, -1), (100, 1), (-100, -1), (.nan, .nan), (0x1p-60, 0x1p-60)]
    ),
    (TEMPER_SIGMOID, [(0, 0.5), (.infinity, 1), (-.infinity, 0), (.nan, .nan), (1e4, 1), (-1e4, 0)]),
    (TEMPER_SOFTPLUS, [(.infinity, .infinity), (-.infinity, 0), (.nan, .nan), (1e4, 1e4), (-1e4, 0)]),
    (TEMPER_ERF, [(0, 0), (-0.0, -0.0), (.infinity, 1), (-.infinity, -1), (9, 1), (.nan, .nan)]),
    (TEMPER_NORMAL_CDF, [(0, 0.5), (.infinity, 1), (-.infinity, 0), (50, 1), (-50, 0), (.nan, .nan)]),
    (TEMPER_SIN, [(0, 0), (-0.0, -0.0), (.infinity, .nan), (.nan, .nan)]),
    (TEMPER_COS, [(0, 1), (-0.0, 1), (-.infinity, .nan), (.nan, .nan)]),
    (
      TEMPER_ROUND,
      [
        (0.5, 0), (1.5, 2), (2.5, 2), (-0.5, -0.0), (-0.0, -0.0), (0x1p60, 0x1p60), (.infinity, .infinity),
        (.nan, .nan),
      ]
    ),
    (
      TEMPER_FLOOR,
      [(0.5, 0), (-0.5, -1), (-0.0, -0.0), (2, 2), (-2, -2), (0x1p60, 0x1p60), (-.infinity, -.infinity), (.nan, .nan)]
    ),
    (
      TEMPER_CEIL,
      [
        (0.5, 1), (-0.5, -0.0), (-0.0, -0.0), (2, 2), (-2.5, -2), (0x1p60, 0x1p60), (.infinity, .infinity),
        (.nan, .nan),
      ]
    ),
    (TEMPER_DIGAMMA, [(0, -.infinity), (-1, .nan), (.infinity, .infinity), (-.infinity, .nan), (.nan, .nan)]),
    (TEMPER_ERFINV, [(0, 0), (-0.0, -0.0), (1, .infinity), (-1, -.infinity), (1.5, .nan), (.nan, .nan)]),
  ]

  @Test(arguments: exact.indices, [true, false])
  func edges(index: Int, single: Bool) {
    let (op, cases) = Self.exact[index]
    for variant in machineVariants {
      let got = apply(op, cases.map(\.0), cases.map(\.0), single: single, variant: variant)
      for (c, g) in zip(cases, got) { #expect(same(c.1, g), "opcode \(op.rawValue) of \(c.0): \(g)") }
    }
  }

  /// Every pair of these, against C's pow.
  @Test(arguments: [true, false])
  func powerEdges(single: Bool) {
    let values = [
      0, -0.0, 1, -1, 2, -2, 3, 0.5, -0.5, -3, 1e10, -1e10, 16_777_217, 33_554_431, 0.999, .infinity, -.infinity, .nan,
      1.25, 127, -149, 3e38, 1e-40,
    ].map { single ? Double(Float($0)) : $0 }
    let x = values.flatMap { x in values.map { _ in x } }
    let y = values.flatMap { _ in values }
    for variant in machineVariants {
      let got = apply(TEMPER_POWER, x, y, single: single, variant: variant)
      for i in x.indices {
        let expected = single ? Double(powf(Float(x[i]), Float(y[i]))) : pow(x[i], y[i])
        let close = abs(got[i] - expected) <= abs(expected) * (single ? 0x1p-23 : 0x1p-52)
        #expect(same(got[i], expected) || (close && got[i].sign == expected.sign), "pow(\(x[i]), \(y[i])): \(got[i])")
      }
    }
  }

  #if arch(x86_64)
    struct Accuracy: Sendable {
      var op: temper_opcode
      var range: (Double, Double)
      /// Half of the arguments are spread evenly over the range, half over the exponents up to its ends.
      var function: @Sendable (Float80, Float80) -> Float80
      /// The largest error allowed, in units in the last place of the exact result.
      var single: Double
      var double: Double
    }

    /// The table of stated errors.
    static let accuracies: [Accuracy] = [
      Accuracy(op: TEMPER_EXP, range: (-87, 88.7), function: { x, _ in expl(x) }, single: 1.1, double: 1.1),
      Accuracy(op: TEMPER_EXPM1, range: (-30, 88), function: { x, _ in expm1l(x) }, single: 1.8, double: 2),
      Accuracy(op: TEMPER_LOG, range: (0, 1e30), function: { x, _ in logl(x) }, single: 1, double: 1),
      Accuracy(op: TEMPER_LOG, range: (0.5, 2), function: { x, _ in logl(x) }, single: 1, double: 1),
      Accuracy(op: TEMPER_LOG1P, range: (-0.999, 3), function: { x, _ in log1pl(x) }, single: 1.6, double: 1.6),
      Accuracy(op: TEMPER_TANH, range: (-12, 12), function: { x, _ in tanhl(x) }, single: 1.5, double: 2.7),
      Accuracy(
        op: TEMPER_SIGMOID, range: (-80, 40), function: { x, _ in 1 / (1 + expl(-x)) }, single: 2.5, double: 2.5),
      Accuracy(
        op: TEMPER_SOFTPLUS, range: (-80, 40), function: { x, _ in x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)) },
        single: 2.2, double: 2.2),
      Accuracy(op: TEMPER_ERF, range: (-5, 5), function: { x, _ in erfl(x) }, single: 1.5, double: 1.5),
      Accuracy(
        op: TEMPER_NORMAL_CDF, range: (-12.9, 8), function: { x, _ in erfcl(-x / Float80(2).squareRoot()) / 2 },
        single: 5,
        double: 7),
      Accuracy(op: TEMPER_SIN, range: (-8, 8), function: { x, _ in sinl(x) }, single: 1.8, double: 1.8),
      Accuracy(op: TEMPER_COS, range: (-8, 8), function: { x, _ in cosl(x) }, single: 1.8, double: 1.8),
      Accuracy(op: TEMPER_SIN, range: (-1e6, 1e6), function: { x, _ in sinl(x) }, single: 2.5, double: 2.5),
      Accuracy(op: TEMPER_COS, range: (-8192, 8192), function: { x, _ in cosl(x) }, single: 2.5, double: 2.5),
      Accuracy(op: TEMPER_POWER, range: (0, 30), function: { x, y in powl(x, y) }, single: 0.6, double: 1),
      Accuracy(op: TEMPER_LGAMMA, range: (0.01, 50), function: { x, _ in lgammal(x) }, single: 5, double: 5),
      Accuracy(op: TEMPER_ATAN, range: (-50, 50), function: { x, _ in atanl(x) }, single: 1, double: 1),
    ]

    @Test(arguments: accuracies.indices, [true, false])
    func accuracy(index: Int, single: Bool) {
      let a = Self.accuracies[index]
      var numbers = Numbers(index)
      var x: [Double] = []
      var y: [Double] = []
      for i in 0..<20_000 {
        var value = numbers.between(a.range.0, a.range.1)
        if i % 2 == 0 && a.range.0 <= 0 {
          let end = value < 0 ? a.range.0 : a.range.1
          value = end * exp2(numbers.between(-60, 0))
        }
        x.append(single ? Double(Float(value)) : value)
        y.append(Double(Float(numbers.between(-8, 8))))
      }
      for variant in machineVariants {
        let got = apply(a.op, x, y, single: single, variant: variant)
        var worst = 0.0
        var at = 0.0
        for i in x.indices {
          let expected = a.function(Float80(x[i]), Float80(y[i]))
          let largest = Float80(single ? Double(Float.greatestFiniteMagnitude) : .greatestFiniteMagnitude)
          let smallest = Float80(single ? Double(Float.leastNormalMagnitude) : .leastNormalMagnitude)
          if abs(expected) > largest || abs(expected) < smallest { continue }
          let ulp = expected.ulp * (single ? 0x1p40 : 0x1p11)
          let error = Double(abs(Float80(got[i]) - expected) / ulp)
          if !(error <= worst) { (worst, at) = (error.isNaN ? .infinity : error, x[i]) }
        }
        #expect(
          worst <= (single ? a.single : a.double), "opcode \(a.op.rawValue) at \(at), variant \(variant.rawValue)")
      }
    }
  #endif

  /// Overflow and underflow happen where they should.
  @Test func exponentialLimits() {
    for variant in machineVariants {
      let top = 0x1.62e42ep6
      let bottom = -87.33654
      let x = [top, Double(Float(top).nextUp), bottom, -87.4, -103]
      let got = apply(TEMPER_EXP, x, x, single: true, variant: variant)
      #expect(abs(got[0] / exp(top) - 1) < 0x1p-22 && got[1] == .infinity)
      #expect(abs(got[2] / exp(bottom) - 1) < 0x1p-20 && got[3] == 0 && got[4] == 0)
      let y = [709.782712893384, 709.782712893385, -708.39, -708.4, -745]
      let wide = apply(TEMPER_EXP, y, y, single: false, variant: variant)
      #expect(abs(wide[0] / exp(y[0]) - 1) < 0x1p-50 && wide[1] == .infinity)
      #expect(abs(wide[2] / exp(y[2]) - 1) < 0x1p-50 && wide[3] == 0 && wide[4] == 0)
    }
  }

  /// A digamma and its reflection at known values; the reference of the row-program tests is less exact.
  @Test func specialValues() {
    let euler = 0.57721566490153286061
    let cases: [(temper_opcode, Double, Double)] = [
      (TEMPER_DIGAMMA, 1, -euler), (TEMPER_DIGAMMA, 2, 1 - euler), (TEMPER_DIGAMMA, 0.5, -euler - 2 * log(2)),
      (TEMPER_DIGAMMA, 1e-3, -1000.5755719318103), (TEMPER_DIGAMMA, 100, 4.600161852738087),
      (TEMPER_DIGAMMA, -0.5, 2 - euler - 2 * log(2)), (TEMPER_DIGAMMA, 1e10, 23.02585092989046),
      (TEMPER_ERFINV, 0.5, 0.47693627620446987), (TEMPER_ERFINV, -0.9, -1.1630871536766743),
      (TEMPER_ERFINV, 1e-10, 8.862269254527580e-11), (TEMPER_ERFINV, 0.999999, 3.458910737275499),
    ]
    for (op, x, expected) in cases {
      let got = apply(op, [x], [x], single: false, variant: TEMPER_VARIANT_BEST)[0]
      #expect(
        abs(got - expected) <= 4e-15 * max(abs(expected), op == TEMPER_DIGAMMA ? 1 : 0),
        "opcode \(op.rawValue) of \(x): \(got)")
      let rough = apply(op, [x], [x], single: true, variant: TEMPER_VARIANT_BEST)[0]
      let exact = apply(op, [Double(Float(x))], [x], single: false, variant: TEMPER_VARIANT_BEST)[0]
      #expect(rough == Double(Float(exact)))
    }
  }
}
