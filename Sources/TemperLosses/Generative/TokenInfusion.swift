import TemperCatalogue
import TemperGraph

extension Losses {
  static let tokenInfusion = [keyValueInfusion]

  /// softmax(Q K^T / sqrt d) V, where K and V have the rows of the concept's tokens from the customised model and all others
  /// from the base model.
  static let keyValueInfusion = Method(
    "kv_token_infusion", kind: .op, area: "generative",
    summary: "Attention that takes a new concept's keys and values from a customised model and the rest from its base.",
    reference: Reference(
      "Agarwal, Karanam, Shukla and Srinivasan", 2024,
      "AlignIT: Enhancing Prompt Alignment in Customization of Text-to-Image Models", arXiv: "2406.18893"),
    parameters: [
      .choice("replace", ["keys_and_values", "keys", "values"], "Keys steer where it looks, values what it sees.")
    ],
    inputs: [
      Input("queries", [.init(["M", "D"])], "Queries."),
      Input("base_keys", [.init(["L", "D"])], "Keys of the prompt under the base model."),
      Input("base_values", [.init(["L", "E"])], "Its values."),
      Input("custom_keys", [.init(["L", "D"])], "Keys under the customised model."),
      Input("custom_values", [.init(["L", "E"])], "Its values."),
      Input("rows", aliases: ["concept_tokens"], [.init(["L"], .mask)], "1 for the tokens of the concept."),
    ],
    properties: ["smooth"],
    implementation: .operation { x in
      let rows = x["rows"].reshaped([x["rows"].shape[0], 1])
      func mixed(_ name: String) -> Expression {
        let isReplaced = x.text("replace") == name || x.text("replace") == "keys_and_values"
        return isReplaced ? .select(rows, x["custom_" + name], x["base_" + name]) : x["base_" + name]
      }
      let scale = 1 / Double(x["queries"].shape[1]).squareRoot()
      let scores = Expression.matmul(x["queries"], mixed("keys"), transposeB: true) * scale
      return .matmul(scores.softmax(), mixed("values"))
    })
}
