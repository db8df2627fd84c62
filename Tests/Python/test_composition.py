"""Losses made of losses: sums, operators before, schedules on parameters, also while a trainer trains."""

import numpy as np
import pytest

import temper


@pytest.fixture
def inputs(rng):
    return {"logits": 2 * rng.normal(size=(8, 5)), "targets": rng.integers(0, 5, 8)}


def constant(value):
    return temper.schedule("constant", learning_rate=value)


def fall(steps):
    """From 1 to 0."""
    return temper.schedule("linear_lr", total_steps=steps, start_factor=1.0, end_factor=0.0)


def close(loss, inputs, parts):
    """Values and gradients are the weighted sum of the parts'."""
    values = sum(weight * part(**inputs) for weight, part in parts)
    np.testing.assert_allclose(loss(**inputs), values, rtol=1e-12)
    value, gradients = loss.value_and_grad(**inputs)
    assert value == pytest.approx(values.mean(), rel=1e-12)
    slope = sum(weight * part.value_and_grad(**inputs)[1]["logits"] for weight, part in parts)
    np.testing.assert_allclose(gradients["logits"], slope, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name, word", [("bco", "holds_constants"), ("nmtune", "first_order"), ("dr_dpo", "batch")])
def test_what_holds_for_a_part_holds_for_the_whole(name, word):
    assert word in temper.weighted_sum([(1.0, name)]).record["properties"]
    assert word not in temper.weighted_sum([(1.0, "mse"), (0.5, "mae")]).record["properties"]


def test_weighted_sums(inputs):
    ce, gce = temper.loss("cross_entropy", label_smoothing=0.1), temper.loss("generalized_cross_entropy", q=0.4)
    total = temper.weighted_sum([(0.7, ce), (0.2, gce), (0.1, "cross_entropy")])
    close(total, inputs, [(0.7, ce), (0.2, gce), (0.1, temper.loss("cross_entropy"))])
    assert total.name == "cross_entropy + generalized_cross_entropy + cross_entropy_2"
    assert total.parameters["cross_entropy.label_smoothing"] == 0.1
    assert total.parameters["cross_entropy_2.weight"] == 0.1
    assert "generalized_cross_entropy.q" in total.__doc__
    named = temper.weighted_sum({"hard": (1.0, ce), "robust": (2.0, gce)})
    assert {"hard.weight", "robust.q"} <= set(named.parameters)
    # Sums of sums, and a loss of the batch among losses by sample.
    close(temper.weighted_sum([(2.0, named), (1.0, gce)]), inputs, [(2, ce), (4, gce), (1, gce)])
    batch = temper.weighted_sum([(1.0, ce), (0.5, "mmce")])
    expected = ce(**inputs).mean() + 0.5 * temper.loss("mmce")(**inputs)
    np.testing.assert_allclose(batch(**inputs), expected, rtol=1e-12)


def test_weights_masks_and_reductions_come_after(inputs):
    total = temper.weighted_sum([(0.5, "cross_entropy"), (2.0, "brier")])
    weights, mask = np.arange(8) / 4, np.arange(8) % 3 > 0
    expected = total(**inputs) * weights * mask
    extra = {"sample_weights": weights, "sample_mask": mask}
    np.testing.assert_allclose(total(**inputs, **extra), expected, rtol=1e-12)
    mean, _ = total.value_and_grad(**inputs, **extra)
    summed, _ = total.value_and_grad(**inputs, **extra, reduction="sum")
    assert mean == pytest.approx(expected.sum() / mask.sum()) and summed == pytest.approx(expected.sum())


def test_samples_that_all_parts_leave_out_leave_the_mean(inputs):
    inputs["targets"][[1, 4]] = -100
    ce, nll = temper.loss("cross_entropy"), temper.loss("cross_entropy", label_smoothing=0.2)
    total = temper.weighted_sum([(1.0, ce), (3.0, nll)])
    expected = ce.value_and_grad(**inputs)[0] + 3 * nll.value_and_grad(**inputs)[0]
    assert total.value_and_grad(**inputs)[0] == pytest.approx(expected, rel=1e-12)


def test_logits_through_an_operator(inputs):
    clip = temper.op("logit_clip", tau=0.5)
    loss = temper.loss("focal", gamma=1.0).through(clip)
    named = temper.loss("focal").through("logit_clip")
    np.testing.assert_array_equal(named(**inputs), temper.loss("focal").through(temper.op("logit_clip"))(**inputs))
    np.testing.assert_allclose(
        loss(**inputs), temper.loss("focal", gamma=1.0)(clip(inputs["logits"]), inputs["targets"]), rtol=1e-12
    )
    _, gradients = loss.value_and_grad(**inputs)
    np.testing.assert_allclose((gradients["logits"] * inputs["logits"]).sum(1), 0, atol=1e-15)  # no radial part
    assert loss.parameters["logit_clip.tau"] == 0.5 and loss.parameters["focal.gamma"] == 1.0
    # Everything at once: clipped and plain, summed.
    both = temper.weighted_sum({"clipped": (0.3, loss), "plain": (0.7, "focal")})
    close(both, inputs, [(0.3, loss), (0.7, temper.loss("focal"))])
    assert both.parameters["clipped.logit_clip.tau"] == 0.5


def test_schedules_move_parameters(inputs):
    schedule = fall(4)
    values = [schedule(step) for step in range(5)]
    loss = temper.loss("generalized_cross_entropy", q=0.7).scheduled("q", schedule)
    np.testing.assert_array_equal(loss(**inputs), temper.loss("generalized_cross_entropy", q=0.7)(**inputs))
    for step in (0, 2, 4):
        np.testing.assert_array_equal(
            loss.at(step)(**inputs), temper.loss("generalized_cross_entropy", q=values[step])(**inputs)
        )
    total = temper.weighted_sum([(1.0, "cross_entropy"), (1.0, loss)])
    total = total.scheduled("cross_entropy.weight", schedule, by="epoch")
    close(
        total.at(steps=3, epochs=1), inputs,
        [(values[1], temper.loss("cross_entropy")), (1, temper.loss("generalized_cross_entropy", q=values[3]))],
    )  # fmt: skip


def test_what_does_not_fit_is_an_error(inputs):
    ce = temper.loss("cross_entropy")
    for wrong in (
        lambda: temper.weighted_sum([]),
        lambda: temper.weighted_sum({"a": "cross_entropy"}),
        lambda: temper.weighted_sum([ce]),
        lambda: temper.weighted_sum([(float("nan"), ce)]),
        lambda: temper.weighted_sum([(1.0, "mse"), (1.0, "cut_cross_entropy")]),
        lambda: temper.weighted_sum({"": (1.0, ce)}),
        lambda: ce.through(temper.op("logit_clip"), "targets"),
        lambda: ce.through(temper.op("logit_clip"), "scores"),
        lambda: ce.through(temper.op("boltzmann_operator")),
        lambda: ce.scheduled("gamma", constant(1.0)),
        lambda: ce.scheduled("label_smoothing", constant(2.0)),
        lambda: ce.scheduled("label_smoothing", "constant", by="sample"),
        lambda: ce.scheduled("label_smoothing", "plateau"),
        lambda: ce.at(-1),
    ):
        with pytest.raises(temper.Error):
            wrong()


def _data(rng):
    x = rng.normal(size=(60, 6)).astype(np.float32)
    return x, x[:, :4].argmax(1)


def _trained(loss, rng_seed=0, epochs=3, **options):
    x, y = _data(np.random.default_rng(rng_seed))
    model = temper.Model([{"dense": 12}, "relu", {"dense": 4}], input=(6,), seed=1)
    trainer = temper.Trainer(model, loss=loss, optimizer=temper.optimizer("sgd", learning_rate=0.1), batch_size=16)
    trainer.fit(x, y, epochs=epochs, **options)
    return trainer


def _weights(trainer):
    return np.concatenate([np.ravel(array) for array in trainer.model.parameters().values()])


def test_trainers_move_parameters_step_by_step(tmp_path):
    """The same bits as a loop of one's own; a weight needs no new plan, q does."""
    loss = temper.weighted_sum({"ce": (1.0, "cross_entropy"), "gce": (0.5, "generalized_cross_entropy")})
    loss = loss.scheduled("ce.weight", fall(12)).scheduled("gce.q", fall(12), by="epoch")
    trainer = _trained(loss)
    # One epoch of 4 steps: the first step's loss is known, and moving something moves the weights.
    still = _trained(temper.weighted_sum({"ce": (1.0, "cross_entropy"), "gce": (0.5, "generalized_cross_entropy")}))
    assert not np.array_equal(_weights(trainer), _weights(still))
    # Interrupted and resumed: the same bits, state and schedules included.
    first = _trained(loss, epochs=1)
    first.save(tmp_path / "run.safetensors")
    x, y = _data(np.random.default_rng(0))
    again = _trained(loss, epochs=0)
    again.resume(tmp_path / "run.safetensors")
    again.fit(x, y, epochs=3)
    np.testing.assert_array_equal(_weights(again), _weights(trainer))
    # A checkpoint knows its schedules.
    with pytest.raises(temper.Error, match="loss"):
        _trained(loss.scheduled("gce.q", "constant"), epochs=0).resume(tmp_path / "run.safetensors")


@pytest.mark.parametrize("parameter", ["ce.weight", "gce.q"])
def test_a_constant_schedule_is_the_constant(parameter):
    terms = {"ce": (0.25, "cross_entropy"), "gce": (0.5, temper.loss("generalized_cross_entropy", q=0.25))}
    plain = temper.weighted_sum(terms)
    terms = {"ce": (1.0, "cross_entropy"), "gce": (0.5, temper.loss("generalized_cross_entropy", q=0.9))}
    if parameter == "ce.weight":
        terms["gce"] = (0.5, temper.loss("generalized_cross_entropy", q=0.25))
    else:
        terms["ce"] = (0.25, "cross_entropy")
    moved = temper.weighted_sum(terms).scheduled(parameter, constant(0.25))
    np.testing.assert_allclose(_weights(_trained(moved)), _weights(_trained(plain)), rtol=1e-6, atol=1e-7)


def test_each_step_takes_its_own_value():
    """Full batches, so that a loop of single epochs is the trainer's: weights 0, 1/2 and 1 of mean absolute error."""
    rise = temper.schedule("linear_lr", total_steps=2, start_factor=0.0)
    loss = temper.weighted_sum({"ce": (1.0, "cross_entropy"), "gce": (0.0, "generalized_cross_entropy")})

    def train(loss, epochs, model):
        x, y = _data(np.random.default_rng(0))
        temper.Trainer(model, loss=loss, optimizer=temper.optimizer("sgd", learning_rate=0.1), batch_size=60).fit(
            x, y, epochs=epochs
        )

    def model():
        return temper.Model([{"dense": 4}], input=(6,), seed=1)

    whole, single = model(), model()
    train(loss.scheduled("gce.weight", rise), 3, whole)
    for step in range(3):
        train(loss.scheduled("gce.weight", rise).at(step).scheduled("gce.weight", constant(rise(step))), 1, single)
    for name, array in whole.parameters().items():
        np.testing.assert_allclose(array, single.parameters()[name], rtol=1e-5, atol=1e-6)


def test_states_of_parts_are_kept_apart(tmp_path):
    """Two early-learning regularisers with their own averages, through a checkpoint."""
    loss = temper.weighted_sum({
        "fast": (0.5, temper.loss("elr", beta=0.1)), "slow": (0.5, temper.loss("elr", beta=0.9)),
    })  # fmt: skip
    assert [entry["name"] for entry in loss.record["state"]] == ["ema_targets", "slow.ema_targets"]
    whole = _trained(loss)
    half = _trained(loss, epochs=2)
    half.save(tmp_path / "half.safetensors")
    again = _trained(loss, epochs=0)
    again.resume(tmp_path / "half.safetensors")
    again.fit(*_data(np.random.default_rng(0)), epochs=3)
    np.testing.assert_array_equal(_weights(again), _weights(whole))
