"""Generators: rates and matrices as asked, the truth kept aside, texts that can be checked."""

import itertools
import math
import re

import numpy as np
import pytest

import temper


def within(share, p, n):
    """Whether a share of n draws is within four standard errors of p."""
    return abs(share - p) <= 4 * (p * (1 - p) / n) ** 0.5 + 1e-12


Y = np.tile(np.arange(5), 4000)


@pytest.mark.parametrize("name", ["symmetric_noise", "pair_noise"])
def test_noise_by_matrix(name):
    made = temper.generator(name, rate=0.3)(Y, seed=3)
    expected = np.full((5, 5), 0.075) if name == "symmetric_noise" else np.roll(np.eye(5), 1, 1) * 0.3
    np.fill_diagonal(expected, 0.7)
    np.testing.assert_allclose(made["transition"], expected)
    np.testing.assert_array_equal(made["true_y"], Y)
    np.testing.assert_array_equal(made["is_noisy"], made["y"] != Y)
    for i, j in itertools.product(range(5), range(5)):
        assert within((made["y"][Y == i] == j).mean(), expected[i, j], 4000)
    again = temper.generator(name, rate=0.3)(Y, seed=3)["y"]
    np.testing.assert_array_equal(made["y"], again)
    assert np.any(temper.generator(name, rate=0.3)(Y, seed=4)["y"] != again)
    np.testing.assert_array_equal(temper.generator(name, rate=0)(Y)["y"], Y)
    assert temper.generator(name)([0, 1, 0], num_classes=7)["transition"].shape == (7, 7)


def test_noise_by_a_given_matrix(rng):
    transition = rng.dirichlet(np.ones(5), 5)
    made = temper.generator("asymmetric_noise")(Y, transition, seed=1)
    for i, j in itertools.product(range(5), range(5)):
        assert within((made["y"][Y == i] == j).mean(), transition[i, j], 4000)
    with pytest.raises(temper.Error, match="row 2"):
        bad = transition.copy()
        bad[2, 2] += 0.5
        temper.generator("asymmetric_noise")(Y, bad)


def test_noise_of_instances(rng):
    x = rng.normal(size=(len(Y), 6))
    made = temper.generator("instance_dependent_noise", rate=0.3)(x, Y, seed=2)
    assert within(made["is_noisy"].mean(), 0.3, len(Y)) and within(made["rates"].mean(), 0.3, len(Y))
    assert 0.08 < made["rates"].std() < 0.12 and made["rates"].min() >= 0
    np.testing.assert_allclose(made["transition"].sum(1), 1)
    # Where a label goes depends on the sample: the same features err to the same class.
    same = temper.generator("instance_dependent_noise", rate=1, deviation=0)(
        np.repeat(x[:1], 2000, 0), np.r_[:2000] % 5, seed=1
    )
    assert same["is_noisy"].all()
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    own = made["is_noisy"] & (Y == 1)
    model = linear.LogisticRegression().fit(x[own], made["y"][own])
    assert model.score(x[own], made["y"][own]) > np.bincount(made["y"][own]).max() / own.sum() + 0.05


def test_open_set_noise(rng):
    x, outside = rng.normal(size=(100, 2, 3)).astype(np.float32), rng.normal(size=(7, 2, 3)) + 50
    made = temper.generator("open_set_noise", rate=0.25)(x, Y[:100], outside=outside, seed=5)
    assert made["is_noisy"].sum() == 25 and made["x"].dtype == np.float32
    np.testing.assert_array_equal(made["x"][~made["is_noisy"]], x[~made["is_noisy"]])
    np.testing.assert_allclose(made["x"][made["is_noisy"]], outside[made["source"][made["is_noisy"]]], rtol=1e-6)
    np.testing.assert_array_equal(made["y"], Y[:100])
    shuffled = temper.generator("open_set_noise", rate=1)(x, Y[:100])["x"]
    for feature in np.ndindex(2, 3):
        assert set(shuffled[(slice(None), *feature)]) <= set(x[(slice(None), *feature)])


