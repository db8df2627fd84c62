import TemperCore
import TemperKernels

func makeKernelRunner(
  _ operation: Operation, _ inputs: [View], _ output: View, _ type: DType
) throws(TemperError) -> any Runner {
  throw TemperError(.unsupported, "\(operation) has no kernel yet.")
}
