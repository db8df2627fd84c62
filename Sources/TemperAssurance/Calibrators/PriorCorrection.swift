import Glibc
import TemperCatalogue
import TemperCore
import TemperData

/// Classes as likely as they shall be, not as they were in training.
enum PriorCorrection {
  /// z_k - tau (log pi_k - log pi'_k): pi the shares in training, pi' the ones wanted, uniform without them.
  static let method = Method(
    "prior_correction", aliases: ["thresholding"], kind: .calibrator, area: "imbalance",
    summary: "Logits less the logarithm of their classes' shares in training.",
    reference: Reference(
      "Buda, Maki and Mazurowski", 2018,
      "A systematic study of the class imbalance problem in convolutional neural networks", arXiv: "1710.05381"),
    parameters: [.real("tau", 1, in: .nonNegative, "How much of it: 1 divides probabilities by the shares.")],
    keeps: [Input("class_priors", [.init(["C"])], "Shares of the classes in training.")],
    calls: [
      ArrayCall("fit", [.logits, .classIds]) { (work) throws(TemperError) in
        let classes = try work.tensor("logits").shape[1]
        var counts = [Double](repeating: 0, count: classes)
        for id in try work.ids("targets") { counts[id] += 1 }
        guard counts.allSatisfy({ $0 > 0 }) else {
          throw TemperError(
            .outOfRange, "Class \(counts.firstIndex(of: 0) ?? 0) does not occur in targets; its share would be 0.")
        }
        let whole = counts.reduce(0, +)
        try work.keep("class_priors", counts.map { $0 / whole })
      },
      ArrayCall(
        "transform",
        [
          .logits,
          Input("target_priors", [.init(["C"])], isOptional: true, "Shares where the model is used; uniform without."),
        ],
        gives: [.init("logits", "Corrected.")], state: .required
      ) { (work) throws(TemperError) in
        var logits = try work.logits()
        let priors = try work.reals("class_priors")
        let wanted = work.has("target_priors") ? try work.reals("target_priors") : priors.map { _ in 1 }
        guard (priors + wanted).allSatisfy({ $0 > 0 }) else {
          throw TemperError(.outOfRange, "Shares of classes must be above 0.")
        }
        let shift = zip(priors, wanted).map { work.real("tau") * (log($0) - log($1)) }
        for row in 0..<logits.rows { for c in 0..<logits.columns { logits[row, c] -= shift[c] } }
        work.give("logits", try logits.tensor().copy(as: try work.tensor("logits").dtype == .float32 ? .float32 : nil))
      },
    ])
}
