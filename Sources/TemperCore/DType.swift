/// The element types that tensors can hold.
public enum DType: Int32, Sendable, Hashable, CaseIterable {
  case float32 = 1
  case float64 = 2
  case int32 = 3
  case int64 = 4
  case uint8 = 5
  case bool = 6
  case int8 = 7

  public var byteCount: Int {
    switch self {
    case .float64, .int64: 8
    case .float32, .int32: 4
    case .uint8, .bool, .int8: 1
    }
  }

  public var isFloating: Bool { self == .float32 || self == .float64 }

  /// The name that NumPy and safetensors users know.
  public var name: String {
    switch self {
    case .float32: "float32"
    case .float64: "float64"
    case .int32: "int32"
    case .int64: "int64"
    case .uint8: "uint8"
    case .bool: "bool"
    case .int8: "int8"
    }
  }
}

/// A Swift type that is stored in tensors as it is.
public protocol Element: Sendable {
  static var dtype: DType { get }
}

extension Float: Element { public static var dtype: DType { .float32 } }
extension Double: Element { public static var dtype: DType { .float64 } }
extension Int32: Element { public static var dtype: DType { .int32 } }
extension Int64: Element { public static var dtype: DType { .int64 } }
extension UInt8: Element { public static var dtype: DType { .uint8 } }
extension Int8: Element { public static var dtype: DType { .int8 } }
