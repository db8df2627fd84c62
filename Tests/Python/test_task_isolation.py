"""Sparse training of several tasks, one after the other: masks, what stays, and what each task can still do."""

import numpy as np
import pytest
from digits import digits

import temper

LAYERS = [{"dense": 32}, "batch_norm", "relu", {"dense": 10}]
TASKS, EPOCHS = 3, 4


def run(seed=0, epochs=TASKS * EPOCHS, layers=LAYERS, threads=1, **parameters):
    """Digits 0 and 1, then 2 and 3, then 4 and 5."""
    x, y = digits(seed)
    x, y = x[y < 2 * TASKS], y[y < 2 * TASKS]
    settings = {"tasks": TASKS, "epochs_per_task": EPOCHS, "density": 0.3, "update_every_batches": 3, **parameters}
    model = temper.Model(layers, input=(64,), seed=seed)
    trainer = temper.Trainer(
        model, optimizer=temper.optimizer("adam", lr=0.01), batch_size=50, seed=seed, threads=threads,
        procedure=temper.procedure("dynamic_sparse_training", **settings),
    )  # fmt: skip
    split = 600
    trainer.fit(x[:split], y[:split], epochs=epochs, task=(y[:split] // 2).astype(np.float32))
    return model, trainer, (x[split:], y[split:])


def of_task(model, state, task):
    """The model as the task left it."""
    for name in model.parameters():
        model.parameters()[name][...] = state[f"task{task}.{name}"]
    return model


@pytest.mark.parametrize("growth", ["random", "gradient", "random_unfired", "momentum"])
def test_what_a_task_used_never_changes(growth):
    _, early, _ = run(epochs=EPOCHS, growth=growth)
    model, trainer, _ = run(growth=growth)
    before, state = early.state, trainer.state
    for name in model.parameters():
        np.testing.assert_array_equal(before[f"task0.{name}"], state[f"task0.{name}"])
    for index, name in enumerate(("0.weight", "3.weight")):
        frozen, shared = state[f"frozen{index}"], state[f"weights{index}"]
        for task in range(TASKS):
            own = state[f"task{task}.{name}"]
            assert (frozen[own != 0] == 1).all()
            np.testing.assert_array_equal(own[own != 0], shared[own != 0])  # every task's weights are still there
        # The same number of connections for each, some of them shared.
        used = [(state[f"task{task}.{name}"] != 0) for task in range(TASKS)]
        assert max(map(np.sum, used)) <= state[f"mask{index}"].sum()
        assert (used[0] & used[1]).any() and (used[1] & ~used[0]).any()
    # The model holds the last one.
    np.testing.assert_array_equal(model.parameters()["0.weight"], state["task2.0.weight"])


def test_each_task_is_answered_by_its_own_network():
    """Every task is learned: more than 90% on new digits of its classes."""
    for seed in range(3):
        model, trainer, (x, y) = run(seed)
        state = trainer.state
        for task in range(TASKS):
            own = y // 2 == task
            of_task(model, state, task)
            statistics = {n: state[f"task{task}.{n}"] for n in ("1.running_mean", "1.running_var")}
            # A model's buffers are not among its parameters; normalize by hand.
            p = model.parameters()
            h = x[own] @ p["0.weight"].T + p["0.bias"]
            h = (h - statistics["1.running_mean"]) / np.sqrt(statistics["1.running_var"] + 1e-5)
            logits = np.maximum(h * p["1.weight"] + p["1.bias"], 0) @ p["3.weight"].T + p["3.bias"]
            chosen = logits[:, 2 * task : 2 * task + 2].argmax(1) + 2 * task
            assert (chosen == y[own]).mean() > 0.9, (seed, task)


def test_the_loss_sees_the_tasks_own_classes():
    """Rows of the last layer that belong to other tasks' classes are where they began."""
    model, trainer, _ = run(density=1.0, epochs=2 * EPOCHS, layers=[{"dense": 16}, "relu", {"dense": 10}])
    state = trainer.state
    start = state["start.2.bias"]
    np.testing.assert_array_equal(state["task0.2.bias"][2:], start[2:])
    assert (state["task0.2.bias"][:2] != start[:2]).all()
    np.testing.assert_array_equal(state["task1.2.bias"][[0, 1, 4, 5, 6]], start[[0, 1, 4, 5, 6]])
    np.testing.assert_array_equal(state["current"][0], [0, 0, 1, 1, 0, 0, 0, 0, 0, 0])


def test_a_stopped_run_goes_on(tmp_path):
    _, whole, _ = run()
    for stop in (2, EPOCHS, EPOCHS + 1):
        _, first, (x, y) = run(epochs=stop)
        first.save(tmp_path / "run")
        x, y = digits(0)
        x, y = x[y < 2 * TASKS][:600], y[y < 2 * TASKS][:600]
        settings = {"tasks": TASKS, "epochs_per_task": EPOCHS, "density": 0.3, "update_every_batches": 3}
        model = temper.Model(LAYERS, input=(64,), seed=0)
        second = temper.Trainer(
            model, optimizer=temper.optimizer("adam", lr=0.01), batch_size=50, seed=0, threads=2,
            procedure=temper.procedure("dynamic_sparse_training", **settings),
        )  # fmt: skip
        second.resume(tmp_path / "run")
        second.fit(x, y, epochs=TASKS * EPOCHS, task=(y // 2).astype(np.float32))
        for name, value in whole.state.items():
            np.testing.assert_array_equal(value, second.state[name], err_msg=name)


def test_tasks_that_are_none():
    x, y = np.zeros((6, 64), np.float32), np.arange(6) % 2

    def fit(loss="cross_entropy", **inputs):
        model = temper.Model(LAYERS, input=(64,))
        procedure = temper.procedure("dynamic_sparse_training", tasks=2, epochs_per_task=1)
        temper.Trainer(model, loss=loss, procedure=procedure).fit(x, y, epochs=2, **inputs)

    with pytest.raises(temper.Error, match="task"):
        fit()
    with pytest.raises(temper.Error, match="whole numbers from 0 to 1"):
        fit(task=np.arange(6, dtype=np.float32))
    with pytest.raises(temper.Error, match="Task 1 has no samples"):
        fit(task=np.zeros(6, np.float32))
    with pytest.raises(temper.Error, match="cross-entropy"):
        fit("hinge", task=np.zeros(6, np.float32))
