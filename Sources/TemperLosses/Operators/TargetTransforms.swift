import TemperCatalogue
import TemperCore
import TemperGraph

extension Losses {
  static let targetTransforms = [smoothedLabels]

  /// (1 - s) t + s p, p even or a prior. Szegedy et al., 2016.
  static let smoothedLabels = Method(
    "smooth_labels", aliases: ["label_smoothing"], kind: .op, area: "loss",
    summary:
      "Targets with a share of their probability spread over all classes: for any loss that takes probabilities.",
    reference: Reference(
      "Szegedy, Vanhoucke, Ioffe, Shlens and Wojna", 2016, "Rethinking the Inception Architecture for Computer Vision",
      arXiv: "1512.00567"),
    parameters: [
      .real("smoothing", 0.1, in: .unit, "The share that is spread."),
      .integer(
        "num_classes", 0, in: 0...(1 << 24),
        "How many classes there are, where targets are ids; 0: as many as prior has."),
    ],
    inputs: [
      Input(
        "targets", [.init(["N", "C"]), .init(["N"], .index(below: nil))], "Probabilities, or class ids."),
      Input("prior", [.init(["C"])], isOptional: true, "What the share becomes; even without it."),
    ],
    check: { (inputs, arguments) throws(TemperError) in
      guard let targets = inputs["targets"], targets.shape.rank == 1 else { return }
      let (given, prior) = (arguments.integer("num_classes"), inputs["prior"]?.count ?? 0)
      let classes = given == 0 ? prior : given
      guard classes > 0 else {
        throw TemperError(.invalidArgument, "With class ids num_classes or prior says how many classes there are.")
      }
      guard prior == 0 || prior == classes else {
        throw TemperError(.invalidShape, "prior has \(prior) classes, and num_classes is \(classes).")
      }
      if let id = try targets.array(of: Int64.self).first(where: { $0 < 0 || $0 >= classes }) {
        throw TemperError(.outOfRange, "Class ids are from 0 to \(classes - 1); \(id) came.")
      }
    },
    implementation: .operation { x in
      let share = x.real("smoothing")
      let given = x.integer("num_classes")
      let classes = given == 0 && x.has("prior") ? x["prior"].shape.last : given
      let targets = x.targets.kind == .index ? Expression.oneHot(x.targets, columns: classes) : x.targets
      let even = Expression.constant(1 / Double(max(targets.shape.last, 1)))
      return (1 - share) * targets + share * (x.has("prior") ? x["prior"] : even)
    })
}
