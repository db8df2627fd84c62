import TemperCatalogue
import TemperCore
import TemperGraph

/// Recurrent layers over sequences (T, D), unrolled in time; weights, order of gates and start as PyTorch's:
/// weight_ih (gates H, D), weight_hh (gates H, H), bias_ih and bias_hh (gates H), all U(-1/sqrt(H), 1/sqrt(H)).
extension Layers {
  private static let recurrentOptions: [LayerOption] = [
    .size("size", "Width of the state.").named(also: "hidden_size"),
    .choice("output", ["last", "sequence"], "The state after the last step, (size,), or after each, (T, size)."),
    .boolean("bias", true, "Add trained biases."),
    .initializer("initializer", "fan_in_uniform", "Of W_i, W_h and both biases, with the state's width as fan-in."),
  ]
  private static let maximumSteps = 4096

  /// r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z = sigmoid(W_iz x + b_iz + W_hz h + b_hz),
  /// n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h <- (1 - z) n + z h.
  static let gru = Method.layer(
    "gru", summary: "Gated recurrent units over a sequence (steps, width).",
    reference: Reference(
      "Cho et al.", 2014,
      "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
      arXiv: "1406.1078"),
    options: recurrentOptions, main: "size"
  ) { (layer) throws(TemperError) in
    let size = layer.integer("size")
    return try recurrence(layer, gates: 3, states: 1) { input, hidden, states in
      func gate(_ x: Expression, _ index: Int) -> Expression {
        x.slice((index * size)..<((index + 1) * size), axis: 1)
      }
      let r = sigmoid(gate(input, 0) + gate(hidden, 0))
      let z = sigmoid(gate(input, 1) + gate(hidden, 1))
      let n = tanh(gate(input, 2) + r * gate(hidden, 2))
      return [(1 - z) * n + z * states[0]]
    }
  }

  /// i, f, o = sigmoid, g = tanh of W_i x + b_i + W_h h + b_h in the order i, f, g, o; c <- f c + i g, h <- o tanh(c).
  static let lstm = Method.layer(
    "lstm", summary: "Long short-term memory over a sequence (steps, width).",
    reference: Reference("Hochreiter, Schmidhuber", 1997, "Long Short-Term Memory"),
    options: recurrentOptions, main: "size"
  ) { (layer) throws(TemperError) in
    let size = layer.integer("size")
    return try recurrence(layer, gates: 4, states: 2) { input, hidden, states in
      let sum = input + hidden
      func gate(_ index: Int) -> Expression { sum.slice((index * size)..<((index + 1) * size), axis: 1) }
      let c = sigmoid(gate(1)) * states[1] + sigmoid(gate(0)) * tanh(gate(2))
      return [sigmoid(gate(3)) * tanh(c), c]
    }
  }

  /// Runs `step` over time: from W_i x_t + b_i, W_h h + b_h and the states (the first is h) to the new states.
  private static func recurrence(
    _ layer: LayerBuilder, gates: Int, states: Int,
    step: @escaping @Sendable (_ input: Expression, _ hidden: Expression, _ states: [Expression]) -> [Expression]
  ) throws(TemperError) -> Forward {
    try layer.requireRank(2...2, "sequences (steps, width)")
    let (steps, width, size) = (layer.input[0], layer.input[1], layer.integer("size"))
    guard steps <= maximumSteps else {
      throw TemperError(
        .unsupported, "Sequences of at most \(maximumSteps) steps are unrolled; \(steps) came. Cut them into pieces.")
    }
    try layer.requireSize([steps, gates, size])
    let (rows, initializer) = (gates * size, try layer.initializer())
    let weightIn = try layer.parameter(
      "weight_ih", [rows, width], initializer, fanIn: size, fanOut: rows, use: .product)
    let weightHidden = try layer.parameter(
      "weight_hh", [rows, size], initializer, fanIn: size, fanOut: rows, use: .product)
    var biases: [String] = []
    if layer.boolean("bias") {
      for name in ["bias_ih", "bias_hh"] {
        biases.append(try layer.parameter(name, [rows], initializer, fanIn: size, fanOut: rows))
      }
    }
    let (bias, wholeSequence) = (biases, layer.text("output") == "sequence")
    return { x, pass in
      let batch = x.shape[0]
      // One product for all steps, then (T, N, rows), so that a step is a piece of contiguous memory.
      let product = pass.product(x, weightIn)
      let inputs = (bias.isEmpty ? product : product + pass[bias[0]]).permuted([1, 0, 2])
      let biasHidden = bias.isEmpty ? Expression.zeros([rows]) : pass[bias[1]]
      var state = [Expression](repeating: .zeros([batch, size]), count: states)
      var outputs: [Expression] = []
      for t in 0..<steps {
        let input = inputs.slice(t..<(t + 1)).reshaped([batch, rows])
        // The first state is zero, and so is its product.
        let hidden =
          t == 0
          ? biasHidden.broadcast(to: [batch, rows]) : pass.product(state[0], weightHidden) + biasHidden
        state = step(input, hidden, state)
        if wholeSequence { outputs.append(state[0].expanded(1)) }
      }
      return wholeSequence ? .concatenate(outputs, axis: 1) : state[0]
    }
  }
}
