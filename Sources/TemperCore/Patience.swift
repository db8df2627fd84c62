/// When the caller of workers does jobs alone, because a helper was put aside by the scheduler.
package struct Patience {
  /// Jobs that the caller still does alone, and how many it will after the next long wait.
  private var alone = 0
  private var next = fewest
  private static let fewest = 16
  private static let most = 4096
  /// Waits below this many seconds are no news.
  package static let shortest = 3e-4

  package init() {}

  /// Whether the next job is the caller's alone.
  package mutating func takesJobAlone() -> Bool {
    guard alone > 0 else { return false }
    alone -= 1
    return true
  }

  /// After a job: the caller worked for so many seconds and waited for so many, in which the helpers computed for so
  /// many. In a long wait without much computing one of them was put aside.
  package mutating func note(worked: Double, waited: Double, computed: Double) {
    guard waited > max(Patience.shortest, 2 * worked), computed < waited / 2 else {
      next = max(next - next / 4, Patience.fewest)
      return
    }
    alone = next
    next = min(2 * next, Patience.most)
  }
}
