"""PyTorch as an oracle for whole training runs: the same start, the whole data in each batch, the same end."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")
nn = torch.nn


def dense():
    layers = [{"dense": 16}, "tanh", {"dense": 3}]
    return layers, (6,), nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def convolutions():
    layers = [
        {"conv2d": {"channels": 4, "padding": 1}}, "batch_norm", "silu", {"max_pool": 2},
        {"conv2d": {"channels": 6, "groups": 2}}, {"group_norm": 3}, "gelu", "global_average_pool", {"dense": 3},
    ]  # fmt: skip
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(3, 6), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip
    return layers, (2, 8, 8), module


class Last(nn.Module):
    """A recurrent layer's last output."""

    def __init__(self, recurrence):
        super().__init__()
        self.recurrence = recurrence

    def forward(self, x):
        return self.recurrence(x)[0][:, -1]


def recurrence():
    layers = [{"layer_norm": {}}, {"gru": 7}, {"dense": 3}]
    return layers, (5, 4), nn.Sequential(nn.LayerNorm(4), Last(nn.GRU(4, 7, batch_first=True)), nn.Linear(7, 3))


@pytest.mark.parametrize("network", [dense, convolutions, recurrence])
@pytest.mark.parametrize(
    "name, settings, oracle, oracle_settings",
    [
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        ("adamw", {"learning_rate": 0.01}, torch.optim.AdamW, {"lr": 0.01}),
    ],
)
def test_runs_end_alike(rng, network, name, settings, oracle, oracle_settings):
    layers, shape, module = network()
    x, y, epochs = rng.normal(size=(40, *shape)), rng.integers(0, 3, 40), 12

    model = temper.Model(layers, input=shape, seed=1, dtype="float64")
    module.double()
    with torch.no_grad():
        ours = list(model.parameters().values())
        for array, tensor in zip(ours, module.parameters(), strict=True):
            tensor.copy_(torch.from_numpy(array))

    trainer = temper.Trainer(model, optimizer=temper.optimizer(name, **settings), batch_size=40)
    history = trainer.fit(x, y, epochs=epochs)

    optimizer, losses = oracle(module.parameters(), **oracle_settings), []
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    np.testing.assert_allclose(history["training_loss"], losses, rtol=1e-8)
    for array, tensor in zip(ours, module.parameters(), strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-6, atol=1e-8)
    with torch.no_grad():  # with the running statistics that training left
        np.testing.assert_allclose(model.predict(x), module.eval()(torch.from_numpy(x)).numpy(), rtol=1e-6, atol=1e-8)
