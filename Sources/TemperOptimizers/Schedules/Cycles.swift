import Glibc
import TemperCatalogue
import TemperCore

extension Optimizers {
  static let cycles = [cosineRestarts, oneCycle, cyclic]

  /// Half a cosine over T_0 steps, then over T_0 T_mult, and so on.
  static let cosineRestarts = schedule(
    "cosine_restarts", aliases: ["cosine_warm_restarts", "sgdr"], "Half cosines, each longer than the last.",
    [
      .integer("first_steps", 10, in: 1 ... .max, "Steps of the first cycle.").named(also: "T_0"),
      .integer("multiple", 1, in: 1 ... .max, "The length of a cycle over the one before.").named(also: "T_mult"),
      .minimum,
    ],
    Reference(
      "Loshchilov and Hutter", 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv: "1608.03983")
  ) { x in
    let (rate, low) = (x.real("learning_rate"), x.real("minimum"))
    let (first, multiple) = (Double(x.integer("first_steps")), Double(x.integer("multiple")))
    return { t in
      guard multiple > 1 else { return halfCosine(rate, low, t.truncatingRemainder(dividingBy: first) / first) }
      var (start, length) = (0.0, first)
      while t >= start + length { (start, length) = (start + length, length * multiple) }
      return halfCosine(rate, low, (t - start) / length)
    }
  }

  /// From lr / div_factor up to lr over pct_start of the steps, then down to lr / (div_factor final_div_factor); with
  /// three phases down the way it came first.
  static let oneCycle = schedule(
    "one_cycle", aliases: ["one_cycle_lr"], "Up and down once.",
    [
      .total, .real("pct_start", 0.3, in: .unit, "The share of steps in which it rises."),
      .choice("anneal", ["cos", "linear"], "Along half a cosine, or a line."),
      .real("div_factor", 25, in: .positive, "The largest value over the first."),
      .real("final_div_factor", 1e4, in: .positive, "The first value over the last."),
      .boolean("three_phase", false, "Down to the first value as fast as up, and then to the last."),
    ],
    Reference(
      "Smith and Topin", 2019, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
      arXiv: "1708.07120")
  ) { x in
    let (top, total, share) = (x.real("learning_rate"), x.total, x.real("pct_start"))
    let first = top / x.real("div_factor")
    let last = first / x.real("final_div_factor")
    let isLine = x.text("anneal") == "linear"
    var ends: [(step: Double, from: Double, to: Double)] = [(share * total - 1, first, top)]
    if x.boolean("three_phase") {
      ends += [(2 * share * total - 2, top, first), (total - 1, first, last)]
    } else {
      ends.append((total - 1, top, last))
    }
    let phases = ends
    return { t in
      var start = 0.0
      for phase in phases {
        if t <= phase.step {
          let place = phase.step > start ? (t - start) / (phase.step - start) : 1
          return isLine ? phase.from + (phase.to - phase.from) * place : halfCosine(phase.from, phase.to, place)
        }
        start = phase.step
      }
      return last
    }
  }

  /// A triangle between the minimum and lr, up over step_size_up and down over step_size_down; its height halves each
  /// cycle, or falls by gamma at every step.
  static let cyclic = schedule(
    "cyclic", aliases: ["cyclic_lr"], "Up and down again and again.",
    [
      .minimum, .integer("step_size_up", 2000, in: 1 ... .max, "Steps up."),
      .integer("step_size_down", 0, in: 0 ... .max, "Steps down; 0: as many as up."),
      .choice("mode", ["triangular", "triangular2", "exp_range"], "Always as high, half as high, or by gamma^t."),
      .real("gamma", 1, in: .nonNegative, "The factor of mode exp_range."),
    ],
    Reference("Smith", 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv: "1506.01186")
  ) { x in
    let (top, low, gamma) = (x.real("learning_rate"), x.real("minimum"), x.real("gamma"))
    let (up, down) = (Double(x.integer("step_size_up")), Double(x.integer("step_size_down")))
    let (length, mode) = (up + (down == 0 ? up : down), x.text("mode"))
    return { t in
      let cycle = (t / length).rounded(.down)
      let place = t - cycle * length
      let height = place <= up ? place / up : (length - place) / (length - up)
      let factor = mode == "triangular2" ? pow(0.5, cycle) : mode == "exp_range" ? pow(gamma, t) : 1
      return low + (top - low) * height * factor
    }
  }
}
