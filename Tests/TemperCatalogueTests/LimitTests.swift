import TemperCatalogue
import TemperCore
import Testing

/// What every record does at the limits of its inputs, without a word about any single one.
@Suite struct LimitTests {
  /// Values and gradients of one call; nil if it is an error, whose text then is `said`.
  private func call(_ example: Example, _ type: DType = .float64) throws -> (results: [String: [Double]]?, said: String)
  {
    do { return (try InstanceTests.call(example, type), "") } catch let error as TemperError {
      return (nil, error.message)
    }
  }

  private func subject(_ example: Example) -> String? {
    example.method.inputs.first { $0.isDifferentiable && example.arrays[$0.name]?.form.element == .real }?.name
  }

  /// One sample and one row: finite, or an error that says how many are needed.
  @Test(arguments: expressionMethods) func oneSampleIsEnoughOrSaidToBeTooFew(_ name: String) throws {
    let example = try Example(try method(name), sizes: ["N": 1, "...": 1])
    let (results, said) = try call(example)
    if let results {
      for (output, values) in results where output == "value" {
        #expect(values.allSatisfy { !$0.isNaN }, "\(values)")
      }
    } else {
      let isSaid = ["least", "two", "more than one", "1 sample", "needs", "must"].contains { said.contains($0) }
      #expect(isSaid, "\(said)")
    }
  }

  /// A broken number is never hidden: where it goes in, something broken comes out.
  @Test(arguments: expressionMethods) func brokenNumbersShow(_ name: String) throws {
    var example = try Example(try method(name))
    guard let subject = subject(example), LimitTests.showNothing[name] == nil else { return }
    example.arrays[subject]!.values[0] = .nan
    guard let values = try call(example).results?["value"] else { return }
    #expect(values.contains { $0.isNaN }, "\(values)")
  }

  /// Where the first element may be broken and the result right, and why.
  static let showNothing = [
    "alignment_resampling": "indices of samples, by the order of their scores",
    "alignment_resampling_gumbel": "indices of samples, by the order of their scores",
    "coordinate_median": "one element decides; a broken one is never in the middle",
    "nll": "the target's column alone is read",
    "perplexity_filter_and_greedy_soup": "tokens that the mask hides are left out",
    "shrinkmatch_loss": "samples below the threshold of confidence are left out, and NaN is not above it",
    "ambient_denoising_loss": "pixels that the mask hides are left out",
  ]

  /// Scores of 1e4 either way: no NaN in values or gradients, in both precisions.
  @Test(arguments: catalogue.methods.filter { [.op, .activation, .decoder].contains($0.kind) }.map(\.name))
  func largeScoresGiveNumbers(_ name: String) throws {
    var example = try Example(try method(name))
    guard let subject = subject(example) else { return }
    let signs = [1.0, -1, 0, 1, 1, -1, -1, 0.5]
    for at in example.arrays[subject]!.values.indices { example.arrays[subject]!.values[at] = 1e4 * signs[at % 8] }
    for type in [DType.float32, .float64] {
      guard let results = try call(example, type).results else { continue }
      for (output, values) in results { #expect(values.allSatisfy { !$0.isNaN }, "\(output), \(type): \(values)") }
    }
  }

  /// Probabilities of exactly 0 and 1, wherever an input is one: no NaN in values.
  @Test(arguments: expressionMethods) func certaintyGivesNumbers(_ name: String) throws {
    let method = try method(name)
    for form in 0..<(method.inputs.map(\.forms.count).max() ?? 1) {
      for side in [0, 1] {
        var example = try Example(method, form: form)
        var isChanged = false
        for (input, array) in example.arrays {
          let columns = array.shape.last
          switch Domain.of(input, in: name, array.form) {
          case .simplex where columns > 0:
            example.arrays[input]!.values = array.values.indices.map {
              ($0 % columns == $0 / columns % columns) ? 1 : 0
            }
          case .unit:
            example.arrays[input]!.values = array.values.indices.map { Double(($0 + side) % 2) }
          default: continue
          }
          isChanged = true
        }
        guard isChanged, let values = try call(example).results?["value"] else { continue }
        #expect(values.allSatisfy { !$0.isNaN }, "form \(form), side \(side): \(values)")
      }
    }
  }

  /// State by sample that was kept elsewhere continues as state that never left: bit by bit, and it matters.
  @Test(arguments: catalogue.methods.filter { !$0.state.isEmpty && $0.kind == .loss }.map(\.name))
  func stateContinuesWhereItWasKept(_ name: String) throws {
    // Whatever may be adapted is.
    let settings = try method(name).parameters.filter { $0.kind == .boolean }
      .map { (name: $0.name, value: Value.boolean(true)) }
    let example = try Example(try method(name), settings)
    let instance = try loss(name, settings)
    // Without what may stand in for state, either.
    let needed = example.method.inputs.filter { !$0.isOptional }.map(\.name)
    let inputs = try example.tensors(.float32).filter { entry in
      needed.contains(entry.key) && !example.method.state.contains { $0.name == entry.key }
    }
    let first = try instance.updatedState(inputs)
    let second = try instance.updatedState(inputs.merging(first) { $1 })
    var kept: [String: Tensor] = [:]
    for (state, tensor) in first {
      kept[state] = try Tensor(try tensor.array(of: Float.self), shape: tensor.shape)
    }
    let resumed = try loss(name, settings).updatedState(inputs.merging(kept) { $1 })
    for (state, tensor) in second {
      #expect(try numbers(resumed[state]!).map(\.bitPattern) == numbers(tensor).map(\.bitPattern), "\(state)")
      #expect(try numbers(tensor) != numbers(first[state]!), "\(state) does not move")
    }
  }
}
