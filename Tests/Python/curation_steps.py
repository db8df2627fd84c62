"""Steps of procedures that curate labels, in NumPy: what test_procedures.py holds them to."""

import numpy as np
from procedures import (
    Random,
    SideNetwork,
    cross_entropy,
    log_softmax,
    mixed,
    mixing_share,
    one_hot,
    order,
    slopes,
    softmax,
)  # fmt: skip


def unit(h):
    return h / np.linalg.norm(h, axis=1, keepdims=True)


def through_unit(h, slope):
    """The gradient by rows of what has this gradient by the rows at length 1."""
    u = unit(h)
    return (slope - u * (u * slope).sum(1, keepdims=True)) / np.linalg.norm(h, axis=1, keepdims=True)


def with_hidden(network, x, gradients, slope):
    """Gradients, and those of what has this gradient by the hidden layer."""
    inner = slope * (1 - network.hidden(x) ** 2)
    return [gradients[0] + inner.T @ x, gradients[1] + inner.sum(0), *gradients[2:]]


def contrast(a, b, temperature):
    """NT-Xent and its gradients by both views."""
    z, count = unit(np.concatenate([a, b])), len(a)
    s = z @ z.T / temperature
    np.fill_diagonal(s, -np.inf)
    partner = np.roll(np.eye(2 * count), count, axis=1)
    value = -(partner * np.where(partner == 1, log_softmax(s), 0)).sum() / (2 * count)
    g = (softmax(s) - partner) / (2 * count)
    slope = through_unit(np.concatenate([a, b]), (g + g.T) @ z / temperature)
    return value, slope[:count], slope[count:]


class NestedCoTeaching:
    def __init__(self, validation, gradual=False, split=True, stage1=4):
        (self.x, self.y), self.gradual, self.split, self.stage1 = (
            validation,
            gradual,
            split,
            stage1,
        )
        self.prefix, self.best = 6, [(-1, None), (-1, None)]

    def mask(self, name, steps):
        weights = np.exp(-((np.arange(1, 7) / 3) ** 2))
        return np.arange(6) <= Random(3).stream(name).stream(steps).draws(1, weights)[0]

    def logits(self, network, x, mask):
        return network.hidden(x) * mask @ network.values[2].T + network.values[3]

    def gradients(self, network, x, slope, mask):
        hidden = network.hidden(x)
        inner = slope @ network.values[2] * mask * (1 - hidden**2)
        return [inner.T @ x, inner.sum(0), slope.T @ (hidden * mask), slope.sum(0)]

    def longest(self, networks):
        """(score, length) of the best prefix of these networks together."""
        right = []
        for k in range(1, 7):
            z = sum(self.logits(network, self.x, np.arange(6) < k) for network in networks)
            right.append(((z.argmax(1) == self.y).mean() - 1e-5 * k, k))
        return max(right, key=lambda pair: (pair[0], -pair[1]))

    def __call__(self, networks, x, y, epoch):
        visits, moves = order(epoch), []
        x, y = x[visits], y[visits]
        if epoch <= self.stage1:
            for n, network in enumerate(networks):
                mask = self.mask(f"cut {n}", epoch - 1)
                moves.append(self.gradients(network, x, slopes(self.logits(network, x, mask), y), mask))
        else:
            mask, best = self.mask("cut", epoch - 1), np.arange(6) < self.prefix
            tau = 0.4 * (min((epoch - self.stage1 - 1) / 2, 1) if self.gradual else 1)
            for n, network in enumerate(networks):
                part = slice(None) if not self.split else slice(12, 24) if n == 0 else slice(0, 12)
                px, py = x[part], y[part]
                values = cross_entropy(self.logits(networks[1 - n], px, best), py)
                chosen = np.argsort(values, kind="stable")[: int((1 - tau) * len(px) + 1e-4)]
                weights = np.zeros(len(px))
                weights[chosen] = 1 / len(chosen)
                slope = slopes(self.logits(network, px, mask), py, weights)
                moves.append(self.gradients(network, px, slope, mask))
        for network, gradients in zip(networks, moves):
            network.values = network.moved(gradients).values
        self.prefix = self.longest(networks)[1]
        for n, network in enumerate(networks):
            score = self.longest([network])[0]
            if epoch <= self.stage1 and score > self.best[n][0]:
                self.best[n] = score, list(network.values)
            if epoch == self.stage1:
                network.values = list(self.best[n][1])


