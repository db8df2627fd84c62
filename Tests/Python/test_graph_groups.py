"""Groups from matched pairs, and matches learned without labels."""

import numpy as np
import procedures as reference
import pytest
import temper
from procedures import make

METHODS = ("louvain", "components", "label_propagation", "pivot")


def groups(edges, count, method, **options):
    make_groups = temper.op("pairwise_match_then_community_groups", method=method, **options)
    return make_groups(np.array(edges), num_nodes=count).astype(int)


def same(a, b):
    """Whether two groupings are one, whatever the numbers."""
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


@pytest.mark.parametrize("method", METHODS)
def test_cliques_are_groups(method):
    truth = np.repeat(np.arange(5), [4, 3, 6, 1, 2])
    edges = [(i, j) for i in range(16) for j in range(i) if truth[i] == truth[j]]
    found = groups(edges, 16, method)
    assert same(found, truth) and found[0] == 0
    assert (groups(edges, 16, method, seed=3) == groups(edges, 16, method, seed=3)).all()


def planted(seed):
    """Twenty groups of five: 20% of the pairs inside missed, 2% of those across falsely linked."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(20), 5)
    i, j = np.triu_indices(100, 1)
    inside = truth[i] == truth[j]
    linked = rng.random(len(i)) < np.where(inside, 0.8, 0.02)
    return truth, np.stack([i[linked], j[linked]], axis=1)


def test_one_false_link_does_not_join_communities():
    """The claim of the page: on planted groups modularity beats chains, over twenty graphs."""
    metrics = pytest.importorskip("sklearn.metrics")
    scores = {method: [] for method in METHODS}
    for seed in range(20):
        truth, edges = planted(seed)
        for method in METHODS:
            scores[method].append(metrics.adjusted_rand_score(truth, groups(edges, 100, method)))
    louvain, chains = np.array(scores["louvain"]), np.array(scores["components"])
    assert (louvain > chains).all() and louvain.mean() > 0.5 and chains.mean() < 0.1


def test_modularity_is_as_high_as_elsewhere():
    networkx = pytest.importorskip("networkx")
    for seed in range(5):
        _, edges = planted(seed)
        graph = networkx.Graph(edges.tolist())
        graph.add_nodes_from(range(100))
        ours = groups(edges, 100, "louvain")
        parts = [set(np.flatnonzero(ours == k)) for k in range(ours.max() + 1)]
        theirs = networkx.community.louvain_communities(graph, seed=seed)
        quality = networkx.community.modularity
        assert quality(graph, parts) > 0.97 * quality(graph, theirs)


def test_wrong_graphs_are_refused():
    for edges, count in (([[0, 5]], 5), ([[0, -1]], 5), ([[0, 1]], 0)):
        with pytest.raises(temper.Error):
            groups(edges, count, "louvain")


def test_rows_are_matched_and_grouped():
    """Copies with noise of ten things: learned from altered forms alone, groups are the things."""
    rng = np.random.default_rng(0)
    things = rng.normal(size=(10, 4))
    truth = np.repeat(np.arange(10), 4)
    x = things[truth] + 0.03 * rng.normal(size=(40, 4))
    views = x[:, None] + 0.05 * rng.normal(size=(40, 3, 4))
    for grouping in METHODS:
        procedure = temper.procedure("pairwise_match_then_community", grouping=grouping, blocking_k=6)
        trainer = make(procedure, layers=[{"dense": 16}, "tanh", {"dense": 8}])
        trainer.fit(x, np.zeros(40, int), epochs=5, views=views)
        assert (trainer.state["group"][:, 0] >= 0).all() and 0 < trainer.state["threshold"] <= 1
    # The threshold parts what is the same from what is not.
    z = trainer.model.predict(x)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    matched = z @ z.T >= trainer.state["threshold"]
    assert matched[truth[:, None] == truth].mean() > 0.9 and matched[truth[:, None] != truth].mean() < 0.1


def test_a_push_of_nothing_is_the_plain_contrast():
    """eps = 0: with weight w the objective is (1 + w) times NT-Xent, and alike rows give log(2 B - 1)."""
    x, y, _ = reference.data()
    alike, views = np.ones((24, 4)), np.ones((24, 1, 4))
    for eps, weight in ((0.0, 0.5), (0.2, 0.0)):
        trainer = make(temper.procedure("pairwise_match_then_community", eps=eps, adv_weight=weight))
        loss = trainer.fit(alike, y, epochs=1, views=views)["training_loss"][0]
        assert loss == pytest.approx((1 + weight) * np.log(47), rel=1e-9)
    with pytest.raises(temper.Error, match="views"):
        make("pairwise_match_then_community").fit(x, y, views=x[:, None, :3])
