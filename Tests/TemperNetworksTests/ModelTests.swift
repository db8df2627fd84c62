import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

@Suite struct ModelTests {
  @Test func parametersShareOneStorage() throws {
    let model = try makeModel(#"[{"dense": 3}, {"dense": 5}]"#, input: [7], dtype: .float32)
    for parameter in model.parameters {
      let tensor = try #require(parameter.tensor)
      #expect(tensor.storage === model.flat.storage)
      #expect(tensor.byteOffset % 64 == 0)
    }
    try model.parameters[1].tensor!.fill(42)
    #expect(try model.flat.array(of: Float.self).count { $0 == 42 } == 3)
    // 21 and 3, 15 and 5 elements, each up to a multiple of 16.
    #expect(model.flat.shape == [32 + 16 + 16 + 16])
  }

  @Test func aParameterDependsOnSeedAndNameOnly() throws {
    let a = try makeModel(#"[{"dense": 3}, {"dense": 5}]"#, input: [7])
    let b = try makeModel(#"[{"dense": {"size": 3, "bias": false}}, {"dense": 5}, "relu"]"#, input: [7])
    let c = try makeModel(#"[{"dense": 3}, {"dense": 5}]"#, input: [7], seed: 2)
    func values(_ model: Model, _ name: String) throws -> [Double] {
      try model.variable(name)!.tensor!.array(of: Double.self)
    }
    for name in ["0.weight", "1.weight", "1.bias"] {
      #expect(try values(a, name) == values(b, name))
      #expect(try values(a, name) != values(c, name))
    }
    #expect(try values(a, "0.weight").prefix(3) != values(a, "1.weight").prefix(3))
    let narrow = try makeModel(#"[{"dense": 3}, {"dense": 5}]"#, input: [7], dtype: .float32)
    #expect(try narrow.variable("0.weight")!.tensor!.array(of: Float.self) == values(a, "0.weight").map { Float($0) })
  }

  @Test func absentParametersTakeNoMemory() throws {
    let model = try Model(
      try Description(parsing: #"[{"dense": 100}, {"dense": 10}]"#), input: [64], catalogue: testCatalogue,
      absent: ["0.weight"])
    #expect(model.variable("0.weight")?.tensor == nil)
    #expect(model.flat.count == 112 + 1000 + 8 + 16)
    let x = Expression.input("x", [4, 64])
    #expect(model.forward(x, model.pass(.inference)).error?.message.contains("0.weight") == true)
    model.replacements["0.weight"] = { x in x.slice(0..<1, axis: 1).broadcast(to: [x.shape[0], 100]) }
    #expect(model.forward(x, model.pass(.inference)).shape == [4, 10])
    #expect(model.forward(x, model.pass(.training)).error != nil)
    #expect(throws: TemperError.self) {
      try Model(
        try Description(parsing: #"["relu"]"#), input: [64], catalogue: testCatalogue, absent: ["0.weight"])
    }
  }

  @Test func wrongInputsAreErrors() throws {
    let model = try makeModel(#"[{"dense": 3}]"#, input: [7])
    #expect(model.forward(.input("x", [4, 8]), model.pass(.inference)).error != nil)
    #expect(model.forward(.input("x", [7]), model.pass(.inference)).error != nil)
    #expect(model.forward(.input("x", [4, 7], .index), model.pass(.inference)).error != nil)
    #expect(throws: TemperError.self) { try model.checkInput(try Tensor(zeros: [4, 8])) }
    #expect(throws: TemperError.self) { try model.checkInput(try Tensor(zeros: [])) }
  }

  @Test func dropoutNeedsAClockInTraining() throws {
    let model = try makeModel(#"["dropout", "dropout"]"#, input: [7])
    let x = Expression.input("x", [4, 7])
    #expect(model.forward(x, model.pass(.training)).error != nil)
    let clock = Expression.input("clock", [4], .index)
    #expect(model.forward(x, model.pass(.training, clock: clock)).error == nil)
    #expect(model.forward(x, model.pass(.inference)).node === x.node)
  }
}
