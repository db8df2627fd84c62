import CTemper
import TemperCatalogue
import TemperCore
import TemperGraph

/// A loss that a plug-in builds from the host's expressions (temper_plugin.h, COMPOSED).
@safe struct ComposedLoss: Sendable {
  typealias Compose =
    @Sendable @convention(c) (
      UnsafeMutableRawPointer?, OpaquePointer?, UnsafePointer<temper_builder>?, UnsafeMutablePointer<temper_expr>?,
      temper_message
    ) -> Int32

  let instance: Instance
  let descriptor: LossDescriptor
  let compose: Compose
  let isOfBatch: Bool

  init(_ instance: Instance, _ descriptor: LossDescriptor, code: UnsafeRawPointer, isOfBatch: Bool) {
    (self.instance, self.descriptor, self.isOfBatch) = (instance, descriptor, isOfBatch)
    unsafe compose = unsafe unsafeBitCast(code, to: Compose.self)
  }

  /// The value by sample, (N, 1), or of the batch, (1, 1).
  func build(_ formula: Formula) throws(TemperError) -> Expression {
    let build = Build(formula, descriptor)
    var (result, status) = (temper_expr(id: 0), Int32(0))
    let text = unsafe messageText { message in
      status = withExtendedLifetime(build) {
        unsafe compose(
          instance.statePointer, OpaquePointer(Unmanaged.passUnretained(build).toOpaque()), Build.table.pointer,
          &result, message)
      }
    }
    let origin = "\(descriptor.name) of \(instance.origin)"
    guard status == 0 else {
      throw TemperError(.pluginFailed, "Its compose returned \(status): \(text).", origin: origin)
    }
    let value = build[result]
    if let error = value.error {
      throw TemperError(.pluginFailed, error.message, origin: origin)
    }
    let count = isOfBatch ? 1 : formula[descriptor.inputs[0].name].shape.sizes.first ?? 1
    guard value.kind == .real, value.shape.count == count, value.shape.rank == 0 || value.shape[0] == count else {
      throw TemperError(
        .pluginFailed,
        "Its compose gave a result of shape \(value.shape); \(isOfBatch ? "one value" : "one value for each sample, (\(count), 1),") is needed.",
        origin: origin)
    }
    return value.reshaped([count, 1])
  }
}
