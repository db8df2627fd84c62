"""Experiments: their records, their parameters, the command line."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

import temper
from temper.experiments import Finding, Reference, experiment, low_precision, quantized_noise

RECORDS = temper.catalog("experiment")


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "temper", "experiment", *arguments], capture_output=True, text=True)


@experiment("coin", aliases=("penny",), area="diagnose", summary="Throws a coin.", reference=Reference("", 0, "Coins"),
            throws="How often.", fair="Whether it is.", bias="To heads.", name="Of the coin.")  # fmt: skip
def coin(throws: int = 2, fair: bool = True, bias: float = 0.5, name: str = "penny"):
    yield Finding("A claim.", f"{throws} {fair} {bias} {name}", fair)


def test_records_are_those_of_the_functions():
    record = coin.record
    assert (record["name"], record["kind"], record["aliases"]) == ("coin", "experiment", ["penny"])
    assert [(e["name"], e["type"], e["default"]) for e in record["parameters"]] == [
        ("throws", "integer", 2), ("fair", "boolean", True), ("bias", "real", 0.5), ("name", "text", "penny")]  # fmt: skip
    for word in ("Throws a coin.", "throws = 2: How often. (a whole number)", "Also called: penny.", "Coins."):
        assert word in coin.describe()
    with pytest.raises(TypeError, match="words on"):
        experiment("none", area="", summary="", reference=Reference("", 0, ""))(lambda seeds=1: None)


def test_parameters_come_as_values_or_as_texts():
    (finding,) = coin(throws="3", fair="false", bias="0.25", name="x")
    assert finding == Finding("A claim.", "3 False 0.25 x", False)
    assert next(coin()).holds
    with pytest.raises(temper.errors.UnknownName, match="throws, fair"):
        coin(heads=1)
    for name, value in (("throws", "2.5"), ("throws", "two"), ("fair", "perhaps"), ("bias", "x")):
        with pytest.raises(temper.errors.InvalidArgument, match=name):
            coin(**{name: value})


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_experiments_are_in_the_catalogue(record):
    name = record["name"]
    assert temper.experiment(name).record == record
    assert name in temper.Context().names("experiment") and name in temper.Context().names()
    assert record["reference"]["text"] in temper.describe(name)


def test_unknown_experiments_are_named():
    result = run("sky_is_green")
    assert result.returncode == 1 and "sky_is_green" in result.stderr and RECORDS[0]["name"] in result.stderr
    result = run("quantized_noise_activation_study", "seeds")
    assert result.returncode == 1 and "NAME=VALUE" in result.stderr
    assert run().stdout.count("\n") == len(RECORDS)


def test_the_command_says_claim_measured_and_verdict():
    result = run("quantized_noise_activation_study", "seeds=1", "epochs=1")
    words = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert words.count("claim") == words.count("measured") == words.count("verdict") == 4
    failed = result.stdout.count("does not hold")
    assert (result.returncode == 0) == (failed == 0)
    assert f"{4 - failed} of 4 claims hold" in result.stdout


def test_precision_is_reduced_to_even_levels(rng):
    x = rng.standard_normal((50, 20))
    y = quantized_noise.reduce_precision(x, 3)
    assert len(np.unique(y.round(12))) == 8 and (y.min(), y.max()) == (x.min(), pytest.approx(x.max()))
    assert abs(y - x).max() <= (x.max() - x.min()) / 14 + 1e-12
    np.testing.assert_allclose(quantized_noise.reduce_precision(x, 32), x, atol=1e-8)
    np.testing.assert_array_equal(quantized_noise.reduce_precision(np.ones(3), 2), 1)
    noisy = quantized_noise.reduce_precision(x, 32, 0.01, rng) - x
    assert noisy.std() == pytest.approx(0.01 * (x.max() - x.min()), rel=0.1)


def test_gradients_of_the_study_are_those_of_its_network(rng):
    """At 30 bits the rounding is next to nothing: central differences see through it."""
    network = quantized_noise.Network("gelu", 30, 0.0, 0)
    network.parameters = [p.astype(np.float64) for p in network.parameters]
    x, y, loss = rng.standard_normal((8, 64)), rng.integers(0, 10, 8), temper.loss("cross_entropy")
    gradients = network.gradients(x, y, loss)
    for parameter, gradient in zip(network.parameters, gradients):
        change, step = rng.standard_normal(parameter.shape), 1e-3
        values = []
        for sign in (1, -1):
            parameter += sign * step * change
            values.append(loss(network.forward(x)[0], y).mean())
            parameter -= sign * step * change
        assert (values[0] - values[1]) / (2 * step) == pytest.approx((gradient * change).sum(), rel=1e-3, abs=1e-5)


def test_formats_are_those_of_their_definitions(rng):
    fp8 = temper.quantizer("fp8_e4m3")  # its levels, on a row that its scale leaves as it is
    values = np.concatenate([rng.standard_normal(200), [448.0]]).astype(np.float32)[None]
    np.testing.assert_allclose(
        low_precision.FORMATS["e4m3"](values.astype(float)), fp8.quantize(values).dequantize(), rtol=1e-6)
    x = rng.standard_normal((3, 40))
    for name, quantize in low_precision.FORMATS.items():
        error = np.square(quantize(x) - x).sum() / np.square(x).sum()
        assert error < (0.03 if "4" in name and "e4" not in name else 0.004), name
        assert (quantize(np.zeros((2, 5))) == 0).all()
        mean = np.mean([quantize(x, rng) for _ in range(400)], axis=0)
        assert abs(mean - x).max() < 0.25 * abs(x).max()


def test_the_sweep_finds_something():
    findings = list(temper.experiment("low_precision_format_sweep")(formats="int8,mxfp4", seeds=1, epochs=2))
    assert len(findings) == 7 and all(finding.holds for finding in findings[:4])
    assert "mxfp4: weights" in findings[-1].measured
    with pytest.raises(temper.errors.UnknownName, match="fp5"):
        list(temper.experiment("low_precision_format_sweep")(formats="fp5"))


def test_windows_and_their_slopes(rng):
    """Windows go back to the grid; the slopes of shifted windowed attention are its finite differences."""
    from temper.experiments import window_attention as study

    x = rng.normal(size=(2, 4, 4, 4, 6))
    window, shift = (2, 2, 2), (1, 1, 1)
    np.testing.assert_array_equal(study.grid(study.windows(x, window, shift), (4, 4, 4), window, shift), x)
    parameters = [*(rng.normal(size=(6, 6)) for _ in range(3)), rng.normal(size=(2, 27))]
    dy = rng.normal(size=x.shape)

    def value(x, parameters):
        return (dy * study.attend(x, parameters, window, shift)[0]).sum()

    dx, gradients = study.slopes(dy, study.attend(x, parameters, window, shift)[1], parameters, window, shift)
    for array, slope in zip([x, *parameters], [dx, *gradients]):
        for place in rng.integers(0, array.size, 4):
            start = array.flat[place]
            array.flat[place] = start + 1e-5
            high = value(x, parameters)
            array.flat[place] = start - 1e-5
            low = value(x, parameters)
            array.flat[place] = start
            assert slope.flat[place] == pytest.approx((high - low) / 2e-5, rel=1e-5, abs=1e-7)


def test_the_diagnosis_of_a_curve():
    from temper.experiments.window_attention import diagnose

    falling = np.array([[1.0 / t, 1.0 / t, 0.9] for t in range(1, 8)])
    rising = np.array([[1.0 / t, t, 0.2] for t in range(1, 8)])
    y = np.array([0, 1, 1])
    assert diagnose(falling, y) == set() and diagnose(rising, y) == {"overfits", "below majority"}


def test_behaviour_of_layers_is_measured():
    """A try of one seed: what is above what is known from five (bindings/studies.md); here each claim gets its numbers."""
    findings = list(temper.experiment("layer_behaviour_study")(seeds=1, epochs=1))
    assert len(findings) == 5 and all("less" in finding.measured for finding in findings)
    assert "levi" in findings[0].measured and "clipped" in findings[3].measured


def test_behaviour_of_curation_is_measured():
    findings = list(temper.experiment("curation_behaviour_study")(seeds=1, epochs=6))
    assert len(findings) == 10 and all("less" in finding.measured for finding in findings)
    assert "rcal" in findings[0].measured and "pushed" in findings[5].measured and "tram" in findings[7].measured


def test_behaviour_of_data_is_measured():
    findings = list(temper.experiment("data_behaviour_study")(seeds=1, epochs=4))
    assert len(findings) == 13 and all(re.search("less .*above", finding.measured) for finding in findings)
    assert "50 wrong" in findings[0].measured and "tabasco" in findings[10].measured
    assert findings[5].holds  # pages, which are not learned from


def test_behaviour_of_texts_is_measured():
    findings = list(temper.experiment("text_behaviour_study")(seeds=1, epochs=1))
    assert len(findings) == 6 and "static" in findings[0].measured and "are gone" in findings[2].measured


def test_behaviour_of_noise_is_measured():
    findings = list(temper.experiment("noise_behaviour_study")(seeds=1, epochs=2))
    assert len(findings) == 15 and all("above" in finding.measured for finding in findings)
    # A margin that seeds do not blur: mixed pictures, whose pixels are those of digits one by one.
    assert "distance from the mean 5" in findings[2].measured


def test_texts_are_read_letter_by_letter():
    """Windows end before the letter that they are asked for; probabilities of a text's letters are those of its windows."""
    from temper.experiments import text_behaviour as study

    x, y, at = study._windows(["abc", "z"], ["?", "!"])
    assert x.shape == (4, 1 + study.SEEN) and "".join(map(chr, y)) == "abcz" and at[0].tolist() == [0, 0, 0, 1]
    assert x[:, 0].tolist() == [ord("?")] * 3 + [ord("!")] and x[2, -2:].tolist() == [ord("a"), ord("b")]
    assert not x[0, 1:].any() and not x[3, 1:].any()
    reader = study._reader(["abcabcabc", "abcab"], 30, 0)
    values, shown = study._log_probabilities(reader, ["abcab", "ab"])
    assert shown.sum(1).tolist() == [5, 2] and (values[~shown] == 0).all()
    z = reader.predict(study._windows(["abcab"])[0])
    p = np.exp(z - z.max(1, keepdims=True))
    np.testing.assert_allclose(values[0], np.log((p / p.sum(1, keepdims=True))[range(5), [97, 98, 99, 97, 98]]), rtol=1e-4)
    assert values[0].max() > np.log(0.9)
    x, y = study._rules(1, 40, 4.0, 4.0, True)
    assert y.sum() == 20 and (x.sum(1) == 16).all()
    holds = [any(not any(row[at] and not any((values[abs(v) - 1] == 1) == (v > 0) for v in rule)
                         for rule, at in study._RULES.items())
                 for values in itertools.product((0, 1), repeat=4)) for row in x]  # fmt: skip
    np.testing.assert_array_equal(holds, y == 1)


