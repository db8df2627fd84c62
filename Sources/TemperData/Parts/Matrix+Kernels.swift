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

  /// Rows spread along weighted edges between them, two ends after two: a sum over each row's neighbours is added to
  /// `share` of its own.
  package func spread(along edges: [Int32], _ weights: [Double], own share: [Double]) -> Matrix {
    precondition(edges.count == 2 * weights.count && share.count == rows)
    precondition(edges.allSatisfy { (0..<rows).contains(Int($0)) })
    Multiplications.add(2 * weights.count * columns)
    var result = self
    for row in 0..<rows where share[row] != 1 {
      for column in 0..<columns { result[row, column] *= share[row] }
    }
    unsafe temper_edges_add(&result.values, values, edges, weights, Int64(weights.count), Int64(columns))
    return result
  }

  /// Becomes its inverse; false where there is none.
  mutating func invert() -> Bool {
    precondition(rows == columns)
    Multiplications.add(rows * rows * rows)
    var pivots = [Int32](repeating: 0, count: rows)
    var logDeterminant = 0.0
    return unsafe temper_inverse(&values, Int64(rows), nil, &pivots, &logDeterminant)
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

extension [Double] {
  /// The part of each value that belongs to each of two normal distributions with log densities
  /// offset + factor (x - mean)^2, two after two; the sum of the log densities.
  func shares(
    ofNormals means: [Double], _ offsets: [Double], _ factors: [Double], into shares: inout [Double]
  ) -> Double {
    precondition(means.count == 2 && offsets.count == 2 && factors.count == 2 && shares.count == 2 * count)
    return unsafe temper_two_normals(&shares, self, Int64(count), offsets, factors, means)
  }

  /// Of two parts of each value: the sums of share, share (x - centre), share (x - centre)^2.
  func moments(of shares: [Double], around centres: [Double]) -> [(size: Double, sum: Double, squares: Double)] {
    precondition(centres.count == 2 && shares.count == 2 * count)
    var sums = [Double](repeating: 0, count: 6)
    unsafe temper_share_moments(&sums, shares, self, Int64(count), centres)
    return [(sums[0], sums[1], sums[2]), (sums[3], sums[4], sums[5])]
  }
}

extension Tensor {
  /// A pass of logistic regression over rows of float64: temper_logistic_pass.
  func logisticPass(
    _ targets: [Double], _ shares: [Double], _ beta: [Double], gradient: inout [Double], scaled: Tensor
  ) -> Double {
    precondition(dtype == .float64 && isDense && scaled.dtype == .float64 && scaled.isDense && scaled.shape == shape)
    precondition(targets.count == shape[0] && shares.count == shape[0])
    precondition(beta.count == shape[1] && gradient.count == shape[1])
    Multiplications.add(2 * shape.count)
    return unsafe temper_logistic_pass(
      &gradient, scaled.pointer.assumingMemoryBound(to: Double.self), pointer.assumingMemoryBound(to: Double.self),
      targets, shares, beta, Int64(shape[0]), Int64(shape[1]))
  }
}
