import TemperCatalogue
import TemperGraph

extension Parameter {
  /// How the elements of one sample become its value.
  static let elements = Parameter.choice("elements", ["mean", "sum"], "How the elements of a sample are put together.")
}

extension Formula {
  /// The sum or mean over the elements of each sample, (N, M) to (N, 1).
  func overElements(_ values: Expression) -> Expression {
    text("elements") == "sum" ? values.sum() : values.mean()
  }

  /// sum_c t_c v_c, where classes with t_c = 0 count nothing even if v_c is infinite.
  func expectation(_ values: Expression) -> Expression {
    targets.kind == .index
      ? values.pick(targets) : Expression.select(targets .== 0, .constant(0), targets * values).sum()
  }
}
