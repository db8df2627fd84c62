import TemperCore

/// Everything about a run that changes from step to step beside parameters and optimizer state: what a checkpoint must
/// hold for the same bits to come out.
struct Run {
  var position = Position()
  /// The samples of the epoch under way; nil between epochs.
  var order: [Int32]?
  /// Sum over the epoch's samples of their batches' mean losses, and their number.
  var lossSum = 0.0
  var lossCount = 0
  /// Of the epoch under way, in earlier calls.
  var seconds = 0.0
  var multiplications = 0.0
  var monitor = Monitor()
  var monitored: Quantity?
  /// Parameters and buffers of the best epoch, network by network.
  var best: [Tensor]?
  /// What the loss and the procedure keep.
  var kept: [(name: String, tensor: Tensor)] = []
  var history = History()

  /// Ready for the next epoch.
  mutating func endEpoch() {
    position.epoch += 1
    position.step = 0
    order = nil
    (lossSum, lossCount, seconds, multiplications) = (0, 0, 0, 0)
  }
}
