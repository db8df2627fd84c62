import CTemper
import TemperCatalogue
import TemperCore

extension LossInstance: Handled { static var kind: HandleKind { .loss } }

private func loss(_ handle: OpaquePointer?, _ argument: Int32) throws(TemperError) -> LossInstance {
  unsafe try Handles.all.value(handle, argument: argument)
}

private func reduction(_ number: Int32, _ argument: Int32) throws(TemperError) -> LossReduction {
  switch number {
  case TEMPER_REDUCTION_MEAN: return .mean
  case TEMPER_REDUCTION_SUM: return .sum
  default:
    throw TemperError(
      .invalidArgument, "\(number) is not a reduction: TEMPER_REDUCTION_MEAN is 0, TEMPER_REDUCTION_SUM 1.",
      argument: argument)
  }
}

extension LossInstance {
  /// The inputs' own names for those that came, which may be aliases.
  fileprivate func canonical(_ entries: [(name: String, tensor: Tensor)]) -> [String: Tensor] {
    entries.map { entry in
      (inputs.first { $0.name == entry.name || $0.aliases.contains(entry.name) }?.name ?? entry.name, entry.tensor)
    }.byName
  }
}

@implementation @c public func temper_loss_create(
  _ out: UnsafeMutablePointer<OpaquePointer?>?, _ handle: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ params: UnsafePointer<temper_param>?, _ paramCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(returning: out, error) { () throws(TemperError) in
    let context = unsafe try context(handle, 1)
    let (method, arguments) = unsafe try context.method(name, kinds: [.loss], params, paramCount)
    return try LossInstance(method, arguments, workers: context.workers)
  }
}

@implementation @c public func temper_loss_value_count(
  _ out: UnsafeMutablePointer<Int64>?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (out, loss) = unsafe (try required(out, "out", 0), try loss(handle, 1))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
    unsafe out.pointee = Int64(try located(2) { () throws(TemperError) in try loss.valueCount(inputs.byName) })
  }
}

@implementation @c public func temper_loss_evaluate(
  _ values: OpaquePointer?, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (values, loss) = unsafe (try result(values, "values", 0), try loss(handle, 1))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 2)
    for input in inputs { try values.apart(from: input.tensor, "values", input.name, 0) }
    _ = try loss.evaluate(inputs.byName, into: values)
  }
}

@implementation @c public func temper_loss_value_and_grad(
  _ value: UnsafeMutablePointer<Double>?, _ gradients: UnsafePointer<temper_named_tensor>?, _ gradientCount: UInt64,
  _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?, _ inputCount: UInt64,
  _ reduced: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (loss, reduction) = unsafe (try loss(handle, 3), try reduction(reduced, 6))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 4)
    let gradients = unsafe try namedResults(gradients, gradientCount, "gradients", 1, reading: inputs)
    let result = try loss.valueAndGradient(
      inputs.byName, reduction: reduction, wrt: gradients.map(\.name), gradients: loss.canonical(gradients))
    if let value = unsafe value { unsafe value.pointee = result.value.scalar }
  }
}

@implementation @c public func temper_loss_hessian_product(
  _ products: UnsafePointer<temper_named_tensor>?, _ directions: UnsafePointer<temper_named_tensor>?,
  _ productCount: UInt64, _ handle: OpaquePointer?, _ inputs: UnsafePointer<temper_named_tensor>?,
  _ inputCount: UInt64, _ reduced: Int32, _ error: UnsafeMutablePointer<temper_error>?
) -> Int32 {
  unsafe edge(error) { () throws(TemperError) in
    let (loss, reduction) = unsafe (try loss(handle, 3), try reduction(reduced, 6))
    let inputs = unsafe try named(inputs, inputCount, "inputs", 4)
    let directions = unsafe loss.canonical(try named(directions, productCount, "directions", 1))
    let products = unsafe loss.canonical(try namedResults(products, productCount, "products", 0, reading: inputs))
    guard Set(products.keys) == Set(directions.keys) else {
      throw TemperError(.invalidArgument, "`products` and `directions` must have the same names.", argument: 1)
    }
    let results = try loss.hessianVectorProduct(inputs.byName, directions: directions, reduction: reduction)
    for (name, product) in products {
      if let result = results[name] {
        try located(0) { () throws(TemperError) in try product.assign(from: result) }
      }
    }
  }
}

@implementation @c public func temper_loss_free(_ handle: OpaquePointer?) -> Int32 {
  unsafe edge(freeing: handle, LossInstance.self)
}