def bilateral_branch(networks, x, y, epoch):
    first, second = networks
    if epoch == 1:
        second.values[:2] = first.values[:2]
    sizes = np.bincount(y)
    drawn = Random(3).stream("reversed draws").stream(epoch).draws(len(x), sizes[y] ** -2.0)
    alpha = 1 - min((epoch - 1) / 8, 1) ** 2
    a, b = order(epoch), np.array(drawn)
    second.values[:2] = first.values[:2]
    z = alpha * first.logits(x[a]) + (1 - alpha) * second.logits(x[b])
    slope = alpha * slopes(z, y[a]) + (1 - alpha) * slopes(z, y[b])
    own, other = (
        first.gradients(x[a], alpha * slope),
        second.gradients(x[b], (1 - alpha) * slope),
    )
    first.values = first.moved([own[0] + other[0], own[1] + other[1], *own[2:]]).values
    second.values = second.moved([0, 0, *other[2:]]).values
    second.values[:2] = first.values[:2]


class LinearSeparation:
    state = None

    def __call__(self, networks, x, y, epoch):
        for n, network in enumerate(networks):
            if epoch <= 2:
                network.move(x, slopes(network.logits(x), y))
                continue
            visits, share = order(epoch), mixing_share(1.0, epoch - 1)
            px = mixed(x[visits], share)
            target, weight = (
                self.state[f"target.{n}"][visits].reshape(-1, 3),
                self.state[f"weight.{n}"][visits],
            )
            weighted = mixed(weight * target, share)
            p = softmax(network.logits(px))
            fit = (weighted.sum(1, keepdims=True) * p - weighted) / len(x)
            u = unit(network.hidden(px))
            likeness = mixed(target, share) @ mixed(target, share).T
            g = (softmax(u @ u.T / 0.2) - likeness / likeness.sum(1, keepdims=True)) / len(x)
            slope = through_unit(network.hidden(px), 0.5 * (g + g.T) @ u / 0.2)
            network.values = network.moved(with_hidden(network, px, network.gradients(px, fit), slope)).values


def outlier_factors(points, k):
    """Local outlier factors, from all distances."""
    far = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(far, np.inf)
    k = min(k, len(points) - 1)
    near = np.argsort(far, axis=1, kind="stable")[:, :k]
    edge = np.sort(far, axis=1)[:, k - 1]
    density = np.array([1 / np.maximum(edge[near[i]], far[i, near[i]]).mean() for i in range(len(points))])
    return np.array([density[near[i]].mean() / density[i] for i in range(len(points))])


class RepresentationCalibration:
    """Three epochs of contrast, two of the head, then all."""

    def __init__(self):
        self.side = SideNetwork(3, "projection", [6, 5, 5])

    def calibrate(self, z, y):
        sizes = np.bincount(y)
        means, spreads = [], []
        for k in range(3):
            own = z[y == k]
            kept = np.argsort(outlier_factors(own, 5), kind="stable")[: len(own) - int(0.2 * len(own))]
            means.append(own[kept].mean(0))
            spreads.append(np.cov(own[kept].T, bias=True))
        far = [[((a - b) ** 2).sum() for b in means] for a in means]
        h = np.sum(far) / 6
        large = np.argsort(-sizes, kind="stable")[:2]
        self.means, self.factors = [], []
        for k in range(3):
            mean, spread = means[k], spreads[k]
            if k not in large:
                g = np.clip(sizes[k] / (sizes[k] + 8), 0.2, 0.9)
                w = np.array([sizes[j] * np.exp(-far[k][j] / h) for j in large])
                w = w / w.sum()
                mean = g * mean + (1 - g) * sum(w[i] * means[j] for i, j in enumerate(large))
                spread = g * spread + (1 - g) * sum(w[i] * spreads[j] for i, j in enumerate(large))
            spread = spread + 0.01 * np.trace(spread) / 6 * np.eye(6)
            self.means.append(mean)
            self.factors.append(np.linalg.cholesky(spread))

    def draw(self, y, epoch):
        sizes = np.bincount(y)
        missing = [k for k in range(3) for _ in range(sizes.max() - sizes[k])]
        random = Random(3).stream("drawn features").stream(epoch)
        places, drawn, classes = random.permutation(len(missing)), [], []
        for place in places:
            k = missing[place]
            drawn.append(self.means[k] + self.factors[k] @ np.array([random.normal() for _ in range(6)]))
            classes.append(k)
        return np.array(drawn), np.array(classes)

    def __call__(self, networks, x, y, epoch):
        (network,) = networks
        if epoch <= 3:
            outputs, inputs = self.side.run(network.hidden(x))
            _, a, b = contrast(outputs, outputs, 0.5)
            first, second = self.side.parameters[0], self.side.parameters[2]
            back = ((a + b) @ second * (inputs[1] > 0)) @ first
            self.side.move(self.side.gradients(inputs, a + b), 0.05)
            zero = [0 * value for value in network.values]
            network.values = network.moved(with_hidden(network, x, zero, back)).values
            return
        if epoch == 4:
            self.first = network.hidden(x)
            self.calibrate(self.first, y)
        drawn, classes = self.draw(y, epoch)
        weights, biases = network.values[2:]
        slope = slopes(drawn @ weights.T + biases, classes)
        head = [slope.T @ drawn, slope.sum(0)]
        if epoch <= 5:
            own = slopes(self.first @ weights.T + biases, y)
            gradients = [0, 0, head[0] + own.T @ self.first, head[1] + own.sum(0)]
        else:
            visits, share = order(epoch), mixing_share(0.5, epoch - 1)
            px, target = mixed(x[visits], share), mixed(one_hot(y[visits]), share)
            gradients = network.gradients(px, slopes(network.logits(px), target))
            held = 2 * 0.3 * (network.hidden(x) - self.first) / len(x)
            gradients = with_hidden(network, x, gradients, held)
            gradients = [*gradients[:2], gradients[2] + head[0], gradients[3] + head[1]]
        network.values = network.moved(gradients).values


