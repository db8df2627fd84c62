"""Samplers: what their pages say, and imbalanced-learn where it does the same."""

import numpy as np
import pytest

import temper
from temper.study import digits

SKEWED = np.repeat([0, 1, 2], [50, 20, 5])


def samples(rng, y=SKEWED, width=4):
    return rng.normal(size=(len(y), width)) + y[:, None]


def test_oversampling_fills_classes(rng):
    x = samples(rng)
    for options in ({}, {"replacement": False}):
        sampler = temper.sampler("random_oversampler", **options)
        new_x, new_y = sampler.resample(x, SKEWED, seed=1)
        np.testing.assert_array_equal(np.bincount(new_y), 50)
        chosen = sampler.details["indices"]
        assert set(chosen) == set(range(75))
        np.testing.assert_array_equal(new_x, x[chosen])
        np.testing.assert_array_equal(np.sort(sampler.indices(SKEWED, seed=1)), np.sort(chosen))
    counts = np.bincount(chosen, minlength=75)  # without replacement as even as can be
    assert counts[70:].tolist() == [10] * 5 and set(counts[50:70]) == {2, 3}
    same_x, same_y = temper.sampler("random_oversampler", target_ratio=0).resample(x, SKEWED)
    np.testing.assert_array_equal(same_x, x)
    np.testing.assert_array_equal(same_y, SKEWED)
    half = temper.sampler("random_oversampler", target_ratio=0.5).resample(x, SKEWED)[1]
    assert np.bincount(half).tolist() == [50, 35, 28]
    np.testing.assert_allclose(
        temper.sampler("random_oversampler").weights(SKEWED)[[0, 60, 74]], 1 / 3 / np.array([50, 20, 5])
    )


def test_undersampling_thins_classes(rng):
    x = samples(rng).astype(np.float32)
    sampler = temper.sampler("random_undersampler")
    new_x, new_y = sampler.resample(x, SKEWED.astype(np.int32), seed=4)
    assert np.bincount(new_y).tolist() == [5, 5, 5] and new_x.dtype == np.float32 and new_y.dtype == np.int32
    assert len(set(sampler.details["indices"])) == 15
    assert np.bincount(temper.sampler("random_undersampler", target_ratio=0.5).resample(x, SKEWED)[1]).tolist() == [
        27,
        12,
        5,
    ]


def test_class_balanced_chances():
    for q in (0, 0.5, 1):
        weights = temper.sampler("class_balanced_sampler", q=q).weights(SKEWED)
        shares = np.bincount(SKEWED) ** q
        np.testing.assert_allclose(np.bincount(SKEWED, weights), shares / shares.sum())
    drawn = temper.sampler("class_balanced_sampler", count=30_000).indices(SKEWED, seed=2)
    shares = np.bincount(SKEWED[drawn]) / 30_000
    np.testing.assert_allclose(shares, 1 / 3, atol=4 * (2 / 9 / 30_000) ** 0.5)
    sampler = temper.sampler("progressively_balanced")
    for t in (0, 0.25, 1):
        expected = (1 - t) * np.bincount(SKEWED) / 75 + t / 3
        np.testing.assert_allclose(np.bincount(SKEWED, sampler.weights(SKEWED, progress=t)), expected)
    with pytest.raises(temper.Error, match="progress"):
        sampler.weights(SKEWED, progress=1.5)


def nearest(x, k):
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(1, kind="stable")[:, :k]


def check_segments(x, y, new_x, new_y, details):
    base, other, gap = details["base"], details["neighbour"], details["gap"]
    count = len(base)
    np.testing.assert_array_equal(new_x[:-count], x)
    np.testing.assert_array_equal(new_y[:-count], y)
    np.testing.assert_allclose(new_x[-count:], x[base] + gap.reshape(count, -1) * (x[other] - x[base]), rtol=1e-12)
    assert np.all((gap >= 0) & (gap < 1))


