"""How the connections of a sparse network are shared out among its matrices, over five tasks learned one by one."""

import numpy as np

import temper

from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, compared, model, shuffled


def tasks_in_turn(seed, init, density, epochs, width=300):
    """Pairs of digits one after the other: the mean accuracy of each task's own network on its own two classes."""
    x, y = shuffled(seed)
    network = model([*[{"dense": width}, "relu"] * 3, {"dense": 10}], (64,), seed)
    procedure = CONTEXT.procedure(
        "dynamic_sparse_training", density=density, init=init, tasks=5, epochs_per_task=epochs, update_every_batches=5
    )
    optimizer = CONTEXT.optimizer("adam", learning_rate=0.003)
    trainer = temper.Trainer(network, optimizer=optimizer, procedure=procedure, batch_size=20, seed=seed)
    trainer.fit(x[:1000], y[:1000], epochs=5 * epochs, task=(y[:1000] // 2).astype(np.float32))
    state, right = trainer.state, []
    for task in range(5):
        for name, value in network.parameters().items():
            value[...] = state[f"task{task}.{name}"]
        own = np.flatnonzero(y[1000:] // 2 == task) + 1000
        answers = network.predict(x[own])[:, 2 * task : 2 * task + 2].argmax(1) + 2 * task
        right.append(100 * (answers == y[own]).mean())
    return np.mean(right)


@experiment(
    "sparse_task_study", area="regularize",
    summary="Densities by Erdos, Renyi and kernel beside equal ones, for tasks learned one after the other.",
    reference=Reference(
        "Yildirim et al.", 2023,
        "Continual Learning with Dynamic Sparse Training: Exploring Algorithms for Effective Model Updates",
        "2308.14831"),
    seeds="Runs of each.", epochs="Of each task.", width="Units of the three hidden layers.",
)  # fmt: skip
def sparse_task_study(seeds: int = 5, epochs: int = 8, width: int = 300):
    for density, better, worse, claim in (
        (0.5, "erk", "uniform", "At a density of 0.5 they are not more than a point below equal ones."),
        (0.05, "uniform", "erk", "At 0.05 equal ones are not more than a point below them."),
    ):
        scores = {
            name: [tasks_in_turn(seed, name, density, epochs, width) for seed in range(seeds)]
            for name in ("erk", "uniform")
        }
        yield Finding(claim, *compared(scores, better, worse, margin=1.0))
