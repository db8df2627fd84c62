import TemperCatalogue
import TemperCore
import TemperGraph
import TemperNetworks

/// A data set as a caller gives it.
package struct Dataset: Sendable {
  /// (N, …): a row for each sample. Nothing where they are read when they are needed.
  package var x: Tensor
  /// Where x is too large for memory.
  package var source: (any RowSource)?
  /// What the loss calls targets; nil for a loss without.
  package var y: Tensor?
  /// Other inputs of the loss, the model ("mask") or the procedure by name: by sample, or as a whole (class weights).
  package var inputs: [String: Tensor]

  package init(x: Tensor, y: Tensor?, inputs: [String: Tensor] = [:]) {
    (self.x, self.y, self.inputs) = (x, y, inputs)
  }

  package init(source: any RowSource, y: Tensor?, inputs: [String: Tensor] = [:]) throws(TemperError) {
    (x, self.source, self.y, self.inputs) = (try Tensor(zeros: [0]), source, y, inputs)
  }
}

/// A data set checked once for all steps: arrays dense and of the working type (int32 for indices). A sample's id is
/// its row.
package struct Samples {
  package struct Field {
    /// Under the shape that expressions see, (N, …) for rows.
    package let tensor: Tensor
    package let kind: Kind
  }

  /// x: in memory, or read when it is needed.
  enum Features {
    case array(Tensor)
    case rows(CheckedRows)
  }
  /// A converted copy of x has at most so many bytes; a larger x is converted batch by batch.
  private static let largestCopy = 1 << 26

  package let count: Int
  let x: Features
  let xKind: Kind
  /// But for x.
  package let rows: [String: Field]
  package let whole: [String: Field]
  /// The loss's input that takes the model's output, and the shape of one row of it there.
  let outputName: String
  let outputRow: Shape
  /// What the loss reads, by row and as a whole.
  let lossRows: [String]
  let lossWhole: [String]

  /// Checks all that is known before the first step: shapes, types, ids in range, numbers finite. `role` names the set
  /// in errors.
  init(
    _ data: Dataset, role: String, model: Model, loss: LossInstance, procedure: (any Procedure)?, allowsNonFinite: Bool,
    workers: Workers
  ) throws(TemperError) {
    do throws(TemperError) {
      x = try Samples.features(data, role, model, allowsNonFinite, workers)
      xKind = model.input.kind
      count = x.shape[0]
      guard count > 0, count <= Int(Int32.max) else {
        throw TemperError(.invalidShape, "A data set has from 1 to 2^31 - 1 samples; x has shape \(x.shape).")
      }
      var rows: [String: Field] = [:]
      var whole: [String: Field] = [:]
      var given = data.inputs
      if model.needsMask {
        let mask = given.removeValue(forKey: "mask")
        guard let mask, mask.shape == [count, model.input.shape[0]] else {
          throw TemperError(
            .invalidShape,
            "The model attends under a mask: pass the input \"mask\" of shape \(Shape([count, model.input.shape[0]])).")
        }
        rows["mask"] = Field(tensor: try Samples.converted(mask, mask.shape, .real, model.dtype), kind: .real)
      }
      if let y = data.y {
        guard given["targets"] == nil else {
          throw TemperError(.invalidArgument, "The input \"targets\" came twice, once as y.")
        }
        given["targets"] = y
      }
      let matched = try Samples.match(given, outputs: model.output, count, loss, procedure)
      let output = matched[0]
      try loss.checkDomain(Array(matched.dropFirst()))
      (outputName, outputRow) = (output.name, Shape(Array(output.shape.sizes.dropFirst())))
      let ofLoss = Set(loss.inputs.map(\.name))
      for entry in matched.dropFirst() {
        let field = Field(
          tensor: try Samples.converted(entry.tensor, entry.shape, entry.kind, model.dtype), kind: entry.kind)
        if !entry.isByRow {
          whole[entry.name] = field
        } else if entry.name == "x" || rows.updateValue(field, forKey: entry.name) != nil {
          throw TemperError(.invalidArgument, "The name \"\(entry.name)\" is taken by the model's own input.")
        }
      }
      (self.rows, self.whole) = (rows, whole)
      lossRows = matched.dropFirst().filter { $0.isByRow && ofLoss.contains($0.name) }.map(\.name)
      lossWhole = matched.filter { !$0.isByRow && ofLoss.contains($0.name) }.map(\.name)
      if !allowsNonFinite { try checkFinite() }
    } catch {
      throw TemperError(
        error.code, "In the \(role): \(error.message)", argument: error.argument, origin: error.origin)
    }
  }

  private static func features(
    _ data: Dataset, _ role: String, _ model: Model, _ allowsNonFinite: Bool, _ workers: Workers
  ) throws(TemperError) -> Features {
    func checked(_ source: any RowSource) throws(TemperError) -> Features {
      .rows(try CheckedRows(source, model: model, role: role, allowsNonFinite: allowsNonFinite))
    }
    if let source = data.source { return try checked(source) }
    let wanted: DType = model.input.kind == .index ? .int32 : model.dtype
    let needsCopy = data.x.dtype != wanted || !data.x.isDense
    if needsCopy, data.x.shape.rank > 0, data.x.count * wanted.byteCount > largestCopy {
      return try checked(ArrayRows(data.x, workers))
    }
    return .array(try model.prepared(data.x))
  }

  /// The arrays as the loss and the procedure declare them; the model's output comes first.
  private static func match(
    _ given: [String: Tensor], outputs: Shape, _ count: Int, _ loss: LossInstance, _ procedure: (any Procedure)?
  ) throws(TemperError) -> [MatchedArray] {
    // The output has no memory yet: one element stands for all.
    func attempt(_ outputs: Shape, _ targets: Tensor?) throws(TemperError) -> [MatchedArray] {
      var all = given
      all[loss.inputs[0].name] = try Tensor(zeros: []).broadcast(to: Shape([count] + outputs.sizes))
      if let targets { all["targets"] = targets }
      return try loss.match(all, and: procedure?.inputs ?? [], of: procedure?.name ?? "")
    }
    guard outputs == [1] else { return try attempt(outputs, nil) }
    // One number for each sample is (N, 1) from a model and (N,) to people and to some losses.
    do throws(TemperError) {
      return try attempt(outputs, nil)
    } catch {
      if let y = given["targets"], y.shape.rank == 1, let matched = try? attempt(outputs, y.reshaped([count, 1])) {
        return matched
      }
      do throws(TemperError) { return try attempt([], nil) } catch let other {
        // A loss that takes (N,) says of the second attempt what is wrong.
        throw error.argument == 0 && other.argument != 0 ? other : error
      }
    }
  }

  private static func converted(
    _ tensor: Tensor, _ shape: Shape, _ kind: Kind, _ type: DType
  ) throws(TemperError) -> Tensor {
    let wanted = kind == .index ? DType.int32 : type
    return try (tensor.dtype == wanted ? tensor.dense() : tensor.copy(as: wanted)).reshaped(shape)
  }

  private func checkFinite() throws(TemperError) {
    var fields = rows
    if case .array(let tensor) = x { fields["x"] = Field(tensor: tensor, kind: xKind) }
    for (name, array) in fields.merging(whole, uniquingKeysWith: { a, _ in a }).inOrder({ $0.key < $1.key })
    where array.kind == .real {
      guard let position = array.tensor.firstNotFinite else { continue }
      let width = Swift.max(array.tensor.count / Swift.max(array.tensor.shape.sizes.first ?? 1, 1), 1)
      let place =
        fields[name] == nil ? "element \(position)" : "sample \(position / width), element \(position % width)"
      throw TemperError(
        .notFinite,
        "\(name == "targets" ? "y" : name) is NaN or infinite at \(place); clean the data, or allow it by the option."
      )
    }
  }
}

extension Samples.Features {
  /// (N, …)
  var shape: Shape {
    switch self {
    case .array(let tensor): tensor.shape
    case .rows(let rows): rows.shape
    }
  }
}
