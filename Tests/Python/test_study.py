"""The study of losses: its data, its arithmetic, and a quick run from the command line."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as xml

import numpy as np
import pytest
import temper
from temper.study import digits, imbalance, losses, low_bits, more_inputs, noisy_labels, quantization, results, runs, sets


def test_noise_is_drawn_from_its_matrix(rng):
    for transition in losses.NOISE.values():
        np.testing.assert_allclose(transition.sum(axis=1), 1)
        y = np.repeat(np.arange(10), 20000)
        noisy = digits.with_noise(y, transition, rng)
        shares = np.array([np.bincount(noisy[y == k], minlength=10) / 20000 for k in range(10)])
        np.testing.assert_allclose(shares, transition, atol=0.02)
    np.testing.assert_array_equal(np.diagonal(losses.NOISE["pairs 40%"]), 0.6)
    assert losses.NOISE["pairs 40%"][9, 0] == 0.4 and losses.NOISE["symmetric 60%"][3, 5] == pytest.approx(0.6 / 9)


def test_tails_fall_to_a_fiftieth(rng):
    (x, y), (test_x, test_y) = digits.load(digits.find())
    assert len(x) + len(test_x) == 1797 and len(test_y) == 360
    thin_x, thin_y, classes = digits.with_tail(x, y, 50, rng)
    counts = np.bincount(thin_y, minlength=10)[classes]
    assert counts[0] == np.bincount(y).min() and counts[-1] == round(counts[0] / 50)
    assert (np.diff(counts) < 0).all()
    assert len(np.unique(thin_x, axis=0)) <= len(thin_x) == counts.sum()


def test_intervals_are_those_of_student():
    mean, half = results.interval([0.2, 0.4, 0.6])
    assert mean == pytest.approx(0.4) and half == pytest.approx(4.303 * 0.2 / 3**0.5)
    found = results.Results(losses.BASELINE, "loss")
    for seed, (base, better, unclear) in enumerate([(0.5, 0.6, 0.6), (0.4, 0.51, 0.4), (0.6, 0.69, 0.59)]):
        for label, value in ((losses.BASELINE, base), ("better", better), ("unclear", unclear)):
            found.rows.append(("s", "m", label, seed, value))
    assert [found.mark("s", "m", label) for label in (losses.BASELINE, "better", "unclear")] == [" ", "+", " "]


def test_every_robust_loss_and_every_loss_for_long_tails_takes_part():
    """Those that are named here, and each of the two areas' records, but for those with a reason."""
    noisy, tail = losses.noise_labels(), losses.tail_labels()
    records = [record["name"] for area in ("noisy-labels", "imbalance") for record in temper.catalog("loss", area)]
    taking_part = {label.partition(",")[0] for label in (*noisy, *tail)}
    assert sorted(set(records) - taking_part) == sorted(losses.LEFT_OUT)
    assert {
        "generalized_cross_entropy", "symmetric_cross_entropy", "bi_tempered_logistic", "taylor_cross_entropy",
        "joint_optimization", "forward_correction", "backward_correction", "peer_loss",
        "determinant_mutual_information",
        "jensen_shannon", "asymmetric_gce", "normalized_cross_entropy", "reverse_cross_entropy", "normalized_focal",
    } <= set(noisy)  # fmt: skip
    assert {
        "class_balanced", "ldam", "logit_adjusted", "balanced_softmax", "equalization", "vector_scaling",
        "influence_balanced", "sade_diverse_experts", "conr_loss",
    } <= set(tail)  # fmt: skip


