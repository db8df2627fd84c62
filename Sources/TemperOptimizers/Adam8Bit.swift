import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

/// Adam whose averages are kept as codes of 8 bits, three in a number, with one scale for each block of neighbours.
extension Optimizers {
  /// m and v are decoded, moved as in Adam and encoded again. A code stands for a share of its block's largest size:
  ///
  ///     share(E, k) = 10^-E (0.1 + 0.9 (k + 1/2) / 2^(e - E)),  E = 0 … e, k = 0 … 2^(e - E) - 1
  ///
  /// and the last one for 1: fine steps near the largest, and e decades below. m has e = 6, a sign and a zero; v has e = 7
  /// and no zero, for one divides by its root. Both are rounded up or down at random, such that small changes are kept on
  /// average. Parameters of fewer numbers than min_size keep their averages whole.
  static let adam8Bit = Method.optimizer(
    "adam_8bit", aliases: ["adam8bit"], "Adam with its averages in 8-bit codes, block by block.",
    Reference(
      "Dettmers, Lewis, Shleifer and Zettlemoyer", 2022, "8-bit Optimizers via Block-wise Quantization",
      arXiv: "2110.02861"),
    [.learningRate(0.001)] + Parameter.betas() + [
      .eps(1e-8), .weightDecay(), .decoupled,
      .integer("block_size", 256, in: 1...(1 << 20), "Neighbours that share a scale."),
      .integer("min_size", 4096, in: 1...(1 << 46), "Smaller parameters keep whole averages."), .maximize,
    ], isElementwise: false
  ) { x in
    let (w, g) = x.decayed(x.slope, isDecoupled: x.boolean("decoupled_weight_decay"))
    let count = x.parameter.shape.count
    guard count >= x.integer("min_size") else {
      let m = x.average("first_moment", of: g, "beta1")
      return w - x.adamStep(m, x.average("second_moment", of: square(g), "beta2"))
    }
    let block = min(x.integer("block_size"), count)
    func moved(_ name: String, _ codes: BlockCodes, by value: Expression, _ beta: Double, _ stream: UInt32)
      -> Expression
    {
      let words = x.state(name + "_codes", shape: codes.wordShape)
      let scales = x.state(name + "_scales", shape: [codes.blocks, 1])
      let next = beta * codes.decoded(words, scales) + (1 - beta) * codes.blocked(value)
      let (newWords, newScales) = codes.encoded(next, codes.blocked(x.uniform(stream)))
      x.set(name + "_codes", to: newWords)
      x.set(name + "_scales", to: newScales)
      return codes.whole(next, x.parameter.shape)
    }
    let m = moved("first_moment", BlockCodes(count: count, block: block, isSigned: true), by: g, x.real("beta1"), 1)
    let v = moved(
      "second_moment", BlockCodes(count: count, block: block, isSigned: false), by: square(g), x.real("beta2"), 2)
    return w - x.adamStep(m, v)
  }
}

/// Numbers as blocks of 8-bit codes, as `adam_8bit` describes them.
struct BlockCodes {
  let count: Int
  let block: Int
  let isSigned: Bool
  let blocks: Int
  /// Codes in a number: float32 holds whole numbers up to 2^24.
  private static let codesOfWord = 3
  private var words: Int { (block + BlockCodes.codesOfWord - 1) / BlockCodes.codesOfWord }
  private let ln2 = Glibc.log(2.0)
  private let ln10 = Glibc.log(10.0)
  private var decades: Int { isSigned ? 6 : 7 }
  /// The code of the block's largest size.
  private var last: Double { Double((1 << (decades + 1)) - 1) }

  init(count: Int, block: Int, isSigned: Bool) {
    (self.count, self.block, self.isSigned) = (count, block, isSigned)
    blocks = (count + block - 1) / block
  }

  var wordShape: Shape { [blocks, words] }

  /// (blocks, block), zeros at the end.
  func blocked(_ value: Expression) -> Expression {
    value.reshaped([count]).padded(before: 0, after: blocks * block - count, axis: 0).reshaped([blocks, block])
  }

  func whole(_ value: Expression, _ shape: Shape) -> Expression {
    value.reshaped([blocks * block]).slice(0..<count).reshaped(shape)
  }

  func decoded(_ packed: Expression, _ scales: Expression) -> Expression {
    var rest = packed
    var parts: [Expression] = []
    for _ in 0..<BlockCodes.codesOfWord {
      let next = floor(rest * (1.0 / 256))
      parts.append((rest - 256 * next).expanded(-1))
      rest = next
    }
    let codes = Expression.concatenate(parts, axis: 2).reshaped([blocks, words * BlockCodes.codesOfWord])
      .slice(0..<block, axis: 1)
    let isNegative: Expression = codes .>= 128
    let sizes = isSigned ? codes - Expression.select(isNegative, .constant(128), .constant(0)) : codes
    let size = share(sizes)
    guard isSigned else { return size * scales }
    let signed = Expression.select(isNegative, -size, size)
    return Expression.select(sizes .== 0, .constant(0), signed) * scales
  }

  /// `draws`: uniforms for the rounding, one for each number.
  func encoded(_ value: Expression, _ draws: Expression) -> (words: Expression, scales: Expression) {
    let scales = abs(value).maximum()
    let shares = abs(value) / Expression.select(scales .> 0, scales, .constant(1))
    let sizes = code(shares, draws)
    let codes =
      isSigned
      ? Expression.select(value .< 0, sizes + 128, sizes) : sizes
    let full = codes.padded(before: 0, after: words * BlockCodes.codesOfWord - block, axis: 1)
      .reshaped([blocks, words, BlockCodes.codesOfWord])
    var packed = full.slice(0..<1, axis: 2)
    for place in 1..<BlockCodes.codesOfWord {
      packed = packed + Double(1 << (8 * place)) * full.slice(place..<(place + 1), axis: 2)
    }
    return (packed.reshaped(wordShape), scales)
  }

  /// Of code c: c + 1 = 2^j + k has j = e - E.
  private func share(_ codes: Expression) -> Expression {
    let j = floor(log(codes + 1) * (1 / ln2) + 1e-4)
    let width = exp(j * ln2)
    // Powers of two are whole but for rounding.
    let k = codes + 1 - round(width)
    let share = exp((j - Double(decades)) * ln10) * (0.1 + 0.9 * (k + 0.5) / width)
    return .select(codes .== last, .constant(1), share)
  }

  /// One of the two codes of a decade next to the share, the nearer one more likely; the last one where the share is
  /// nearer to 1 than to what is below.
  private func code(_ shares: Expression, _ draws: Expression) -> Expression {
    let decade = clamp(floor(log(maximum(shares, 1e-30)) * (-1 / ln10)), 0, Double(decades))
    let width = exp((Double(decades) - decade) * ln2)
    let k = floor((shares * exp(decade * ln10) - 0.1) / 0.9 * width - 0.5 + draws)
    let place = clamp(k, 0, 1e9)
    let code = round(width) - 1 + minimum(place, round(width) - 1)
    let top = 1 - 0.9 / Double(1 << decades) / 4
    return .select(shares .>= top, .constant(last), code)
  }
}
