"""Losses of all pairs of a batch, and of samples and very many classes, in blocks: the numbers that whole arrays give,
without their memory."""

from pathlib import Path

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")

# More pairs than are held at once.
N = 1100
NOTHING = torch.tensor(-torch.inf, dtype=torch.float64)


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


def distances(a, b):
    return ((a[:, None] - b[None]) ** 2).sum(-1)


def gram(a, b):
    return (-distances(a, b) / 2).exp()


def conr(rng):
    x = {"features": rng.normal(size=(N, 3)), "targets": rng.normal(size=N), "predictions": rng.normal(size=N)}

    def value(features, targets, predictions):
        s, gaps = unit(features) @ unit(features).T / 0.2, (targets[:, None] - targets).abs()
        near = (gaps <= 0.8) & ~torch.eye(N, dtype=torch.bool)
        far = (gaps > 0.8) & ((predictions[:, None] - predictions).abs() <= 0.8)
        pushed = torch.where(far, s + 0.3 * gaps, s)
        every = torch.where(near | far, pushed, NOTHING).logsumexp(-1)
        return (every - torch.where(near, s, 0).sum(-1) / near.sum(-1)).where(far.any(-1), 0)

    return "conr_loss", {"w": 0.8, "e": 0.3}, x, ["features"], value


def isogclr(rng):
    x = {"features_a": rng.normal(size=(N, 3)), "features_b": rng.normal(size=(N, 3)),
         "temperatures": rng.uniform(0.3, 1, N)}  # fmt: skip

    def value(features_a, features_b, temperatures):
        a, b = unit(features_a), unit(features_b)
        own, tau, total = (a * b).sum(-1, keepdim=True), temperatures[:, None], 0
        for mine, others in ((a, b), (b, a)):
            gaps = torch.stack([mine @ mine.T, mine @ others.T]) - own
            gaps = (gaps / tau).masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf)
            g = gaps.exp().sum((0, 2)) / (2 * N - 2)
            total = total + temperatures * (g.detach().log() + (g - g.detach()) / g.detach() + 0.3) / 2
        return total

    return "isogclr_loss", {}, x, list(x), value


def sepclr(rng):
    x = {name: rng.normal(size=(N, 3)) for name in ("common_1", "common_2", "salient_1", "salient_2")}

    def value(common_1, common_2, salient_1, salient_2, targets):
        c1, c2, is_target = unit(common_1), unit(common_2), targets == 1
        other = ~torch.eye(N, dtype=torch.bool)

        def align(u, v):
            return ((u - v) ** 2).sum(1).mean()

        def uniform(u):
            return torch.where(other, -distances(u, u), NOTHING).reshape(-1).logsumexp(0) - np.log(N * (N - 1))

        t1, t2 = salient_1 * targets[:, None], salient_2 * targets[:, None]
        salient = align(salient_1[is_target], salient_2[is_target]) + uniform(t1) + uniform(t2)
        zero = (align(salient_1[~is_target], 0) + align(salient_2[~is_target], 0)) / 2
        joint = sum(
            (-distances(c, c) - distances(t, t)).logsumexp(1).mean() - np.log(N) for c, t in ((c1, t1), (c2, t2))) / 2  # fmt: skip
        return (align(c1, c2) + uniform(c1) + uniform(c2) + 3 * salient + 2 * zero + 10 * joint)[None]

    return "sepclr_loss", {"b1": 3.0, "b2": 2.0}, {**x, "targets": rng.integers(0, 2, N)}, list(x), value


def divergence(rng):
    x = {"features": rng.normal(size=(N, 3)), "targets": rng.normal(size=(N, 1)), "predictions": rng.normal(size=(N, 1)),
         "codes": rng.normal(size=(N, 2))}  # fmt: skip

    def value(features, targets, predictions, codes):
        k, q = gram(features, features), gram(codes, codes)
        weights = k.sum(1) ** 2
        first, second, both = (
            ((k * gram(a, b)).sum(1) / weights).sum().log()
            for a, b in ((targets, targets), (predictions, predictions), (predictions, targets)))  # fmt: skip
        information = (k * q).mean().log() + (k.mean() * q.mean()).log() - 2 * (k.mean(1) * q.mean(1)).mean().log()
        return (first + second - 2 * both + 0.3 * information)[None]

    settings = {"form": "objective", "beta": 0.3}
    return "cauchy_schwarz_divergence", settings, x, ["predictions", "codes", "features"], value


