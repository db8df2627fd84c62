import Glibc

/// The multiplications that the calling thread has asked for in matrix products and convolutions, and to solve with
/// matrices, whoever of the workers did them: what work costs whatever the machine.
package enum Multiplications {
  private static let key: pthread_key_t? = {
    var key = pthread_key_t()
    return unsafe pthread_key_create(&key, nil) == 0 ? key : nil
  }()

  /// Since the thread began.
  package static var count: Int { key.map { unsafe Int(bitPattern: pthread_getspecific($0)) } ?? 0 }

  package static func add(_ more: Int) {
    guard more > 0, let key else { return }
    _ = unsafe pthread_setspecific(key, UnsafeRawPointer(bitPattern: count &+ more))
  }
}