def test_smote_lies_between_neighbours(rng):
    x = samples(rng) * [1, 10, 100, 0.1]
    sampler = temper.sampler("smote", k=3)
    new_x, new_y = sampler.resample(x, SKEWED, seed=3)
    assert np.bincount(new_y).tolist() == [50, 50, 50]
    check_segments(x, SKEWED, new_x, new_y, sampler.details)
    scaled = x / x.std(0)
    for k in (1, 2):
        members = np.flatnonzero(SKEWED == k)
        near = members[nearest(scaled[members], 3)]
        own = SKEWED[sampler.details["base"]] == k
        pairs = set(zip(sampler.details["base"][own], sampler.details["neighbour"][own]))
        allowed = {(i, j) for i, row in zip(members, near) for j in row}
        assert pairs <= allowed and len(pairs) > 0.8 * min(len(allowed), own.sum() / 2)
        box = new_x[new_y == k]
        assert np.all(box.min(0) >= x[members].min(0)) and np.all(box.max(0) <= x[members].max(0))
    mixed = temper.sampler("smote", per_feature=True)
    check_segments(x, SKEWED, *mixed.resample(x, SKEWED), mixed.details)
    assert mixed.details["gap"].shape == (75, 4)
    np.testing.assert_array_equal(np.bincount(temper.sampler("smote", ratio=0.5).resample(x, SKEWED)[1]), [50, 25, 25])


def test_smote_percent_and_tiny_classes(rng):
    x = samples(rng)
    sampler = temper.sampler("smote", N=200)
    assert np.bincount(sampler.resample(x, SKEWED)[1]).tolist() == [50, 60, 15]
    assert np.bincount(sampler.details["base"], minlength=75)[50:].tolist() == [2] * 25
    assert np.bincount(temper.sampler("smote", N=40).resample(x, SKEWED)[1]).tolist() == [50, 28, 7]
    one = temper.sampler("smote")
    new_x, new_y = one.resample([[0.0], [1], [2], [5]], [0, 0, 0, 1])
    assert new_x.ravel().tolist() == [0, 1, 2, 5, 5, 5] and new_y.tolist() == [0, 0, 0, 1, 1, 1]
    assert one.resample(np.array([[0], [1], [2], [5]]), [0, 0, 0, 1])[0].dtype == np.float64
    images = one.resample(rng.normal(size=(75, 2, 3)), SKEWED)[0]
    assert images.shape == (150, 2, 3)


def test_smote_is_uniform_on_a_line():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    x, y = np.r_[np.zeros(3000), 0, 1][:, None], np.r_[np.zeros(3000, int), 1, 1]
    made = temper.sampler("smote").resample(x, y, seed=8)[0][3002:, 0]
    assert len(made) == 2998 and stats.kstest(made, "uniform").pvalue > 1e-3


def test_smote_of_the_same_pairs_is_that_of_imbalanced_learn(rng):
    over = pytest.importorskip("imblearn.over_sampling", reason="imbalanced-learn is not installed")
    x = samples(rng)
    sampler = temper.sampler("smote", standardize=False)
    new_x, _ = sampler.resample(x, SKEWED, seed=1)
    members = np.flatnonzero(SKEWED == 1)
    own = SKEWED[sampler.details["base"]] == 1
    near = nearest(x[members], 5)
    place = {sample: at for at, sample in enumerate(members)}
    rows = np.array([place[i] for i in sampler.details["base"][own]])
    columns = np.array([near[r].tolist().index(place[j]) for r, j in zip(rows, sampler.details["neighbour"][own])])
    theirs = over.SMOTE()._generate_samples(
        x[members], x[members], near, rows, columns, sampler.details["gap"][own][:, None]
    )
    np.testing.assert_allclose(new_x[75:][own], theirs, rtol=1e-12)