def test_feature_noise_and_outliers(rng):
    x = rng.normal(size=(2000, 3)) * [1, 10, 0.1]
    made = temper.generator("feature_noise", rate=0.5, scale=2)(x, seed=1)
    moved = (made["x"] - x) / x.std(0)
    assert made["is_noisy"].sum() == 1000 and not moved[~made["is_noisy"]].any()
    assert abs(moved[made["is_noisy"]].std() / 2 - 1) < 0.1
    np.testing.assert_array_equal(made["true_x"], x)
    lost = temper.generator("feature_noise", rate=1, form="missing", features=1 / 3)(x)["x"]
    assert np.all((lost == x.mean(0)).sum(1) == 1) or np.allclose(np.isclose(lost, x.mean(0)).sum(1), 1)
    far = temper.generator("outliers", rate=0.1, distance=10)(x, seed=2)
    lengths = np.linalg.norm((far["x"] - x) / x.std(0), axis=1)
    np.testing.assert_allclose(lengths[far["is_noisy"]], 10 * 3**0.5)
    assert far["is_noisy"].sum() == 200 and not lengths[~far["is_noisy"]].any()
    y = rng.normal(size=2000)
    regression = temper.generator("outliers", rate=0.1)(x, y, seed=2)
    np.testing.assert_allclose(np.abs(regression["y"] - y)[regression["is_noisy"]], 10 * y.std())
    np.testing.assert_array_equal(regression["x"], x)


def test_long_tails(rng):
    y = np.repeat(np.arange(5), 200)
    x = rng.normal(size=(1000, 2))
    expected = {
        "exponential": np.round(200 * 50.0 ** (-np.arange(5) / 4)),
        "step": [200, 200, 200, 4, 4],
        "linear": np.round(200 * (1 - np.arange(5) / 4 * (1 - 1 / 50))),
    }
    for form, counts in expected.items():
        made = temper.generator("long_tail", rho=50, form=form, mu=0.4)(x, y, seed=1)
        np.testing.assert_array_equal(made["counts"], counts)
        np.testing.assert_array_equal(np.bincount(made["y"]), counts)
        np.testing.assert_array_equal(made["x"], x[made["indices"]])
    assert np.bincount(temper.generator("long_tail", ratio=10, reversed=True)(x, y)["y"]).tolist() == [
        20,
        36,
        63,
        112,
        200,
    ]


def test_dilution(rng):
    x, y = rng.normal(size=(500, 2)), rng.integers(0, 4, 500)
    same = temper.generator("diluted_label_noise", alpha=0)(x, y)
    np.testing.assert_array_equal(same["x"], x)
    np.testing.assert_array_equal(same["y"], y)
    made = temper.generator("diluted_label_noise", alpha=9)(x, y, seed=2)
    np.testing.assert_array_equal(made["x"], x[made["indices"]])
    assert made["is_clean"].sum() == 500 and np.bincount(made["indices"]).tolist() == [10] * 500
    right = (made["y"] == y[made["indices"]])[~made["is_clean"]].mean()
    assert within(right, 1 / 4, 4500)  # (1 + alpha / K) / (1 + alpha) in all
    confusion = np.roll(np.eye(4), 1, 1)
    biased = temper.generator("diluted_label_noise", alpha=9, pattern="biased", delta=1)(x, y, confusion)
    np.testing.assert_array_equal(biased["y"][500:], (y[biased["indices"][500:]] + 1) % 4)
    others = rng.normal(size=(6, 2)) + 99
    structured = temper.generator("diluted_label_noise", alpha=2, pattern="structured")(x, y, others=others)
    np.testing.assert_array_equal(structured["x"][500:], others[structured["indices"][500:]])
    with pytest.raises(temper.Error, match="confusion"):
        temper.generator("diluted_label_noise", pattern="biased")(x, y)


def best_threshold(x, y):
    order = np.argsort(x)
    right = np.cumsum(np.where(y[order] == 1, -1, 1))
    best = max(right.max(), -right.min(), 0)
    return (best + (y == 1).sum() if right.max() >= -right.min() else best + (y == 0).sum()) / len(y)