class GraphCodingRate:
    def __init__(self, edges):
        self.edges, self.smoothed = np.array(edges), None

    def smooth(self, labels, among):
        a = np.zeros((len(labels), len(labels)))
        for i, j in self.edges:
            if i != j and among[i] and among[j]:
                a[i, j] = a[j, i] = 1
        degree = a.sum(1)
        a = a / np.sqrt(np.outer(np.maximum(degree, 1), np.maximum(degree, 1)))
        own = np.where(degree > 0, 0.6, 1)[:, None]
        for _ in range(2):
            labels = 0.4 * a @ labels + own * labels
        return labels

    def __call__(self, networks, x, y, epoch):
        (network,) = networks
        known, count = y >= 0, len(x)
        labels = np.where(known[:, None], one_hot(np.maximum(y, 0)), 0)
        if self.smoothed is None:
            self.smoothed = self.smooth(labels, known)
        hidden = network.hidden(x)
        if epoch > 8:
            logits = network.logits(x)
            slope = slopes(logits, np.maximum(y, 0), known / known.sum())
            network.values = network.moved([0, 0, slope.T @ hidden, slope.sum(0)]).values
            return
        z = unit(hidden)
        believed = self.smoothed.argmax(1)
        means = np.stack([z[known & (believed == k)].sum(0) for k in range(3)])
        cosine = np.abs(z @ means.T) / np.maximum(np.linalg.norm(means, axis=1), 1e-12)
        taken = self.smooth(softmax(0.7 * self.smoothed + 0.3 * cosine), np.ones(count, bool)).argmax(1)
        scale = 0.8 * 6 / (count * 0.5)
        slope = -1.5 * scale * z @ np.linalg.inv(np.eye(6) + scale * z.T @ z)
        for k in range(3):
            own = taken == k
            scale = 6 / (max(own.sum(), 1) * 0.5)
            of_class = z[own] @ np.linalg.inv(np.eye(6) + scale * z[own].T @ z[own])
            slope[own] += 0.8 * own.sum() / count * scale * of_class
        zero = [0 * value for value in network.values]
        network.values = network.moved(with_hidden(network, x, zero, through_unit(hidden, slope))).values