def test_borderline_starts_in_danger(rng):
    x = samples(rng, width=2)
    for form in ("1", "2"):
        sampler = temper.sampler("borderline_smote", form=form, m=8, standardize=False)
        new_x, new_y = sampler.resample(x, SKEWED, seed=2)
        check_segments(x, SKEWED, new_x, new_y, sampler.details)
        others = (SKEWED[nearest(x, 8)] != SKEWED[:, None]).sum(1)
        danger = (others >= 4) & (others < 8) & (SKEWED > 0)
        assert set(sampler.details["base"]) <= set(np.flatnonzero(danger))
        across = SKEWED[sampler.details["neighbour"]] != SKEWED[sampler.details["base"]]
        assert across.any() == (form == "2") and np.all(sampler.details["gap"][across] < 0.5)


def test_support_vectors_begin_the_lines(rng):
    svm = pytest.importorskip("sklearn.svm")
    x = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(25, 2)) + [1.8, 0]])
    y = np.repeat([0, 1], [60, 25])
    sampler = temper.sampler("svm_smote", m=8, standardize=False)
    new_x, new_y = sampler.resample(x, y, seed=2)
    assert np.bincount(new_y).tolist() == [60, 60]
    base, other, gap = (sampler.details[key] for key in ("base", "neighbour", "gap"))
    np.testing.assert_allclose(new_x[85:], x[base] + gap[:, None] * (x[other] - x[base]), rtol=1e-12)
    assert (y[base] == 1).all() and (y[other] == 1).all()
    # Theirs has an offset that costs nothing; ours, a small one, leaves nearly the same support vectors.
    machine = svm.SVC(C=1, gamma=1 / (2 * x.var(axis=0).mean())).fit(x, y)
    assert np.isin(np.unique(base), machine.support_).mean() > 0.9
    others = (y[nearest(x, 8)] != y[:, None]).sum(1)
    assert others[base].max() < 8
    is_near = others[base] >= 4
    assert is_near.any() and (~is_near).any()
    assert (gap[is_near] >= 0).all() and (gap[is_near] < 1).all()
    assert (gap[~is_near] <= 0).all() and (gap[~is_near] > -0.5).all()
    few = temper.sampler("svm_smote", svm_samples=20).resample(x, y, seed=2)[1]
    assert np.bincount(few).tolist() == [60, 60]


def test_adasyn_goes_where_others_are(rng):
    x = samples(rng, width=2)
    sampler = temper.sampler("adasyn", k=5, standardize=False)
    new_x, new_y = sampler.resample(x, SKEWED, seed=2)
    assert np.bincount(new_y).tolist() == [50, 50, 50]
    check_segments(x, SKEWED, new_x, new_y, sampler.details)
    for k, missing in ((1, 30), (2, 45)):
        members = np.flatnonzero(SKEWED == k)
        share = (SKEWED[nearest(x, 5)] != SKEWED[:, None]).sum(1)[members]
        made = np.bincount(sampler.details["base"], minlength=75)[members]
        assert np.all(np.abs(made - missing * share / share.sum()) < 1)
    apart = np.r_[np.zeros(20), np.full(6, 100.0)][:, None] + rng.normal(size=(26, 1))
    assert np.bincount(temper.sampler("adasyn").resample(apart, np.repeat([0, 1], [20, 6]))[1]).tolist() == [20, 20]


