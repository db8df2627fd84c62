import CTemper
import TemperAutomatic
import TemperCore

@implementation @c public func temper_robust_fit(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ report: UnsafeMutablePointer<temper_robust_report>?,
  _ details: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ x: OpaquePointer?,
  _ y: OpaquePointer?, _ classCount: Int32, _ options: UnsafePointer<temper_robust_options>?,
  _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  if let details = unsafe details { unsafe details.pointee = nil }
  return unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 3)
    let (x, y) = unsafe (try tensor(x, 4), try tensor(y, 5))
    var given = unsafe temper_robust_options()
    if let options = unsafe options { unsafe given = unsafe try sized(options, given, "options", 7) }
    let settings = unsafe try robustOptions(given, context)
    let problem = try located(4) { () throws(TemperError) in
      try Problem(x: x, targets: try robustTargets(y, classCount))
    }
    let progress: RobustProgress?
    if let function = unsafe given.progress {
      let user = unsafe ForeignPointer(given.progress_user)
      progress = { (done, what) throws(TemperError) in
        let answer = unsafe what.withCString { unsafe function(user.pointer, done, $0) }
        guard (0...1).contains(answer) else {
          throw TemperError(
            .invalidArgument, "The progress callback returned \(answer); 0 goes on and 1 stops.", argument: 7)
        }
        return answer == 1
      }
    } else {
      progress = nil
    }
    let threads = unsafe given.threads == 0 ? context.workers : try workers(given.threads, 7)
    let fitted = try RobustFit.run(
      problem, settings, catalogue: context.catalogue, workers: threads, progress: progress)
    if unsafe report != nil { unsafe try fill(report, "report", 1, fitted.report.foreign) }
    if let details = unsafe details {
      unsafe details.pointee = try Handles.all.make(TensorMap(fitted.report.tensors))
    }
    return ContextModel(fitted.model, context)
  }
}

private func robustOptions(_ given: temper_robust_options, _ context: Context) throws(TemperError) -> RobustOptions {
  guard unsafe given.reserved == 0 else { throw TemperError(.unsupported, "`reserved` must be 0.", argument: 7) }
  var options = RobustOptions()
  if unsafe given.folds != 0 { options.folds = Int(unsafe given.folds) }
  if unsafe given.hidden != 0 { options.hidden = Int(unsafe given.hidden) }
  options.epochs = unsafe given.epochs == 0 ? nil : Int(given.epochs)
  options.batchSize = unsafe given.batch_size == 0 ? nil : Int(given.batch_size)
  switch unsafe given.balanced {
  case TEMPER_BALANCED_AUTO: options.isBalanced = nil
  case TEMPER_BALANCED_ALWAYS: options.isBalanced = true
  case TEMPER_BALANCED_NEVER: options.isBalanced = false
  default:
    throw TemperError(.invalidArgument, "\(unsafe given.balanced) is not a TEMPER_BALANCED_*.", argument: 7)
  }
  options.seed = context.seed(or: unsafe given.seed)
  return options
}

/// Class ids of any integer type, or numbers.
private func robustTargets(_ y: Tensor, _ classes: Int32) throws(TemperError) -> Problem.Targets {
  guard y.shape.rank == 1 else {
    throw TemperError(.invalidShape, "y has one entry for each sample, shape (N,); \(y.shape) came.", argument: 5)
  }
  guard classes >= 0 else { throw TemperError(.outOfRange, "class_count is 0 or more; \(classes) came.", argument: 6) }
  if classes == 0 { return .numbers(try y.array(of: Double.self)) }
  guard !y.dtype.isFloating else {
    throw TemperError(.invalidType, "Class ids are integers; \(y.dtype.name) came.", argument: 5)
  }
  return .classes(try y.copy(as: .int32).array(of: Int32.self), count: Int(classes))
}

extension RobustReport {
  fileprivate var foreign: temper_robust_report {
    var result = temper_robust_report()
    result.class_count = Int32(classCounts.count)
    (result.sample_count, result.feature_count) = (Int64(sampleCount), Int64(featureCount))
    (result.suspected_count, result.outlier_count) = (Int64(suspected.count), Int64(outliers.count))
    (result.noise_rate, result.temperature) = (noiseRate, temperature)
    (result.score, result.plain_score) = (chosen.score, plainScore)
    (result.epochs, result.is_balanced) = (Int32(chosen.epochs), isBalanced ? 1 : 0)
    copy(chosen.approach, to: &result.approach)
    copy(text, to: &result.text)
    return result
  }

  fileprivate var tensors: [(name: String, tensor: Tensor)] {
    get throws(TemperError) {
      var tensors: [(name: String, tensor: Tensor)] = [
        ("suspicion", try Tensor(suspicion)), ("believed", try Tensor(believed)), ("losses", try Tensor(losses)),
        ("remoteness", try Tensor(remoteness)),
      ]
      if !lossMixture.isEmpty { tensors.append(("loss_mixture", try Tensor(lossMixture, shape: [3, 2]))) }
      if !classCounts.isEmpty {
        let classes = classCounts.count
        tensors.append(("class_counts", try Tensor(classCounts.map(Double.init))))
        tensors.append(("transition", try Tensor(transition, shape: [classes, classes])))
      }
      for trial in trials {
        tensors.append(("trial: " + trial.approach, try Tensor([Double(trial.epochs), trial.score])))
      }
      return tensors
    }
  }
}

/// A text into an array of a struct, cut where it does not fit, with its NUL.
private func copy<T>(_ text: String, to array: inout T) {
  unsafe withUnsafeMutableBytes(of: &array) { bytes in
    unsafe bytes.copyBytes(from: text.utf8.prefix(bytes.count - 1))
  }
}
