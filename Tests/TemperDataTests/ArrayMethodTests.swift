import Testing

import TemperCatalogue
import TemperCore

@testable import TemperAssurance
@testable import TemperData

@Suite struct ArrayMethodTests {
  /// What the record says is what a call takes and gives.
  @Test func recordsAreWhole() {
    let kinds: Set<MethodKind> = [.sampler, .generator, .detector, .calibrator]
    for method in catalogue.methods where kinds.contains(method.kind) {
      #expect(!method.calls.isEmpty && method.summary.hasSuffix("."), "\(method.name)")
      let names = method.inputs.map(\.name)
      #expect(Set(names).isDisjoint(with: method.keeps.map(\.name)), "\(method.name)")
      for call in method.calls where call.name != "fit" {
        #expect(!call.results.isEmpty, "\(method.name) \(call.name)")
      }
      for input in method.inputs + method.keeps {
        #expect(input.summary.hasSuffix("."), "\(method.name) \(input.name)")
      }
      #expect(method.calls.contains { $0.state != .none } == !method.keeps.isEmpty, "\(method.name)")
    }
  }

  @Test func sizesOfTheFitBindThoseOfLaterCalls() throws {
    let detector = try method("nearest_neighbours", [("k", .integer(1))])
    let x = try points(10, 3).tensor()
    #expect(
      throws: TemperError(.wrongState, "It has to be fitted before score is called.", origin: "nearest_neighbours")
    ) {
      try detector.perform("score", ["x": x])
    }
    _ = try detector.perform("fit", ["x": x])
    #expect(throws: TemperError.self) { try detector.perform("score", ["x": try points(4, 2).tensor()]) }
    #expect(throws: TemperError.self) { try detector.perform("score", ["points": x]) }
    // A call that fails leaves the fit as it was.
    #expect(throws: TemperError.self) { try detector.perform("fit", ["x": try Tensor([Double.nan], shape: [1, 1])]) }
    #expect(try detector.perform("score", [:]).reals("scores").count == 10)
  }

  @Test func stateGoesBackOnlyIfItFits() throws {
    let calibrator = try method("temperature_scaling")
    #expect(throws: TemperError.self) { try calibrator.restore([("temperature", try Tensor([1.0, 2]))]) }
    #expect(throws: TemperError.self) { try calibrator.restore([("scale", try Tensor([1.0]))]) }
    #expect(throws: TemperError.self) { try calibrator.restore([]) }
    try calibrator.restore([("temperature", try Tensor([2.0], shape: []))])
    let out = try calibrator.perform("transform", ["logits": try Tensor([4.0, -2], shape: [1, 2])])
    #expect(try out.reals("logits") == [2, -1])
    try calibrator.restore([("temperature", try Tensor([-2.0], shape: []))])
    #expect(throws: TemperError.self) {
      try calibrator.perform("transform", ["logits": try Tensor([4.0], shape: [1, 1])])
    }
  }

  /// The same bits with one thread and with three, and other ones with another seed.
  @Test func threadsChangeNothing() throws {
    let x = try points(300, 5).tensor()
    var results: [[Double]] = []
    for threads in [1, 3] {
      let detector = try method("k_means", [("k", .integer(4)), ("restarts", .integer(2))], threads: threads)
      _ = try detector.perform("fit", ["x": x], seed: 5)
      results.append(try detector.state.reals("centres"))
    }
    #expect(results[0] == results[1])
    let sampler = try method("random_oversampler")
    let y = try Tensor((0..<50).map { Int64($0 % 7 == 0 ? 1 : 0) })
    let draws = try [1, 1, 2].map { try sampler.perform("indices", ["y": y], seed: $0).ids("indices") }
    #expect(draws[0] == draws[1] && draws[0] != draws[2])
  }
}
