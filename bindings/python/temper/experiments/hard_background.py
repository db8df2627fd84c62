"""A background that detectors have not seen and take for what they look for: thermal scenes with fire."""

import numpy as np

import temper

from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)  # batches are small
PATCH = 8


def iou(a, b):
    """area(a and b) / area(a or b) of boxes (x0, y0, x1, y1)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matches(boxes, scores, truths, at_least=0.5):
    """Whether each box, best score first, overlaps a truth that no box before it took."""
    taken, found = set(), []
    for place in np.argsort(-np.asarray(scores), kind="stable"):
        overlaps = [(iou(boxes[place], truth), -at) for at, truth in enumerate(truths) if at not in taken]
        best = max(overlaps, default=(0, 0))
        found.append(best[0] >= at_least)
        if found[-1]:
            taken.add(-best[1])
    return found


def average_precision(found, truths):
    """The area below precision by recall, each precision the largest at this recall or more (all points)."""
    found = np.asarray(found, float)
    right = found.cumsum()
    precision = np.maximum.accumulate((right / np.arange(1, len(found) + 1))[::-1])[::-1]
    return float((precision * found).sum() / truths)


def scene(rng, has_fire, size):
    """(image, patches, labels): warm things with sharp edges to find, and windows beside them, in fire on it."""
    v, u = np.mgrid[0:size, 0:size]
    image, fire, half = rng.normal(0, 0.2, (size, size)), np.zeros((size, size)), PATCH // 2
    centres = rng.integers(half, size - half, (2, 2))
    beside = rng.integers(half, size - half, (24, 2))
    if has_fire:
        beside = beside[:8]
        for cy, cx in beside:
            width = rng.uniform(1, 3)
            fire += rng.uniform(0.5, 1.2) * np.exp(-((u - cx) ** 2 + (v - cy) ** 2) / (2 * width**2))
        fire *= 1 + 0.3 * rng.standard_normal((size, size))
    image += fire
    for cy, cx in centres:
        image[(v - cy) ** 2 + (u - cx) ** 2 <= 4] += rng.uniform(0.5, 1.2)
    patches, labels = [], []
    windows = [(*np.clip((cy, cx) + rng.integers(-1, 2, 2), half, size - half), 1) for cy, cx in centres]
    for cy, cx in beside:
        if all(max(abs(cy - y), abs(cx - x)) >= PATCH - 2 for y, x in centres) and len(windows) < 6:
            windows.append((cy, cx, 0))
    for cy, cx, label in windows:
        patches.append(image[cy - half : cy + half, cx - half : cx + half].ravel())
        labels.append(label)
    return image, np.array(patches, np.float32), np.array(labels, np.int32)


def _scenes(rng, count, has_fire, size):
    made = [scene(rng, has_fire, size)[1:] for _ in range(count)]
    return np.concatenate([x for x, _ in made]), np.concatenate([y for _, y in made])


def _detector(x, y, seed):
    model = temper.Model([{"dense": 32}, "relu", {"dense": 2}], input=(x.shape[1],), seed=seed, context=CONTEXT)
    trainer = temper.Trainer(model, optimizer=CONTEXT.optimizer("adam", learning_rate=3e-3), batch_size=64, seed=seed)
    trainer.fit(x, y, epochs=25)
    return lambda x: np.subtract(*model.predict(x).T[::-1])


def _rates(score, calm, fire):
    """At the threshold that finds 90% of the things on fire: (false positives on fire, things found without fire)."""
    bound = np.quantile(score(fire[0][fire[1] == 1]), 0.1)
    return (score(fire[0][fire[1] == 0]) >= bound).mean(), (score(calm[0][calm[1] == 1]) >= bound).mean()


@experiment(
    "hard_background_false_positive_study",
    area="data",
    summary="Thermal patches: detectors trained without fire take fire for people; a few scenes of fire mend it.",
    reference=Reference(
        "", 0, "WIT-UAS: A Wildland-fire Infrared Thermal Dataset to Detect Crew Assets From Aerial Views"
    ),
    seeds="Sets of scenes.",
    image="Pixels along a side of a scene.",
)
def hard_background_false_positive_study(seeds: int = 5, image: int = 24):
    overlap = iou([0, 0, 2, 2], [1, 1, 3, 3])
    precision = average_precision([True, False, True], 2)
    yield Finding(
        "Overlap and average precision are those by hand, 1/7 and 5/6.",
        f"{overlap:.4f} and {precision:.4f}",
        abs(overlap - 1 / 7) < 1e-12 and abs(precision - 5 / 6) < 1e-12,
    )
    added, rates, found = (0, 5, 20, 100), [], []
    by_chance, mined = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        train, calm = _scenes(rng, 150, False, image), _scenes(rng, 150, False, image)
        pool, fire = _scenes(rng, 100, True, image), _scenes(rng, 150, True, image)
        each, own = [], []
        for count in added:
            # Scenes bring some six patches each.
            more = slice(0, count * len(pool[0]) // 100)
            score = _detector(
                np.concatenate([train[0], pool[0][more]]), np.concatenate([train[1], pool[1][more]]), seed
            )
            false, right = _rates(score, calm, fire)
            each.append(false)
            own.append(right)
            if count == 0:
                first = score
        rates.append(each)
        found.append(own)
        # Fifteen windows on fire: any, or those that the first detector likes best.
        empty = pool[0][pool[1] == 0]
        for chosen, results in (
            (rng.permutation(len(empty))[:15], by_chance), (np.argsort(-first(empty))[:15], mined)
        ):  # fmt: skip
            x = np.concatenate([train[0], empty[chosen]])
            y = np.concatenate([train[1], np.zeros(len(chosen), np.int32)])
            results.append(_rates(_detector(x, y, seed), calm, fire)[0])
    mean, things = np.mean(rates, axis=0), np.mean(found, axis=0)
    yield Finding(
        "Where 90% of the things on fire are found, false positives there fall with every addition of such scenes.",
        ", ".join(f"{count} scenes: {100 * rate:.1f}%" for count, rate in zip(added, mean)),
        all(b < a for a, b in zip(mean, mean[1:])),
    )
    yield Finding(
        "Things without fire are then found at least as often as by the first detector, within five points.",
        ", ".join(f"{100 * share:.1f}%" for share in things),
        things.min() > things[0] - 0.05,
    )
    yield Finding(
        "Fifteen false positives of the first detector mend more than fifteen windows on fire at random.",
        f"{100 * np.mean(mined):.1f}% against {100 * np.mean(by_chance):.1f}%",
        np.mean(mined) < np.mean(by_chance),
    )
