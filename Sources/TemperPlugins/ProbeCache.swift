import CTemper
import Synchronization
import TemperCore

/// What probes of this process have found good, by the content that they looked at: the same plug-in in a second
/// context is not probed again.
enum ProbeCache {
  private static let found = Mutex<[String: [String]]>([:])

  /// A key for one loss of a content, for this version of the library.
  static func key(_ content: String, _ loss: String, _ how: String) -> String {
    "\(content) \(loss) \(how) \(TEMPER_VERSION_MAJOR).\(TEMPER_VERSION_MINOR).\(TEMPER_VERSION_PATCH)"
  }

  static subscript(_ key: String) -> [String]? {
    get { found.withLock { $0[key] } }
    set { found.withLock { $0[key] = newValue } }
  }
}
