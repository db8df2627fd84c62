import TemperCore
import TemperNetworks

/// What hooks do to whole networks: copies, moving averages, parts put back.
extension Training {
  /// Parameters and buffers of a network become those of another.
  package func copy(_ from: Int, to target: Int) {
    networks[target].parameters.copyBytes(from: networks[from].parameters)
    copyKept(from, target)
  }

  /// A teacher: parameters <- decay * parameters + (1 - decay) * those of the student; buffers are the student's.
  package func average(_ teacher: Int, toward student: Int, decay: Double) {
    networks[teacher].parameters.move(toward: networks[student].parameters, by: 1 - decay)
    copyKept(student, teacher)
  }

  private func copyKept(_ from: Int, _ target: Int) {
    for (new, old) in zip(networks[from].model.kept, networks[target].model.kept) {
      if let new = new.tensor, let old = old.tensor { old.copyBytes(from: new) }
    }
  }

  /// The optimizer of a network begins anew, but for the number of its steps.
  package func forgetMoments(_ network: Int = 0) throws(TemperError) {
    for state in networks[network].optimizerStates { try state.tensor.fill(0) }
  }
}

extension Network {
  /// Where the trained parameters of the last layer stand among all trained ones.
  package var lastLayer: Set<Int> {
    let prefix = "\(model.description.layers.count - 1)."
    return Set(model.trained.indices.filter { model.trained[$0].name.hasPrefix(prefix) })
  }

  /// The part of a vector laid out like `parameters` that belongs to one of the trained parameters.
  package func part(_ index: Int, of flat: Tensor) throws(TemperError) -> Tensor {
    guard let own = model.trained[index].tensor else {
      throw TemperError(.internalFault, "A trained parameter has no memory.")
    }
    return try Tensor(
      storage: flat.storage, byteOffset: flat.byteOffset + own.byteOffset - parameters.byteOffset, dtype: own.dtype,
      shape: own.shape, strides: own.strides)
  }
}
