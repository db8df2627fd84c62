import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks
import TemperTraining

/// A cascade of networks that refine boxes: each learns from what the one before it made, against a higher threshold.
///
/// The last four columns of x are a proposed box (x1, y1, x2, y2); stage t sees x with the box that stage t - 1 gave in their
/// place, and gives class scores, background first, and four shifts
///
///     ((gx - bx) / bw, (gy - by) / bh, ln(gw / bw), ln(gh / bh)) / std_t
///
/// of centre and size. Its loss is the cross-entropy of the class, background where the overlap with the truth is below
/// u_t, plus lam smooth-L1 of the shifts where it is not. No gradient passes from one stage to another.
final class CascadeRefinement: RecordedProcedure {
  static let method = Method.procedure(
    "cascade_refinement", area: "regularize",
    summary: "A cascade of networks, each of which refines boxes that the one before made better.",
    reference: Reference(
      "Cai and Vasconcelos", 2018, "Cascade R-CNN: Delving into High Quality Object Detection", arXiv: "1712.00726"),
    parameters: [
      .integer("stages", 3, in: 1...8, "How many networks."),
      .real("first_threshold", 0.5, in: .unit, "The overlap that makes a box of the first stage positive."),
      .real("threshold_step", 0.1, in: .unit, "How much more each further stage asks for."),
      .real("lam", 1, in: .nonNegative, "The weight of the boxes.").named(also: "lambda"),
      .real("centre_std", 0.1, in: .positive, "Of the first stage's centre shifts; stage t has this over t."),
      .real("size_std", 0.2, in: .positive, "Of its size shifts."),
    ],
    inputs: [Input("boxes", [.init(["N", "F"])], "The true box of each sample: x1, y1, x2, y2.")],
    replaces: [.objective], CascadeRefinement.self)

  let arguments: Arguments
  let networkCount: Int

  init(_ arguments: Arguments) { (self.arguments, networkCount) = (arguments, arguments.integer("stages")) }

  func check(_ model: Model, _ loss: LossInstance) throws(TemperError) {
    try requireCrossEntropy(model, loss)
    guard model.input.kind == .real, model.input.shape.rank == 1, model.input.shape.count > 4, model.output.last > 5
    else {
      throw TemperError(
        .unsupported, "A stage takes features and a box, (D + 4,), and gives two or more classes and four shifts.")
    }
  }

  func objective(_ step: StepGraph) throws(TemperError) -> Expression {
    let x = try step.rows("x")
    let features = x.slice(0..<x.shape[1] - 4, axis: 1)
    var box = x.slice(x.shape[1] - 4..<x.shape[1], axis: 1)
    let truth = try step.rows("boxes")
    guard truth.shape[1] == 4 else {
      throw TemperError(.invalidShape, "A box has four numbers; `boxes` has rows of \(truth.shape[1]).")
    }
    let labels = try step.rows("targets").reshaped([step.count, 1])
    var objective = Expression.constant(0)
    for stage in 0..<networkCount {
      let output = try step.forward(stage, .concatenate([features, box], axis: 1))
      let classes = output.shape[1] - 4
      let threshold = arguments.real("first_threshold") + Double(stage) * arguments.real("threshold_step")
      let isThere = Boxes.overlap(box, truth) .>= threshold
      let logProbabilities = output.slice(0..<classes, axis: 1).logSoftmax()
      let background = logProbabilities.slice(0..<1, axis: 1)
      let classLoss = -Expression.select(isThere, logProbabilities.pick(labels), background)
      let std = Boxes.scales(arguments.real("centre_std"), arguments.real("size_std"), stage)
      let shifts = output.slice(classes..<classes + 4, axis: 1)
      let rest = abs(shifts - Boxes.shifts(from: box, to: truth) / std)
      let smooth = Expression.select(rest .< 1, 0.5 * square(rest), rest - 0.5).sum()
      let boxLoss = Expression.select(isThere, smooth, .constant(0))
      objective = objective + (classLoss + arguments.real("lam") * boxLoss).meanAll().reshaped([])
      box = Boxes.moved(box, by: shifts * std).stopGradient
    }
    return objective
  }
}

/// Boxes (N, 4) as corners x1, y1, x2, y2.
enum Boxes {
  private static func column(_ box: Expression, _ index: Int) -> Expression { box.slice(index..<index + 1, axis: 1) }

  private static func centred(_ box: Expression) -> (x: Expression, y: Expression, w: Expression, h: Expression) {
    let (x1, y1, x2, y2) = (column(box, 0), column(box, 1), column(box, 2), column(box, 3))
    return ((x1 + x2) / 2, (y1 + y2) / 2, maximum(x2 - x1, 1e-6), maximum(y2 - y1, 1e-6))
  }

  /// Intersection over union, (N, 1).
  static func overlap(_ a: Expression, _ b: Expression) -> Expression {
    func side(_ low: Int, _ high: Int) -> Expression {
      maximum(minimum(column(a, high), column(b, high)) - maximum(column(a, low), column(b, low)), 0)
    }
    func area(_ box: Expression) -> Expression {
      maximum(column(box, 2) - column(box, 0), 0) * maximum(column(box, 3) - column(box, 1), 0)
    }
    let common = side(0, 2) * side(1, 3)
    return common / maximum(area(a) + area(b) - common, 1e-12)
  }

  static func shifts(from box: Expression, to truth: Expression) -> Expression {
    let (b, g) = (centred(box), centred(truth))
    return .concatenate([(g.x - b.x) / b.w, (g.y - b.y) / b.h, log(g.w / b.w), log(g.h / b.h)], axis: 1)
  }

  /// The inverse of `shifts`; sizes grow at most a thousandfold.
  static func moved(_ box: Expression, by shifts: Expression) -> Expression {
    let b = centred(box)
    let (x, y) = (b.x + column(shifts, 0) * b.w, b.y + column(shifts, 1) * b.h)
    let (w, h) = (b.w * exp(minimum(column(shifts, 2), 6.9)), b.h * exp(minimum(column(shifts, 3), 6.9)))
    return .concatenate([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis: 1)
  }

  /// (1, 4): those of the first stage over 1, 2, 3, …
  static func scales(_ centre: Double, _ size: Double, _ stage: Int) -> Expression {
    let share = 1 / Double(stage + 1)
    let (c, s) = (Expression.constant(centre * share, [1, 2]), Expression.constant(size * share, [1, 2]))
    return .concatenate([c, s], axis: 1)
  }
}
