import TemperCore
import TemperKernels

/// Candidates for nearest neighbours: |p|^2 - 2 q p for blocks of queries by blocks of points on the matrix product, the
/// smallest kept for each query.
struct NearestSearch {
  private let points: Matrix
  private let centre: [Double]
  private let norms: [Double]
  private let count: Int

  private static let queryBlock = 64
  private static let pointBlock = 512

  /// About the points' mean, so that little is lost where they lie far from 0.
  init(_ points: Matrix, count: Int) {
    centre = points.means
    self.points = points.shifted(by: centre)
    self.count = count
    let shifted = self.points
    norms = (0..<points.rows).map { row in shifted[row].reduce(0) { $0 + $1 * $1 } }
  }

  /// For each query `count` numbers of points, by the formula; -1 where distances were no numbers.
  func run(_ queries: Matrix, workers: Workers) throws(TemperError) -> [Int32] {
    let queries = queries.shifted(by: centre)
    var ids = [Int32](repeating: -1, count: queries.rows * count)
    var best = [Double](repeating: .infinity, count: queries.rows * count)
    let block = NearestSearch.queryBlock * NearestSearch.pointBlock * MemoryLayout<Double>.stride
    var plans: [temper_matmul_plan] = []
    for rows in [NearestSearch.queryBlock, queries.rows % NearestSearch.queryBlock] {
      for columns in [NearestSearch.pointBlock, points.rows % NearestSearch.pointBlock] {
        var job = unsafe job(rows, columns)
        unsafe plans.append(temper_matmul_plan_make(&job))
      }
    }
    let (workspace, scratch) = (
      Int(plans.map(\.workspace_bytes).max() ?? 0), Int(plans.map(\.scratch_bytes).max() ?? 0)
    )
    var memories: [(products: Storage, workspace: Storage, scratch: Storage)] = []
    for _ in 0..<workers.count {
      memories.append(
        (try Storage(byteCount: block), try Storage(byteCount: workspace), try Storage(byteCount: scratch)))
    }
    let pieces = (queries.rows + NearestSearch.queryBlock - 1) / NearestSearch.queryBlock
    unsafe ids.withUnsafeMutableBufferPointer { ids in
      unsafe best.withUnsafeMutableBufferPointer { best in
        unsafe queries.values.withUnsafeBufferPointer { queries in
          unsafe points.values.withUnsafeBufferPointer { points in
            unsafe norms.withUnsafeBufferPointer { norms in
              let views = unsafe Views(queries: queries, points: points, norms: norms, best: best, ids: ids)
              workers.run(pieces) { piece, worker in
                let memory = memories[worker]
                unsafe search(piece, views, memory.products, memory.workspace, memory.scratch)
              }
            }
          }
        }
      }
    }
    return ids
  }

  @unsafe private struct Views {
    let queries, points, norms: UnsafeBufferPointer<Double>
    let best: UnsafeMutableBufferPointer<Double>
    let ids: UnsafeMutableBufferPointer<Int32>
  }

  /// products = -2 queries pointsᵀ, (rows, columns).
  private func job(_ rows: Int, _ columns: Int) -> temper_matmul_job {
    var job = unsafe temper_matmul_job()
    unsafe job.element = TEMPER_ELEMENT_F64
    unsafe job.alpha = -2
    unsafe (job.m, job.n, job.k, job.batch) = (Int64(rows), Int64(columns), Int64(points.columns), 1)
    unsafe (job.a_row_stride, job.a_column_stride) = (Int64(points.columns), 1)
    unsafe (job.b_row_stride, job.b_column_stride) = (1, Int64(points.columns))
    unsafe job.c_row_stride = Int64(NearestSearch.pointBlock)
    return unsafe job
  }

  private func search(
    _ piece: Int, _ views: Views, _ products: Storage, _ workspace: Storage, _ scratch: Storage
  ) {
    guard let queries = unsafe views.queries.baseAddress, let points = unsafe views.points.baseAddress,
      let norms = unsafe views.norms.baseAddress, let best = unsafe views.best.baseAddress,
      let ids = unsafe views.ids.baseAddress
    else { return }
    let (width, first) = (self.points.columns, piece * NearestSearch.queryBlock)
    let rows = unsafe Swift.min(NearestSearch.queryBlock, views.queries.count / width - first)
    let values = unsafe products.base.assumingMemoryBound(to: Double.self)
    for start in stride(from: 0, to: self.points.rows, by: NearestSearch.pointBlock) {
      let columns = Swift.min(NearestSearch.pointBlock, self.points.rows - start)
      var job = unsafe job(rows, columns)
      unsafe job.a = UnsafeRawPointer(queries + first * width)
      unsafe job.b = UnsafeRawPointer(points + start * width)
      unsafe job.c = products.base
      var plan = unsafe temper_matmul_plan_make(&job)
      unsafe temper_matmul_run(&job, &plan, workspace.base, scratch.base)
      for row in 0..<rows {
        unsafe temper_nearest_update(
          values + row * NearestSearch.pointBlock, norms + start, Int64(columns), Int64(start),
          best + (first + row) * count, ids + (first + row) * count, Int64(count))
      }
    }
  }
}
