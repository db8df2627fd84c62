"""Bad input: each gives an exception with a sentence that says what to do, and the process lives.

Tried here: unknown names, parameters and inputs; parameters of wrong type and range; inputs missing, twice, of wrong
shape or type; ids out of range; NaN and infinity; no samples; things that are no arrays; unreadable paths.
"""

import pickle

import numpy as np
import pytest

import temper
from temper import errors

X, Y = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.5]]), np.array([0, 2])


def grad(*inputs, **options):
    return temper.loss("cross_entropy").value_and_grad(*inputs, **options)


@pytest.mark.parametrize(
    "kind, built_in, word, call",
    [
        (errors.UnknownName, KeyError, "focal", lambda: temper.loss("focall")),
        (errors.UnknownName, KeyError, "adamw", lambda: temper.optimizer("adamww")),
        (errors.UnknownName, KeyError, "optimizer", lambda: temper.loss("adam")),
        (errors.UnknownName, KeyError, "label_smoothing", lambda: temper.loss("cross_entropy", smoothing=0.1)),
        (errors.OutOfRange, ValueError, "label_smoothing", lambda: temper.loss("cross_entropy", label_smoothing=2)),
        (errors.OutOfRange, ValueError, "number", lambda: temper.loss("cross_entropy", label_smoothing="much")),
        (errors.OutOfRange, ValueError, "none", lambda: temper.loss("cross_entropy", label_smoothing=None)),
        (errors.OutOfRange, ValueError, "64 bits", lambda: temper.loss("cross_entropy", ignore_index=2**64)),
        (errors.InvalidType, TypeError, "list", lambda: temper.loss("cross_entropy", label_smoothing=[0.1])),
        (errors.InvalidArgument, ValueError, "targets", lambda: temper.loss("cross_entropy")(X)),
        (errors.UnknownName, KeyError, "logits", lambda: temper.loss("cross_entropy")(X, Y, logit=X)),
        (errors.InvalidShape, ValueError, "(N=2,)", lambda: temper.loss("cross_entropy")(X, [0, 1, 2])),
        (errors.InvalidShape, ValueError, "logits", lambda: temper.loss("cross_entropy")(X[0], Y)),
        (errors.InvalidType, TypeError, "targets", lambda: temper.loss("lovasz_softmax")(X, Y * 0.5)),
        (errors.OutOfRange, ValueError, "0 to 2", lambda: temper.loss("cross_entropy")(X, [0, 3])),
        (errors.OutOfRange, ValueError, "0 to 2", lambda: temper.loss("cross_entropy")(X, [0, -1])),
        (errors.InvalidShape, ValueError, "no elements", lambda: temper.loss("cross_entropy")(X[:0], Y[:0])),
        (errors.UnknownName, KeyError, "gradient", lambda: grad(X, Y, wrt="targets")),
        (errors.UnknownName, KeyError, "gradient", lambda: grad(X, Y, wrt="logit")),
        (errors.InvalidArgument, ValueError, "mean", lambda: grad(X, Y, reduction="none")),
        (errors.InvalidType, TypeError, "numbers", lambda: temper.loss("cross_entropy")(X, ["a", "b"])),
        (errors.InvalidType, TypeError, "numbers", lambda: temper.loss("cross_entropy")(X, object())),
        (errors.InvalidArgument, ValueError, "xis", lambda: temper.op("softmax")(X, axis=2)),
        (errors.InvalidShape, ValueError, "dy", lambda: temper.op("softmax").vjp(X, X.T)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(kind, built_in, word, call):
    with pytest.raises(temper.Error, match=word.replace("(", r"\(").replace(")", r"\)")) as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, built_in)
    assert caught.value.code == kind.code > 0
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    "kind, name, ours",
    [
        ("loss", "CrossEntropyLoss", "cross_entropy"),
        ("loss", "BCEWithLogitsLoss", "bce_with_logits"),
        ("loss", "kl_div", "kl_divergence"),
        ("loss", "KLDivLoss", "kl_divergence"),
        ("loss", "l1_loss", "l1"),
        ("loss", "poisson", "poisson_nll"),
        ("loss", "cros_entropy", "cross_entropy"),
        ("optimizer", "RMSprop", "rmsprop"),
        ("schedule", "StepLR", "step"),
        ("schedule", "ReduceLROnPlateau", "reduce_on_plateau"),
        ("op", "logsoftmax", "log_softmax"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(kind, name, ours):
    with pytest.raises(temper.errors.UnknownName, match=rf'"{name}". Did you mean {ours}\?'):
        getattr(temper, kind)(name)
    assert getattr(temper, kind)(ours)


@pytest.mark.parametrize("asked, word", [({"kind": "losses"}, "loss, metric"), ({"area": "noisy"}, "noisy-labels")])
def test_kinds_and_areas_that_are_none(asked, word):
    with pytest.raises(temper.errors.UnknownName, match=word):
        temper.catalog(**asked)


def test_calls_that_python_would_refuse_are_type_errors():
    loss = temper.loss("cross_entropy")
    with pytest.raises(TypeError, match="at most 3"):
        loss(X, Y, np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="targets by position and by name"):
        loss(X, Y, targets=Y)


def test_the_origin_is_the_method():
    with pytest.raises(temper.Error) as caught:
        temper.loss("cross_entropy")(X, [0, 3])
    assert caught.value.origin == "cross_entropy"
    assert str(caught.value).startswith("cross_entropy: ")


def test_nan_and_infinity_give_nan_and_infinity():
    loss, bad = temper.loss("cross_entropy"), X.copy()
    bad[0, 1] = np.nan
    values = loss(bad, Y)
    assert np.isnan(values[0]) and values[1] == loss(X, Y)[1]
    bad[0, 1] = -np.inf
    assert np.isfinite(loss(bad, Y)).all()


def test_a_failed_call_leaves_the_method_usable():
    loss = temper.loss("cross_entropy")
    expected = loss(X, Y)
    for _ in range(3):
        with pytest.raises(temper.Error):
            loss(X, [0, 3])
        np.testing.assert_array_equal(loss(X, Y), expected)


def test_every_status_of_the_header_has_its_class():
    from temper._library import library

    codes = {n: c for n, c in library.constants.items() if n.startswith("TEMPER_ERROR_")}
    assert len(codes) >= 15
    for name, code in codes.items():
        kind = getattr(errors, name.removeprefix("TEMPER_ERROR_").title().replace("_", ""))
        assert kind.code == code and issubclass(kind, temper.Error)


def test_errors_travel_between_processes():
    error = errors.OutOfRange("Too far.", 3, "here")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.argument) == (errors.OutOfRange, "here: Too far.", 3)


@pytest.mark.parametrize("path", ["/nowhere/model.safetensors", ".", "/dev/null"])
def test_files_that_cannot_be_read(path):
    with pytest.raises(temper.Error) as caught:
        temper.load(path)
    assert isinstance(caught.value, (OSError, ValueError))


def test_what_is_wrong_with_an_input_of_a_procedure_is_said_in_its_name():
    model = temper.Model([{"dense": 3}], input=(4,), seed=0)
    trainer = temper.Trainer(model, procedure=temper.procedure("meta_weight_net"))
    x, y = np.zeros((9, 4), np.float32), np.zeros(9, int)
    with pytest.raises(errors.InvalidArgument, match="^meta_weight_net: .*trusted_x is missing"):
        trainer.fit(x, y, epochs=1)
    with pytest.raises(errors.OutOfRange, match="^meta_weight_net: .*trusted_y must lie in 0 to 2"):
        trainer.fit(x, y, epochs=1, trusted_x=x, trusted_y=y + 3)
    with pytest.raises(errors.OutOfRange, match="^cross_entropy: .*targets must lie in 0 to 2"):
        trainer.fit(x, y + 3, epochs=1, trusted_x=x, trusted_y=y)