def proxy_anchor(rng):
    classes = 1300
    x = {"features": rng.normal(size=(N, 3)), "proxies": rng.normal(size=(classes, 3)),
         "targets": rng.integers(0, 400, N)}  # fmt: skip

    def value(features, proxies, targets):
        s = unit(features) @ unit(proxies).T
        own = torch.nn.functional.one_hot(targets, classes).bool()
        pull, push = (torch.nn.functional.softplus(torch.where(mask, t, NOTHING).logsumexp(0))
                      for mask, t in ((own, -8 * (s - 0.1)), (~own, 8 * (s + 0.1))))  # fmt: skip
        return (pull[own.any(0)].sum() / own.any(0).sum() + push.mean())[None]

    return "proxy_anchor", {"alpha": 8.0}, x, ["features", "proxies"], value


def partial_fc(rng):
    x = {"features": rng.normal(size=(N, 3)), "weights": rng.normal(size=(3000, 3)),
         "targets": rng.integers(0, 3000, N), "sampled_classes": rng.choice(3000, 300, replace=False)}  # fmt: skip

    def value(features, weights, targets, sampled_classes):
        classes, places = torch.cat([sampled_classes, targets]).unique(return_inverse=True)
        place = places[len(sampled_classes) :]
        cosines = unit(features) @ unit(weights[classes]).T
        moved = cosines - 0.4 * torch.nn.functional.one_hot(place, len(classes)).double()
        return torch.nn.functional.cross_entropy(8 * moved, place, reduction="none")

    return "partial_fc", {"scale": 8.0}, x, ["features", "weights"], value


def angular(name, is_soft):
    def case(rng):
        x = {"features": rng.normal(size=(N, 3)), "weights": rng.normal(size=(1300, 3)),
             "targets": rng.dirichlet(np.full(1300, 0.01), N) if is_soft else rng.integers(0, 1300, N)}  # fmt: skip

        def value(features, weights, targets):
            cosines = unit(features) @ unit(weights).T
            truth = targets if is_soft else torch.nn.functional.one_hot(targets, 1300).double()
            bent = {"normface": cosines, "cosface": cosines - 0.3 * truth}.get(name)
            if name == "arcface":
                angle = cosines.acos() + 0.3 * truth
                bent = torch.where(angle <= np.pi, angle.cos(), cosines - 0.3 * truth * (0.3 * truth).sin())
            return -(truth * (8 * bent).log_softmax(-1)).sum(-1)

        settings = {} if name == "normface" else {"margin": 0.3}
        return name, {"scale": 8.0, **settings}, x, ["features", "weights"], value

    case.__name__ = name + "_soft" * is_soft
    return case


def whole_partial_fc(rng):
    _, settings, x, wrt, value = angular("cosface", False)(rng)
    return "partial_fc", settings, x, wrt, value


def linear_cross_entropy(rng):
    x = {"features": rng.normal(size=(N, 3)), "classifier": rng.normal(size=(1300, 3)), "bias": rng.normal(size=1300),
         "targets": rng.dirichlet(np.full(1300, 0.01), N)}  # fmt: skip

    def value(features, classifier, bias, targets):
        z = 1.5 * ((features @ classifier.T + bias) / 1.5).tanh()
        return -(targets * z.log_softmax(-1)).sum(-1)

    return "cut_cross_entropy", {"softcap": 1.5}, x, ["features", "classifier", "bias"], value


ANGULAR = [angular(name, is_soft) for name in ("normface", "cosface", "arcface") for is_soft in (False, True)]
ANGULAR += [whole_partial_fc, linear_cross_entropy]


@pytest.mark.parametrize("case", [conr, isogclr, sepclr, divergence, proxy_anchor, partial_fc, *ANGULAR])
def test_blocks_give_what_whole_arrays_give(rng, case):
    name, parameters, inputs, wrt, value = case(rng)
    tensors = {key: torch.tensor(array, requires_grad=key in wrt) for key, array in inputs.items()}
    expected = value(**tensors)
    expected.mean().backward()
    loss = temper.loss(name, **parameters)
    np.testing.assert_allclose(loss(**inputs), expected.detach(), rtol=1e-10)
    _, gradients = loss.value_and_grad(**inputs, wrt=wrt)
    for key in wrt:
        np.testing.assert_allclose(gradients[key], tensors[key].grad, rtol=1e-7, atol=1e-12, err_msg=key)


