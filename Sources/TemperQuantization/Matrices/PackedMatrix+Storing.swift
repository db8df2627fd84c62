import TemperCore
import TemperKernels
import TemperNetworks

/// Packed matrices in safetensors files: codes as uint8 (rows, bytes of a row), column c of a row in bits [b c, b c + b)
/// of its bytes, lowest first; scales as float32 and zero points as uint8; and a description in the metadata.
extension PackedMatrix {
  /// {"shape": [...], "bits": b, "levels": the grid's name, "group_size": g}
  var storedDescription: JSON {
    .object([
      JSON.Member("shape", .array(shape.sizes.map { .integer($0) })),
      JSON.Member("bits", .integer(bits)),
      JSON.Member("levels", .text(grid.name)),
      JSON.Member("group_size", .integer(groupSize)),
    ])
  }

  static func storedNames(of name: String) -> [String] { [".codes", ".scales", ".zeros"].map { name + $0 } }

  func storedTensors(of name: String, workers: Workers) throws(TemperError) -> [(name: String, tensor: Tensor)] {
    let names = PackedMatrix.storedNames(of: name)
    return [(names[0], try storedCodes(workers: workers)), (names[1], scales)] + (zeros.map { [(names[2], $0)] } ?? [])
  }

  /// What `storedDescription` and `storedTensors` say; whatever is missing or does not fit is an error.
  init(
    stored name: String, _ description: JSON, in file: Safetensors, workers: Workers
  ) throws(TemperError) {
    func malformed(_ what: String) -> TemperError {
      TemperError(.malformedFile, "The packed weight \"\(name)\" \(what).")
    }
    guard case .array(let extents)? = description["shape"], case .integer(let bits)? = description["bits"],
      case .text(let levels)? = description["levels"], case .integer(let groupSize)? = description["group_size"]
    else { throw malformed("is not described by shape, bits, levels and group_size") }
    var sizes: [Int] = []
    for extent in extents {
      guard case .integer(let size) = extent else { throw malformed("has a shape that is not whole numbers") }
      sizes.append(size)
    }
    let names = PackedMatrix.storedNames(of: name)
    guard let codes = file[names[0]], let scales = file[names[1]] else {
      throw malformed("needs the tensors \"\(names[0])\" and \"\(names[1])\"")
    }
    do throws(TemperError) {
      let shape = try Shape(validating: sizes)
      let grid = try Grid(named: levels, bits: bits)
      // Copies: a view would keep the whole file in memory.
      try self.init(
        shape: shape, grid: grid, groupSize: groupSize, scales: try scales.copy(), zeros: try file[names[2]]?.copy(),
        looseCodes: try PackedMatrix.restoredCodes(codes, shape: shape, bits: bits, workers: workers), workers: workers)
    } catch {
      throw malformed("is not valid. " + error.message)
    }
  }
}
