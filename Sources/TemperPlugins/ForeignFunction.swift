import CTemper
import TemperCatalogue
import TemperCore
import TemperForeign

/// A function of any library, called by its signature.
struct ForeignFunction: BatchFunction {
  let declaration: ForeignDeclaration
  let loss: LossDescriptor
  private let value: ForeignRoutine
  private let gradient: ForeignRoutine?
  let precisions: Precisions
  let hasGradient: Bool

  init(_ declaration: ForeignDeclaration, _ loss: LossDescriptor, path: String) throws(TemperError) {
    (self.declaration, self.loss) = (declaration, loss)
    let plans = try declaration.plans(loss)
    let library = try ForeignLibrary.load(path)
    value = unsafe try ForeignRoutine(
      declaration.signature, plans.value, try library.code(declaration.symbol), declaration.symbol)
    if let second = declaration.gradient, let plan = plans.gradient {
      gradient = unsafe try ForeignRoutine(second.signature, plan, try library.code(second.symbol), second.symbol)
    } else {
      gradient = nil
    }
    precisions = plans.value.precision
    hasGradient = loss.inputs.indices.allSatisfy { index in
      !loss.inputs[index].isDifferentiable || plans.value.writes(index) || plans.gradient?.writes(index) == true
        || Self.returnsGradient(declaration, plans.gradient, loss) == index
    }
  }

  /// A gradient function without an argument for it returns the derivative for the only input that has one.
  private static func returnsGradient(
    _ declaration: ForeignDeclaration, _ plan: ForeignPlan?, _ loss: LossDescriptor
  ) -> Int? {
    guard let plan, plan.extent == .element, declaration.gradient?.signature.result.isReal == true,
      !plan.roles.contains(where: { if case .gradient = $0 { true } else { false } })
    else { return nil }
    return loss.inputs.firstIndex(where: \.isDifferentiable)
  }

  @unsafe func evaluate(_ call: temper_loss_call, _ parameters: ParameterValues) throws(TemperError) {
    var arguments = unsafe ForeignArguments(call, loss)
    unsafe value.run(&arguments, isMean: declaration.isMean, isValue: true, returnsGradient: nil)
    guard let gradient else { return }
    let wanted = (0..<loss.inputs.count).contains { unsafe call.gradients[$0] != nil }
    guard wanted else { return }
    let plan = gradient.plan
    unsafe gradient.run(
      &arguments, isMean: declaration.isMean, isValue: false,
      returnsGradient: Self.returnsGradient(declaration, plan, loss))
  }
}
