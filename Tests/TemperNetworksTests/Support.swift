import Glibc
import TemperCatalogue
import TemperCore
import TemperGraph

@testable import TemperNetworks

/// Activations and operators as another room would bring them.
let testMethods: [Method] = [
  Method(
    "relu", kind: .activation, area: "activations", summary: "max(x, 0)", inputs: [Input("x", [], "Any array.")],
    implementation: .operation { x in relu(x["x"]) }),
  Method(
    "tanh", kind: .activation, area: "activations", summary: "tanh(x)", inputs: [Input("x", [], "Any array.")],
    implementation: .operation { x in tanh(x["x"]) }),
  Method(
    "leaky_relu", kind: .activation, area: "activations", summary: "x or slope x",
    parameters: [.real("slope", 0.01, in: .unit, "Slope below 0.").named(also: "negative_slope")],
    inputs: [Input("x", [], "Any array.")],
    implementation: .operation { x in .select(x["x"] .> 0, x["x"], x["x"] * x.real("slope")) }),
  // exp(x) over its sum, by hand: what a normaliser of the catalogue looks like.
  Method(
    "tempered_softmax", kind: .op, area: "softmax", summary: "softmax(x / temperature)",
    parameters: [.real("temperature", 1, in: .positive, "Divides x.")], inputs: [Input("x", [], "Any array.")],
    implementation: .operation { x in (x["x"] / x.real("temperature")).softmax() }),
  Method(
    "two_inputs", kind: .op, area: "softmax", summary: "x + y",
    inputs: [Input("x", [], "Any array."), Input("y", [], "Any array.")],
    implementation: .operation { x in x["x"] + x["y"] }),
]

let testCatalogue = Catalogue(Layers.all + testMethods)

func makeModel(
  _ text: String, input: Shape, dtype: DType = .float64, seed: UInt64 = 1
) throws(TemperError) -> Model {
  try Model(try Description(parsing: text), input: input, dtype: dtype, seed: seed, catalogue: testCatalogue)
}

/// The message of the error that `body` throws; nil if it throws none.
func message(_ body: () throws(TemperError) -> Void) -> String? {
  do throws(TemperError) {
    try body()
    return nil
  } catch {
    return error.description
  }
}

/// A directory of its own below /tmp, gone with its owner: a member of a suite, which outlives its test.
final class TemporaryDirectory {
  let path: String

  init() {
    var template = Array("/tmp/temper-networks-XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&template)!)
  }

  deinit {
    for name in entries { unlink(path + "/" + name) }
    rmdir(path)
  }

  var entries: [String] {
    guard let handle = opendir(path) else { return [] }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}
