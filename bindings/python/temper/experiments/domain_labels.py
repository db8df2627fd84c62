"""Domain-adversarial training where a share of the domain labels is wrong, with and without smoothed labels."""

import numpy as np

from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, model, slope


def turned(rng, count, wrong):
    """Two classes of points; those of domain 1 turned by 60 degrees; domains as they are, and as told."""
    y, domain = rng.integers(0, 2, (2, count))
    x = np.where(y == 1, 1.5, -1.5)[:, None] * [1, 0] + 0.7 * rng.normal(size=(count, 2))
    angle = domain * np.pi / 3
    turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x = np.einsum("ijn,nj->ni", turns, x)
    return x.astype(np.float32), y, domain, np.where(rng.random(count) < wrong, 1 - domain, domain)


def adversarial(seed, gamma, steps, wrong, lam=1.0, batch=64):
    """Labels of domain 0 only, a discriminator behind a reversed gradient: how much the discriminator's gradient norm
    varies after a quarter of the steps, and the accuracy on domain 1 in the end. The samples are those of all seeds."""
    x, y, domain, told = turned(np.random.default_rng(7), 400, wrong)
    test_x, test_y, test_domain, _ = turned(np.random.default_rng(8), 2000, 0)
    rng = np.random.default_rng(seed)
    body = model([{"dense": 16}, "relu", {"dense": 16}, "relu"], (2,), seed)
    classes, judge = model([{"dense": 2}], (16,), seed), model([{"dense": 16}, "relu", {"dense": 2}], (16,), seed)
    loss = CONTEXT.loss("environment_label_smoothing", gamma=gamma)
    reverse, networks = CONTEXT.op("gradient_reversal", lam=lam), (body, classes, judge)
    weights = [value for network in networks for value in network.parameters().values()]
    optimizer = CONTEXT.optimizer("adam", lr=0.01, beta1=0.5, beta2=0.9)
    groups, norms = [np.flatnonzero(domain == d) for d in (0, 1)], []
    for _ in range(steps):
        rows = np.concatenate([rng.choice(group, batch // 2) for group in groups])
        source = rows[: batch // 2]
        features = body.predict(x[rows])
        of_class = classes.vjp(
            features[: batch // 2], slope(classes, features[: batch // 2], y[source]), ["x", *classes.parameters()]
        )
        error = loss.value_and_grad(judge.predict(features), told[rows])[1]["logits"]
        of_judge = judge.vjp(features, error, ["x", *judge.parameters()])
        back = np.array(reverse.vjp(features, of_judge.pop("x")))
        back[: batch // 2] += of_class.pop("x")
        norms.append(np.sqrt(sum((g.astype(float) ** 2).sum() for g in of_judge.values())))
        of_body = body.vjp(x[rows], back, list(body.parameters()))
        optimizer.step(weights, [*of_body.values(), *of_class.values(), *of_judge.values()])
    answers = classes.predict(body.predict(test_x)).argmax(1) == test_y
    return np.std(norms[steps // 4 :]), 100 * answers[test_domain == 1].mean()


@experiment(
    "domain_label_study", area="regularize",
    summary="Smoothed labels of a domain discriminator, where 30% of the domain labels are wrong.",
    reference=Reference(
        "Zhang et al.", 2023, "Free Lunch for Domain Adversarial Training: Environment Label Smoothing", "2302.00194"),
    seeds="Runs of each.", steps="Of each run.", gamma="The share of a sample's own domain.", wrong="Domain labels.",
)  # fmt: skip
def domain_label_study(seeds: int = 10, steps: int = 400, gamma: float = 0.7, wrong: float = 0.3):
    runs = {g: np.array([adversarial(seed, g, steps, wrong) for seed in range(seeds)]).T for g in (1.0, gamma)}
    (plain, before), (smooth, after) = runs[1.0], runs[gamma]
    yield Finding(
        "The discriminator's gradient norm varies less in training.",
        f"standard deviation {smooth.mean():.3f} against {plain.mean():.3f} without; less in "
        f"{(smooth < plain).sum()} of {seeds} runs",
        bool((smooth < plain).all()),
    )  # fmt: skip
    yield Finding(
        "And the accuracy on the other domain varies less from seed to seed.",
        f"{after.mean():.1f}% with a standard deviation of {after.std(ddof=1):.2f}, against {before.mean():.1f}% with "
        f"{before.std(ddof=1):.2f}; less by a fifth would count",
        bool(after.std(ddof=1) < 0.8 * before.std(ddof=1)),
    )
