import TemperCore
import TemperNetworks

/// A weight in a file: what the metadata says of it, and the tensors named after it.
struct StoredWeight {
  let name: String
  let description: JSON
  let file: Safetensors

  /// What may follow the weight's name in a tensor's.
  static let suffixes = [
    ".codes", ".scales", ".zeros", ".levels", ".offsets", ".tables", ".values", ".mask", ".order", ".widths", ".minima",
    ".input_scales", ".down", ".up", ".output_offsets",
  ]

  func optionalTensor(_ suffix: String) -> Tensor? { file[name + suffix] }

  func tensor(_ suffix: String) throws(TemperError) -> Tensor {
    guard let tensor = file[name + suffix] else {
      throw TemperError(.malformedFile, "It needs the tensor \"\(name)\(suffix)\".")
    }
    return tensor
  }

  func integer(_ field: String) throws(TemperError) -> Int {
    guard case .integer(let value)? = description[field] else {
      throw TemperError(.malformedFile, "Its description has no whole number \"\(field)\".")
    }
    return value
  }

  func text(_ field: String) throws(TemperError) -> String {
    guard case .text(let value)? = description[field] else {
      throw TemperError(.malformedFile, "Its description has no text \"\(field)\".")
    }
    return value
  }

  var shape: Shape {
    get throws(TemperError) {
      guard case .array(let extents)? = description["shape"] else {
        throw TemperError(.malformedFile, "Its description has no \"shape\".")
      }
      var sizes: [Int] = []
      for extent in extents {
        guard case .integer(let size) = extent else {
          throw TemperError(.malformedFile, "Its shape is not whole numbers.")
        }
        sizes.append(size)
      }
      let shape = try Shape(validating: sizes)
      guard shape.rank >= 1 else { throw TemperError(.malformedFile, "Its shape has no sizes.") }
      return shape
    }
  }
}

/// {"form": …, what the form says, "rotation": seed, "inputs": {"bits", "step": the bits of a
/// float32, "zero"}}; without "form" it is one code a weight.
extension QuantizedMatrix {
  var storedDescription: JSON {
    var members = form.storedDescription
    if let rotation = adjustment.rotation { members.append(JSON.Member("rotation", .text(String(rotation.seed)))) }
    if let grid = adjustment.inputGrid {
      members.append(
        JSON.Member(
          "inputs",
          .object([
            JSON.Member("bits", .integer(grid.bits)), JSON.Member("step", .integer(Int(grid.step.bitPattern))),
            JSON.Member("zero", .integer(Int(grid.zero))),
          ])))
    }
    return .object(members)
  }

  func storedTensors(of name: String, workers: Workers) throws(TemperError) -> [(name: String, tensor: Tensor)] {
    var tensors = try form.storedTensors(workers: workers)
    if let scales = adjustment.inputScales { tensors.append((".input_scales", scales)) }
    if let lowRank = adjustment.lowRank { tensors += [(".down", lowRank.down), (".up", lowRank.up)] }
    if let offsets = adjustment.offsets { tensors.append((".output_offsets", offsets)) }
    return tensors.map { (name + $0.suffix, $0.tensor) }
  }

  /// Whatever is missing or does not fit is an error.
  init(stored name: String, _ description: JSON, in file: Safetensors, workers: Workers) throws(TemperError) {
    let stored = StoredWeight(name: name, description: description, file: file)
    do throws(TemperError) {
      let form: any WeightForm
      switch description["form"] {
      case nil: form = try PackedMatrix(stored: stored, workers: workers)
      case .text(AffineCodes.formName)?: form = try AffineCodes(stored: stored, workers: workers)
      case .text(VectorCodes.formName)?: form = try VectorCodes(stored: stored, workers: workers)
      case .text(HalfNumbers.formName)?: form = try HalfNumbers(stored: stored)
      case .text(GGUFBlocks.formName)?: form = try GGUFBlocks(stored: stored)
      case .text(SparseRows.formName)?: form = try SparseRows(stored: stored)
      case .text(MixedColumns.formName)?: form = try MixedColumns(stored: stored, workers: workers)
      default: throw TemperError(.malformedFile, "Its form is not one that this version reads.")
      }
      var adjustment = Adjustment(
        inputScales: try stored.optionalTensor(".input_scales")?.copy(),
        offsets: try stored.optionalTensor(".output_offsets")?.copy())
      if description["rotation"] != nil {
        guard let seed = UInt64(try stored.text("rotation")) else {
          throw TemperError(.malformedFile, "Its rotation is not a seed.")
        }
        adjustment.rotation = Rotation(columns: form.columns, seed: seed)
      }
      if let inputs = description["inputs"] {
        guard case .integer(let bits)? = inputs["bits"], case .integer(let step)? = inputs["step"],
          case .integer(let zero)? = inputs["zero"], let pattern = UInt32(exactly: step)
        else { throw TemperError(.malformedFile, "What its inputs are rounded to is not described.") }
        adjustment.inputGrid = try InputGrid(bits: bits, step: Float(bitPattern: pattern), zero: zero)
      }
      if let down = stored.optionalTensor(".down") {
        adjustment.lowRank = (try down.copy(), try stored.tensor(".up").copy())
      }
      try self.init(form, adjustment)
    } catch {
      throw TemperError(.malformedFile, "The packed weight \"\(name)\" is not valid. " + error.message)
    }
  }
}
