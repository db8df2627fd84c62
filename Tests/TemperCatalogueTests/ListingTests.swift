import Foundation
import TemperCatalogue
import TemperCore
import Testing

@Suite struct ListingTests {
  /// What programs read: valid JSON with the fields that they look for.
  @Test func theListingIsJSON() throws {
    let text = catalogue.json.serialized
    let list = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
    #expect(list.count == catalogue.methods.count)
    for (entry, method) in zip(list, catalogue.methods) {
      #expect(entry["name"] as? String == method.name)
      #expect(entry["kind"] as? String == method.kind.rawValue)
      for key in [
        "aliases", "area", "parameters", "inputs", "reference", "summary", "state", "differentiable", "origin",
      ] {
        #expect(entry[key] != nil, "\(method.name): \(key)")
      }
      #expect((entry["inputs"] as? [Any])?.count == method.inputs.count)
    }
  }

  @Test func textsAreQuoted() throws {
    let text = "a\"b\\c\nd\u{1}é"
    let parsed = try JSONSerialization.jsonObject(
      with: Data(JSON.array([.text(text), .real(.infinity), .real(0.5), .null]).serialized.utf8))
    let list = try #require(parsed as? [Any])
    #expect(list[0] as? String == text && list[1] as? String == "inf" && list[2] as? Double == 0.5)
  }

  @Test(arguments: catalogue.methods.map(\.name)) func documentationNamesEverything(_ name: String) throws {
    let method = try method(name)
    let text = method.documentation
    #expect(!method.summary.isEmpty && method.summary.hasSuffix("."))
    for part in method.parameters.map(\.name) + method.inputs.map(\.name) + method.aliases {
      #expect(text.contains(part))
    }
    for parameter in method.parameters { #expect(parameter.summary.hasSuffix(".")) }
  }
}
