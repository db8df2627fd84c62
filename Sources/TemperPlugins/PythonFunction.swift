import CTemper
import TemperCatalogue
import TemperCore
import TemperForeign

/// A Python object that is held, and given back under the interpreter's lock.
@safe final class PythonObject: @unchecked Sendable {
  let pointer: UnsafeMutableRawPointer
  @unsafe init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }
  deinit { unsafe python_release(pointer) }

  /// What a function of the bridge gives; the interpreter is found, or started, first.
  @unsafe static func make(
    _ name: String, _ texts: [String], _ object: UnsafeMutableRawPointer?, folders: [String] = []
  ) throws(TemperError) -> PythonObject {
    try start(folders: folders)
    var made: UnsafeMutableRawPointer?
    let text = unsafe pythonMessage { message in
      let copies = unsafe texts.map { unsafe UnsafePointer<CChar>?(duplicate($0)) }
      unsafe made = unsafe python_make(name, copies, Int32(copies.count), object, message)
      for index in unsafe copies.indices { unsafe UnsafeMutablePointer(mutating: copies[index])?.deallocate() }
    }
    guard let made = unsafe made else { throw TemperError(.pluginFailed, "Python: \(text).") }
    return unsafe PythonObject(made)
  }

  /// Folders, of the file and of the context, where modules may lie, count for the interpreter that is started here.
  static func start(folders: [String]) throws(TemperError) {
    var status: Int32 = 0
    let text = unsafe pythonMessage { message in
      status = unsafe python_start(pythonBridge, folders.joined(separator: ":"), message)
    }
    guard status == 0 else { throw TemperError(.unsupported, "Python cannot be used: \(text).") }
  }
}

/// A loss that a Python function computes.
struct PythonFunction: BatchFunction {
  private let evaluator: PythonObject
  private let declaration: PythonDeclaration
  let precisions = Precisions.both

  /// `holder`: the module of a file, or the function itself where it was handed over.
  @unsafe init(
    _ declaration: PythonDeclaration, _ loss: LossDescriptor, holder: UnsafeMutableRawPointer
  ) throws(TemperError) {
    self.declaration = declaration
    unsafe evaluator = try PythonObject.make(
      "bind", [declaration.function ?? "", declaration.specification(loss).serialized], holder)
  }

  var hasGradient: Bool { declaration.hasGradient }
  /// JAX computes in threads, which a child does not have.
  var worksInChild: Bool { declaration.arrays != .jax }
  var fork: (@convention(c) () -> Int32)? { python_fork }

  @unsafe func evaluate(_ call: temper_loss_call) throws(TemperError) {
    var (call, status) = unsafe (call, Int32(0))
    let text = unsafe pythonMessage { message in
      unsafe withUnsafePointer(to: &call) { status = unsafe python_evaluate(evaluator.pointer, $0, message) }
    }
    guard status == 0 else { throw TemperError(.pluginFailed, "The Python function failed: \(text).") }
  }
}

extension PythonDeclaration {
  /// PyTorch and JAX differentiate themselves.
  var hasGradient: Bool { returnsGradients || arrays == .torch || arrays == .jax }

  /// What the bridge needs to know of the loss.
  func specification(_ loss: LossDescriptor) -> JSON {
    .object([
      JSON.Member("arrays", .text(arrays.rawValue)), JSON.Member("gradients", .boolean(returnsGradients)),
      JSON.Member(
        "inputs",
        .array(
          loss.inputs.map { input in
            var word = "float"
            if case .index = input.forms[0].element { word = "int" }
            return .object([
              JSON.Member("name", .text(input.name)), JSON.Member("element", .text(word)),
              JSON.Member("differentiable", .boolean(input.isDifferentiable)),
            ])
          })),
      JSON.Member(
        "parameters",
        .array(
          loss.parameters.map { parameter in
            let word =
              switch parameter.initial {
              case .integer: "integer"
              case .boolean: "boolean"
              case .real: "real"
              case .text, .none: "text"
              }
            return .array([.text(parameter.name), .text(word)])
          })),
    ])
  }
}

/// Gives `body` room for a message of the interpreter and reads what it left there.
private func pythonMessage(_ body: (python_message) -> Void) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1600) { room in
    unsafe room.initialize(repeating: 0)
    unsafe body(python_message(text: room.baseAddress, capacity: UInt64(room.count)))
    return unsafe readMessage(room)
  }
}
