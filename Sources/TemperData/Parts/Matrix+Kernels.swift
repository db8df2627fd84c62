import TemperCore
import TemperKernels

/// What goes over all samples, on the kernels: with NearestSearch the only files of this room that turn matrices into
/// pointers.
extension Matrix {
  /// The mean of each column.
  package var means: [Double] {
    var sums = [Double](repeating: 0, count: columns)
    unsafe values.withUnsafeBufferPointer { values in
      unsafe sums.withUnsafeMutableBufferPointer { sums in
        guard let from = values.baseAddress, let to = sums.baseAddress else { return }
        unsafe temper_column_sums(from, Int64(rows), Int64(columns), to)
      }
    }
    return sums.map { $0 / Double(Swift.max(rows, 1)) }
  }

  /// The standard deviation of each column (over N), of `means`.
  package func deviations(from means: [Double]) -> [Double] {
    precondition(means.count == columns)
    var sums = [Double](repeating: 0, count: columns)
    unsafe values.withUnsafeBufferPointer { values in
      unsafe means.withUnsafeBufferPointer { means in
        unsafe sums.withUnsafeMutableBufferPointer { sums in
          guard let from = values.baseAddress, let centre = means.baseAddress,
            let to = sums.baseAddress
          else { return }
          unsafe temper_column_squares(from, centre, Int64(rows), Int64(columns), to)
        }
      }
    }
    return sums.map { ($0 / Double(Swift.max(rows, 1))).squareRoot() }
  }

  /// Each row less `centre`.
  package func shifted(by centre: [Double]) -> Matrix {
    precondition(centre.count == columns)
    var result = self
    unsafe result.values.withUnsafeMutableBufferPointer { values in
      unsafe centre.withUnsafeBufferPointer { centre in
        guard let to = values.baseAddress, let centre = centre.baseAddress else { return }
        unsafe temper_rows_shift(to, centre, Int64(rows), Int64(columns))
      }
    }
    return result
  }

  /// The smaller of `squares` and the squared distance to one of the rows, for each row.
  func squares(_ squares: [Double], orTo row: Int) -> [Double] {
    precondition(squares.count == rows && (0..<rows).contains(row))
    var lower = squares
    unsafe values.withUnsafeBufferPointer { values in
      unsafe lower.withUnsafeMutableBufferPointer { lower in
        guard let from = values.baseAddress, let to = lower.baseAddress else { return }
        unsafe temper_squares_lower(to, from, from + row * columns, Int64(rows), Int64(columns))
      }
    }
    return lower
  }

  /// For each row the nearest of some centres, the first of equals, and its squared distance.
  func nearest(of centres: Matrix, workers: Workers) -> (ids: [Int32], squares: [Double]) {
    precondition(centres.columns == columns)
    var byColumn = [Double](repeating: 0, count: centres.values.count)
    for k in 0..<centres.rows { for c in 0..<columns { byColumn[c * centres.rows + k] = centres[k, c] } }
    var (ids, squares) = ([Int32](repeating: 0, count: rows), [Double](repeating: 0, count: rows))
    let piece = 2048
    unsafe values.withUnsafeBufferPointer { values in
      unsafe byColumn.withUnsafeBufferPointer { centres in
        unsafe ids.withUnsafeMutableBufferPointer { ids in
          unsafe squares.withUnsafeMutableBufferPointer { squares in
            guard let from = values.baseAddress, let centres = centres.baseAddress,
              let ids = ids.baseAddress, let squares = squares.baseAddress
            else { return }
            workers.run((rows + piece - 1) / piece) { at, _ in
              let start = at * piece
              unsafe temper_nearest_centre(
                ids + start, squares + start, from + start * columns, centres, Int64(Swift.min(piece, rows - start)),
                Int64(columns), Int64(byColumn.count / Swift.max(columns, 1)))
            }
          }
        }
      }
    }
    return (ids, squares)
  }

  /// The sums of the rows of each id below `count`.
  func sums(by ids: [Int32], count: Int) -> Matrix {
    precondition(ids.count == rows && ids.allSatisfy { (0..<count).contains(Int($0)) })
    var sums = Matrix(zeros: count, columns)
    unsafe values.withUnsafeBufferPointer { values in
      unsafe ids.withUnsafeBufferPointer { ids in
        unsafe sums.values.withUnsafeMutableBufferPointer { sums in
          guard let from = values.baseAddress, let ids = ids.baseAddress,
            let to = sums.baseAddress
          else { return }
          unsafe temper_sums_by_id(to, from, ids, Int64(rows), Int64(columns))
        }
      }
    }
    return sums
  }
}