def test_slabs():
    made = temper.generator("simplicity_bias_slabs", n=6000, d=4, k=5, noise_features=1)(seed=3)
    x, y = made["x"], made["y"]
    assert np.all((x[:, 0] > 0) == (y == 1)) and np.abs(x[:, 0]).min() >= 0.1 and np.abs(x).max() <= 1
    for feature in (1, 2):
        assert 0.64 < best_threshold(x[:, feature], y) < 0.69  # at most 2/3
        cuts = -1 + 0.32 * np.arange(1, 5) + 0.1 * np.arange(4) + 0.05
        np.testing.assert_array_equal(np.searchsorted(cuts, x[:, feature]) % 2, y)
    assert best_threshold(x[:, 3], y) < 0.54
    noisy = temper.generator("simplicity_bias_slabs", n=6000, d=1, form="noisy_lms", noise_p=0.2)(seed=1)
    assert within(((noisy["x"][:, 0] > 0) == (noisy["y"] == 1)).mean(), 0.9, 6000)
    turned = temper.generator("simplicity_bias_slabs", n=300, d=6, rotate=True)(seed=3)
    plain = temper.generator("simplicity_bias_slabs", n=300, d=6)(seed=3)
    np.testing.assert_allclose(turned["rotation"] @ turned["rotation"].T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(turned["x"], plain["x"] @ turned["rotation"], atol=1e-12)
    with pytest.raises(temper.Error, match="odd"):
        temper.generator("simplicity_bias_slabs", n=10, k=4)()


OPERATIONS = {
    "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "mod": lambda a, b: a % b, "div": lambda a, b: a // b,
    "min": min, "max": max, "diff": lambda a, b: abs(a - b),
}  # fmt: skip
FUNCTIONS = {
    "addition": sum, "multiplication": math.prod, "median": lambda n: sorted(n)[1], "gcd": lambda n: math.gcd(*n),
    "max_difference": lambda n: max(abs(n[0] - n[1]), abs(n[1] - n[2])),
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_traces_of_arithmetic(function):
    for sampling in ("magnitude", "length"):
        made = temper.generator(
            "traced_integer_noise_generator", function=function, sampling=sampling, count=60, contamination=0
        )(seed=2)
        assert made["texts"] == made["clean_texts"] and not made["is_noisy"].any()
        for text, answer, count in zip(made["texts"], made["answers"], made["operations"]):
            head, *lines, last = text.split("\n")
            numbers = [int(n) for n in re.findall(r"\d+", head)]
            assert FUNCTIONS[function](numbers) == answer and last == f"answer={answer}" and len(lines) == count
            for line in lines:
                name, a, b, c = re.fullmatch(r"(\w+)\((\d+),(\d+)\)=(\d+)", line).groups()
                assert OPERATIONS[name](int(a), int(b)) == int(c)
    static = temper.generator(
        "noisy_trace_generator", function=function, count=60, contamination=1, noise="char_replace"
    )()
    np.testing.assert_array_equal(static["answers"], static["true_answers"])
    changed = sum(a != b for a, b in zip(static["texts"], static["clean_texts"]))
    assert changed > 50 and all(len(a) == len(b) for a, b in zip(static["texts"], static["clean_texts"]))


def test_dynamic_noise_goes_on():
    options = {"count": 300, "contamination": 1, "function": "addition"}
    made = temper.generator("noisy_trace_generator", noise="plus_minus_one", intensity=1, **options)()
    assert np.mean(made["answers"] != made["true_answers"]) > 0.9
    np.testing.assert_array_equal(made["corrupted"], made["operations"])
    some = temper.generator("noisy_trace_generator", noise="random_same_digits", intensity=0.2, **options)()
    assert within(some["corrupted"].sum() / some["operations"].sum(), 0.2, some["operations"].sum())
    for text, corrupted in zip(some["texts"], some["corrupted"]):
        wrong = 0
        for name, a, b, c in re.findall(r"(\w+)\((\d+),(\d+)\)=(\d+)", text):
            right = OPERATIONS[name](int(a), int(b))
            wrong += right != int(c)
            assert len(str(right)) == len(c)
        assert wrong == corrupted
    for kind in ("char_delete", "line_delete"):
        cut = temper.generator("noisy_trace_generator", noise=kind, **options)()
        assert np.array_equal(cut["answers"], cut["true_answers"])
        assert np.mean([len(a) < len(b) for a, b in zip(cut["texts"], cut["clean_texts"])]) > 0.9


def test_satisfiability():
    made = temper.generator("random_ksat_text_generator", count=60, n_low=4, n_high=9)(seed=1)
    assert made["satisfiable"].sum() == 30
    for text, answer, n, m, clauses in zip(
        *(made[key] for key in ("texts", "satisfiable", "variables", "clause_counts", "clauses"))
    ):
        clauses = clauses[:m]
        assert text.count(".") == m and np.all(np.abs(clauses) <= n) and np.all(clauses != 0)
        assert all(len(set(abs(c))) == 3 for c in clauses)
        holds = any(
            all(any((values[abs(v) - 1] == 1) == (v > 0) for v in clause) for clause in clauses)
            for values in itertools.product((0, 1), repeat=n)
        )
        assert holds == bool(answer)
        first = text.split(". ")[0]
        premises = sum(v < 0 for v in clauses[0])
        assert first.startswith("if " if 0 < premises < 3 else "it is not so" if premises == 3 else "X is")
    shares = []
    for r in (3.0, 4.4, 6.0):
        loose = temper.generator(
            "random_ksat_text_generator", count=60, n_low=20, n_high=20, r_low=r, r_high=r, balanced=False
        )()
        shares.append((loose["satisfiable"].mean(), np.median(loose["branchings"])))
    assert shares[0][0] > 0.9 > 0.75 > shares[1][0] > shares[2][0] and shares[2][0] < 0.2
    one = temper.generator("random_ksat_text_generator", k=1, n_low=1, n_high=1, r_low=2, r_high=2, count=8)()
    for answer, clauses in zip(one["satisfiable"], one["clauses"]):
        assert answer == (clauses[0, 0] == clauses[1, 0])
    with pytest.raises(temper.Error, match="balanced"):
        temper.generator("random_ksat_text_generator", r_low=0.1, r_high=0.1)()


def test_word_problems():
    made = temper.generator("distractor_word_problems", count=80)(seed=4)
    for clean, adversarial, expression, answer, count, numbers, used in zip(
        *(made[key] for key in ("clean", "adversarial", "expressions", "answers", "distractors", "numbers", "is_used"))
    ):
        assert eval(expression) == answer and 1 <= count <= 2
        parts = re.findall(r"[^.?]+[.?]", adversarial)
        kept = [
            part.strip()
            for part in parts
            if part.strip() in re.findall(r"[^.?]+[.?]", clean.replace(". ", ".").replace("? ", "?"))
        ]
        assert " ".join(kept) == clean and len(parts) == len(kept) + count and adversarial.endswith("?")
        found = [int(n) for n in re.findall(r"\d+", adversarial)]
        assert found == numbers[numbers >= 0].tolist()
        assert sorted(np.array(found)[used[used >= 0] == 1]) == sorted(int(n) for n in re.findall(r"\d+", expression))
    assert temper.generator("distractor_word_problems", count=80)(seed=4)["adversarial"] == made["adversarial"]


def test_weak_annotators():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    x, y = datasets.load_digits(return_X_y=True)
    made = temper.generator("real_label_noise_benchmark", annotator_fraction=0.02, n_annotators=1)(x, y, seed=1)
    rate = made["is_noisy"].mean()
    assert 0.1 < rate < 0.5
    np.testing.assert_allclose(made["transition"].sum(1), 1)
    for i in range(10):
        np.testing.assert_allclose(made["transition"][i], np.bincount(made["y"][y == i], minlength=10) / (y == i).sum())
    assert within((made["simulated_y"] != y).mean(), rate, len(y))
    np.testing.assert_array_equal(made["oracle"], np.flatnonzero(made["y"] == y))
    more = temper.generator("real_label_noise_benchmark", annotator_fraction=0.02, n_annotators=7)(x, y, seed=1)
    assert more["is_noisy"].mean() < rate


def test_pages_without_overlap(rng):
    sizes = rng.uniform(0.05, 0.5, (40, 2))
    sizes[:5] = 0.02
    fills = []
    for seed in range(1, 6):
        made = temper.generator("mesh_candidate_bestfit", candidates=60)(sizes, categories=np.arange(40), seed=seed)
        placed, boxes = made["placed"], made["boxes"]
        assert placed.min() > -1e-9 and placed.max() < 1 + 1e-9
        np.testing.assert_array_equal(made["categories"], made["elements"])
        np.testing.assert_allclose(placed[:, 2:] - placed[:, :2], sizes[made["elements"]])
        for a, b in itertools.combinations(placed, 2):
            across = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            assert across.min() < 1e-7
        np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], placed[:, :2] + placed[:, 2:])
        factors = (boxes[:, 2:] - boxes[:, :2]) / (placed[:, 2:] - placed[:, :2])
        assert factors.min() >= 0.8 and factors.max() <= 0.95
        assert np.all(np.diff(made["fill"]) > 0) and (sizes[made["elements"]].min(1) < 0.05).sum() <= 5
        fills.append(made["fill"][-1])
    assert np.mean(fills) > 0.6
    # Halves in a corner: the first leaves a mesh of halves, and the rest tile the page.
    quarter = temper.generator("mesh_candidate_bestfit", candidates=4)([[0.5, 1.0]], seed=2)
    assert quarter["fill"][-1] <= 1
    with pytest.raises(temper.Error, match="0.01"):
        temper.generator("mesh_candidate_bestfit")([[0.001, 0.5]])


