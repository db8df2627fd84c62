"""Neighbours, clusters, mixtures and SMOTE beside scikit-learn and imbalanced-learn, in pairs."""
import warnings

import numpy as np
from imblearn.over_sampling import ADASYN, SMOTE
from imblearn.under_sampling import TomekLinks
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

import temper
from pairs import report


def neighbours(context, x, queries, aim):
    ours = context.detector("nearest_neighbours", k=10).fit(x)
    theirs = NearestNeighbors(n_neighbors=10, algorithm="brute", n_jobs=context.threads).fit(x)
    report(f"10 neighbours of {len(queries)} among {len(x)} x {x.shape[1]}", lambda: ours.score(queries),
           lambda: theirs.kneighbors(queries), aim)
    np.testing.assert_allclose(ours.details["distances"], theirs.kneighbors(queries)[0], rtol=1e-4, atol=1e-4)


def mixture(context, losses, aim):
    ours = context.detector("loss_mixture", iterations=100, tolerance=1e-3)
    theirs = GaussianMixture(2, tol=1e-3, max_iter=100, random_state=0)
    report(f"mixture of 2 normals, {len(losses)} losses", lambda: ours.fit(losses),
           lambda: theirs.fit(losses[:, None]), aim)
    np.testing.assert_allclose(ours.state["first"], np.sort(theirs.means_[:, 0]), atol=0.02)


def run(threads):
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    context = temper.Context(threads=threads)
    with threadpool_limits(threads):
        x = rng.standard_normal((20_000, 64))
        neighbours(context, x, x[:4000], 1)
        neighbours(context, x[:, :8].copy(), x[:4000, :8].copy(), 1)
        mixture(context, np.concatenate([rng.normal(0, 1, 40_000), rng.normal(4, 1, 20_000)]), 1)
        y = np.repeat([0, 1], [16_000, 4000])
        for name, ours, theirs in (
            ("smote", context.sampler("smote", standardize=False), SMOTE(random_state=0)),
            ("adasyn", context.sampler("adasyn", standardize=False), ADASYN(random_state=0)),
            ("tomek_links", context.sampler("tomek_links", standardize=False), TomekLinks()),
        ):
            report(f"{name}, 16000 and 4000 samples x 20", lambda: ours.resample(x[:, :20], y),
                   lambda: theirs.fit_resample(x[:, :20], y), 1)
        points = x[:, :16].copy()
        report("k-means, 20000 x 16, 20 clusters",
               lambda: context.detector("k_means", k=20, restarts=1, iterations=20, seed=1).fit(points),
               lambda: KMeans(20, n_init=1, max_iter=20, random_state=0).fit(points), 1)
        report("10 principal components, 20000 x 64",
               lambda: context.detector("principal_components", components=10).fit(x),
               lambda: PCA(10, svd_solver="covariance_eigh").fit(x), 1)
