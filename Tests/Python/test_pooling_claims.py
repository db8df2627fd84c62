"""What the pages say of sets, ensembles of views and experts: limits, and behaviour over several seeds."""

import numpy as np

import temper


def adam(rate):
    return temper.optimizer("adam", learning_rate=rate)


def test_attentive_pooling_lies_between_mean_and_maximum(rng):
    """W = 0 is the mean, a large multiple of the identity the maximum; an element that comes twice counts twice."""
    model = temper.Model(["attsets_pooling"], input=(6, 5), dtype="float64", seed=0)
    (weight,) = model.parameters().values()
    x = rng.normal(size=(3, 6, 5))
    weight[...] = 0
    np.testing.assert_allclose(model.predict(x), x.mean(1), rtol=1e-12)
    weight[...] = 4000 * np.eye(5)
    np.testing.assert_allclose(model.predict(x), x.max(1), rtol=1e-9)
    weight[...] = rng.normal(size=(5, 5))
    order = rng.permutation(6)
    np.testing.assert_allclose(model.predict(x[:, order]), model.predict(x), rtol=1e-12)
    twice = np.concatenate([x[:, :3], x[:, :3]], axis=1)
    three = temper.Model(["attsets_pooling"], input=(3, 5), dtype="float64", seed=0)
    (other,) = three.parameters().values()
    other[...] = weight
    np.testing.assert_allclose(model.predict(twice), three.predict(x[:, :3]), rtol=1e-12)


def test_attention_finds_the_element_that_matters():
    """Sets of noise with one telling element: attentive pooling is more accurate than the mean, 3 seeds of 3."""

    def sets(rng, count, size=12):
        x = rng.normal(size=(count, size, 6)).astype(np.float32)
        y = rng.integers(0, 3, count)
        place = rng.integers(0, size, count)
        x[np.arange(count), place, 3] = 4.0  # marks it
        x[np.arange(count), place, :3] = 2.0 * np.eye(3)[y] + 0.3 * rng.normal(size=(count, 3))
        return x, y

    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = sets(rng, 600)
        test = sets(rng, 600)
        accuracy = []
        for is_mean in (False, True):
            layers = [{"dense": 12}, "relu", {"dense": 12}, "attsets_pooling", {"dense": 3}]
            model = temper.Model(layers, input=(12, 6), seed=seed)
            optimizer = adam(0.01)
            if is_mean:  # scores that stay 0
                names = list(model.parameters())
                scores = next(name for name in names if name.startswith("3."))
                model.parameters()[scores][...] = 0
                optimizer.group([names.index(scores)], learning_rate=0.0)
            temper.Trainer(model, optimizer=optimizer, batch_size=50, seed=seed).fit(x, y, epochs=25)
            accuracy.append((model.predict(test[0]).argmax(1) == test[1]).mean())
        assert accuracy[0] > accuracy[1] + 0.02, accuracy


def test_load_balance_spreads_tokens_over_experts():
    """With its penalty the busiest of four experts gets a smaller share than without, in the mean of 3 seeds."""
    shares = {0.0: [], 0.5: []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(400, 6)).astype(np.float32) + np.float32([2, 0, 0, 0, 0, 0])
        y = (x[:, 1] * x[:, 2] > 0).astype(np.int64)
        for weight in shares:
            layers = [
                {"topk_softmax_gate": {"experts": 4, "K": 2, "layers": [{"dense": 8}, "relu"], "load_balance": weight}}
            ]
            layers.append({"dense": 2})
            model = temper.Model(layers, input=(6,), seed=seed)
            temper.Trainer(model, optimizer=adam(0.01), batch_size=50, seed=seed).fit(x, y, epochs=20)
            gate, bias = model.parameters()["0.gate.weight"], model.parameters()["0.gate.bias"]
            chosen = (x @ gate.T + bias).argmax(1)
            shares[weight].append(np.bincount(chosen, minlength=4).max() / len(x))
    assert np.mean(shares[0.5]) < np.mean(shares[0.0]), shares
    assert np.mean(shares[0.5]) < 0.5
