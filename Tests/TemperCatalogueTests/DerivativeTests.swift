import TemperCatalogue
import TemperCore
import TemperGraph
import TemperReference
import Testing

@Suite struct DerivativeTests {
  /// The derivative expressions against finite differences of the value, for every input that has one.
  @Test(arguments: variants) func gradientIsTheSlope(_ variant: Variant) throws {
    let probe = try Probe(try variant.example)
    // What is rounded has the slope of what it rounds.
    guard !probe.example.method.properties.contains("straight_through") else { return }
    for name in probe.example.differentiable {
      let input = try #require(probe.inputs[name])
      let gradient = try Differentiate.gradients(of: probe.total, withRespectTo: [input])[0]
      var interpreter = ReferenceInterpreter(probe.example.values)
      let all = try interpreter.evaluate(gradient)
      let elements = probe.someElements(name)
      let exact = elements.map { all[$0] }
      let slopes = try probe.finiteDifferences(probe.total, name, at: elements)
      let error = deviation(exact, slopes)
      #expect(error < 1e-6, "\(variant.testDescription), \(name): \(exact) against \(slopes)")
    }
  }

  /// Second derivatives of records that call themselves smooth, along one direction.
  @Test(arguments: variants) func hessianIsTheSlopeOfTheGradient(_ variant: Variant) throws {
    let probe = try Probe(try variant.example)
    guard probe.example.method.properties.contains("smooth"), let name = probe.example.differentiable.first else {
      return
    }
    let input = try #require(probe.inputs[name])
    let gradient = try Differentiate.gradients(of: probe.total, withRespectTo: [input])[0]
    let direction = Expression.iota([input.shape.count]).reshaped(input.shape) * 0.21 - 1
    let product = try Differentiate.hessianVectorProducts(
      of: probe.total, withRespectTo: [input], directions: [direction])[0]
    var interpreter = ReferenceInterpreter(probe.example.values)
    let all = try interpreter.evaluate(product)
    let elements = probe.someElements(name)
    let exact = elements.map { all[$0] }
    let columns = try probe.finiteDifferences((gradient * direction).sumAll(), name, at: elements)
    #expect(deviation(exact, columns) < 1e-6, "\(variant.testDescription): \(exact) against \(columns)")
  }
}
