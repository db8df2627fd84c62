"""Methods of quantization: how much of GPTQ's time its matrix products are, tables of levels, generations of EvoPress."""
import time

import numpy as np
import torch

import temper
from pairs import human, once

SIZE = 4096


def gptq(context):
    """The products: second moments of the inputs, factorization and what the report says in float64, feedback in float32.
    Those with a symmetric matrix are half a product each, and half a block's width more."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((SIZE, SIZE), np.float32)
    x = rng.standard_normal((SIZE, SIZE), np.float32)
    quantizer = context.quantizer("gptq", bits=4)
    seconds = min(once(lambda: quantizer.quantize(w, calibration=x), 1) for _ in range(2))
    single, double = torch.from_numpy(x), torch.from_numpy(x).double()
    of_double = min(once(lambda: torch.mm(double.T, double), 1) for _ in range(2))
    of_single = min(once(lambda: torch.mm(single, single), 1) for _ in range(2))
    # Moments, two of the report, and k^3 / 6 multiply-adds of Cholesky; half a product of the feedback.
    half = 0.5 + 256 / SIZE
    products = (3 * half + 1 / 6) * of_double + 0.5 * of_single
    share = products / seconds
    print(f"{f'gptq, {SIZE} x {SIZE}, 4 bits, {SIZE} calibration rows':52} {human(seconds):>9} {human(products):>9} "
          f"{share:7.2f}   aim 0.5  {'reached' if share >= 0.5 else 'MISSED':8} share of its products at PyTorch's speed",
          flush=True)


def kmeans(context):
    w = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    seconds = once(lambda: context.quantizer("kmeans", bits=4).quantize(w), 1)
    print(f"{'kmeans, 1024 x 1024, 16 levels':52} {human(seconds):>9} {w.size / seconds / 1e6:17.1f} million weights a second",
          flush=True)
    seconds = once(lambda: context.quantizer("additive_codebooks", codebook_bits=6, iterations=5).quantize(w[:256]), 1)
    print(f"{'additive_codebooks, 256 x 1024, 2 tables of 64':52} {human(seconds):>9}", flush=True)


def evopress(context):
    model = temper.Model([*(layer for _ in range(6) for layer in ({"dense": 128}, "relu")), {"dense": 10}], input=(128,), context=context)
    x = np.random.default_rng(0).standard_normal((1024, 128), np.float32)
    rounds = []
    quantizer = context.quantizer(
        "evopress", generations=20, offspring=128, survivors="16,4,1", tokens="64,256,1024", target_bits=3)
    quantizer.quantize_model(model, calibration=x, callback=lambda told: rounds.append(time.perf_counter()))
    speed = 19 / (rounds[-1] - rounds[-20])
    print(f"{'evopress, 7 layers of 128, 128 offspring':52} {speed:9.1f} generations a second", flush=True)


def run(threads):
    context = temper.Context(threads=threads)
    kmeans(context)
    evopress(context)
    gptq(context)