def test_pairs_that_are_put_together():
    from temper.experiments import curation_behaviour as curation

    truth = np.array([0, 0, 0, 1])
    assert curation._same_pairs(truth, truth) == 100
    # One of three pairs is found, and one wrong one: F1 = 2 / (2 + 3).
    assert curation._same_pairs(np.array([0, 0, 1, 1]), truth) == pytest.approx(40)


def test_comparisons_in_words():
    """What beats another is above it with its whole interval; what has a margin, no further below in the mean."""
    from temper.experiments.layer_behaviour import compared

    words, holds = compared({"a": [3.0, 5.0], "b": [1.0, 2.0]}, "a", "b")
    # 2 and 3: 2.5 ± 12.706 * 0.7071 / sqrt(2)
    assert not holds and words == "a 4.0 %, b 1.5 %; a less b 2.5 ± 6.4, above in the mean alone"
    words, holds = compared({"a": [3.0, 4.1], "b": [1.0, 2.0]}, "a", "b")
    assert holds and words.endswith("2.0 ± 0.6, clearly above")
    assert compared({"a": [1.0], "b": [2.0]}, "a", "b") == ("a 1.0 %, b 2.0 %; a less b -1.0 ± nan, not above", False)
    assert not compared({"a": [3.0], "b": [2.0]}, "a", "b")[1]
    for margin, expected, verdict in ((1.5, True, "within 1.5"), (0.5, False, "not within 0.5")):
        words, holds = compared({"a": [1.0, 5.0], "b": [2.0, 6.0]}, "a", "b", "dB", margin)
        assert holds == expected and words.endswith(f"a less b -1.0 ± 0.0, {verdict}")


