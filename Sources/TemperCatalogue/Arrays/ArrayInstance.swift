import TemperCore

/// A sampler, generator, detector or calibrator with its parameters, and with what it keeps of a fit. Used by one thread
/// at a time.
package final class ArrayInstance {
  package let method: Method
  package let arguments: Arguments
  private let workers: Workers
  private var kept: [String: Tensor] = [:]

  package init(_ method: Method, _ arguments: Arguments, workers: Workers) throws(TemperError) {
    guard case .arrays = method.implementation else {
      throw TemperError(.invalidArgument, "\"\(method.name)\" is of kind \(method.kind.rawValue), which has no calls.")
    }
    (self.method, self.arguments, self.workers) = (method, arguments, workers)
  }

  /// Makes a call; its results are new arrays. A call that fails leaves what is kept as it was.
  package func perform(
    _ name: String, _ given: [String: Tensor], seed: UInt64 = 0
  ) throws(TemperError) -> [(name: String, tensor: Tensor)] {
    do throws(TemperError) {
      guard let call = method.calls.first(where: { $0.name == name }) else {
        let known = method.calls.map(\.name).joined(separator: ", ")
        throw TemperError(.unsupported, "It has no \"\(name)\"; it has \(known).")
      }
      let isFitted = !kept.isEmpty || method.keeps.isEmpty
      guard call.state != .required || isFitted else {
        throw TemperError(.wrongState, "It has to be fitted before \(name) is called.")
      }
      for name in given.keys.sorted()
      where !call.inputs.contains(where: { $0.name == name || $0.aliases.contains(name) }) {
        let known = call.inputs.map(\.name).joined(separator: ", ")
        throw TemperError(
          .unknownName, "There is no input \"\(name)\"; " + (known.isEmpty ? "there are none." : "there are: \(known).")
        )
      }
      // The letters of what is kept stand for the same sizes in the inputs.
      let declared = call.state == .none || kept.isEmpty ? [] : method.keeps
      let match: Match
      do throws(TemperError) {
        match = try Match(declared.isEmpty ? given : given.merging(kept) { $1 }, to: declared + call.inputs)
        for entry in match.entries { try entry.check(ignored: []) }
      } catch {
        var error = error
        error.argument = -1
        throw error
      }
      let work = ArrayWork(arguments, match.tensors, seed: seed, workers: workers)
      try call.body(work)
      if let state = work.kept { kept = state }
      return work.results
    } catch { throw error.from(method.name) }
  }

  /// What is kept of a fit, by name; empty before it.
  package var state: [(name: String, tensor: Tensor)] {
    method.keeps.compactMap { input in kept[input.name].map { (input.name, $0) } }
  }

  /// Puts state back that `state` told; whatever does not fit the record is an error, and changes nothing.
  package func restore(_ state: [(name: String, tensor: Tensor)]) throws(TemperError) {
    do throws(TemperError) {
      let match = try Match(Dictionary(state) { $1 }, to: method.keeps)
      for entry in match.entries { try entry.check(ignored: []) }
      var copies: [String: Tensor] = [:]
      for (name, tensor) in match.tensors { copies[name] = try tensor.copy() }
      kept = copies
    } catch { throw error.from(method.name) }
  }
}