class MultilabelDescriptors:
    """Four epochs of descriptors, M of length 5."""

    def __init__(self, count):
        self.m = count
        self.side = SideNetwork(3, "descriptors", [6, 5 * count])
        random = Random(3).stream("label vectors")
        self.vectors = np.array([random.normal() for _ in range(15)]).reshape(3, 5) / np.sqrt(5)

    def __call__(self, networks, x, y, epoch):
        (network,) = networks
        if epoch == 1:
            self.first = list(network.values)
        used = y.sum(1) > 0
        if epoch > 4:
            z = network.logits(x[used])
            network.move(x[used], (1 / (1 + np.exp(-z)) - self.targets) / (3 * used.sum()))
            return
        px, py = x[used], y[used]
        hidden = network.hidden(px)
        outputs, inputs = self.side.run(hidden)
        d = outputs.reshape(len(px), self.m, 5)
        each = d @ self.vectors.T
        best, scores = each.argmax(1), each.max(1)
        slope = np.zeros_like(d)
        for i in range(len(px)):
            positive, negative = np.flatnonzero(py[i] > 0), np.flatnonzero(py[i] == 0)
            by_score = np.zeros(3)
            for p in positive:
                for n in negative:
                    share = 1 / (1 + np.exp(scores[i, p] - scores[i, n])) / len(positive)
                    by_score[n] += share
                    by_score[p] -= share
                if not len(negative):
                    by_score[p] -= 1 / (1 + np.exp(scores[i, p])) / len(positive)
            if self.m > 1:
                w = self.vectors[positive]
                variety = w.var(0, ddof=1).sum() if len(positive) > 1 else 0
                by_score *= 2 * 0.7 * (1 + variety)
                slope[i] += 2 * 0.3 * 2 * (d[i] - d[i].mean(0)) / (self.m - 1)
            for c in range(3):
                slope[i, best[i, c]] += by_score[c] * self.vectors[c]
        slope = slope.reshape(len(px), -1) / len(px)
        back = slope @ self.side.parameters[0]
        zero = [0 * value for value in network.values]
        gradients = with_hidden(network, px, zero, back)
        self.side.move(self.side.gradients(inputs, slope), 0.05)
        network.values = network.moved(gradients).values
        if epoch == 4:
            self.mend(network, px, py)
            network.values = list(self.first)

    def mend(self, network, x, y):
        d = self.side.run(network.hidden(x))[0].reshape(len(x), self.m, 5)
        scores = (d @ self.vectors.T).max(1)
        flat = d.reshape(-1, 5)
        self.targets, self.mended = y.copy(), 0
        for i in range(len(x)):
            count = int(y[i].sum())
            if set(np.argsort(-scores[i])[:count]) == set(np.flatnonzero(y[i])):
                continue
            self.mended += 1
            lists = []
            for m in range(self.m):
                near = np.argsort(((flat - d[i, m]) ** 2).sum(1), kind="stable")[:12] // self.m
                lists.append(list(dict.fromkeys(near.tolist())))
            candidates = sorted({c for li in lists for c in li} - {i})
            costs = [sum(li.index(c) if c in li else len(li) for li in lists) for c in candidates]
            chosen = [candidates[at] for at in np.argsort(costs, kind="stable")[:4]]
            theirs = y[chosen].mean(0)
            self.targets[i] = (y[i] + theirs > 0) * (0.4 * y[i] + 0.6 * (0.25 + 0.75 * theirs))


class ConfidenceFilter:
    """Three folds of two epochs, both asked."""

    def __init__(self, eta=0.6):
        self.eta = eta
        self.folds = np.zeros(24, int)
        for place, sample in enumerate(Random(3).stream("folds").permutation(24)):
            self.folds[sample] = place % 3
        self.votes, self.sums = np.zeros((24, 3)), np.zeros((24, 3))

    def __call__(self, networks, x, y, epoch):
        (network,) = networks
        if epoch == 1:
            self.first = list(network.values)
        if epoch in (3, 5, 7):
            network.values = list(self.first)
        if epoch > 6:
            network.move(
                x[self.kept],
                slopes(network.logits(x[self.kept]), self.labels[self.kept]),
            )
            return
        out = self.folds == (epoch - 1) // 2
        network.move(x[~out], slopes(network.logits(x[~out]), y[~out]))
        p = softmax(network.logits(x))
        self.votes[out] += one_hot(p.argmax(1))[out]
        self.sums[out] += p[out]
        if epoch == 6:
            confidence = (0.7 * self.votes + 0.3 * self.sums) / 2
            own, best = confidence[np.arange(24), y], self.sums.argmax(1)
            replaced = (best != y) & (confidence[np.arange(24), best] >= self.eta)
            self.labels = np.where(replaced, best, y)
            self.kept = replaced | (own >= np.median(own))


class PairwiseMatch:
    def __init__(self, views):
        self.views = views

    def __call__(self, networks, x, y, epoch):
        (network,) = networks
        other = self.views[:, (epoch - 1) % 2]
        z, w = network.logits(x), network.logits(other)
        u, v = unit(z), unit(w)
        _, a, b = contrast(u, v, 0.3)
        _, c, d = contrast(u + 0.2 * unit(a), v + 0.2 * unit(b), 0.3)
        first = network.gradients(x, through_unit(z, a + 0.7 * c))
        second = network.gradients(other, through_unit(w, b + 0.7 * d))
        network.values = network.moved([p + q for p, q in zip(first, second)]).values


class RewardFilter:
    """The best quarter by a linear reward, without quotas."""

    def __init__(self, ranked):
        self.ranked = ranked

    def reward(self):
        pairs = np.array([item[i] - item[j] for item in self.ranked for i in range(3) for j in range(i + 1, 3)])
        w = np.zeros(pairs.shape[1])
        for _ in range(50):
            p = 1 / (1 + np.exp(-pairs @ w))
            hessian = np.eye(len(w)) + pairs.T @ (pairs * (p * (1 - p))[:, None]) / 3
            w += np.linalg.solve(hessian, pairs.T @ (1 - p) / 3 - w)
        return w

    def __call__(self, networks, x, y, epoch):
        kept = np.sort(np.argsort(-(x @ self.reward()), kind="stable")[:6])
        networks[0].move(x[kept], slopes(networks[0].logits(x[kept]), y[kept]))