def test_weights_of_language_models_are_those_that_attention_uses():
    """What the second block adds, made again from the weights and the values; and the study of a short text."""
    from temper.experiments import language_softmax as study

    letters = study.quantization.Letters(6_000)
    x = study.marked(letters, letters.held_out(3)[0])
    assert (x[:, 0] == len(letters.alphabet)).all() and (x[:, 1:] == letters.held_out(3)[0][:, 1:]).all()
    for name in ("softmax", "softpick"):
        model = study.trained(letters, name, 2, 1)[0]
        known, w = model.parameters(), study.weights(model, name, x)
        parts = []
        for count in (3, 4):
            part = temper.Model(study.layers(name, len(letters.alphabet) + 1)[:count], input=x.shape[1:], seed=0)
            for key, value in part.parameters().items():
                value[...] = known[key]
            parts.append(part.predict(x))
        mean, deviation = parts[0].mean(-1, keepdims=True), parts[0].std(-1, keepdims=True)
        normal = (parts[0] - mean) / np.sqrt(deviation**2 + 1e-5) * known["3.0.weight"] + known["3.0.bias"]
        v = np.split(normal @ known["3.1.in_proj_weight"].T, 3, axis=-1)[2]
        v = v.reshape(*v.shape[:2], study.HEADS, -1).swapaxes(1, 2)
        seen = (w @ v).swapaxes(1, 2).reshape(normal.shape)
        np.testing.assert_allclose(parts[1] - parts[0], seen @ known["3.1.out_proj.weight"].T, atol=1e-5)
    findings = list(temper.experiment("language_softmax_study")(seeds=1, steps=1, length=6_000))
    assert len(findings) == 8 and all("beside" in f.measured or "%" in f.measured for f in findings)
