"""Flow diffusion on graphs with labels, against the definition of its minimiser."""

import numpy as np
import pytest

import temper

diffuse = temper.op("label_weighted_flow_diffusion")


def test_a_path():
    path = np.eye(5, k=1) + np.eye(5, k=-1)
    heights = diffuse(path, np.array([3.0, 0, 0, 0, 0]), np.ones(5), np.zeros(5, int))
    np.testing.assert_allclose(heights, [3, 1, 0, 0, 0], atol=1e-14)


def random_graph(rng, n=30):
    weights = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.2), 1)
    weights += np.diag(rng.random(n - 1) + 0.1, 1)  # connected
    source = np.zeros(n)
    source[rng.integers(0, n, 2)] = n / 4
    return weights + weights.T, source, 0.5 + rng.random(n), rng.integers(0, 2, n)


@pytest.mark.parametrize("eps", [0.05, 1.0, 0.0])
def test_the_conditions_of_a_minimum(rng, eps):
    """Nobody holds more than the sink takes, and who holds less has height 0."""
    for _ in range(10):
        adjacency, source, sinks, labels = random_graph(rng)
        if eps == 0:
            labels[:] = 1
        heights = temper.op("label_weighted_flow_diffusion", eps=eps)(adjacency, source, sinks, labels)
        weights = np.where(labels[:, None] == labels, adjacency, eps * adjacency)
        mass = source - (weights.sum(1) * heights - weights @ heights)
        assert heights.min() >= 0 and (heights > 0).any()
        assert (mass <= sinks + 1e-9).all()
        np.testing.assert_allclose(mass[heights > 0], sinks[heights > 0], rtol=1e-9)


def test_projected_gradients_find_the_same(rng):
    adjacency, source, sinks, labels = random_graph(rng, 12)
    weights = np.where(labels[:, None] == labels, adjacency, 0.05 * adjacency)
    laplacian = np.diag(weights.sum(1)) - weights
    x = np.zeros(12)
    for _ in range(200_000):
        x = np.maximum(x - (laplacian @ x - source + sinks) / (2 * weights.sum(1).max()), 0)
    np.testing.assert_allclose(diffuse(adjacency, source, sinks, labels), x, atol=1e-4)


def test_graphs_that_cannot_hold_the_mass_are_errors(rng):
    path = np.eye(3, k=1) + np.eye(3, k=-1)
    with pytest.raises(temper.Error, match="more source than sinks"):
        diffuse(path, np.array([4.0, 0, 0]), np.ones(3), np.zeros(3, int))
    with pytest.raises(temper.Error, match="symmetric"):
        diffuse(np.eye(3, k=1), np.ones(3), np.ones(3), np.zeros(3, int))
    with pytest.raises(temper.Error, match="finite"):
        diffuse(path, np.array([np.nan, 0, 0]), np.ones(3), np.zeros(3, int))


def test_labels_keep_mass_inside_its_cluster(rng):
    """A block model of 200 nodes, labels right for three in four: the weighted support has the better F1."""
    block = np.arange(200) < 60
    scores = {0.05: [], 1.0: []}
    for _ in range(5):
        upper = np.triu(rng.random((200, 200)) < np.where(block[:, None] == block, 0.1, 0.02), 1)
        adjacency = (upper + upper.T).astype(float)
        labels = np.where(rng.random(200) < 0.75, block, ~block).astype(int)
        sinks = adjacency.sum(1)
        source = np.zeros(200)
        source[int(np.argmax(sinks * block * labels))] = 2 * sinks[block].sum() / 2
        for eps in scores:
            found = temper.op("label_weighted_flow_diffusion", eps=eps)(adjacency, source, sinks, labels) > 0
            scores[eps].append(2 * (found & block).sum() / (found.sum() + block.sum()))
    assert np.mean(scores[0.05]) > np.mean(scores[1.0])
