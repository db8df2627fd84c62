import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  static let flatten = Method.layer("flatten", summary: "All axes of a sample as one.") { (layer) throws(TemperError) in
    let count = layer.input.count
    return { x, _ in x.reshaped([x.shape[0], count]) }
  }

  static let reshape = Method.layer(
    "reshape", summary: "The elements of a sample, row by row, under another shape.",
    options: [
      LayerOption(.text("shape", "", "Sizes of one sample; one may be -1.").required, .sizes)
    ],
    main: "shape"
  ) { (layer) throws(TemperError) in
    var sizes = try layer.options.sizes("shape")
    let count = layer.input.count
    let free = sizes.indices.filter { sizes[$0] == -1 }
    guard free.count <= 1, sizes.allSatisfy({ $0 > 0 || $0 == -1 }), sizes.count < Shape.maximumRank else {
      throw TemperError(
        .invalidShape, "A shape has at most 7 sizes above 0, and one of them may be -1; \(Shape(sizes)) came.")
    }
    let known = try Shape(validating: sizes.filter { $0 > 0 }).count
    if let axis = free.first { sizes[axis] = count / known }
    guard try Shape(validating: sizes).count == count else {
      throw TemperError(.invalidShape, "Samples of shape \(layer.input) cannot become \(Shape(sizes)).")
    }
    let shape = sizes
    return { x, _ in x.reshaped(Shape([x.shape[0]] + shape)) }
  }

  static let permute = Method.layer(
    "permute", summary: "The axes of a sample in another order.",
    options: [
      LayerOption(
        .text("axes", "", "Order of the sample's axes, counted from 0, the batch left out.").required, .sizes)
    ],
    main: "axes"
  ) { (layer) throws(TemperError) in
    let axes = try layer.options.sizes("axes")
    guard axes.sorted() == Array(0..<layer.input.rank) else {
      throw TemperError(.invalidArgument, "\(axes) is no order of the axes 0 to \(layer.input.rank - 1).")
    }
    let order = [0] + axes.map { $0 + 1 }
    return { x, _ in x.permuted(order) }
  }
}
