import Glibc
import TemperCore

/// Models of how workers err, fitted to their votes without knowing the truth; q is the posterior of the truth.
extension Votes {
  /// Changes of q below this end the iterations.
  private static let tolerance = 1e-5

  /// Dawid-Skene: q_ik ~ pi_k prod_w confusion_w[k, label of w]. From vote shares; `smoothing` is added to all counts.
  func dawidSkene(iterations: Int, smoothing: Double) -> Table {
    var q = Votes.shares(counts())
    for _ in 0..<iterations {
      let classCounts = (0..<classes).map { k in q.reduce(smoothing) { $0 + $1[k] } }
      let prior = classCounts.map { log($0 / classCounts.reduce(0, +)) }
      let confusion = answers.map { answers in
        (0..<classes).map { k in
          var row = [Double](repeating: smoothing, count: classes)
          for answer in answers { row[answer.label] += q[answer.item][k] }
          return Votes.shares([row])[0].map { log($0) }
        }
      }
      let next = Votes.softmax(
        items.map { votes in
          (0..<classes).map { k in votes.reduce(prior[k]) { $0 + confusion[$1.worker][k][$1.label] } }
        })
      let change = Votes.distance(q, next)
      q = next
      if change < Votes.tolerance { break }
    }
    return q
  }

  /// GLAD: a vote is right with probability s = sigmoid(alpha_w beta_i), errors are uniform. EM whose M step ascends
  /// the expected log-likelihood in alpha and log beta, both with the prior N(1, 1), by steps over bounds of the curvature.
  func glad(iterations: Int) -> Table {
    let others = Double(max(classes - 1, 1))
    var alpha = [Double](repeating: 1, count: workers)
    var logBeta = [Double](repeating: 1, count: items.count)
    func chance(_ worker: Int, _ item: Int) -> Double { 1 / (1 + exp(-alpha[worker] * exp(logBeta[item]))) }
    func posterior() -> Table {
      Votes.softmax(
        items.enumerated().map { item, votes in
          var row = [Double](repeating: 0, count: classes)
          for vote in votes {
            let s = chance(vote.worker, item)
            for k in 0..<classes { row[k] += log(max(k == vote.label ? s : (1 - s) / others, 1e-300)) }
          }
          return row
        })
    }
    var q = posterior()
    for _ in 0..<iterations {
      for _ in 0..<Votes.ascentSteps {
        var (slopeAlpha, slopeBeta) = (alpha.map { 1 - $0 }, logBeta.map { 1 - $0 })
        var (bendAlpha, bendBeta) = (alpha.map { _ in 1.0 }, logBeta.map { _ in 1.0 })
        for (item, votes) in items.enumerated() {
          let beta = exp(logBeta[item])
          for vote in votes {
            let (miss, z) = (q[item][vote.label] - chance(vote.worker, item), alpha[vote.worker] * beta)
            slopeAlpha[vote.worker] += miss * beta
            slopeBeta[item] += miss * z
            bendAlpha[vote.worker] += beta * beta / 2
            bendBeta[item] += abs(z) + z * z / 2
          }
        }
        for w in 0..<workers { alpha[w] += slopeAlpha[w] / bendAlpha[w] }
        for i in items.indices { logBeta[i] += slopeBeta[i] / bendBeta[i] }
      }
      let next = posterior()
      let change = Votes.distance(q, next)
      q = next
      if change < Votes.tolerance { break }
    }
    return q
  }

  private static let ascentSteps = 25

  /// MACE: a worker copies the truth with probability 1 - theta_w, else answers by a habit xi_w. Variational EM, priors
  /// Beta(1/2, 1/2) and Dirichlet(10), from `restarts` random starts; the likeliest fit counts.
  func mace(iterations: Int, restarts: Int, seed: UInt64) -> Table {
    var best: (likelihood: Double, q: Table)?
    for restart in 0..<restarts {
      var random = Random(seed: seed, stream: "mace").stream(restart)
      // (copies, follows a habit) and the habit itself, for each worker.
      var knowing = (0..<workers).map { _ in Votes.shares([[1 + random.uniform(), 1 + random.uniform()]])[0] }
      var habits = (0..<workers).map { _ in Votes.shares([(0..<classes).map { _ in 1 + random.uniform() }])[0] }
      var fit = (likelihood: -Double.infinity, q: Table())
      for _ in 0..<iterations {
        fit = (0, [])
        var knowingCounts = [[Double]](repeating: [0.5, 0.5], count: workers)
        var habitCounts = [[Double]](repeating: [Double](repeating: 10, count: classes), count: workers)
        for votes in items {
          let logs = (0..<classes).map { k in
            votes.reduce(-log(Double(classes))) { sum, vote in
              let copied = k == vote.label ? knowing[vote.worker][0] : 0
              return sum + log(copied + knowing[vote.worker][1] * habits[vote.worker][vote.label])
            }
          }
          let top = logs.max() ?? 0
          fit.likelihood += top + log(logs.reduce(0) { $0 + exp($1 - top) })
          let q = Votes.softmax([logs])[0]
          fit.q.append(q)
          for (worker, label) in votes {
            let (copy, habit) = (knowing[worker][0], knowing[worker][1] * habits[worker][label])
            let known = q[label] * copy / (copy + habit)
            knowingCounts[worker][0] += known
            knowingCounts[worker][1] += 1 - known
            habitCounts[worker][label] += 1 - known
          }
        }
        knowing = knowingCounts.map(Votes.variationalShares)
        habits = habitCounts.map(Votes.variationalShares)
      }
      if fit.likelihood > best?.likelihood ?? -.infinity { best = fit }
    }
    return best?.q ?? Votes.shares(counts())
  }

  /// exp(psi(c_j) - psi(sum c)): what a Dirichlet's mean logarithm stands for.
  private static func variationalShares(_ counts: [Double]) -> [Double] {
    let whole = digamma(counts.reduce(0, +))
    return counts.map { exp(digamma($0) - whole) }
  }

  /// Recurrence to 10, then the asymptotic series: exact to 1e-13 for x > 0.
  private static func digamma(_ x: Double) -> Double {
    var (z, sum) = (x, 0.0)
    while z < 10 {
      sum -= 1 / z
      z += 1
    }
    let r = 1 / (z * z)
    return sum + log(z) - 0.5 / z - r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))))
  }
}