def test_nominal_features_stay_what_they_are(rng):
    x = samples(rng)
    x[:, 1], x[:, 3] = rng.integers(0, 3, 75), rng.integers(0, 2, 75)
    nominal = [False, True, False, True]
    sampler = temper.sampler("smote_nc", k=4)
    new_x, new_y = sampler.resample(x, SKEWED, nominal=nominal, seed=3)
    details, made = sampler.details, new_x[75:]
    assert np.bincount(new_y).tolist() == [50, 50, 50]
    for k in (1, 2):
        members = np.flatnonzero(SKEWED == k)
        median = np.median(x[members][:, [0, 2]].std(0))
        columns = [median / 2**0.5 * (x[members][:, [f]] == v) for f in (1, 3) for v in range(3)]
        encoded = np.hstack([x[members][:, [0, 2]], *columns])
        near = members[nearest(encoded, min(4, len(members) - 1))]
        for at in np.flatnonzero(SKEWED[details["base"]] == k):
            base, other, gap = (details[name][at] for name in ("base", "neighbour", "gap"))
            around = near[members.tolist().index(base)]
            assert other in around
            for f in (0, 2):
                assert made[at, f] == pytest.approx(x[base, f] + gap * (x[other, f] - x[base, f]))
            for f in (1, 3):
                assert made[at, f] == np.bincount(x[around, f].astype(int)).argmax()
    names = temper.sampler("smote_nc").resample(x[:, [1, 3]], SKEWED, nominal=[1, 1])[0]
    assert set(names[:, 0]) <= {0, 1, 2} and set(names[:, 1]) <= {0, 1}
    with pytest.raises(temper.Error, match="nominal"):
        sampler.resample(x, SKEWED, nominal=[0, 0, 0, 0])


def test_cleaning_is_that_of_imbalanced_learn(rng):
    under = pytest.importorskip("imblearn.under_sampling", reason="imbalanced-learn is not installed")
    x = samples(rng, np.repeat([0, 1, 2], [120, 60, 40]), width=2)
    y = np.repeat([0, 1, 2], [120, 60, 40])
    raw = {"standardize": False}
    pairs = [
        (temper.sampler("tomek_links", **raw), under.TomekLinks()),
        (temper.sampler("tomek_links", classes="all", **raw), under.TomekLinks(sampling_strategy="all")),
        (temper.sampler("edited_nearest_neighbours", **raw), under.EditedNearestNeighbours()),
        (
            temper.sampler("edited_nearest_neighbours", agreement="mode", k=5, **raw),
            under.EditedNearestNeighbours(kind_sel="mode", n_neighbors=5),
        ),
    ]
    for ours, theirs in pairs:
        new_x, new_y = ours.resample(x, y)
        theirs.fit_resample(x, y)
        kept = ours.details["indices"]
        assert set(kept) == set(theirs.sample_indices_) and len(new_y) < 220
        np.testing.assert_array_equal(ours.indices(x, y), kept)


