"""A loss in plain Python, without NumPy: arrays come as memoryviews, x[n, d], and results are lists.

    (prediction - target)^2 / 2, summed
"""
# /// temper
# name = "plain"
# version = "1.0.0"
# licence = "Apache-2.0"
#
# [[loss]]
# name = "quadratic"
# function = "quadratic"
# arrays = "buffer"
# gradients = true
# summary = "sum of (x - y)^2 / 2"
# ///


def quadratic(x, y):
    rows, columns = x.shape
    slopes = [[x[n, d] - y[n, d] for d in range(columns)] for n in range(rows)]
    return [sum(s * s for s in row) / 2 for row in slopes], slopes
