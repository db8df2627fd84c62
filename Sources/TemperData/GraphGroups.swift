import TemperCatalogue
import TemperCore
import TemperGraph

/// Groups out of matched pairs.
enum GraphGroups {
  static let method = Method(
    "pairwise_match_then_community_groups", aliases: ["graph_communities"], kind: .op, area: "data",
    summary: "Groups of nodes from pairs that were matched, some of them wrongly; numbers by first nodes.",
    reference: Reference(title: "Robust Table Integration in Data Lakes"),
    parameters: [
      .choice(
        "method", ["louvain", "components", "label_propagation", "pivot"],
        "Modularity; chains; labels that spread; a random node with its neighbours."),
      .integer("seed", 0, in: 0 ... .max, "Of what is random."),
    ],
    inputs: [
      Input("edges", [.init(["E", "2"], .index(below: nil))], "Pairs of nodes."),
      Input("num_nodes", [.init([], .index(below: nil))], isSize: true, "How many nodes there are."),
    ],
    properties: ["whole"],
    check: { (inputs, _) throws(TemperError) in
      let count = try inputs["num_nodes"]?.array(of: Int64.self).first ?? 0
      let edges = try inputs["edges"]?.array(of: Int64.self) ?? []
      guard (1...(1 << 24)).contains(count), edges.allSatisfy({ (0..<count).contains($0) }) else {
        throw TemperError(.outOfRange, "There must be 1 to 2^24 nodes, and edges between nodes below their number.")
      }
    },
    implementation: .operation { x in
      let (arguments, count) = (x.arguments, x.size("num_nodes"))
      let operation = CustomOperation(name: "graph_groups") { (inputs, result, _) throws(TemperError) in
        let flat = try inputs[0].array(of: Int32.self).map(Int.init)
        let edges = stride(from: 0, to: flat.count, by: 2).map { (flat[$0], flat[$0 + 1]) }
        let random = Random(seed: UInt64(arguments.integer("seed"))).stream("groups")
        let groups =
          switch arguments.text("method") {
          case "components": Communities.components(count, edges)
          case "label_propagation": Communities.labelPropagation(count, edges, random)
          case "pivot": Communities.pivot(count, edges, random)
          default: Communities.louvain(count, edges, random)
          }
        try result.assign(from: try Tensor(groups.map(Double.init), shape: result.shape))
      }
      return .custom(operation, [x["edges"]], shape: [count])
    })
}
