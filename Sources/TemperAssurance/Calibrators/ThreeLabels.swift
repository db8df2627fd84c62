import Glibc
import TemperCatalogue
import TemperCore
import TemperData
import TemperKernels

/// T and the shares p of the true classes from three given labels of each item, independent where the truth is known:
/// M[a, b, c] = sum_y p_y T[y, a] T[y, b] T[y, c] has them as its only solution where T is not singular.
enum ThreeLabels {
  static let method = Method(
    "transition_matrix_from_three_labels", kind: .calibrator, area: "noisy-labels",
    summary: "The transition matrix from three noisy labels of each item, without any true one.",
    reference: Reference(
      "Liu, Cheng and Zhang", 2023, "Identifiability of Label Noise Transition Matrix", arXiv: "2202.02016"),
    parameters: [
      .integer("em_iters", 100, in: 0...1_000_000, "Iterations of expectation-maximisation after the eigenvectors."),
      .integer("restarts", 5, in: 1...1000, "Random pairs of directions tried; the likeliest result counts."),
      .integer("num_classes", 0, in: 0...512, "How many classes there are; 0: as many as occur."),
      .integer("seed", 0, in: 0 ... .max, "Where the directions come from; 0: the context's."),
    ],
    keeps: [
      TransitionEstimates.kept, Input("class_priors", [.init(["C"])], "Shares of the true classes."),
      Input("smallest_singular_value", [.init([])], "Of T: near 0, three labels do not say enough."),
      Input("log_likelihood", [.init(["K"])], "Of the labels, before and after each iteration."),
    ],
    calls: [
      ArrayCall(
        "fit",
        [
          Input("labels", [.init(["N", "3"], .index(below: nil))], isOptional: true, "Three labels of each item."),
          Input("tensor", [.init(["C", "C", "C"])], isOptional: true, "Or the shares of the triples of labels."),
        ]
      ) { (work) throws(TemperError) in
        let triples = try Triples(work)
        let random = work.random("three_labels", seed: "seed")
        var best: (fit: Fit, likelihoods: [Double])?
        for restart in 0..<work.integer("restarts") {
          var random = random.stream(restart)
          var fit = triples.diagonalized(&random) ?? triples.majority
          var likelihoods = [triples.logLikelihood(fit)]
          for _ in 0..<work.integer("em_iters") {
            fit = triples.step(fit)
            likelihoods.append(triples.logLikelihood(fit))
            let last = likelihoods.suffix(2)
            if abs((last.last ?? 0) - (last.first ?? 0)) < 1e-14 { break }
          }
          if (likelihoods.last ?? 0) > (best?.likelihoods.last ?? -.infinity) { best = (fit, likelihoods) }
        }
        guard let best else { throw TemperError(.notFinite, "No start led to a transition matrix.") }
        work.keep("transition", try best.fit.transition.tensor())
        try work.keep("class_priors", best.fit.priors)
        try work.keep("smallest_singular_value", [best.fit.transition.smallestSingularValue], [])
        try work.keep("log_likelihood", best.likelihoods)
      }, TransitionEstimates.cleaned,
    ])

  struct Fit {
    var transition: Matrix
    var priors: [Double]
  }

  /// Shares of the triples (a, b, c), all orders alike.
  private struct Triples {
    let classes: Int
    let shares: [Double]

    init(_ work: ArrayWork) throws(TemperError) {
      guard work.has("labels") != work.has("tensor") else {
        throw TemperError(.invalidArgument, "It takes labels (N, 3), or tensor (C, C, C).")
      }
      if work.has("tensor") {
        let (values, k) = (try work.reals("tensor"), try work.tensor("tensor").shape[0])
        guard values.allSatisfy({ $0 >= 0 }), abs(values.reduce(0, +) - 1) < 1e-6, k >= 2, k <= 512 else {
          throw TemperError(.outOfRange, "tensor holds shares of 2 to 512 classes' triples, which sum to 1.")
        }
        self.init(k, values)
        return
      }
      let labels = try work.ids("labels")
      let k = max(work.integer("num_classes"), (labels.max() ?? 0) + 1)
      guard k >= 2, k <= 512, work.integer("num_classes") == 0 || k == work.integer("num_classes") else {
        throw TemperError(.outOfRange, "Labels must lie in 0 to num_classes - 1, and there may be 2 to 512 classes.")
      }
      var counts = [Double](repeating: 0, count: k * k * k)
      for at in stride(from: 0, to: labels.count, by: 3) {
        counts[(labels[at] * k + labels[at + 1]) * k + labels[at + 2]] += 3 / Double(labels.count)
      }
      self.init(k, counts)
    }