def test_missing_skills():
    sampler = temper.sampler("missing_skill_reweighting", fail_prior=0, try_prior=1e-300)
    items = [[1, 0], [0, 1], [1, 1]]
    np.testing.assert_allclose(sampler.weights(items, fails=[8, 2], tries=[10, 10]), np.array([0.8, 0.2, 0.5]) / 1.5)
    np.testing.assert_allclose(sampler.details["missing"], [0.8, 0.2])
    plain = temper.sampler("missing_skill_reweighting")
    np.testing.assert_allclose(plain.weights(np.eye(4), fails=[3] * 4, tries=[7] * 4), 0.25)
    np.testing.assert_allclose(plain.details["missing"], 4 / 9)
    pool = np.repeat(np.eye(3, dtype=int), 10, axis=0)
    drawn = plain.indices(pool, missed=[[1, 0, 0], [1, 0, 1]], seed=1)
    assert np.bincount(drawn // 10, minlength=3).tolist() == [10, 0, 5]
    rewards = [[0.9, 0.95, 0.95], [0.9, 0.95, 0.6]]  # only the second item is hard
    drawn = plain.indices(pool, missed=[[1, 0, 0], [1, 0, 1]], step_rewards=rewards)
    assert np.bincount(drawn // 10, minlength=3).tolist() == [5, 0, 5]
    with pytest.raises(temper.Error, match="tries"):
        plain.weights(np.eye(2), fails=[3, 1], tries=[2, 1])


def test_sparse_replay_covers_all_shells(rng):
    line = np.arange(8.0)[:, None] + 1
    chosen = temper.sampler("sparse_uniform_replay", budget=4, mode="sparse", center="mean").indices(
        line, np.zeros(8, int)
    )
    # Sorted from 8 to 1 in pieces of four, whose middle ones are 6 and 2; about 4.5 the least like 6 lies below it.
    assert set(chosen) >= {5, 1} and len(set(chosen)) == 4
    x, groups = rng.normal(size=(200, 6)) + 3, np.repeat([0, 3], [150, 50])
    sampler = temper.sampler("sparse_uniform_replay", budget=20)
    kept = sampler.indices(x, groups, shuffled_features=rng.permuted(x, axis=1))
    assert len(set(kept)) == len(kept) and np.bincount(groups[kept]).tolist() == [20, 0, 0, 20]
    few = temper.sampler("sparse_uniform_replay", budget=60, mode="sparse").indices(x, groups)
    assert (groups[few] == 3).sum() == 50
    with pytest.raises(temper.Error, match="shuffled_features"):
        sampler.indices(x, groups)


def test_the_memory_of_a_stream_becomes_clean_and_even(rng, tmp_path):
    y = rng.integers(0, 5, 2000)
    wrong = rng.random(2000) < 0.4
    sampler = temper.sampler("noisy_test_debiasing_memory", memory_size=100)
    for start in range(0, 2000, 16):
        part = slice(start, start + 16)
        kept = sampler.indices(y[part], losses=wrong[part].astype(float))
        assert len(kept) == min(100, min(start + 16, 2000)) and len(set(kept)) == len(kept)
        if start == 480:
            sampler.save(tmp_path / "memory.safetensors")
    assert np.ptp(np.bincount(y[kept])) <= 1 and not wrong[kept].any()
    other = temper.sampler("noisy_test_debiasing_memory", memory_size=100).load(tmp_path / "memory.safetensors")
    for start in range(496, 2000, 16):
        again = other.indices(y[start : start + 16], losses=wrong[start : start + 16].astype(float))
    np.testing.assert_array_equal(again, kept)
    # Losses from the mean of the views' logits.
    logits = rng.normal(size=(9, 5, 3))
    mean = logits.mean(1)
    labels = rng.integers(0, 3, 9)
    losses = np.log(np.exp(mean).sum(1)) - mean[np.arange(9), labels]
    small = [temper.sampler("noisy_test_debiasing_memory", memory_size=4) for _ in range(2)]
    np.testing.assert_array_equal(small[0].indices(labels, logits=logits), small[1].indices(labels, losses=losses))
    np.testing.assert_allclose(small[0].state["item_losses"], small[1].state["item_losses"])


def descended(x, y, steps, rate, w):
    """Weights of multinomial logistic regression after so many steps on all of x."""
    for _ in range(steps):
        p = np.exp(x @ w - (x @ w).max(axis=1, keepdims=True))
        w = w + rate * (x.T @ (np.eye(10)[y] - p / p.sum(axis=1, keepdims=True)) / len(x))
    return w


def test_the_memory_of_a_stream_of_digits_is_clean():
    """Five tasks of two digits that run into each other, 40% wrong labels: more than 80% of the memory is right, where of
    the stream 60% is, over five seeds; the losses are those of the model that learns from the stream and the memory."""
    (x, y), _ = digits.load(digits.find())
    for seed in range(5):
        rng = np.random.default_rng(seed)
        given = digits.with_noise(y, digits.symmetric(0.4), rng)
        stream = np.argsort(y // 2 + rng.normal(0, 0.7, len(y)))
        sampler = temper.sampler("noisy_test_debiasing_memory", memory_size=100)
        w, kept = np.zeros((64, 10)), np.zeros(0, int)
        for start in range(0, len(y), 16):
            new = stream[start : start + 16]
            views = x[new][:, None] + 0.1 * rng.normal(size=(len(new), 5, 64))
            both = np.concatenate([new, stream[kept]])
            kept = sampler.indices(given[new], logits=views @ w)
            w = descended(x[both], given[both], 3, 0.3, w)
        memory = stream[kept]
        assert (given[memory] == y[memory]).mean() > 0.8 and np.ptp(np.bincount(given[memory])) <= 1


def test_replay_of_all_shells_remembers_digits():
    """Five tasks of two digits one after the other, ten replayed of each class: as good as random ones, and clearly
    better than those nearest the centre, over five seeds."""
    (x, y), (test_x, test_y) = digits.load(digits.find())
    right = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(y))[:1000]
        members = [chosen[y[chosen] == k] for k in range(10)]
        sampler = temper.sampler("sparse_uniform_replay", budget=10, mode="sparse", center="mean")
        kinds = (
            [m[sampler.indices(x[m], np.zeros(len(m), int))] for m in members],
            [rng.choice(m, 10, replace=False) for m in members],
            [m[np.argsort(-(x[m] @ x[m].mean(axis=0)))[:10]] for m in members],
        )
        right.append([])
        for kept in kinds:
            w = np.zeros((64, 10))
            for task in range(5):
                old = np.concatenate([np.zeros(0, int), *kept[: 2 * task]])
                rows = np.concatenate([*members[2 * task : 2 * task + 2], old, old, old])
                w = descended(x[rows], y[rows], 60, 2, w)
            right[-1].append(((test_x @ w).argmax(axis=1) == test_y).mean())
    shells, drawn, centre = np.mean(right, axis=0)
    assert shells > drawn - 0.01 and shells > centre + 0.02


@pytest.mark.parametrize("record", temper.catalog("sampler"), ids=lambda record: record["name"])
def test_bad_input_is_an_error(record):
    sampler = temper.sampler(record["name"])
    calls = {call["name"]: call for call in record["calls"]}
    for name in {"resample", "indices", "weights"} - set(calls):
        with pytest.raises(temper.errors.Unsupported, match=name):
            getattr(sampler, name)([0, 1])
    if "resample" in calls:
        more = {"nominal": [1, 0]} if "nominal" in calls["resample"]["inputs"] else {}
        more |= {"progress": 0.5} if "progress" in calls["resample"]["inputs"] else {}
        good = np.arange(12.0).reshape(6, 2)
        for x, y in [
            (good, [0, 0, 0, 1, 1]),
            (good, [0, 0, 0, 1, 1, -1]),
            (good, [0.5] * 6),
            (np.zeros((0, 2)), np.zeros(0, int)),
            (good, None),
        ]:
            with pytest.raises(temper.Error):
                sampler.resample(x, y, **more)
        distances = "smote" in record["name"] or record["name"] in (
            "adasyn",
            "tomek_links",
            "edited_nearest_neighbours",
        )
        if distances:
            for x, y, match in [
                (np.where(good == 3, np.nan, good), [0, 0, 0, 0, 1, 1], "element 3 is nan"),
                (good, [4] * 6, "one class"),
            ]:
                with pytest.raises(temper.Error, match=match):
                    sampler.resample(x, y, **more)


def test_smote_helps_a_thin_class():
    """Breast cancer with 20 malignant samples left: balanced accuracy of a linear model, mean of 5 seeds."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    from sklearn.datasets import load_breast_cancer
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    gains = []
    for seed in range(5):
        x, y = load_breast_cancer(return_X_y=True)
        x = (x - x.mean(0)) / x.std(0)
        train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
        keep = np.r_[np.flatnonzero(train_y == 1), np.flatnonzero(train_y == 0)[:20]]
        train_x, train_y = train_x[keep], train_y[keep]
        scores = []
        for data in ((train_x, train_y), temper.sampler("smote").resample(train_x, train_y, seed=seed + 1)):
            model = linear.LogisticRegression(C=0.01, max_iter=500).fit(*data)
            scores.append(balanced_accuracy_score(test_y, model.predict(test_x)))
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0.02
