import CTemper
import TemperCatalogue

/// The values of a loss's parameters as a C array.
@safe final class ParameterValues: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<temper_plugin_value>
  private let count: Int

  init(_ parameters: [Parameter], _ arguments: Arguments) {
    count = parameters.count
    unsafe pointer = .allocate(capacity: max(count, 1))
    for (index, parameter) in parameters.enumerated() {
      var value = unsafe temper_plugin_value()
      switch arguments.values[parameter.name] ?? parameter.initial {
      case .none: break
      case .boolean(let flag): unsafe (value.integer, value.real) = (flag ? 1 : 0, flag ? 1 : 0)
      case .integer(let whole): unsafe (value.integer, value.real) = (Int64(whole), Double(whole))
      case .real(let number): unsafe value.real = number
      case .text(let text): unsafe value.text = UnsafePointer(duplicate(text))
      }
      unsafe (pointer + index).initialize(to: value)
    }
  }

  deinit {
    for index in 0..<count { unsafe UnsafeMutablePointer(mutating: pointer[index].text)?.deallocate() }
    unsafe pointer.deallocate()
  }
}

/// A copy of a text as C has it; the caller deallocates it.
@unsafe func duplicate(_ text: String) -> UnsafeMutablePointer<CChar> {
  let bytes = text.utf8CString
  let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
  for (index, byte) in bytes.enumerated() { unsafe (copy + index).initialize(to: byte) }
  return unsafe copy
}
