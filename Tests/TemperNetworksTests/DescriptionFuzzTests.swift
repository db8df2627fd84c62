import TemperCatalogue
import TemperCore
import TemperGraph
import Testing

@testable import TemperNetworks

/// Descriptions at random, with sizes from nothing to absurd: a network or an error, never a trap.
@Suite struct DescriptionFuzzTests {
  private struct Writer {
    var random: Random
    let methods = testCatalogue.methods

    mutating func number() -> JSON {
      let numbers: [JSON] = [
        .integer(0), .integer(1), .integer(2), .integer(3), .integer(4), .integer(-1), .integer(7), .integer(1000),
        .integer(65_536), .integer(1 << 31), .integer(1 << 40), .integer(.max), .integer(.min), .real(0.5),
        .real(1e300),
        .boolean(true), .null, .text("same"), .text("sum"), .text("sequence"),
        .array([.integer(2), .integer(1 << 40)]),
        .array([.integer(1), .integer(2)]), .array([]), .text("orthogonal"),
        .object([JSON.Member("normal", .integer(1))]),
      ]
      // Mostly sizes that fit.
      return numbers[random.below(3) > 0 ? 1 + random.below(4) : random.below(numbers.count)]
    }

    mutating func layers(_ depth: Int) -> JSON { .array((0...random.below(4)).map { _ in layer(depth) }) }

    mutating func layer(_ depth: Int) -> JSON {
      if depth > 0 && random.below(8) == 0 { return layers(depth - 1) }
      let method = methods[random.below(methods.count)]
      guard case .component(let component) = method.implementation, let layer = component as? LayerDefinition else {
        return .text(method.name)
      }
      if random.below(6) == 0 { return .text(method.name) }
      if random.below(4) == 0 { return .object([JSON.Member(method.name, number())]) }
      let options = layer.options.filter { $0.parameter.isRequired || random.below(3) == 0 }
      return .object([
        JSON.Member(
          method.name,
          .object(
            options.map { option in
              let nested = option.form == .layers || option.form == .branches
              return JSON.Member(option.name, nested && depth > 0 ? layers(depth - 1) : number())
            }))
      ])
    }
  }

  @Test(arguments: 0..<8) func neverATrap(part: Int) {
    var writer = Writer(random: Random(seed: 5).stream(part))
    let shapes: [Shape] = [[4], [3, 4], [2, 4, 4], [1 << 20], [1, 1 << 30], [2, 1 << 20, 1 << 20], []]
    var built = 0
    for _ in 0..<1500 {
      guard case .array(let layers) = writer.layers(2) else { continue }
      let shape = shapes[writer.random.below(3) > 0 ? writer.random.below(3) : writer.random.below(shapes.count)]
      do throws(TemperError) {
        let description = Description(layers)
        #expect(try Description(parsing: description.text) == description)
        let kind: Kind = try description.takesIndices(testCatalogue) ? .index : .real
        let assembly = Assembly(testCatalogue)
        let network = try assembly.sequence(layers, input: Signature(shape, kind), path: "")
        _ = try assembly.probe(network.forward, Signature(shape, kind))
        built += 1
      } catch {
        #expect(!error.message.isEmpty && error.code != .internalFault, "\(JSON.array(layers).serialized): \(error)")
      }
    }
    #expect(built > 20)
  }

  /// What builds and is small also trains.
  @Test func whatBuildsHasGradients() throws {
    var writer = Writer(random: Random(seed: 6))
    var trained = 0
    for _ in 0..<800 {
      guard case .array(let layers) = writer.layers(1) else { continue }
      let shape: Shape = [[6], [3, 4], [2, 4, 4]][writer.random.below(3)]
      let assembly = Assembly(testCatalogue)
      do throws(TemperError) {
        let network = try assembly.sequence(layers, input: Signature(shape), path: "")
        guard network.output.shape.count < 10_000 else { continue }
        let size = assembly.parameters.reduce(0) { $0 + $1.shape.count }
        guard size < 100_000 else { continue }
      } catch { continue }
      let model = try Model(Description(layers), input: shape, catalogue: testCatalogue)
      let x = Expression.input("x", Shape([3] + shape.sizes))
      let pass = model.pass(
        .training, clock: .input("clock", [4], .index), mask: model.needsMask ? .input("mask", [3, shape[0]]) : nil)
      let y = model.forward(x, pass)
      #expect(y.error == nil, "\(model.description.text)")
      let gradients = try Differentiate.gradients(of: y, withRespectTo: pass.parameters + [x])
      #expect(gradients.allSatisfy { $0.error == nil }, "\(model.description.text)")
      trained += 1
    }
    #expect(trained > 30)
  }
}
