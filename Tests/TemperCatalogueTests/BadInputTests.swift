import TemperCatalogue
import TemperCore
import Testing

/// What callers may get wrong: each gives an error that names the input, and the next right call works.
@Suite struct BadInputTests {
  private func message(_ inputs: [String: Tensor], _ name: String = "cross_entropy") throws -> String {
    let instance = try loss(name)
    do {
      _ = try instance.evaluate(inputs)
      return ""
    } catch let error as TemperError {
      #expect(error.origin == instance.method.name)
      return error.message
    }
  }

  private let logits = try! Tensor(zeros: [2, 3])
  private let ids = try! Tensor([Int32(0), 2])

  @Test func inputsAreMatchedByName() throws {
    #expect(try message(["logits": logits, "targets": ids]) == "")
    #expect(try message(["logits": logits]).contains("targets is missing"))
    #expect(try message(["logits": logits, "targets": ids, "labels": ids]).contains("no input \"labels\""))
  }

  @Test func shapesMustAgree() throws {
    #expect(try message(["logits": logits, "targets": try Tensor([Int32(0)])]).contains("N=2"))
    let wide = try Tensor(zeros: [2, 4])
    #expect(try message(["logits": logits, "targets": wide]).contains("C=3"))
    #expect(try message(["logits": try Tensor(zeros: [6]), "targets": ids]).contains("logits"))
    let none = try Tensor(zeros: [0, 3])
    #expect(try message(["logits": none, "targets": ids]).contains("no elements"))
  }

  @Test func idsMustBeIntegersInRange() throws {
    #expect(try message(["logits": logits, "targets": try Tensor([0.0, 1])]).contains("targets"))
    let high = try message(["logits": logits, "targets": try Tensor([Int64(1), 3])])
    #expect(high.contains("element 1 is 3") && high.contains("0 to 2"))
    #expect(try message(["logits": logits, "targets": try Tensor([Int64(-1), 0])]).contains("element 0 is -1"))
    #expect(try message(["logits": logits, "targets": try Tensor([Int64(-100), 0])]) == "")
    // Only where the method has an ignore_index.
    let focal = try message(["logits": logits, "targets": try Tensor([Int64(-100), 0])], "focal")
    #expect(focal.contains("-100"))
    let far = try Tensor([Int64.max, 0])
    #expect(try message(["logits": logits, "targets": far]).contains("\(Int64.max)"))
  }

  @Test func idsOfEveryIntegerTypeAreTheSame() throws {
    let logits = try Tensor([0.1, 0.5, -1, 2, 0, 1], shape: [2, 3])
    let instance = try loss("cross_entropy")
    let expected = try numbers(try instance.evaluate(["logits": logits, "targets": ids]))
    for type in [DType.int64, .uint8] {
      let got = try instance.evaluate(["logits": logits, "targets": try ids.copy(as: type)])
      #expect(try numbers(got) == expected)
    }
    let ones = try Tensor([UInt8(1), 0]).copy(as: .bool)
    let asBool = try instance.evaluate(["logits": logits, "targets": ones])
    let asIds = try instance.evaluate(["logits": logits, "targets": try Tensor([Int32(1), 0])])
    #expect(try numbers(asBool) == numbers(asIds))
  }

  @Test func gradientsMustExist() throws {
    let instance = try loss("cross_entropy")
    let inputs = ["logits": logits, "targets": ids]
    for wrt in [["targets"], ["nothing"], ["logits", "logits"]] {
      #expect(throws: TemperError.self) { try instance.valueAndGradient(inputs, wrt: wrt) }
    }
  }

  @Test func resultArraysAreChecked() throws {
    let instance = try loss("cross_entropy")
    let inputs = ["logits": logits, "targets": ids]
    #expect(throws: TemperError.self) { try instance.evaluate(inputs, into: try Tensor(zeros: [3])) }
    #expect(throws: TemperError.self) { try instance.evaluate(inputs, into: try Tensor(zeros: [2], .int32)) }
  }

  @Test func hiddenTargetsAreErrors() throws {
    let visible = try Tensor([UInt8(1), 1, 0, 1, 1, 0], shape: [2, 3])
    #expect(
      try message(["logits": logits, "targets": ids, "visible": visible], "masked_softmax_ce").contains("sample 1"))
    let wrong = try Tensor([UInt8(1), 7, 0, 1, 1, 1], shape: [2, 3])
    #expect(try message(["logits": logits, "targets": ids, "visible": wrong], "masked_softmax_ce").contains("mask"))
  }

  @Test func parametersAreChecked() throws {
    #expect(throws: TemperError.self) { try loss("focal", [("gama", .real(1))]) }
    #expect(throws: TemperError.self) { try loss("focal", [("gamma", .real(-1))]) }
    #expect(throws: TemperError.self) { try loss("focal", [("gamma", .real(.nan))]) }
    #expect(throws: TemperError.self) { try loss("hinge", [("form", .text("other"))]) }
    #expect(throws: TemperError.self) { try loss("softmax") }
    #expect(throws: TemperError.self) { try operation("mse") }
    #expect(throws: TemperError.self) { try catalogue.find("cros_entropy") }
  }
}