ROWS = "pairwise_match_then_community_rows"


def bag(text, features):
    """Counts of 3-grams of bytes by their hash, as the record says, of length 1."""
    counts = np.zeros(features)
    for cell in text.split(" | "):
        letters = f" {cell} ".encode() if cell else b""
        for b0, b1, b2 in zip(letters, letters[1:], letters[2:]):
            counts[(2654435761 * (b0 + 256 * b1 + 65536 * b2) % 2**32) * features >> 32] += 1
    return counts / max(np.linalg.norm(counts), 1e-300)


def edits(a, b):
    """Letters put in, left out, replaced or exchanged with the next one (optimal string alignment)."""
    d = np.add.outer(np.arange(len(a) + 1), np.arange(len(b) + 1))
    for i, p in enumerate(a, 1):
        for j, q in enumerate(b, 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (p != q))
            if i > 1 and j > 1 and p == b[j - 2] and a[i - 2] == q:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[-1, -1]


def test_rows_of_a_table():
    """Copies differ from the first of their group by as many errors and by cells that are empty."""
    made = temper.generator(ROWS, count=30, copies=3, errors=1, missing=0, features=64)(seed=5)
    assert len(made["texts"]) == 90 and len(set(made["texts"][::3])) == 30
    np.testing.assert_array_equal(made["groups"], np.arange(90) // 3)
    assert all(text.count(" | ") == 3 for text in made["texts"])
    for row in range(0, 90, 3):
        first, *others = made["texts"][row : row + 3]
        assert [edits(first, other) for other in others] == [1, 1]
    np.testing.assert_allclose(made["x"], [bag(text, 64) for text in made["texts"]], atol=1e-12)
    views = np.array([bag(text, 64) for text in made["view_texts"]]).reshape(90, 2, 64)
    np.testing.assert_allclose(made["views"], views, atol=1e-12)
    holes = temper.generator(ROWS, count=100, copies=5, errors=0, missing=0.3)(seed=5)["texts"]
    assert within(sum(cell == "" for text in holes for cell in text.split(" | ")) / 1600, 0.3, 1600)
    assert all(any(text.split(" | ")) for text in holes)


def test_altered_rows():
    """Each alteration alone, at its chance, of rows of one's own."""
    rows = ["anna maria|berlin 12|x7", "Ünal |  12345|", "b|c|d"] * 100
    none = {"drop": 0, "shuffle": 0, "typo": 0, "case": 0, "views": 1}

    def forms(**changes):
        made = temper.generator(ROWS, **{**none, **changes})(texts=rows, seed=3)
        assert "groups" not in made
        return [(a.split(" | "), b.split(" | ")) for a, b in zip(made["texts"], made["view_texts"])]

    assert all(a == b for a, b in forms()) and forms()[1][0] == ["Ünal", "12345", ""]
    dropped = forms(drop=0.3)
    assert within(sum(a != b for a, b in dropped) / 300, 0.3, 300)
    assert all(sum(p != q for p, q in zip(a, b)) <= 1 for a, b in dropped)
    assert all(sorted(a) == sorted(b) for a, b in forms(shuffle=1)) and any(a != b for a, b in forms(shuffle=1))
    assert all(edits(" | ".join(a), " | ".join(b)) == 1 for a, b in forms(typo=1))
    capitals = forms(case=1)
    assert all([p.lower() for p in a] == [q.lower() for q in b] for a, b in capitals)
    assert within(sum(a != b for a, b in forms(typo=0.5)) / 300, 0.5, 300)
    with pytest.raises(temper.Error, match="too many"):
        temper.generator(ROWS, count=100_000, copies=1000)()


@pytest.mark.parametrize("record", temper.catalog("generator"), ids=lambda record: record["name"])
def test_generators_depend_on_their_seed_alone(record):
    (call,) = record["calls"]
    rng = np.random.default_rng(0)
    y = np.arange(40) % 4
    inputs = {
        "x": rng.normal(size=(40, 3)),
        "y": y,
        "transition": np.full((4, 4), 0.25),
        "sizes": rng.uniform(0.1, 0.4, (9, 2)),
    }
    given = {name: inputs[name] for name in call["inputs"] if name in inputs}
    small = {"count": 20, "n": 30, "d": 4, "candidates": 20}
    options = {p["name"]: small[p["name"]] for p in record["parameters"] if p["name"] in small}
    if record["name"] == "outliers":
        del given["y"]
    make = temper.generator(record["name"], **options)
    first, second, other = make(**given, seed=7), make(**given, seed=7), make(**given, seed=8)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert {r["name"] for r in call["results"]} >= set(first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
    if "x" in given and record["name"] not in ("diluted_label_noise", "long_tail", "open_set_noise"):
        with pytest.raises(temper.Error, match="element 4"):
            make(**given | {"x": np.where(np.arange(120).reshape(40, 3) == 4, np.nan, 1.0)})
    if "y" in given:
        with pytest.raises(temper.Error):
            make(**given | {"y": np.zeros(3, int) - 1})
