import TemperCore

/// The architecture of a network: a list of layers, each a name ("relu") or a name with its size or options
/// ({"dense": 128}, {"dense": {"size": 128, "bias": false}}); a list within a list is layers one after the other.
///
/// The text form is JSON and the same in every language. What the names mean is found out when a `Model` is built.
package struct Description: Hashable, Sendable {
  package let layers: [JSON]

  package init(_ layers: [JSON]) { self.layers = layers }

  package init(parsing text: String) throws(TemperError) {
    guard case .array(let layers) = try JSON(parsing: text) else {
      throw TemperError(
        .invalidArgument, "A description is a list of layers, such as [{\"dense\": 10}, \"relu\"].")
    }
    self.layers = layers
  }

  /// Reading it gives an equal description.
  package var text: String { JSON.array(layers).serialized }
}

/// One element of a description, taken apart.
package enum DescriptionEntry: Sendable {
  case layer(name: String, setting: JSON)
  case sequence([JSON])

  package init(_ json: JSON, at path: String) throws(TemperError) {
    switch json {
    case .text(let name): self = .layer(name: name, setting: .null)
    case .object(let members) where members.count == 1:
      self = .layer(name: members[0].name, setting: members[0].value)
    case .array(let layers): self = .sequence(layers)
    default:
      throw TemperError(
        .invalidArgument,
        "A layer is a name or {name: size or options}, and a list of layers is one after the other; \(json.serialized.prefix(80)) came.",
        origin: "layer \(path)")
    }
  }
}