def test_losses_that_read_more_learn_from_tails_and_wrong_labels():
    """Short of the study: each is far above chance, and the experts are above cross-entropy on the rarest classes."""
    (x, y), (test_x, test_y) = digits.load(digits.find())
    thin_x, thin_y, classes = digits.with_tail(x, y, 50, np.random.default_rng([1, 50]))
    counts = np.bincount(thin_y, minlength=10).astype(np.float32)
    known = {"class_counts": counts, "class_priors": counts / counts.sum()}
    rare = np.isin(test_y, classes[-3:])
    scores = {losses.BASELINE: losses.train(temper.loss(losses.BASELINE), thin_x, thin_y, {}, 60, 1)[0].predict(test_x)}
    for labels, make in more_inputs.TAIL.items():
        scores.update(zip(labels, make(thin_x, thin_y, known, 60, 1, test_x)))
    right = {label: found.argmax(1) == test_y for label, found in scores.items()}
    assert all(found.mean() > (0.35 if "presto" in label else 0.7) for label, found in right.items())
    assert right["sade_diverse_experts"][rare].mean() > right[losses.BASELINE][rare].mean() + 0.05
    noisy = digits.with_noise(y, losses.NOISE["symmetric 40%"], np.random.default_rng(1))
    found = list(more_inputs.nmtune(x[:512], noisy[:512], 20, 1, test_x))
    assert len(found) == 20 and (found[9].argmax(1) == test_y).mean() > 0.5 < (found[-1].argmax(1) == test_y).mean()


def test_a_quick_run(tmp_path):
    command = [sys.executable, "-m", "temper", "study", "losses", "--quick", "--output", str(tmp_path)]
    for loss in ("generalized_cross_entropy", "forward_correction", "logit_clip, tau = 1", "gumbel_optimized_loss"):
        command += ["--only", loss]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for word in ("symmetric 60%", "pairs 40%", "tail 50:1", "rarest 3", "forward_correction", "gumbel_optimized_loss"):
        assert word in text
    with open(tmp_path / "losses.csv") as file:
        rows = list(csv.DictReader(file))
    # Two seeds; noise: 4 losses in 3 settings, final and best; tail: 2 losses, overall and rarest.
    assert len(rows) == 2 * (4 * 3 * 2 + 2 * 2)
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    runs = {(row["setting"], row["loss"], row["seed"]): {} for row in rows}
    for row in rows:
        runs[row["setting"], row["loss"], row["seed"]][row["measure"]] = float(row["accuracy"])
    assert all(run["best"] >= run["final"] for run in runs.values() if "best" in run)
    assert max(run.get("best", 0) for run in runs.values()) > 0.5
    # The picture has a dot for each loss in each of its panels.
    circles = [node for node in xml.parse(tmp_path / "losses.svg").iter() if node.tag.endswith("circle")]
    assert len(circles) == 3 * 4 + 2
    wrong = subprocess.run([*command, "--only", "focsl"], capture_output=True, text=True)
    assert wrong.returncode and "focsl" in wrong.stderr


