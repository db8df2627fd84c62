import CTemper
import TemperCore
import TemperTraining

/// Rows that a callback of the caller's writes.
@safe final class ForeignRows: RowSource {
  let shape: Shape
  let dtype: DType
  private let function: temper_rows_function
  private let user: ForeignPointer

  init(_ source: temper_source) throws(TemperError) {
    guard unsafe source.reserved == 0 else { throw TemperError(.unsupported, "`reserved` must be 0.", argument: 2) }
    guard let read = unsafe source.read else {
      throw TemperError(.invalidArgument, "A source needs a function `read`; NULL came.", argument: 2)
    }
    unsafe (function, user) = (read, ForeignPointer(source.user))
    dtype = unsafe try Temper.dtype(source.dtype, 2)
    let row = unsafe try integers(source.sizes, rank: source.rank, "sizes", 2)
    guard unsafe source.count >= 0 else {
      throw TemperError(.outOfRange, unsafe "A source has 0 or more samples; \(source.count) came.", argument: 2)
    }
    shape = try located(2) { () throws(TemperError) in
      try Shape(validating: [unsafe Int(source.count)] + row)
    }
  }

  func read(_ order: [Int32], from start: Int, into rows: Tensor) throws(TemperError) {
    let count = rows.shape[0]
    let ids = order[start..<start + count].map(Int64.init)
    var said = temper_error()
    let answer = unsafe ids.withUnsafeBufferPointer { ids in
      unsafe function(user.pointer, ids.baseAddress, UInt64(count), rows.pointer, &said)
    }
    guard answer != TEMPER_OK else { return }
    let text = unsafe withUnsafeBytes(of: &said.message) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let code = TemperError.Code(rawValue: answer)
    throw TemperError(
      code ?? .invalidArgument,
      text.isEmpty
        ? code == .cancelled
          ? "The source stopped training." : "The source of x could not be read: it returned \(answer)."
        : text, argument: 2)
  }
}
