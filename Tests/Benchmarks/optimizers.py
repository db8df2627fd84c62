"""Adam over a large array beside PyTorch's fused form."""
import numpy as np
import torch

import temper
from pairs import report

COUNT = 64 << 20


def run(threads):
    optimizer = temper.Context(threads=threads).optimizer("adam")
    parameter, gradient = np.zeros(COUNT, np.float32), np.full(COUNT, 0.5, np.float32)
    theirs = torch.zeros(COUNT, requires_grad=True)
    theirs.grad = torch.full((COUNT,), 0.5)
    other = torch.optim.Adam([theirs], fused=True)
    # Read: parameter, gradient and two moments; written: parameter and two moments.
    traffic = 7 * parameter.nbytes
    report("adam, 64 million floats", lambda: optimizer.step([parameter], [gradient]), other.step, 1,
           lambda seconds: f"{traffic / seconds / 1e9:.1f} GB/s of {traffic / 1e6:.0f} MB (aim 50)")
