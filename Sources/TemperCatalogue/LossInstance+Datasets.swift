import TemperCore
import TemperGraph

/// An array of a data set as expressions see it.
package struct MatchedArray: Sendable {
  /// The input's own name, also where an alias came.
  package let name: String
  /// As it came.
  package let tensor: Tensor
  package let shape: Shape
  package let kind: Kind
  /// Whether the first axis is the samples.
  package let isByRow: Bool
}

extension LossInstance {
  /// Matches and checks the arrays of a whole data set once, so that its batches need no checks: those of this loss,
  /// in the order of its inputs, and those of `others`, which `owner` wants. State by sample is not among them.
  package func match(
    _ given: [String: Tensor], and others: [Input] = [], of owner: String = ""
  ) throws(TemperError) -> [MatchedArray] {
    let states = Set(method.state.map(\.name))
    let all = inputs.filter { !states.contains($0.name) } + others
    func origin(_ position: Int) -> String { position < all.count - others.count ? method.name : owner }
    let match: Match
    do throws(TemperError) { match = try Match(given, to: all) } catch { throw error.from(origin(Int(error.argument))) }
    return try match.entries.map { entry throws(TemperError) in
      do throws(TemperError) { try entry.check(ignored: arguments.ignoredIds) } catch {
        throw error.from(origin(all.firstIndex { $0.name == entry.input.name } ?? 0))
      }
      return MatchedArray(
        name: entry.input.name, tensor: entry.tensor, shape: entry.innerShape, kind: entry.kind,
        isByRow: entry.form.shape.first == "N")
    }
  }

  /// Whether the arrays of a data set lie where the formula holds; what is not among them is not known yet.
  package func checkDomain(_ arrays: [MatchedArray]) throws(TemperError) {
    let tensors = Dictionary(arrays.map { ($0.name, $0.tensor) }) { first, _ in first }
    do throws(TemperError) {
      for input in inputs { if let tensor = tensors[input.name] { try input.checkDomain(tensor) } }
      try method.check?(tensors, arguments)
    } catch { throw error.from(method.name) }
  }
}
