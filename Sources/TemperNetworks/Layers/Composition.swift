import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// y = f(x) + s(x): f the layers, s the shortcut, x itself where none is given.
  static let residual = Method.layer(
    "residual", summary: "Layers whose result is added to their input, or to what a shortcut makes of it.",
    reference: Reference(
      "He, Zhang, Ren, Sun", 2015, "Deep Residual Learning for Image Recognition", arXiv: "1512.03385"),
    options: [
      LayerOption(.text("layers", "", "The layers, one after the other.").required, .layers),
      LayerOption(.text("shortcut", "", "Layers that give the input the shape of the result."), .layers),
    ],
    main: "layers"
  ) { (layer) throws(TemperError) in
    let body = try layer.sequence(try layer.options.layers("layers") ?? [])
    let shortcut = try layer.options.layers("shortcut")
    let aside = try layer.sequence(shortcut ?? [], named: "shortcut")
    guard body.output == aside.output, body.output.kind == .real else {
      throw TemperError(
        .invalidShape,
        "The layers give \(body.output.shape) and \(shortcut == nil ? "the input is" : "the shortcut gives") \(aside.output.shape); both must be the same to be added."
      )
    }
    return { x, pass in body.forward(x, pass) + aside.forward(x, pass) }
  }

  /// Branches see the same input; their results are put together along an axis, or added.
  static let parallel = Method.layer(
    "parallel", summary: "Branches over the same input, concatenated or added.",
    options: [
      LayerOption(
        .text("branches", "", "A list of branches, each a layer or a list of layers.").required, .branches),
      .choice("combine", ["concatenate", "sum"], "What becomes of the results."),
      .integer("axis", -1, in: -7...6, "Axis of a sample to concatenate along; -1 is the last."),
    ],
    main: "branches"
  ) { (layer) throws(TemperError) in
    let described = try layer.options.layers("branches") ?? []
    guard !described.isEmpty else { throw TemperError(.invalidArgument, "It needs at least one branch.") }
    var branches: [BuiltLayer] = []
    for (index, branch) in described.enumerated() { branches.append(try layer.layer(branch, named: String(index))) }
    let parts = branches
    let shapes = parts.map(\.output.shape)
    guard parts.allSatisfy({ $0.output.kind == .real }) else {
      throw TemperError(.invalidType, "Every branch must give numbers; one gives the indices that came in.")
    }
    if layer.text("combine") == "sum" {
      guard shapes.allSatisfy({ $0 == shapes[0] }) else {
        throw TemperError(.invalidShape, "Branches of shapes \(shapes) cannot be added.")
      }
      return { x, pass in parts.dropFirst().reduce(parts[0].forward(x, pass)) { $0 + $1.forward(x, pass) } }
    }
    let axis = layer.integer("axis")
    let at = axis < 0 ? axis + shapes[0].rank : axis
    guard (0..<shapes[0].rank).contains(at), shapes.allSatisfy({ $0.rank == shapes[0].rank }) else {
      throw TemperError(.invalidShape, "Branches of shapes \(shapes) have no axis \(axis) in common.")
    }
    var whole = shapes[0].sizes
    whole[at] = shapes.reduce(0) { $0 + $1[at] }
    try layer.requireSize(whole)
    return { x, pass in .concatenate(parts.map { $0.forward(x, pass) }, axis: at + 1) }
  }
}
