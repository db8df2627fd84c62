import TemperCatalogue
import TemperCore
import TemperGraph

extension Layers {
  /// y = (x - mean) / scale by element of a sample, kept within [-clip, clip]. Training leaves both as they are: they
  /// are facts about the data, written by whoever has seen them.
  static let standardize = Method.layer(
    "standardize",
    summary: "Subtracts a mean and divides by a scale, both given and not trained; limits what comes out.",
    options: [.real("clip", 0, in: .nonNegative, "Largest magnitude that comes out; 0 is no limit.")], main: "clip"
  ) { (layer) throws(TemperError) in
    try layer.requireRank(1...7, "samples with at least one axis")
    let clip = layer.real("clip")
    let mean = try layer.buffer("mean", layer.input.sizes, initial: 0)
    let scale = try layer.buffer("scale", layer.input.sizes, initial: 1)
    return { x, pass in
      let y = (x - pass[mean]) / pass[scale]
      return clip > 0 ? clamp(y, -clip, clip) : y
    }
  }
}