def test_a_quick_run_of_quantizers(tmp_path):
    command = [sys.executable, "-m", "temper", "study", "quantization", "--quick", "--jobs", "1"]
    command += ["--output", str(tmp_path), "--only", "round_to_nearest", "--only", "nf4"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with open(tmp_path / "quantization.csv") as file:
        rows = list(csv.DictReader(file))
    runs = {(row["setting"], row["method"], row["bits"]): row for row in rows}
    for setting in ("mlp", "conv", "letters"):
        assert f"{setting}: " in text
        base = runs[setting, "float32", "32"]
        sizes = [int(runs[setting, "round_to_nearest", bits]["bytes"]) for bits in "8432"] + [int(base["bytes"])]
        assert sizes[3] < sizes[2] < sizes[1] < sizes[0] < sizes[4]
        assert abs(float(runs[setting, "round_to_nearest", "8"]["accuracy"]) - float(base["accuracy"])) < 0.03
        assert 4 <= float(runs[setting, "nf4", ""]["measured_bits"]) < 6
    assert float(runs["letters", "float32", "32"]["perplexity"]) < 130
    circles = [node for node in xml.parse(tmp_path / "quantization.svg").iter() if node.tag.endswith("circle")]
    assert len(circles) == len(rows)
    wrong = subprocess.run([*command, "--only", "nf5"], capture_output=True, text=True)
    assert wrong.returncode and "nf5" in wrong.stderr


def test_training_with_few_bits_and_optimizers_are_compared():
    """The parts of the study of quantization besides packing, hardly trained."""
    context = temper.Context(threads=1)
    setting = quantization._digits(context, "mlp", quantization.MLP, (64,), 8, 1)
    rows = {(row[1], row[2]): row for row in low_bits.trained(context, setting, quantization.MLP, (64,), 8, 1)}
    whole = setting.measure(setting.model)["accuracy"]
    assert {bits for name, bits in rows if name == "trained: pv_tuning"} == {4, 3, 2, 1}
    nearest = context.quantizer("round_to_nearest", bits=2).quantize_model(setting.model, None)
    lost = whole - setting.measure(nearest)["accuracy"]
    best = max(row[5] for (_, bits), row in rows.items() if bits == 2)
    assert lost > 0.05 and whole - best < lost / 2  # what training at 2 bits is for
    assert all(row[4] < bits + 0.5 for (_, bits), row in rows.items())
    lines = list(low_bits.optimizers(context, 1, 2))
    assert [line.split()[0] for line in lines[3:8]] == list(low_bits.OPTIMIZERS) and "rank correlation" in lines[-1]
    found = list(quantization.sentences([row for row in rows.values()] + [
        ["mlp", "float32", 32, 1, 32, whole, "", 1, 0], ["mlp", "round_to_nearest", 2, 1, 2, whole - lost, "", 1, 0]], ["mlp"]))
    assert any("points above rounding to nearest" in line for line in found)


def test_softpick_is_compared():
    context, letters = temper.Context(threads=1), quantization.Letters(6_000)
    small = lambda entries, normaliser="softmax": quantization.transformer(entries, 16, 1, 2, normaliser)  # noqa: E731
    make = lambda layers: quantization._letters(context, letters, 1, 1, 2, layers)  # noqa: E731
    found = list(low_bits.softpick(context, make(small), make, small))
    assert [(name, bits) for name, bits, _ in found] == [(n, b) for n in ("softmax", "softpick") for b in (32, 8, 4, 3, 2)]
    lines = list(low_bits.softpick_lines(found))
    assert lines[-1].startswith("softpick loses less")


def test_rank_correlation(rng):
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    a, b = np.round(rng.random(40), 1), np.round(rng.random(40), 1)
    assert low_bits.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_labels_are_made_wrong(rng):
    (x, y), _ = sets.load("digits")
    for kind, rate in noisy_labels.NOISE.values():
        given = sets.noisy(y, kind, rate, x, rng)
        assert abs((given != y).mean() - rate) < 0.05 and given.min() >= 0 and given.max() <= 9
    assert set((sets.noisy(y, "pairs", 0.4, x, rng) - y) % 10) == {0, 1}
    assert {"digits", "breast_cancer"} <= set(sets.available())


def test_outliers_are_far(rng):
    (x, y), (test_x, test_y) = sets.load("diabetes")
    assert len(x) + len(test_x) == 442 and x.mean(axis=0) == pytest.approx(0, abs=1e-5)
    moved = sets.with_outliers(y, 0.2, rng)
    wrong = moved != y
    assert abs(wrong.mean() - 0.2) < 0.06 and (abs(moved - y)[wrong] >= 3 * y.std()).all()
    assert (sets.with_outliers(y, 0, rng) == y).all()


def test_the_area_under_precision_and_recall(rng):
    assert runs.average_precision([True, False, True, False], np.array([4.0, 3, 2, 1])) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert runs.average_precision([True, False], np.array([1.0, 1.0])) == pytest.approx(0.5)
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    wrong, scores = rng.random(300) < 0.3, np.round(rng.random(300), 2)
    assert runs.average_precision(wrong, scores) == pytest.approx(metrics.average_precision_score(wrong, scores))


def test_tails_of_any_set(rng):
    (x, y), _ = sets.load("breast_cancer")
    thin_x, thin_y, order = digits.with_tail(x, y, 100, rng)
    counts = np.bincount(thin_y)[order]
    assert counts[0] == np.bincount(y).min() and counts[1] == round(counts[0] / 100) and len(thin_x) == counts.sum()


def test_a_summary_says_where_the_automatic_mode_is_behind():
    found = results.Results(noisy_labels.BASELINE, "method")
    values = {
        "plain": (0.9, 0.5), "automatic": (0.885, 0.76), "small_loss": (0.8, 0.79), "better *": (0.99, 0.99),
        "cleanlab": (0.99, 0.99),
    }  # fmt: skip
    for label, pair in values.items():
        for noise, value in zip(("clean", "symmetric 40%"), pair):
            for seed, shift in enumerate((-0.01, 0.01)):
                found.rows += [(f"a, {noise}", m, label, seed, value + shift) for m in ("final", "best")]
    settings = {"a": ["a, clean", "a, symmetric 40%"]}
    (sentence,) = noisy_labels.sentences(found, ["a"], settings)
    assert sentence.endswith("but for clean (1.5 behind plain); symmetric 40% (3.0 behind small_loss).")
    for _, measure, label, seed, value in [row for row in found.rows if row[0] == "a, clean" and "*" not in row[2]]:
        found.rows.append(("a, tail 10:1", measure, label, seed, value - 0.02 * (label == "automatic")))
    (sentence,) = imbalance.sentences(found, ["a"], ["tail 10:1"])
    assert sentence.endswith("but for tail 10:1 (3.5 behind plain); tail 10:1 (12.5 behind cleanlab).")
    lines = found.summary(settings["a"], ["clean", "40%"], {"passes": noisy_labels._passes})
    assert lines[0] == "| method | passes | clean | 40% |" and lines[1] == "|---|---|---|---|"
    assert lines[2].startswith("| better \\* | ") and lines[-1].startswith("| plain | 1+1 | 90.0 ± 12.7 (90.0) | 50.0")
    assert "+" in lines[2].split("|")[4] and "automatic" in lines[4]


def test_what_methods_multiply_is_what_their_passes_say():
    """On digits a network has 64 x 128 and 128 x 10 weights: a forward pass is a product with each of them, a backward one
    two with the last and one with the first, whose input has no slope. The 360 samples of the test count too."""
    forward, backward, epochs = 64 * 128 + 128 * 10, 64 * 128 + 2 * 128 * 10, 10

    def said(label):
        times = map(int, noisy_labels._passes(label).split("+"))
        return epochs * (1437 * sum(size * count for size, count in zip((forward, backward), times)) + 360 * forward)

    def counted(label):
        return noisy_labels.train("digits", "symmetric 40%", label, 1, epochs)[2]

    assert counted("plain") == said("plain") and counted("co_teaching") == said("co_teaching")
    # What others have beside the passes of most of their epochs: little (small networks, a matrix of classes, plain epochs
    # at the beginning, fewer trusted samples than a batch), or layers and products of samples of their own.
    own = ["linear_separation_alternating", "rotation_consistency_decoupling", "rcal_representation_calibration", "erase"]
    own.append("enhanced_meta_label_correction *")
    for label in noisy_labels.PROCEDURES:
        share = counted(label) / said(label)
        assert 1.5 < share < 2.5 if label in own else 0.5 < share < 1.06, (label, share)
    costs = {"plain": {("a", 1): (2, 10), ("a", 2): (2, 10)}, "other": {("a", 1): (3, 10), ("a", 2): (5, 40)}}
    np.testing.assert_allclose(noisy_labels.relative(costs, ["a"])("other"), (2, 2.5))


def study(tmp_path, *command):
    command = [sys.executable, "-m", "temper", "study", *command, "--output", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True)


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_quick_run_of_training_methods(tmp_path):
    ran = study(tmp_path, "noisy-labels", "--quick", "--methods", "small_loss,meta_weight_net *", "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    for word in ("| clean | symmetric 40% |", "| small_loss | 1+1 |", "| meta_weight_net \\* | 3+3 |", "seconds"):
        assert word in ran.stdout
    rows = rows_of(tmp_path / "noisy-labels.csv")
    # Two seeds, two settings, plain training and two methods, final and best.
    assert len(rows) == 2 * 2 * 3 * 2
    assert all(0.3 < float(row["accuracy"]) <= 1 for row in rows if row["measure"] == "best")
    circles = [node for node in xml.parse(tmp_path / "noisy-labels.svg").iter() if node.tag.endswith("circle")]
    assert len(circles) == 2 * 3
    # In a process of its own or not, a run is the same.
    final, best = (float(row["accuracy"]) for row in rows[-2:])
    assert noisy_labels.train(*rows[-1]["setting"].split(", "), rows[-1]["method"], 2, 10)[0] == {
        "final": final, "best": best
    }  # fmt: skip
    refused = study(tmp_path, "noisy-labels", "--sets", "digit")
    assert refused.returncode == 1 and "digit;" not in refused.stdout and "no set digit" in refused.stderr


def test_every_method_of_a_study_runs():
    for label in noisy_labels.METHODS:
        name = "diabetes" if label in list(noisy_labels.REGRESSION)[1:] else "breast_cancer"
        if label not in noisy_labels.methods(name, [label]):
            name = "digits"
        noise = noisy_labels.noises(name)[1]
        if label not in (noisy_labels.FOREIGN, noisy_labels.AUTOMATIC):
            measures, seconds, _ = noisy_labels.train(name, noise, label, 1, 2)
            assert measures["best"] >= measures["final"] and seconds > 0, label
    for label in imbalance.methods(imbalance.METHODS):
        if label != imbalance.AUTOMATIC and not label.startswith("imbalanced-learn"):
            measures, seconds = imbalance.train("breast_cancer", "tail 10:1", label, 1, 2)
            assert 0 <= measures["final"] <= measures["best"] <= 1 and seconds > 0, label


def test_others_run_beside_ours():
    if runs.available("cleanlab"):
        measures, *_ = noisy_labels.train("breast_cancer", "symmetric 20%", "cleanlab", 1, 20)
        assert measures["final"] > 0.8
        areas, *_ = noisy_labels.train("breast_cancer", "symmetric 20%", noisy_labels.DETECTION, 1, 20)
        assert areas["cleanlab"] > 0.5 and areas["confident_learning"] == pytest.approx(areas["cleanlab"], abs=0.02)
        assert {"aum", "data_maps", "forget_events", "loss_mixture", "tabasco", "tracin_influence"} < set(areas)
        assert min(areas.values()) > 0.25
    if runs.available("imblearn"):
        measures, _ = imbalance.train("breast_cancer", "tail 10:1", "imbalanced-learn SMOTE", 1, 20)
        assert measures["final"] > 0.8
    if not runs.available("cleanlab") and not runs.available("imblearn"):
        pytest.skip("neither cleanlab nor imbalanced-learn is installed")


def test_a_quick_run_of_long_tails(tmp_path):
    ran = study(tmp_path, "imbalance", "--quick", "--methods", "logit_adjusted", "--methods", "smote,tomek_links")
    assert ran.returncode == 0, ran.stderr
    rows = rows_of(tmp_path / "imbalance.csv")
    # Two seeds, one setting, plain training and three methods; final, best, rarest.
    assert len(rows) == 2 * 4 * 3 and {row["setting"] for row in rows} == {"digits, tail 50:1"}
    value = {(row["method"], row["measure"], row["seed"]): float(row["accuracy"]) for row in rows}
    assert all(0 <= accuracy <= 1 for accuracy in value.values())
    assert all(value["smote", "final", seed] > value["plain", "final", seed] for seed in "12")
    assert "| logit_adjusted | " in ran.stdout and "| method | seconds | tail 50:1 |" in ran.stdout
    assert study(tmp_path, "imbalance", "--methods", "smot").returncode == 1
