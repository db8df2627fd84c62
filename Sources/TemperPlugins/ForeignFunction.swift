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
    hasGradient = try declaration.hasGradient(loss)
  }

  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError) {
    let arguments = unsafe ForeignArguments(call, loss)
    value.run(arguments, isMean: declaration.isMean, isValue: true, returnsGradient: nil)
    guard let gradient else { return }
    let wanted = (0..<loss.inputs.count).contains { unsafe call.gradients[$0] != nil }
    guard wanted else { return }
    let plan = gradient.plan
    gradient.run(
      arguments, isMean: declaration.isMean, isValue: false,
      returnsGradient: declaration.returnedGradient(plan, loss))
  }
}

extension ForeignDeclaration {
  /// Whether the function, or its second one, gives the derivatives for all inputs that have one.
  func hasGradient(_ loss: LossDescriptor) throws(TemperError) -> Bool {
    let plans = try plans(loss)
    return loss.inputs.indices.allSatisfy { index in
      !loss.inputs[index].isDifferentiable || plans.value.writes(index) || plans.gradient?.writes(index) == true
        || returnedGradient(plans.gradient, loss) == index
    }
  }

  /// A gradient function without an argument for it returns the derivative for the only input that has one.
  func returnedGradient(_ plan: ForeignPlan?, _ loss: LossDescriptor) -> Int? {
    guard let plan, plan.extent == .element, gradient?.signature.result.isReal == true,
      !plan.roles.contains(where: { if case .gradient = $0 { true } else { false } })
    else { return nil }
    return loss.inputs.firstIndex(where: \.isDifferentiable)
  }
}
