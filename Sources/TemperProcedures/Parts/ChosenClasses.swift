import TemperCore
import TemperTraining

extension Training {
  /// For each sample the class that a network chooses now.
  func chosenClasses(_ network: Int = 0) throws(TemperError) -> [Int] {
    let outputs = try outputs(network)
    let classes = outputs.shape.last
    let z = try outputs.array(of: Double.self)
    return stride(from: 0, to: z.count, by: classes).map { start in
      (start..<start + classes).reduce(start) { z[$1] > z[$0] ? $1 : $0 } - start
    }
  }
}