    private init(_ k: Int, _ values: [Double]) {
      var shares = values
      for a in 0..<k {
        for b in a..<k {
          for c in b..<k {
            let orders = [(a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a)]
            let mean = orders.reduce(0.0) { $0 + values[($1.0 * k + $1.1) * k + $1.2] } / 6
            for order in orders { shares[(order.0 * k + order.1) * k + order.2] = mean }
          }
        }
      }
      (classes, self.shares) = (k, shares)
    }

    func share(_ a: Int, _ b: Int, _ c: Int) -> Double { shares[(a * classes + b) * classes + c] }

    /// P(a), one label's shares.
    var marginal: [Double] {
      (0..<classes).map { a in shares[(a * classes * classes)..<((a + 1) * classes * classes)].reduce(0, +) }
    }

    /// T from the labels that two others agree on: a start where the eigenvectors are of no use.
    var majority: Fit {
      var counts = Matrix(zeros: classes, classes)
      for a in 0..<classes { for c in 0..<classes { counts[a, c] = share(a, a, c) + 1e-3 / Double(classes) } }
      return Fit(transition: counts.shares, priors: marginal)
    }

    /// A = M(., ., u) and B = M(., ., v) are Tᵀ diag(..) T: the eigenvectors of A B⁻¹ are the rows of T.
    func diagonalized(_ random: inout Random) -> Fit? {
      let (u, v) = ((0..<classes).map { _ in random.uniform() }, (0..<classes).map { _ in random.uniform() })
      func contracted(_ w: [Double]) -> Matrix {
        var result = Matrix(zeros: classes, classes)
        for a in 0..<classes {
          for b in 0..<classes { result[a, b] = (0..<classes).reduce(0.0) { $0 + share(a, b, $1) * w[$1] } }
        }
        return result
      }
      // A whitened by B: for B = V² symmetric and positive, V⁻¹ A V⁻¹ is symmetric with eigenvectors q, and the rows of T
      // are V q. B's weights are positive, because p and v are.
      guard let (root, inverse) = contracted(v).squareRoots else { return nil }
      let middle = inverse.times(contracted(u)).times(inverse)
      guard let vectors = middle.symmetricEigenvectors else { return nil }
      var rows = Matrix(zeros: classes, classes)
      for y in 0..<classes {
        var row = (0..<classes).map { a in (0..<classes).reduce(0.0) { $0 + root[a, $1] * vectors[y, $1] } }
        let sum = row.reduce(0, +)
        guard abs(sum) > 1e-12 else { return nil }
        row = row.map { max($0 / sum, 0) }
        let left = row.reduce(0, +)
        for a in 0..<classes { rows[y, a] = row[a] / left }
      }
      let order = Assignment.largest(rows)
      let transition = rows.rows(order)
      guard let priors = transition.solvedFromLeft(marginal) else { return nil }
      let positive = priors.map { max($0, 1e-12) }
      let whole = positive.reduce(0, +)
      return Fit(transition: transition, priors: positive.map { $0 / whole })
    }

    func logLikelihood(_ fit: Fit) -> Double {
      var total = 0.0
      forEach(fit) { share, chances in total += share * log(max(chances.reduce(0, +), 1e-300)) }
      return total
    }

    /// r_y ~ p_y T[y, a] T[y, b] T[y, c]; T and p from the expected counts.
    func step(_ fit: Fit) -> Fit {
      var counts = Matrix(zeros: classes, classes)
      var at = 0
      let k = classes
      forEach(fit, all: true) { share, chances in
        let (a, b, c) = (at / (k * k), at / k % k, at % k)
        at += 1
        let whole = chances.reduce(0, +)
        guard share > 0, whole > 0 else { return }
        for y in 0..<k {
          let expected = share * chances[y] / whole / 3
          counts[y, a] += expected
          counts[y, b] += expected
          counts[y, c] += expected
        }
      }
      return Fit(transition: counts.shares, priors: (0..<k).map { counts[$0].reduce(0, +) })
    }

    private func forEach(_ fit: Fit, all: Bool = false, _ body: (Double, [Double]) -> Void) {
      let t = fit.transition
      for a in 0..<classes {
        for b in 0..<classes {
          for c in 0..<classes {
            let share = share(a, b, c)
            guard all || share > 0 else { continue }
            body(share, share > 0 ? (0..<classes).map { fit.priors[$0] * t[$0, a] * t[$0, b] * t[$0, c] } : [])
          }
        }
      }
    }
  }
}
