import TemperCatalogue

/// The layers that every catalogue holds.
package enum Layers {
  package static let all: [Method] = [
    dense, conv2d, maxPool, averagePool, globalAveragePool, flatten, reshape, permute, batchNorm, layerNorm, groupNorm,
    rmsNorm, dropout, embedding, positionalEmbedding, residual, parallel, multiHeadAttention, gru, lstm,
  ]
}
