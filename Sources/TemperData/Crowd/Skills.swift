/// Methods that weigh each worker's vote by one number, the worker's skill.
extension Votes {
  /// Wawa: skill = how often a worker agrees with the majority; then shares of the skill-weighted votes.
  func agreementWeighted() -> Table {
    let winners = counts().map(Votes.winner)
    let skills = answers.map { share(of: $0, equalTo: winners) }
    return Votes.shares(counts { skills[$0] })
  }

  /// Zero-based skill: from 1 / K, repeat: winners of the weighted vote; skill += rate (share of own answers that won - skill).
  func zeroBasedSkill(rate: Double, reducedEvery period: Int, by factor: Double, rounds: Int) -> Table {
    var skills = [Double](repeating: 1 / Double(classes), count: workers)
    var rate = rate
    for round in 0..<rounds {
      if round > 0, round % period == 0 { rate *= factor }
      let winners = counts { skills[$0] }.map(Votes.winner)
      for worker in 0..<workers {
        skills[worker] += rate * (share(of: answers[worker], equalTo: winners) - skills[worker])
      }
    }
    return Votes.shares(counts { skills[$0] })
  }

  /// 0 for a worker who gave no answer: no vote of theirs is weighed.
  private func share(of answers: [(item: Int, label: Int)], equalTo winners: [Int]) -> Double {
    let hits = answers.reduce(0) { $0 + ($1.label == winners[$1.item] ? 1 : 0) }
    return answers.isEmpty ? 0 : Double(hits) / Double(answers.count)
  }
}
