import TemperCore

/// A place on a line through a point: how far along, and what was measured there.
struct LinePlace {
  var t: Double, loss: Double, gradient: [Double], slope: Double
}

/// A length t along a direction with f(t) <= f(0) + c1 t f'(0) and |f'(t)| <= c2 |f'(0)|: first ever longer steps until
/// such lengths lie between two of them, then cubic interpolation in between (Nocedal and Wright, 2006, 3.5 and 3.6).
enum LineSearch {
  private static let sufficientDecrease = 1e-4, curvature = 0.9
  private static let mostTrials = 25

  /// The place found, and how many were measured.
  static func run(
    from length: Double, start: LinePlace, directionSize: Double, changeTolerance: Double,
    _ measure: (Double) throws(TemperError) -> LinePlace
  ) throws(TemperError) -> (place: LinePlace, evaluations: Int) {
    func isTooHigh(_ place: LinePlace) -> Bool {
      place.loss > start.loss + sufficientDecrease * place.t * start.slope
    }
    func isFlat(_ place: LinePlace) -> Bool { abs(place.slope) <= -curvature * start.slope }

    var evaluations = 1
    var (last, place) = (start, try measure(length))
    var trials = 0
    var ends: (LinePlace, LinePlace)?
    while ends == nil, trials < mostTrials {
      if isTooHigh(place) || trials > 1 && place.loss >= last.loss {
        ends = (last, place)
      } else if isFlat(place) {
        return (place, evaluations)
      } else if place.slope >= 0 {
        ends = (last, place)
      } else {
        let next = minimum(last, place, in: place.t + 0.01 * (place.t - last.t)...place.t * 10)
        (last, place) = (place, try measure(next))
        evaluations += 1
        trials += 1
      }
    }
    var (low, high) = ends ?? (start, place)
    if low.loss > high.loss { (low, high) = (high, low) }
    var isStuck = false
    while trials < mostTrials, abs(high.t - low.t) * directionSize >= changeTolerance {
      let (left, right) = (min(low.t, high.t), max(low.t, high.t))
      // The cubic through both ends does not depend on which is called first but for rounding.
      var t = minimum(low.t < high.t ? low : high, low.t < high.t ? high : low, in: left...right)
      // A trial near an end must not happen twice in a row.
      let margin = 0.1 * (right - left)
      if min(right - t, t - left) < margin {
        if isStuck || t >= right || t <= left {
          t = abs(t - right) < abs(t - left) ? right - margin : left + margin
          isStuck = false
        } else {
          isStuck = true
        }
      } else {
        isStuck = false
      }
      let trial = try measure(t)
      evaluations += 1
      trials += 1
      if isTooHigh(trial) || trial.loss >= low.loss {
        high = trial
        if low.loss > high.loss { (low, high) = (high, low) }
      } else {
        if isFlat(trial) { return (trial, evaluations) }
        if trial.slope * (high.t - low.t) >= 0 { high = low }
        low = trial
      }
    }
    return (low, evaluations)
  }

  /// Where the cubic with these values and slopes is least; the middle where it has no least value.
  private static func minimum(_ a: LinePlace, _ b: LinePlace, in range: ClosedRange<Double>) -> Double {
    let (a, b) = a.t <= b.t ? (a, b) : (b, a)
    let first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    let square = first * first - a.slope * b.slope
    guard square >= 0 else { return (range.lowerBound + range.upperBound) / 2 }
    let root = square.squareRoot()
    let place = b.t - (b.t - a.t) * ((b.slope + root - first) / (b.slope - a.slope + 2 * root))
    return min(max(place, range.lowerBound), range.upperBound)
  }
}
