import TemperCatalogue
import TemperCore
import Testing

@testable import TemperNetworks

@Suite struct DescriptionTests {
  @Test func textSurvives() throws {
    let text = #"[{"dense": 128}, "relu", [{"dropout": 0.5}, {"dense": {"size": 10, "bias": false}}]]"#
    let description = try Description(parsing: text)
    #expect(description.text == text)
    #expect(try Description(parsing: description.text) == description)
  }

  @Test func variablesAreNamedByPath() throws {
    let model = try makeModel(
      #"[{"dense": 8}, "relu", [{"dense": {"size": 4, "bias": false}}, ["tanh", {"dense": 3}]]]"#, input: [5])
    #expect(model.parameters.map(\.name) == ["0.weight", "0.bias", "2.0.weight", "2.1.1.weight", "2.1.1.bias"])
    #expect(model.parameters.map(\.shape) == [[8, 5], [8], [4, 8], [3, 4], [3]])
    #expect(model.output == [3])
    #expect(model.parameterCount == 8 * 5 + 8 + 32 + 12 + 3)
  }

  /// What came, and what the error must name.
  @Test(arguments: [
    (#"[{"dens": 10}]"#, "Did you mean dense"), (#"["nothing_like_it"]"#, "dense, "),
    (#"[{"dense": {"size": 1, "biass": true}}]"#, "size, bias, initializer"),
    (#"[{"dense": {}}]"#, "\"size\" is missing"), (#"["dense"]"#, "\"size\" is missing"),
    (#"[{"dense": 0}]"#, "from 1"), (#"[{"dense": "big"}]"#, "whole number"), (#"[{"dense": [1, 2]}]"#, "whole number"),
    (#"[{"dense": 1.5}]"#, "whole number"), (#"["relu", {"flatten": 3}]"#, "layer 1 (flatten): It takes no value"),
    (#"[[["relu", {"dropout": 1}]]]"#, "layer 0.0.1 (dropout)"), (#"[{"dropout": 1}]"#, "[0.0, 1.0)"),
    (#"[17]"#, "layer 0"), (#"[{"dense": 1, "relu": 2}]"#, "layer 0"), (#"{"dense": 1}"#, "a list of layers"),
    (#"[{"dense": {"size": 2, "initializer": "he"}}]"#, "he_uniform"),
    (#"[{"dense": {"size": 2, "initializer": {"normal": {"sd": 1}}}}]"#, "std, mean"),
    (#"[{"dense": {"size": 2, "initializer": 3}}]"#, "a name or {name: options}"),
    (#"["two_inputs"]"#, "x, y"), (#"[{"leaky_relu": {"slope": 2}}]"#, "[0.0, 1.0]"),
    (#"[{"reshape": [2, 2]}]"#, "cannot become"), (#"[{"reshape": [-1, -1]}]"#, "one of them"),
    (#"[{"permute": [1, 0]}]"#, "no order"), (#"[{"reshape": [1, 1, 5]}, {"max_pool": {"padding": "same"}}]"#, "same"),
    (#"[{"dense": 1000000000000}, {"dense": 1000000000000}]"#, "2^46"),
    (#"[{"dense": 1}"#, "column 14"),
  ])
  func mistakesNameWhatIsValid(text: String, part: String) {
    let found = message { () throws(TemperError) in _ = try makeModel(text, input: [5]) }
    #expect(found?.contains(part) == true, "\(text): \(found ?? "no error")")
  }

  @Test func optionsHaveAliases() throws {
    #expect(throws: Never.self) { try makeModel(#"[{"leaky_relu": {"negative_slope": 0.2}}]"#, input: [5]) }
    #expect(throws: TemperError.self) {
      try makeModel(#"[{"leaky_relu": {"negative_slope": 0.2, "slope": 0.2}}]"#, input: [5])
    }
  }

  /// What the catalogue shows of a layer is what a description takes.
  @Test func everyLayerIsListed() throws {
    for method in Layers.all {
      #expect(method.kind == .layer && !method.summary.isEmpty, "\(method.name)")
      let required = method.parameters.filter(\.isRequired)
      let found = message { () throws(TemperError) in _ = try makeModel("[\"\(method.name)\"]", input: [2, 4, 4]) }
      if let first = required.first { #expect(found?.contains("\"\(first.name)\"") == true, "\(method.name)") }
      for parameter in method.parameters {
        #expect(parameter.summary.hasSuffix("."), "\(method.name) \(parameter.name)")
        #expect(method.documentation.contains(parameter.name))
      }
      #expect(try JSON(parsing: method.json.serialized) == method.json)
    }
    #expect(Set(Layers.all.map(\.name)).count == Layers.all.count)
  }

  @Test func absurdShapesAreErrors() {
    for input: Shape in [[0], [-1], [1 << 40, 1 << 40], [1, 1, 1, 1, 1, 1, 1, 1]] {
      #expect(throws: TemperError.self) { try makeModel(#"["relu"]"#, input: input) }
    }
    #expect(throws: TemperError.self) { try makeModel(#"["relu"]"#, input: [3], dtype: .int32) }
    #expect(throws: TemperError.self) { try makeModel(#"[{"dense": 3}]"#, input: []) }
  }

  @Test func summaryIsATable() throws {
    let model = try makeModel(#"[{"dense": 1000}, "relu", [{"dense": 10}]]"#, input: [64], dtype: .float32)
    #expect(
      model.summary() == """
        layer        output     parameters
        ----------------------------------
        input        (N, 64)             0
        0 dense      (N, 1000)      65,000
        1 relu       (N, 1000)           0
          2.0 dense  (N, 10)        10,010
        ----------------------------------
        75,010 parameters, float32, 300,040 bytes

        """)
  }
}
