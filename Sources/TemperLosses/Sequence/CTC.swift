import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let sequences = [connectionist]

  /// -log of the sum over all alignments of the targets with the frames, blanks between them. b_k: blank after k labels, l_k:
  /// label k; b_k <- p(blank) (b_k + l_{k-1}), l_k <- p(y_k) (l_k + b_k + l_{k-1} if y_k != y_{k-1}). Graves et al., 2006.
  /// Targets that do not fit into the frames give infinity and no gradient.
  static let connectionist = Method(
    "ctc_loss", aliases: ["ctc"], kind: .loss, area: "sequence",
    summary: "The likelihood of a label sequence under frames whose alignment is unknown.",
    reference: Reference(
      "Hannun et al.", 2014, "Deep Speech: Scaling up end-to-end speech recognition", arXiv: "1412.5567"),
    parameters: [.integer("blank", 0, in: 0 ... .max, "The class that stands for no label.")],
    inputs: [
      Input("logits", [.init(["N", "T", "C"])], "Scores for each frame."),
      Input(
        "targets", [.init(["N", "U"], .index(below: "C"))],
        "Labels, no probabilities: they have no places in time; what lies beyond the length is not read."),
      Input("input_lengths", [.init(["N"])], isDifferentiable: false, "How many frames each sample has."),
      Input("target_lengths", [.init(["N"])], isDifferentiable: false, "How many labels each sample has."),
    ],
    properties: ["shift_invariant", "nonnegative"],
    check: { (inputs, arguments) throws(TemperError) in
      guard let logits = inputs["logits"], let targets = inputs["targets"] else { return }
      guard arguments.integer("blank") < logits.shape[2] else {
        throw TemperError(.outOfRange, "The blank must be one of the \(logits.shape[2]) classes.")
      }
      for (name, limit) in [("input_lengths", logits.shape[1]), ("target_lengths", targets.shape[1])] {
        guard let lengths = inputs[name] else { continue }
        if let bad = try lengths.array(of: Double.self).first(where: { !($0 >= 0 && $0 <= Double(limit)) }) {
          throw TemperError(.outOfRange, "\(name) must lie in 0 to \(limit); \(bad) came.")
        }
      }
    },
    implementation: .loss { x in
      let logp = x["logits"].logSoftmax()
      let (n, frames, classes) = (logp.shape[0], logp.shape[1], logp.shape[2])
      let y = x["targets"].squeezed()
      let labels = y.shape[1]
      let blank = x.integer("blank")
      guard blank < classes else { return .invalid(.outOfRange, "The blank must be one of the classes.") }
      func never(_ count: Int) -> Expression { .constant(-.infinity, [n, count]) }
      // A label may follow the one before it directly only if they differ.
      let steps = labels > 1 ? [y.slice(1..<labels, axis: 1) .!= y.slice(0..<(labels - 1), axis: 1)] : []
      let differs = Expression.concatenate([.zeros([n, 1])] + steps, axis: 1)
      let (frameCounts, labelCounts) = (x["input_lengths"], x["target_lengths"])
      var blanks = Expression.concatenate([.zeros([n, 1]), never(labels)], axis: 1)
      var marks = never(labels)
      for t in 0..<frames {
        let frame = logp.slice(t..<(t + 1), axis: 1).reshaped([n, classes])
        let before = Expression.concatenate([never(1), marks], axis: 1)
        let skipped = Expression.select(differs, before.slice(0..<labels, axis: 1), .constant(-.infinity))
        let newBlanks = frame.slice(blank..<(blank + 1), axis: 1) + logAdd([blanks, before])
        let newMarks = frame.takeAlong(y) + logAdd([marks, blanks.slice(0..<labels, axis: 1), skipped])
        let isFrame = frameCounts .> Double(t)
        (blanks, marks) = (.select(isFrame, newBlanks, blanks), .select(isFrame, newMarks, marks))
      }
      let last = Expression.select(
        labelCounts .> 0, marks.pick(labelCounts - 1), .constant(-.infinity))
      return -logAdd([blanks.pick(labelCounts), last])
    })
}
