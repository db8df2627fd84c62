"""Temper beside what a user would pick instead, in one run: `make bench`.

    python run.py [losses|classification|blocks|training|procedures|optimizers|plugins|packed_products|quantization|data|products|loading ...]

A ratio above 1 means that Temper is faster. Each is the median over rounds in which the two take turns.
"""
import os
import sys

import numpy as np
import torch

import blocks
import classification
import data
import loading
import losses
import optimizers
import packed_products
import plugins
import procedures
import products
import quantization
import training
from pairs import once

SUBJECTS = {"losses": losses, "classification": classification, "blocks": blocks, "training": training, "procedures": procedures,
            "optimizers": optimizers, "plugins": plugins, "data": data,
            "packed_products": packed_products, "quantization": quantization}


def limits(threads):
    """What the machine itself can do, measured here: copying memory, and a large matrix product."""
    source, target = torch.zeros(64 << 20), torch.zeros(64 << 20)
    copy = min(once(lambda: target.copy_(source), 3) for _ in range(5))
    a, b, c = (torch.zeros(2048, 2048) for _ in range(3))
    product = min(once(lambda: torch.mm(a, b, out=c), 1) for _ in range(5))
    return f"copy {2 * 4 * (64 << 20) / copy / 1e9:.0f} GB/s, oneDNN product {2 * 2048**3 / product / 1e9:.0f} GFLOP/s"


def main(wanted):
    print(f"PyTorch {torch.__version__}, NumPy {np.__version__}, {os.cpu_count()} processors")
    for threads in (1, os.cpu_count()):
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}; this machine: {limits(threads)}")
        print(f"{'':52} {'Temper':>9} {'other':>9} {'ratio':>8}")
        for name, subject in SUBJECTS.items():
            if not wanted or name in wanted:
                subject.run(threads)
    for name, subject in (("products", products), ("loading", loading)):
        if not wanted or name in wanted:
            print()
            subject.run()


if __name__ == "__main__":
    main(sys.argv[1:])