SAMPLES, WIDTH = 3000, 8


def peak():
    """The largest memory of the process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


KERNELS = {
    "conr_loss": ["features", "targets", "predictions"], "isogclr_loss": ["features_a", "features_b", "temperatures"],
    "sepclr_loss": ["common_1", "common_2", "salient_1", "salient_2", "targets"],
    "cauchy_schwarz_divergence": ["features", "targets", "predictions"],
    **{name: ["features", "weights", "targets"] for name in ("normface", "cosface", "arcface", "partial_fc")},
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_pairs_are_never_stored(rng, name):
    """An array of all pairs of 3000 samples is 36 MB, and their differences in eight dimensions 288."""
    inputs = {}
    for key in KERNELS[name]:
        is_flat = key in ("temperatures", "predictions") or key == "targets" and name != "cauchy_schwarz_divergence"
        inputs[key] = rng.uniform(0.5, 1, SAMPLES if is_flat else (SAMPLES, WIDTH)).astype(np.float32)
    if name == "cauchy_schwarz_divergence":
        inputs["targets"], inputs["predictions"] = (inputs[key].reshape(SAMPLES, -1)[:, :1].copy()
                                                    for key in ("targets", "predictions"))  # fmt: skip
    if name == "sepclr_loss" or "weights" in inputs:
        inputs["targets"] = rng.integers(0, 2, SAMPLES)
    wrt = [key for key in inputs if inputs[key].ndim == 2 and key != "targets"]
    loss = temper.loss(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on, not of all tests before
    before = peak()
    loss.value_and_grad(**inputs, wrt=wrt)
    assert peak() - before < (90 if name == "sepclr_loss" else 60)


def clusters(rng, n, sizes):
    """A head of 20 classes and clusters of so many, over 16 dimensions."""
    made = {"features": rng.normal(size=(n, 16)), "head": rng.normal(size=(20 + len(sizes), 16))}
    for number, size in enumerate(sizes, 1):
        made[f"projection_{number}"] = rng.normal(size=(8 // number, 16)) / 4
        made[f"tail_{number}"] = rng.normal(size=(size, 8 // number))
    return made


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 1.0])
def test_adaptive_softmax_computes_the_samples_of_each_cluster(rng, share):
    """Of few, many, all or no samples in clusters that are too large for one block."""
    n, sizes = 700, (2000, 5000)
    arrays = clusters(rng, n, sizes)
    tensors = {key: torch.tensor(array, requires_grad=True) for key, array in arrays.items()}
    is_rare = rng.random(n) < share
    targets = np.where(is_rare, rng.integers(20, 20 + sum(sizes), n), rng.integers(0, 20, n))
    head = (tensors["features"] @ tensors["head"].T).log_softmax(-1)
    parts = [head[:, :20]]
    for number, size in enumerate(sizes, 1):
        hidden = tensors["features"] @ tensors[f"projection_{number}"].T
        parts.append(head[:, 19 + number : 20 + number] + (hidden @ tensors[f"tail_{number}"].T).log_softmax(-1))
    expected = -torch.cat(parts, 1)[torch.arange(n), torch.tensor(targets)]
    expected.mean().backward()
    loss = temper.loss("adaptive_softmax")
    np.testing.assert_allclose(loss(targets=targets, **arrays), expected.detach(), rtol=1e-10)
    _, gradients = loss.value_and_grad(targets=targets, **arrays, wrt=list(arrays))
    for key, tensor in tensors.items():
        np.testing.assert_allclose(gradients[key], tensor.grad, rtol=1e-8, atol=1e-12, err_msg=key)


def test_adaptive_softmax_looks_at_the_clusters_of_its_targets_alone(rng):
    """What no target needs is not read: frequent classes alone, as most words are, cost a part of what rare ones do."""
    arrays = {key: array.astype(np.float32) for key, array in clusters(rng, 1024, (20000,)).items()}
    arrays["tail_1"][:] = np.nan
    loss = temper.loss("adaptive_softmax")
    for targets, is_seen in ((np.arange(1024) % 20, False), (20 + np.arange(1024), True)):
        value, gradients = loss.value_and_grad(targets=targets, **arrays, wrt=["features"])
        assert np.isnan(value) == np.isnan(gradients["features"]).any() == is_seen
