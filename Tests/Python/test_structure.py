"""Neighbours, clusters, components and mixtures, against scikit-learn; the same bits with any number of threads."""

import numpy as np
import pytest

import temper

sklearn = pytest.importorskip("sklearn", reason="scikit-learn, the oracle of these tests, is not installed")
from sklearn import cluster, datasets, decomposition, mixture, neighbors  # noqa: E402


def digits():
    return datasets.load_digits(return_X_y=True)


@pytest.mark.parametrize("data", ["digits", "wine", "normal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours(rng, data, dtype):
    x = {
        "digits": lambda: digits()[0],
        "wine": lambda: datasets.load_wine().data,
        "normal": lambda: rng.normal(size=(1500, 20)) + 100,
    }[data]().astype(dtype)
    train, test = x[: len(x) // 2], x[len(x) // 2 :]
    oracle = neighbors.NearestNeighbors(n_neighbors=7, algorithm="brute").fit(train.astype(float))
    detector = temper.detector("nearest_neighbours", k=7).fit(train)
    for queries, given in ((test, {"x": test}), (None, {})):
        distances, ids = oracle.kneighbors(None if queries is None else queries.astype(float))
        scores = detector.score(**given)
        np.testing.assert_allclose(detector.details["distances"], distances, rtol=1e-6, atol=1e-4)
        np.testing.assert_array_equal(scores, detector.details["distances"][:, -1])
        own = detector.details["neighbours"]
        # Where they differ, the points are equally far.
        points, base = train.astype(float), (train if queries is None else queries).astype(float)
        theirs, ours = (np.linalg.norm(points[i] - base[:, None], axis=-1) for i in (ids, own))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
        assert (own == ids).mean() > 0.97


@pytest.mark.parametrize("k", [1, 20, 1000])
def test_local_outlier_factors(rng, k):
    x = np.concatenate([rng.normal(size=(300, 5)), 6 + 0.1 * rng.normal(size=(40, 5)), rng.uniform(-8, 8, (10, 5))])
    factors = temper.detector("local_outlier_factor", k=k).score(x)
    oracle = neighbors.LocalOutlierFactor(min(k, 349)).fit(x)
    np.testing.assert_allclose(factors, -oracle.negative_outlier_factor_, rtol=1e-6)
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    inside = ((grid > 3) & (grid < 16)).all(axis=1)
    assert abs(temper.detector("local_outlier_factor", k=4).score(grid)[inside] - 1).max() < 1e-9


def test_k_means():
    x, _ = digits()
    detector = temper.detector("k_means", k=10, restarts=5, seed=1).fit(x)
    oracle = cluster.KMeans(10, n_init=5, random_state=0).fit(x)
    assert abs(float(detector.state["inertia"]) / oracle.inertia_ - 1) < 0.01
    scores = detector.score(x)
    # Lloyd's fixed point: each sample belongs to its nearest centre, which is the mean of its samples.
    centres, own = detector.state["centres"], detector.details["assignments"]
    distances = np.linalg.norm(x[:, None] - centres, axis=-1)
    np.testing.assert_array_equal(distances.argmin(1), own)
    np.testing.assert_allclose(scores, distances.min(1), rtol=1e-9)
    np.testing.assert_allclose(centres, [x[own == k].mean(0) for k in range(10)], atol=0.05)
    assert float(detector.state["inertia"]) == pytest.approx((scores**2).sum())


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_principal_components(rng, shape):
    x = datasets.load_breast_cancer().data if shape == "tall" else rng.normal(size=(30, 200)) * np.arange(200)
    oracle = decomposition.PCA(5, svd_solver="full").fit(x)
    detector = temper.detector("pca", components=5).fit(x)
    np.testing.assert_allclose(detector.state["variances"], oracle.explained_variance_, rtol=1e-9)
    signs = np.sign((detector.state["components"] * oracle.components_).sum(1, keepdims=True))
    np.testing.assert_allclose(detector.state["components"], signs * oracle.components_, atol=1e-7)
    scores = detector.score(x)
    coordinates = oracle.transform(x)
    np.testing.assert_allclose(detector.details["coordinates"], coordinates * signs[:, 0], rtol=1e-6, atol=1e-5)
    error = np.linalg.norm(x - oracle.inverse_transform(coordinates), axis=1)
    np.testing.assert_allclose(scores, error, rtol=1e-5, atol=1e-3)


def test_gaussian_mixture(rng):
    losses = np.concatenate([rng.normal(0.2, 0.1, 700), rng.normal(1.5, 0.4, 300)])
    detector = temper.detector("loss_mixture", tolerance=0, iterations=500).fit(losses)
    oracle = mixture.GaussianMixture(2, tol=1e-12, max_iter=2000, random_state=0).fit(losses[:, None])
    order = oracle.means_[:, 0].argsort()
    np.testing.assert_allclose(detector.state["weights"], oracle.weights_[order], rtol=1e-4)
    np.testing.assert_allclose(detector.state["first"], oracle.means_[order, 0], rtol=1e-4)
    np.testing.assert_allclose(detector.state["second"], oracle.covariances_[order, 0, 0], rtol=1e-4)
    np.testing.assert_allclose(detector.score(losses), oracle.predict_proba(losses[:, None])[:, order[1]], atol=1e-4)
    # One more step from where scikit-learn ended changes nothing: the same equations.
    assert detector.score(losses)[losses < 0.3].max() < 0.5 < detector.score(losses)[losses > 1].min()


def beta_mixture(x, iterations):
    """Weighted moments, as in the paper's text."""
    from scipy import stats

    x = np.clip(x, 1e-4, 1 - 1e-4)
    a, b, w = np.array([1.0, 2]), np.array([2.0, 1]), np.array([0.5, 0.5])
    for _ in range(iterations):
        r = w * stats.beta.pdf(x[:, None], a, b)
        r /= r.sum(1, keepdims=True)
        mean = (r * x[:, None]).sum(0) / r.sum(0)
        variance = (r * (x[:, None] - mean) ** 2).sum(0) / r.sum(0)
        strength = mean * (1 - mean) / variance - 1
        a, b, w = mean * strength, (1 - mean) * strength, r.mean(0)
    return a, b, w


def test_beta_mixture(rng):
    losses = np.concatenate([rng.beta(2, 10, 600), rng.beta(8, 3, 400)])
    losses[:2] = 0, 1
    detector = temper.detector("loss_mixture", form="beta", iterations=10).fit(losses)
    a, b, w = beta_mixture(losses, 10)
    np.testing.assert_allclose(detector.state["first"], a, rtol=1e-6)
    np.testing.assert_allclose(detector.state["second"], b, rtol=1e-6)
    np.testing.assert_allclose(detector.state["weights"], w, rtol=1e-6)
    wrong = np.arange(1000) >= 600
    assert ((detector.score(losses) > 0.5) == wrong).mean() > 0.95


def test_threads_change_no_bit(rng):
    x, y = rng.normal(size=(800, 9)), rng.integers(0, 3, 800) // 2
    results = []
    for threads in (1, 2, 3):
        context = temper.Context(threads=threads)
        clusters = context.detector("k_means", k=5, seed=3).fit(x).state["centres"]
        near = context.detector("nearest_neighbours", k=4).fit(x).score()
        parts = context.detector("principal_components", components=3).fit(x).state["components"]
        made, labels = context.sampler("smote", ratio=0.9).resample(x, y, seed=5)
        results.append(np.concatenate([a.ravel() for a in (clusters, near, parts, made, labels)]).tobytes())
    assert results[0] == results[1] == results[2]


def test_what_cannot_be_asked():
    x = np.zeros((5, 3))
    with pytest.raises(temper.Error, match="5 neighbours"):
        temper.detector("nearest_neighbours", k=5).fit(x).score()
    with pytest.raises(temper.Error, match="8 clusters"):
        temper.detector("k_means").fit(x)
    with pytest.raises(temper.Error, match="components"):
        temper.detector("pca", components=4).fit(x)
    with pytest.raises(temper.Error, match="element 7 is inf"):
        temper.detector("k_means", k=1).fit([[1.0, 2, 3], [4, 5, 6], [7, np.inf, 9]])
    with pytest.raises(temper.Error, match="too large"):
        temper.detector("nearest_neighbours", k=1).fit(np.array([[1e300], [-1e300], [0]])).score()
    with pytest.raises(temper.errors.WrongState, match="fitted"):
        temper.detector("k_means").score(x)
    with pytest.raises(temper.Error, match="no elements"):
        temper.detector("k_means").fit(np.zeros((0, 3)))


def test_a_fit_goes_through_a_file(tmp_path):
    x, _ = digits()
    detector = temper.detector("k_means", k=3).fit(x)
    detector.save(tmp_path / "fit.safetensors")
    other = temper.detector("k_means", k=3).load(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(other.score(x), detector.score(x))
    with pytest.raises(temper.Error, match="k_means"):
        temper.detector("pca").load(tmp_path / "fit.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "fit.safetensors").read_bytes()[:-8])
    with pytest.raises(temper.Error, match="cut.safetensors"):
        other.load(tmp_path / "cut.safetensors")
    with pytest.raises(temper.Error, match="fit"):
        temper.detector("pca").save(tmp_path / "none.safetensors")
