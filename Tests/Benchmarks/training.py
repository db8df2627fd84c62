"""Whole training steps beside PyTorch: a small dense network and a small convolutional one, batch 128, Adam."""
import numpy as np
import torch

import temper
from pairs import report

BATCH, STEPS = 128, 100


def dense():
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def convolutional():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(128, 10))


CONVOLUTIONAL = [
    {"conv2d": {"channels": 16, "kernel_size": 3, "padding": 1}}, "relu", {"max_pool": 2},
    {"conv2d": {"channels": 32, "kernel_size": 3, "padding": 1}}, "relu", {"max_pool": 2}, "flatten", {"dense": 10}]


def step(context, name, layers, module, shape, aim):
    """An epoch of STEPS batches against the usual loop of PyTorch over the same batches, as time for each step."""
    random = np.random.default_rng(0)
    x = random.standard_normal((BATCH * STEPS, *shape), np.float32)
    y = random.integers(0, 10, BATCH * STEPS)
    model = temper.Model(layers, input=shape, context=context)
    trainer = temper.Trainer(model, loss="cross_entropy", optimizer="adam", batch_size=BATCH)
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    batches, labels = torch.from_numpy(x).split(BATCH), torch.from_numpy(y).split(BATCH)

    def ours():
        trainer.fit(x, y, epochs=trainer.epochs + 1)

    def other():
        for batch, label in zip(batches, labels):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(batch), label).backward()
            optimizer.step()

    flops = 6 * BATCH * STEPS * sum(p.numel() * places for p, places in weights(module, shape))
    report(f"{name}: {STEPS} steps", ours, other, aim, lambda seconds: f"{flops / seconds / 1e9:.0f} GFLOP/s")


def weights(module, shape):
    """Each weight with the number of places it is used at for one sample."""
    sizes, x = [], torch.zeros(1, *shape)
    for layer in module:
        x = layer(x)
        if hasattr(layer, "weight"):
            sizes.append((layer.weight, x[0, 0].numel() if x.dim() == 4 else 1))
    return sizes


def run(threads):
    context = temper.Context(threads=threads)
    step(context, "64-128-10 network", [{"dense": 128}, "relu", {"dense": 10}], dense(), (64,), 4)
    step(context, "convolutional network, 8 x 8", CONVOLUTIONAL, convolutional(), (1, 8, 8), 1)
