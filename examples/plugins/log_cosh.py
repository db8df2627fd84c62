"""A loss in Python, with NumPy: loaded by a C program or a Python one. What it offers stands in the comments, so that
it can be listed without running it; `README.md` says what may stand there.

    mean over d of log(cosh(z)),    z = (prediction - target) / scale
"""
# /// temper
# name = "hyperbolic"
# version = "1.0.0"
# licence = "Apache-2.0"
#
# [[loss]]
# name = "log_cosh"
# function = "log_cosh"
# gradients = true
# summary = "mean of log(cosh((x - y) / scale))"
# parameters = {scale = {default = 1.0, range = "(0, inf)", doc = "Errors smaller than it count squared."}}
#
# [[loss]]
# name = "cauchy"
# function = "cauchy"
# summary = "mean of log(1 + (x - y)^2), with a numerical gradient"
# ///
import numpy as np


def log_cosh(predictions, targets, scale):
    """(values, gradient)"""
    z = (predictions - targets) / scale
    values = np.logaddexp(z, -z) - np.log(2).astype(z.dtype)
    return values.mean(1), np.tanh(z) / (scale * z.shape[1])


def cauchy(predictions, targets):
    return np.log1p((predictions - targets) ** 2).mean(1)
