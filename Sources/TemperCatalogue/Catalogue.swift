import Synchronization
import TemperCore

/// The methods that a context knows: our own, and those that its plug-ins brought.
package final class Catalogue: Sendable {
  private let table: Mutex<[String: Method]>

  package init(_ methods: [Method]) {
    table = Mutex([:])
    for method in methods {
      do throws(TemperError) { try add(method) } catch { preconditionFailure(error.message) }
    }
  }

  /// Adds a method under its name and aliases; a name that is taken is an error that names both sides.
  package func add(_ method: Method) throws(TemperError) {
    let clash = table.withLock { table -> Method? in
      for name in [method.name] + method.aliases {
        if let holder = table[name] { return holder }
      }
      for name in [method.name] + method.aliases { table[name] = method }
      return nil
    }
    if let clash {
      throw TemperError(
        .invalidArgument,
        "\"\(method.name)\" of \(method.origin ?? "Temper") cannot be added: \(clash.origin ?? "Temper") already has \"\(clash.name)\"."
      )
    }
  }

  package func remove(_ name: String) {
    table.withLock { table in
      guard let method = table[name] else { return }
      for name in [method.name] + method.aliases { table[name] = nil }
    }
  }

  /// By name or alias; an unknown name is an error with the nearest names.
  package func find(_ name: String, kinds: Set<MethodKind>? = nil) throws(TemperError) -> Method {
    let method = table.withLock { $0[name] }
    if let method, kinds?.contains(method.kind) ?? true { return method }
    let wanted = kinds.map { $0.map(\.rawValue).sorted().joined(separator: " or ") } ?? "method"
    if let method {
      throw TemperError(.unknownName, "\"\(name)\" is of kind \(method.kind.rawValue), not \(wanted).")
    }
    let candidates = methods.filter { kinds?.contains($0.kind) ?? true }.flatMap { [$0.name] + $0.aliases }
    let key = Catalogue.key(name)
    let scored = candidates.map { candidate -> (name: String, distance: Int) in
      let other = Catalogue.key(candidate)
      let distance = Catalogue.distance(other, key)
      return (candidate, key.utf8.count >= 3 && other.hasPrefix(key) ? min(distance, 2) : distance)
    }
    let isSame = scored.contains { $0.distance == 0 }
    let close = scored.filter { $0.distance <= (isSame ? 0 : max(2, key.utf8.count / 3)) }
    let near = close.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(3).map(\.name)
    throw TemperError(
      .unknownName,
      "There is no \(wanted) \"\(name)\"."
        + (near.isEmpty ? " The catalogue lists them all." : " Did you mean \(near.joined(separator: ", "))?"))
  }

  /// All methods, by name.
  package var methods: [Method] {
    table.withLock { table in table.filter { $0.key == $0.value.name }.map(\.value) }.sorted { $0.name < $1.name }
  }

  /// What names of other libraries have in common with ours: "KLDivLoss" and "kl_div" are "kldiv", "StepLR" is "step".
  private static func key(_ name: String) -> String {
    let key = String(name.hasSuffix("LR") ? name.dropLast(2) : name[...]).filter { $0 != "_" }.lowercased()
    return key.hasSuffix("loss") && key.utf8.count > 4 ? String(key.dropLast(4)) : key
  }

  /// Edit distance of two names.
  private static func distance(_ a: String, _ b: String) -> Int {
    let b = Array(b.utf8.prefix(64))
    var row = Array(0...b.count)
    for (i, x) in a.utf8.prefix(64).enumerated() {
      var corner = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        (corner, row[j + 1]) = (row[j + 1], min(row[j + 1] + 1, row[j] + 1, corner + (x == y ? 0 : 1)))
      }
    }
    return row[b.count]
  }
}
