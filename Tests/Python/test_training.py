"""Trainers: runs, history, stopping, checkpoints, callbacks."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import temper

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)
TEST = X[250:], Y[250:]
X, Y = X[:250], Y[:250]


def trainer(loss="cross_entropy", optimizer="adam", model_seed=1, seed=2, batch_size=32, **options):
    model = temper.Model([{"dense": 16}, "relu", {"dense": 3}], input=(6,), seed=model_seed)
    return temper.Trainer(model, loss=loss, optimizer=optimizer, seed=seed, batch_size=batch_size, **options)


def weights(trained):
    return [array.copy() for array in trained.model.parameters().values()]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_training_learns():
    t = trainer(optimizer=temper.optimizer("adam", learning_rate=0.01))
    before = t.evaluate(*TEST)
    history = t.fit(X, Y, epochs=20, validation=TEST)
    assert list(history) == [
        "training_loss", "learning_rate", "seconds", "multiplications", "validation_loss", "validation_accuracy"
    ]  # fmt: skip
    assert all(column.shape == (20,) and column.dtype == np.float64 for column in history.values())
    assert history["training_loss"][-1] < 0.5 * history["training_loss"][0]
    assert history["validation_accuracy"][-1] > before["accuracy"]
    after = t.evaluate(*TEST)
    predicted = t.model.predict(TEST[0]).argmax(axis=1)
    assert after["accuracy"] == pytest.approx(np.mean(predicted == TEST[1]))
    assert after["accuracy"] == history["validation_accuracy"][-1]
    values = temper.loss("cross_entropy")(t.model.predict(TEST[0]), TEST[1])
    assert after["loss"] == pytest.approx(values.mean(), rel=1e-5)


def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads():
    one, many, other = trainer(threads=1), trainer(threads=4), trainer(seed=3)
    for t in (one, many, other):
        t.fit(X, Y, epochs=3)
    assert same(one, many) and not same(one, other)


def test_epochs_are_counted_in_all():
    t, whole = trainer(), trainer()
    t.fit(X, Y, epochs=2)
    history = t.fit(X, Y, epochs=5)
    assert t.epochs == 5 and len(history["training_loss"]) == 5
    whole.fit(X, Y, epochs=5)
    assert same(t, whole)


def test_a_resumed_run_gives_the_same_bits(tmp_path):
    whole = trainer(schedule=temper.schedule("cosine", learning_rate=0.01, total_steps=60))
    whole.fit(X, Y, epochs=6)
    first = trainer(schedule=temper.schedule("cosine", learning_rate=0.01, total_steps=60))
    first.fit(X, Y, epochs=3)
    first.save(tmp_path / "checkpoint")
    second = trainer(schedule=temper.schedule("cosine", learning_rate=0.01, total_steps=60), model_seed=9)
    second.resume(tmp_path / "checkpoint")
    assert second.epochs == 3
    history = second.fit(X, Y, epochs=6)
    assert same(whole, second)
    np.testing.assert_array_equal(history["training_loss"], whole.history["training_loss"])


def test_checkpoints_are_written_along_the_way(tmp_path):
    t = trainer()
    t.fit(X, Y, epochs=3, checkpoint=tmp_path / "checkpoint")
    again = trainer()
    again.resume(tmp_path / "checkpoint")
    assert again.epochs == 3 and same(t, again)


def test_checkpoints_of_another_making_change_nothing(tmp_path):
    t, path = trainer(optimizer="sgd"), tmp_path / "checkpoint"
    other = trainer()
    other.fit(X, Y, epochs=1)
    other.save(path)
    before = weights(t)
    with pytest.raises(temper.Error):
        t.resume(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], b"\xff" * 16 + whole[16:]):
        path.write_bytes(damaged)
        with pytest.raises(temper.Error):
            other.resume(path)
    with pytest.raises(OSError):
        t.resume(tmp_path / "nowhere")
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(t)))


def test_stopping_early_keeps_the_best_epoch():
    t = trainer(optimizer=temper.optimizer("adam", learning_rate=0.3))
    history = t.fit(
        X,
        RNG.integers(0, 3, 250),
        epochs=200,
        validation=TEST,
        monitor="validation_loss",
        patience=3,
        restore_best=True,
    )
    best = int(np.argmin(history["validation_loss"]))
    assert len(history["validation_loss"]) == best + 1 + 3
    assert t.best_epoch == best + 1
    assert t.evaluate(*TEST)["loss"] == pytest.approx(history["validation_loss"][best])


def test_schedules_move_the_learning_rate():
    schedule = temper.schedule("step", learning_rate=0.1, step_size=8, gamma=0.5)
    history = trainer(schedule=schedule).fit(X, Y, epochs=3)  # eight steps in an epoch
    assert list(history["learning_rate"]) == [0.1, 0.05, 0.025]


def test_names_and_objects_are_the_same():
    a, b = trainer(loss="focal", optimizer="sgd"), trainer(loss=temper.loss("focal"), optimizer=temper.optimizer("sgd"))
    a.fit(X, Y, epochs=2)
    b.fit(X, Y, epochs=2)
    assert same(a, b)


def test_further_inputs_of_the_loss():
    plain, weighted = trainer(), trainer()
    plain.fit(X, Y, epochs=1)
    weighted.fit(X, Y, epochs=1, class_weights=np.array([5, 1, 1], np.float32))
    assert not same(plain, weighted)
    assert weighted.evaluate(*TEST, class_weights=[5.0, 1.0, 1.0])["loss"] != weighted.evaluate(*TEST)["loss"]


def test_tests_are_measured_and_not_learned_from():
    plain, measured = trainer(), trainer()
    plain.fit(X, Y, epochs=2)
    history = measured.fit(X, Y, epochs=2, tests={"clean": TEST, "train": (X, Y)})
    assert same(plain, measured)
    assert {"clean_loss", "clean_accuracy", "train_loss", "train_accuracy"} <= set(history)


def test_torch_tensors_are_trained_on():
    torch = pytest.importorskip("torch", reason="PyTorch, whose tensors are trained on, is not installed")
    a, b = trainer(), trainer()
    a.fit(X, Y, epochs=1)
    b.fit(torch.from_numpy(X), torch.from_numpy(Y), epochs=1)
    assert same(a, b)


def test_callbacks_see_every_epoch_and_can_stop():
    seen = []

    def callback(numbers):
        seen.append(numbers)
        return numbers["epoch"] == 3

    t = trainer()
    history = t.fit(X, Y, epochs=10, validation=TEST, callback=callback)
    assert [numbers["epoch"] for numbers in seen] == [1, 2, 3] and t.epochs == 3
    for name in ("training_loss", "validation_loss", "validation_accuracy"):
        np.testing.assert_array_equal([numbers[name] for numbers in seen], history[name])
    t.fit(X, Y, epochs=4)
    assert t.epochs == 4


def test_exceptions_of_callbacks_reach_the_caller():
    class Mine(Exception):
        pass

    def callback(numbers):
        raise Mine("from the callback")

    t = trainer()
    with pytest.raises(Mine, match="from the callback"):
        t.fit(X, Y, epochs=10, callback=callback)
    assert t.epochs == 1
    t.fit(X, Y, epochs=2)
    assert t.epochs == 2


def test_callbacks_may_look_but_not_train():
    t, seen = trainer(), []

    def callback(numbers):
        seen.append(t.evaluate(*TEST)["accuracy"])
        np.testing.assert_equal(t.model.predict(TEST[0]).shape, (50, 3))
        with pytest.raises(temper.errors.WrongState):
            t.fit(X, Y, epochs=20)

    history = t.fit(X, Y, epochs=3, validation=TEST, callback=callback)
    np.testing.assert_array_equal(seen, history["validation_accuracy"])


def test_control_c_stops_between_steps():
    """In a process of its own: the signal comes while the library works, and Python's own handler is restored."""
    code = textwrap.dedent("""
        import os, signal, threading
        import numpy as np, temper
        x, y = np.zeros((1000, 64), np.float32), np.zeros(1000, int)
        model = temper.Model([{"dense": 64}, "relu", {"dense": 3}], input=64)
        trainer = temper.Trainer(model)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            trainer.fit(x, y, epochs=10**6)
        except KeyboardInterrupt:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert trainer.epochs < 10**6
            trainer.fit(x, y, epochs=trainer.epochs + 1)
            print("interrupted")
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.stderr) == ("interrupted", "")


def test_handlers_of_the_program_stay():
    noted, before = [], signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    try:
        t = trainer()
        t.fit(X, Y, epochs=2, callback=lambda numbers: signal.raise_signal(signal.SIGINT))
        assert t.epochs == 2 and len(noted) == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_another_thread():
    t, whole, failures = trainer(), trainer(), []

    def run():
        try:
            t.fit(X, Y, epochs=3)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(50):  # one handle at a time: these wait for the run
        assert t.model.predict(TEST[0]).shape == (50, 3)
    thread.join()
    whole.fit(X, Y, epochs=3)
    assert not failures and same(t, whole)


def test_the_bar(capsys):
    trainer().fit(X, Y, epochs=2, validation=TEST, progress="digits")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("digits [########################] 2/2") and err.count("\n") == 1
    for word in ("training loss", "validation loss", "validation accuracy"):
        assert word in err
    trainer().fit(X, Y, epochs=1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "call",
    [
        lambda: trainer(loss="focall"),
        lambda: trainer(optimizer="focal"),
        lambda: trainer(loss=3),
        lambda: temper.Trainer("model"),
        lambda: trainer(procedure="sam"),
        lambda: trainer(batch_size=-1),
        lambda: trainer(clip_value=1, clip_norm=-1),
        lambda: trainer(threads=-3),
        lambda: trainer().fit(X, Y[:-1]),
        lambda: trainer().fit(X[:, :-1], Y),
        lambda: trainer().fit(X[:0], Y[:0]),
        lambda: trainer().fit(X, np.full(250, 3)),
        lambda: trainer().fit(X, Y * 0.5),
        lambda: trainer().fit(X),
        lambda: trainer().fit(np.where(X > 2, np.nan, X), Y),
        lambda: trainer().fit(X, Y, epochs=-1),
        lambda: trainer().fit(X, Y, monitor="weather"),
        lambda: trainer().fit(X, Y, monitor="validation_loss"),
        lambda: trainer().fit(X, Y, colour=X),
        lambda: trainer().fit(X, Y, checkpoint="/nowhere/checkpoint"),
    ],
)
def test_what_cannot_be_trained(call):
    with pytest.raises(temper.Error) as caught:
        call()
    assert str(caught.value).endswith((".", "?"))


def test_multiplications_are_counted():
    """Of each epoch: a convolution and a dense layer forward, both by their weights, and the dense one by its input, whose
    slope the convolution needs; a validation's; but not what a callback predicts."""
    layers = [{"conv2d": {"channels": 4, "kernel": 3}}, "relu", "flatten", {"dense": 3}]
    x = np.random.default_rng(1).normal(size=(20, 2, 6, 6)).astype(np.float32)
    y = np.arange(20) % 3
    convolution, dense = 4 * 4 * 4 * 2 * 9, 4 * 4 * 4 * 3

    def train(**more):
        model = temper.Model(layers, input=(2, 6, 6), seed=1)
        trained = temper.Trainer(model, batch_size=8)
        return trained, trained.fit(x, y, **more)["multiplications"]

    other = temper.Model(layers, input=(2, 6, 6), seed=2)
    _, counted = train(epochs=2, callback=lambda numbers: other.predict(x) is None)
    np.testing.assert_array_equal(counted, 20 * (2 * convolution + 3 * dense))
    _, counted = train(epochs=2, validation=(x[:7], y[:7]))
    np.testing.assert_array_equal(counted, 20 * (2 * convolution + 3 * dense) + 7 * (convolution + dense))
