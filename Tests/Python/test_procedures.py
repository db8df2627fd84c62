"""Every training procedure of the catalogue: its steps beside a computation of their own in NumPy, resuming, refusals."""

import curation_steps as curation
import numpy as np
import procedures as reference
import pytest
import temper
from procedures import (
    RATE,
    Random,
    SideNetwork,
    cross_entropy,
    follow,
    log_softmax,
    make,
    mixed,
    mixing_share,
    one_hot,
    order,
    slopes,
    softmax,
    through_softmax,
)  # fmt: skip

X, Y, TRUTH = reference.data()


def smallest(values, kept):
    return np.argsort(values, kind="stable")[:kept]


def kept_count(rate, ramp, epoch):
    return max(1, int(len(X) * (1 - rate * min(epoch / ramp, 1)) + 1e-4))


def on(index):
    """Weights of a mean over some samples."""
    weights = np.zeros(len(X))
    weights[index] = 1 / max(len(index), 1)
    return weights


def co_teaching(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    kept = kept_count(0.4, 3, epoch)
    chosen = smallest(cross_entropy(b, y), kept), smallest(cross_entropy(a, y), kept)
    for network, logits, index in zip(networks, (a, b), chosen):
        network.move(x, slopes(logits, y, on(index)))


def small_loss(networks, x, y, epoch):
    logits = networks[0].logits(x)
    networks[0].move(x, slopes(logits, y, on(smallest(cross_entropy(logits, y), kept_count(0.4, 3, epoch)))))


class AdaptiveK:
    m = v = 0.0

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        losses, weights = cross_entropy(logits, y), None
        if epoch > 2:
            self.m = 0.7 * self.m + 0.3 * losses.mean()
            self.v = 0.9 * self.v + 0.1 * losses.mean() ** 2
            weights = on(np.flatnonzero(losses <= self.m / (np.sqrt(self.v) + 1e-8)))
        networks[0].move(x, slopes(logits, y, weights))


def decoupling(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    differs = np.flatnonzero(a.argmax(1) != b.argmax(1)) if epoch > 1 else np.arange(len(x))
    for network, logits in zip(networks, (a, b)):
        if len(differs):
            network.move(x, slopes(logits, y, on(differs)))


def co_teaching_plus(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    among = np.flatnonzero(a.argmax(1) != b.argmax(1)) if epoch > 2 else np.arange(len(x))
    kept = max(1, int(len(among) * (1 - 0.4 * min(epoch / 3, 1)) + 1e-4))
    for network, own, other in ((networks[0], a, b), (networks[1], b, a)):
        if len(among):
            network.move(x, slopes(own, y, on(among[smallest(cross_entropy(other, y)[among], kept)])))


def jocor(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    p, q = log_softmax(a), log_softmax(b)
    values = 0.7 * (cross_entropy(a, y) + cross_entropy(b, y)) + 0.3 * ((np.exp(p) - np.exp(q)) * (p - q)).sum(1)
    weights = on(smallest(values, kept_count(0.4, 3, epoch)))
    for network, own, mine, other in ((networks[0], a, p, q), (networks[1], b, q, p)):
        # d/dz of sum (P - Q) (p - q) by its own log-probabilities g_c = P_c (p_c - q_c) + P_c - Q_c, through log-softmax.
        g = np.exp(mine) * (mine - other) + np.exp(mine) - np.exp(other)
        agree = g - np.exp(mine) * g.sum(1, keepdims=True)
        network.move(x, 0.7 * slopes(own, y, weights) + 0.3 * weights[:, None] * agree)


class MentorWeights:
    bound = 0.0

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        losses = cross_entropy(logits, y)
        percentile = np.sort(losses)[int(0.6 * len(x))]
        self.bound = percentile if epoch == 1 else 0.5 * self.bound + 0.5 * percentile
        weights = np.clip(1 - (losses - self.bound) / 0.3, 0, 1) if epoch > 1 else np.ones(len(x))
        networks[0].move(x, slopes(logits, y, weights / len(x)))


class OverParametrization:
    def __init__(self):
        random = Random(3).stream("sop")
        u, v = random.stream("u"), random.stream("v")
        self.u = np.array([0.3 * u.normal() for _ in X])[:, None]
        self.v = np.array([0.3 * v.normal() for _ in range(3 * len(X))]).reshape(-1, 3)

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        p, y, count = softmax(logits), one_hot(y), len(x)
        up, down = np.clip(self.u**2 * y, 0, 1), np.clip(self.v**2 * (1 - y), 0, 1)
        shifted = p + up - down
        raised = np.maximum(shifted, 1e-4)
        total = raised.sum(1, keepdims=True)
        explained = raised / total
        # d(-sum y log e)/d raised = -y / e / total + sum(y) / total, where nothing was raised.
        slope = -y / np.maximum(explained, 1e-4) * (explained > 1e-4)
        slope = (slope - (slope * explained).sum(1, keepdims=True)) / total * (shifted > 1e-4) / count
        residual = 2 * (one_hot(logits.argmax(1)) + up - down - y) / count
        self.u = self.u - 0.5 * ((slope + residual) * y * 2 * self.u).sum(1, keepdims=True)
        self.v = self.v - 0.3 * (-residual * (1 - y) * 2 * self.v)
        networks[0].move(x, through_softmax(p, slope))


def learning_to_reweight(networks, x, y, epoch):
    network = networks[0]
    logits, trusted = network.logits(x), network.logits(TRUSTED["trusted_x"])
    each = network.sample_gradients(x, slopes(logits, y, np.ones(len(x))))
    towards = network.sample_gradients(TRUSTED["trusted_x"], slopes(trusted, TRUSTED["trusted_y"])).sum(0)
    weights = np.maximum(each @ towards, 0)
    network.move(x, slopes(logits, y, weights / max(weights.sum(), 1e-12)))


class MetaWeightNet:
    def __init__(self):
        self.side = SideNetwork(3, "weights", [1, 5, 1])

    def __call__(self, networks, x, y, epoch):
        network, count = networks[0], len(x)
        logits = network.logits(x)
        losses = cross_entropy(logits, y)[:, None]
        scores, inputs = self.side.run(losses)
        weights = 1 / (1 + np.exp(-scores))
        each = network.sample_gradients(x, slopes(logits, y, np.ones(count)))
        tried = network.moved(network.gradients(x, slopes(logits, y, weights[:, 0] / count)))
        trusted = slopes(tried.logits(TRUSTED["trusted_x"]), TRUSTED["trusted_y"])
        towards = tried.sample_gradients(TRUSTED["trusted_x"], trusted).sum(0)
        # d J / d w_i = -(rate / n) <grad J at the tried step, grad l_i>
        slope = -RATE / count * (each @ towards)[:, None] * weights * (1 - weights)
        self.side.move(self.side.gradients(inputs, slope), 0.05)
        weights = 1 / (1 + np.exp(-self.side.run(losses)[0]))
        network.move(x, slopes(logits, y, weights[:, 0] / count))


class EarlyLearningPlus:
    def __init__(self):
        self.believed = [np.zeros((len(X), 3)) for _ in range(2)]

    def __call__(self, networks, x, y, epoch):
        if epoch == 1:
            for network in range(2):
                networks[network + 2].values = list(networks[network].values)
        visits, share = order(epoch), mixing_share(1.0, epoch - 1)
        x, y = x[visits], mixed(one_hot(y[visits]), share)
        for network in range(2):
            other = np.clip(softmax(networks[3 - network].logits(x)), 1e-4, 1 - 1e-4)
            rows = 0.7 * self.believed[network][visits] + 0.3 * other / other.sum(1, keepdims=True)
            self.believed[network][visits] = rows
            own = networks[network]
            logits, rows = own.logits(mixed(x, share)), mixed(rows, share)
            p = softmax(logits)
            agreed = (np.clip(p, 1e-4, 1 - 1e-4) * rows).sum(1, keepdims=True)
            pull = through_softmax(p, -rows / (1 - agreed) * (p > 1e-4) * (p < 1 - 1e-4))
            own.move(mixed(x, share), slopes(logits, y) + 3 * pull / len(x))
        for network in range(2):
            pairs = zip(networks[network + 2].values, networks[network].values)
            networks[network + 2].values = [0.9 * a + 0.1 * b for a, b in pairs]


class DivideMix:
    state = None

    def __call__(self, networks, x, y, epoch):
        if epoch <= 2:
            for network in networks:
                network.move(x, slopes(network.logits(x), y))
            return
        visits, share = order(epoch), mixing_share(4.0, epoch - 1)
        x, y = x[visits], one_hot(y[visits])
        guesses = [softmax(network.logits(x)) for network in networks]
        for index, network in enumerate(networks):
            clean = self.state[f"clean.{index}"][visits]
            refined = clean * y + (1 - clean) * guesses[index]
            targets = np.where(clean > 0.5, refined, (guesses[0] + guesses[1]) / 2) ** 2
            targets = mixed(targets / targets.sum(1, keepdims=True), share)
            labelled = (clean > 0.5).astype(float)
            logits = network.logits(mixed(x, share))
            p = softmax(logits)
            fit = slopes(logits, targets, (labelled / max(labelled.sum(), 1e-12))[:, 0])
            weight = 5 * min((epoch - 2) / 3, 1) * (1 - labelled) / max((1 - labelled).sum(), 1e-12)
            apart = through_softmax(p, weight * 2 * (p - targets) / 3)
            balance = through_softmax(p, np.broadcast_to(-1 / (3 * p.mean(0)) / len(x), p.shape))
            network.move(mixed(x, share), fit + apart + balance)


class EstimatedTransition:
    def __init__(self, is_dual):
        self.is_dual = is_dual

    def __call__(self, networks, x, y, epoch):
        network = networks[0]
        logits = network.logits(x)
        p = softmax(logits)
        if epoch <= 2:
            network.move(x, slopes(logits, y))
        else:
            noisy = p @ self.transition
            network.move(x, through_softmax(p, -one_hot(y) / noisy / len(x) @ self.transition.T))
        if epoch == 2:
            p = softmax(network.logits(x))
            self.transition = np.array([p[np.argsort(p[:, c])[int(0.9 * len(x))]] for c in range(3)])
            if self.is_dual:
                counts = one_hot(p.argmax(1)).T @ one_hot(y)
                counts = np.where(counts.sum(1, keepdims=True) > 0, counts, np.eye(3))
                self.transition = self.transition @ (counts / counts.sum(1, keepdims=True))


class VolumeMinimization:
    def __init__(self):
        self.w, self.m, self.v = np.full((3, 3), -2.0), 0, 0

    def __call__(self, networks, x, y, epoch):
        s = 1 / (1 + np.exp(-self.w))
        raw = np.where(np.eye(3) == 1, 1, s)
        total = raw.sum(1, keepdims=True)
        transition = raw / total
        logits = networks[0].logits(x)
        p = softmax(logits)
        by_noisy = -one_hot(y) / (p @ transition) / len(x)
        slope = p.T @ by_noisy + 0.1 * np.linalg.inv(transition).T
        slope = (slope - (slope * transition).sum(1, keepdims=True)) / total
        slope = np.where(np.eye(3) == 1, 0, slope * s * (1 - s))
        self.m, self.v = 0.9 * self.m + 0.1 * slope, 0.999 * self.v + 0.001 * slope**2
        m, v = self.m / (1 - 0.9**epoch), self.v / (1 - 0.999**epoch)
        self.w = self.w - 0.1 * m / (np.sqrt(v) + 1e-8)
        networks[0].move(x, through_softmax(p, by_noisy @ transition.T))


class Alim:
    def __init__(self, lam, is_onehot=False):
        self.lam, self.is_onehot = lam, is_onehot

    def __call__(self, networks, x, sets, epoch):
        logits = networks[0].logits(x)
        p, lam = softmax(logits), 0
        if epoch > 2:
            ratios = (p * sets).max(1) / np.maximum((p * (1 - sets)).max(1), 1e-300)
            lam = min(np.sort(ratios)[int(0.2 * len(x))], 1) if self.lam is None else self.lam
        belief = (sets + lam * (1 - sets)) * p
        if self.is_onehot:
            belief = one_hot(belief.argmax(1))
        networks[0].move(x, slopes(logits, belief / belief.sum(1, keepdims=True)))


class Privileged:
    def __init__(self):
        random = Random(3).stream("privileged")
        self.drawn = np.array([random.normal() for _ in range(2 * len(X))]).reshape(-1, 2)
        self.side = SideNetwork(3, "head", [6 + 2 + 2, 5, 3])

    def __call__(self, networks, x, y, epoch):
        network = networks[0]
        hidden, logits = network.hidden(x), network.logits(x)
        outputs, inputs = self.side.run(np.concatenate([hidden, PRIVILEGED, self.drawn], axis=1))
        slope = slopes(outputs, y)
        inner = (slope @ self.side.parameters[2] * (inputs[1] > 0)) @ self.side.parameters[0]
        self.side.move(self.side.gradients(inputs, slope), 0.01)
        back = inner[:, :6] * (1 - hidden**2)
        classifier = network.gradients(x, slopes(logits, y))
        network.values = network.moved([back.T @ x, back.sum(0), *classifier[2:]]).values


class LateStopping:
    def __init__(self):
        self.kept = np.arange(len(X))
        self.round, self.epochs, self.right, self.learned = 0, 0, np.zeros(len(X)), np.zeros(len(X), bool)

    def __call__(self, networks, x, y, epoch):
        network = networks[0]
        if epoch == 1:
            self.first = list(network.values)
        network.move(x[self.kept], slopes(network.logits(x[self.kept]), y[self.kept]))
        self.epochs += 1
        if self.round == 4 or self.epochs <= 1:
            return
        for i in self.kept:
            self.right[i] = self.right[i] + 1 if network.logits(x[i : i + 1]).argmax() == y[i] else 0
            self.learned[i] |= self.right[i] >= 1 + self.round // 2
        if self.learned.sum() >= min(len(x) * 0.6 ** (self.round + 1), len(self.kept)) or self.epochs >= 5:
            if self.learned.any():
                self.kept = np.flatnonzero(self.learned)
            network.values = list(self.first)
            self.round, self.epochs = self.round + 1, 0
            self.right[:], self.learned[:] = 0, False


class MetaLossRescaling:
    def __init__(self):
        self.side = SideNetwork(3, "weights", [7, 4, 1], flat=True)
        self.mean, self.square = np.zeros(7), np.ones(7)

    def features(self, logits, y):
        logp = log_softmax(logits)
        label = one_hot(y) == 1
        p = np.exp(logp)
        share = np.bincount(y)[y] / len(y)
        margin = logits[label] - np.where(label, -np.inf, logits).max(1)
        entropy = -(p * logp).sum(1)
        return np.stack([-logp[label], p[label], p.max(1), entropy, margin, logits.argmax(1) != y, share], axis=1)

    def weights(self, features):
        """The weights, and the gradient by the small network's parameters for one by the weights."""
        scores, inputs = self.side.run((features - self.mean) / self.deviation)
        s = 1 / (1 + np.exp(-scores[:, 0]))
        a = s / s.mean()

        def back(slope):
            return self.side.gradients(inputs, ((slope - (slope * a).mean()) / s.mean() * s * (1 - s))[:, None])

        return a, back

    def __call__(self, networks, x, y, epoch):
        network, count = networks[0], len(x)
        logits = network.logits(x)
        self.deviation = np.sqrt(np.maximum(self.square - self.mean**2, 1e-4))
        features = self.features(logits, y)
        a, by_a = self.weights(features)
        tried = network.moved(network.gradients(x, slopes(logits, y, a / count)))
        judged = tried.logits(x)
        b, by_b = self.weights(self.features(judged, y))
        losses = cross_entropy(judged, y)
        value = (b * losses).sum() / b.sum()
        towards = tried.sample_gradients(x, slopes(judged, y, b / b.sum())).sum(0)
        each = network.sample_gradients(x, slopes(logits, y, np.ones(count)))
        meta, outer = by_a(-RATE / count * (each @ towards)), by_b((losses - value) / b.sum())
        self.side.move([m + o for m, o in zip(meta, outer)], 0.05)
        self.mean = 0.9 * self.mean + 0.1 * features.mean(0)
        self.square = 0.9 * self.square + 0.1 * (features**2).mean(0)
        network.move(x, slopes(logits, y, a / count))


def drawn(y, epoch, q, t):
    """Weights of a mean over draws by class."""
    sizes = np.bincount(y)
    shares = ((1 - t) * sizes**q / (sizes**q).sum() + t / 3) / sizes
    draws = Random(3).stream("class draws").stream(epoch).draws(len(y), shares[y])
    return np.bincount(draws, minlength=len(y)) / len(y)


def class_balanced(networks, x, y, epoch):
    networks[0].move(x, slopes(networks[0].logits(x), y, drawn(y, epoch, 0.5, 0)))


def progressively_balanced(networks, x, y, epoch):
    networks[0].move(x, slopes(networks[0].logits(x), y, drawn(y, epoch, 1, min((epoch - 1) / 3, 1))))


class Retraining:
    def __call__(self, networks, x, y, epoch):
        network = networks[0]
        if epoch == 1:
            self.first = network.values[2:]
        if epoch == 4:
            network.values = [*network.values[:2], *self.first]
        weights = drawn(y, epoch, 0, 0) if epoch > 3 else None
        moved = network.moved(network.gradients(x, slopes(network.logits(x), y, weights))).values
        network.values = [*network.values[:2], *moved[2:]] if epoch > 3 else moved


def reweighting(networks, x, y, epoch):
    logits = networks[0].logits(x)
    weights = (0.1 / (1 - 0.9 ** np.bincount(y)))[y] if epoch > 2 else np.ones(len(x))
    networks[0].move(x, slopes(logits, y, weights / weights.sum()))


def tau_normalization(networks, x, y, epoch):
    shown, trained = networks
    if epoch == 1:
        trained.values = list(shown.values)
    trained.move(x, slopes(trained.logits(x), y))
    w = trained.values[2]
    scaled = w / np.linalg.norm(w, axis=1, keepdims=True) ** 0.7
    shown.values = [*trained.values[:2], scaled, np.zeros(3)]


class MetaLabelCorrection:
    def __init__(self):
        self.side = SideNetwork(3, "head", [6 + 3, 5, 1])

    def __call__(self, networks, x, y, epoch):
        student, teacher = networks
        count, given, trusted_x, truth = len(x), one_hot(y), TRUSTED["trusted_x"], one_hot(TRUSTED["trusted_y"])
        guess = softmax(teacher.logits(x))
        scores, inputs = self.side.run(np.concatenate([teacher.hidden(x), given], axis=1))
        c = 1 / (1 + np.exp(-scores))
        q = c * given + (1 - c) * guess
        logits = student.logits(x)
        tried = student.moved(student.gradients(x, slopes(logits, q)))
        w1, b1, w2, b2 = tried.gradients(trusted_x, slopes(tried.logits(trusted_x), truth))
        # The derivative of log softmax(f(x)) along the trusted loss's gradient, at the old parameters.
        hidden = student.hidden(x)
        along = hidden @ w2.T + b2 + ((1 - hidden**2) * (x @ w1.T + b1)) @ student.values[2].T
        jacobian = RATE / count * (along - (softmax(logits) * along).sum(1, keepdims=True))
        meta = self.side.gradients(inputs, (jacobian * (given - guess)).sum(1, keepdims=True) * c * (1 - c))
        # On trusted samples: the first five keep their labels, four are shown another class.
        shown = teacher.logits(trusted_x)
        wrong = one_hot(np.where(truth == 1, -np.inf, shown).argmax(1))
        kept = np.arange(9)[:, None] < 5
        labels = np.where(kept, truth, wrong)
        scores, inputs = self.side.run(np.concatenate([teacher.hidden(trusted_x), labels], axis=1))
        retained = self.side.gradients(inputs, (1 / (1 + np.exp(-scores)) - kept) / 9)
        learned = teacher.gradients(x, through_softmax(guess, jacobian * (1 - c)))
        taught = teacher.gradients(trusted_x, slopes(shown, truth))
        teacher.values = teacher.moved([a + b for a, b in zip(learned, taught)]).values
        student.move(x, slopes(logits, q))
        self.side.move([a + b for a, b in zip(meta, retained)], 0.05)


class RotationConsistency:
    def __init__(self):
        self.side = SideNetwork(3, "rotations", [6, 5, 4])

    def __call__(self, networks, x, y, epoch):
        average, own = networks
        if epoch == 1:
            own.values = list(average.values)
        count, believed = len(x), softmax(average.logits(x))
        turned = [np.rot90(x.reshape(-1, 2, 2), k, axes=(1, 2)).reshape(x.shape) for k in range(4)]
        ramp = 10 * np.exp(-5 * (1 - min(epoch / 4, 1)) ** 2)
        total, side = [0, 0, 0, 0], [0, 0, 0, 0]
        for k, view in enumerate(turned):
            logits = own.logits(view)
            p = softmax(logits)
            slope = slopes(logits, y) if k == 0 else 0
            agree = ramp * (1 if k == 0 else 0.5 / 3) * 2 * (p - believed) / (3 * count)
            hidden = own.hidden(view)
            outputs, inputs = self.side.run(hidden)
            told = (softmax(outputs) - np.eye(4)[k]) / (4 * count)
            side = [a + b for a, b in zip(side, self.side.gradients(inputs, told))]
            inner = (told @ self.side.parameters[2] * (inputs[1] > 0)) @ self.side.parameters[0] * (1 - hidden**2)
            gradients = own.gradients(view, slope + through_softmax(p, agree))
            gradients = [gradients[0] + 2 * inner.T @ view, gradients[1] + 2 * inner.sum(0), *gradients[2:]]
            total = [a + b for a, b in zip(total, gradients)]
        own.values = own.moved(total).values
        self.side.move(side, 0.05)
        average.values = [0.9 * a + 0.1 * b for a, b in zip(average.values, own.values)]


def backdoor_adjustment(networks, x, y, epoch):
    for network in networks:
        network.move(x, slopes(network.logits(x) + 0.8 * np.log(np.bincount(y) / len(y) + 1e-9), y))


class SemiSelf:
    def __init__(self, pretraining):
        self.pretraining = pretraining
        self.side = SideNetwork(3, "rotations", [6, 5, 4])

    def __call__(self, networks, x, y, epoch):
        network, labelled, count = networks[0], y >= 0, len(x)
        if epoch == 1:
            self.first = list(network.values)
        if epoch <= self.pretraining:
            total, side = [0, 0], [0, 0, 0, 0]
            for k in range(4):
                view = np.rot90(x.reshape(-1, 2, 2), k, axes=(1, 2)).reshape(x.shape)
                hidden = network.hidden(view)
                outputs, inputs = self.side.run(hidden)
                told = (softmax(outputs) - np.eye(4)[k]) / (4 * count)
                side = [a + b for a, b in zip(side, self.side.gradients(inputs, told))]
                inner = (told @ self.side.parameters[2] * (inputs[1] > 0)) @ self.side.parameters[0] * (1 - hidden**2)
                total = [total[0] + inner.T @ view, total[1] + inner.sum(0)]
            network.values = network.moved([*total, 0, 0]).values
            self.side.move(side, 0.05)
        else:
            given, weights = np.maximum(y, 0), labelled / labelled.sum()
            if epoch > self.pretraining + 3:
                given = np.where(labelled, y, self.guessed)
                weights = weights + 0.7 * ~labelled / (~labelled).sum()
            network.move(x, slopes(network.logits(x), given, weights))
        if epoch == self.pretraining:
            self.first[:2] = network.values[:2]
        if epoch == self.pretraining + 3:
            self.guessed = network.logits(x).argmax(1)
        if epoch in (self.pretraining, self.pretraining + 3):
            network.values = list(self.first)


PRIVILEGED = np.stack([np.arange(len(X)) % 2, Y != TRUTH], axis=1).astype(float)
UNLABELLED = {"y": np.where(np.arange(len(X)) % 3 == 1, -100, Y)}
CANDIDATES = {"y": np.maximum(one_hot(Y), np.random.default_rng(2).random((len(X), 3)) < 0.3).astype(float)}
TRUSTED = {"trusted_x": X[:9] + 0.1, "trusted_y": TRUTH[:9]}
SHARE = {"forget_rate": 0.4, "ramp": 3}
VALIDATION = {"validation_x": X[:9] + 0.1, "validation_y": TRUTH[:9]}
EDGES = np.random.default_rng(7).integers(0, len(X), (40, 2))
GRAPH = {"y": np.where(np.arange(len(X)) % 3 == 1, -100, Y), "edges": EDGES}
MULTI = {
    "y": (np.random.default_rng(8).random((len(X), 3)) < 0.5).astype(float),
    "loss": "binary_cross_entropy_with_logits",
}
VIEWS = X[:, None] + 0.2 * np.random.default_rng(6).normal(size=(len(X), 2, 4))
RANKED = {"ranked": np.sort(np.random.default_rng(9).normal(size=(8, 3, 4)), axis=1)[:, ::-1].copy()}
# Name: parameters for small data, what fit takes beside x and y, and what makes the step in NumPy.
CASES = {
    "bag_of_multilabel_descriptors": (
        {"M": 3, "embed": 5, "K": 4, "pool": 12, "descriptor_epochs": 4, "descriptor_lr": 0.05}, MULTI,
        lambda: curation.MultilabelDescriptors(3),
    ),
    "bilateral_branch": ({"epochs": 8}, {}, lambda: curation.bilateral_branch),
    "confidence_filter_and_rectify": (
        {"k": 2, "eta": 0.6, "folds": 3, "fold_epochs": 2}, {}, curation.ConfidenceFilter
    ),
    "erase": (
        {"eps": 0.5, "gam1": 0.8, "gam2": 1.5, "beta": 0.7, "T": 2, "representation_epochs": 8}, GRAPH,
        lambda: curation.GraphCodingRate(EDGES),
    ),
    "linear_separation_alternating": (
        {"warmup_epochs": 2, "noise": 0, "contrast": 0.5}, {}, curation.LinearSeparation
    ),
    "nested_co_teaching": (
        {"s": 3, "forget_rate": 0.4, "stage1_epochs": 4}, VALIDATION,
        lambda: curation.NestedCoTeaching((X[:9] + 0.1, TRUTH[:9])),
    ),
    "pairwise_match_then_community": (
        {"eps": 0.2, "adv_weight": 0.7, "temperature": 0.3}, {"views": VIEWS}, lambda: curation.PairwiseMatch(VIEWS)
    ),
    "rcal_representation_calibration": (
        {"contrastive_epochs": 3, "head_epochs": 2, "lof_k": 5, "noise": 0, "lam": 0.3, "mixup_alpha": 0.5,
         "projection": 5, "projection_lr": 0.05}, {},
        curation.RepresentationCalibration,
    ),
    "reward_model_data_filter": (
        {"keep_fraction": 0.25, "clusters": 0}, RANKED, lambda: curation.RewardFilter(RANKED["ranked"])
    ),
    "alim": ({"noise_rate": 0.2, "e0": 2}, CANDIDATES, lambda: Alim(None)),
    "class_balanced_sampling": ({"q": 0.5}, {}, lambda: class_balanced),
    "classifier_retraining": ({"representation_epochs": 3}, {}, Retraining),
    "deferred_reweighting": ({"defer_epochs": 2, "beta": 0.9}, {}, lambda: reweighting),
    "divide_mix": ({"warmup_epochs": 2, "lambda_u": 5, "ramp": 3}, {}, DivideMix),
    "elr_plus": ({"ema": 0.9}, {}, EarlyLearningPlus),
    "enhanced_meta_label_correction": ({"head_hidden": 5, "head_lr": 0.05}, TRUSTED, MetaLabelCorrection),
    "estimated_transition": ({"warmup_epochs": 2, "percentile": 0.9}, {}, lambda: EstimatedTransition(True)),
    "imbalanced_semi_self": ({"w": 0.7, "base_epochs": 3}, UNLABELLED, lambda: SemiSelf(0)),
    "late_stopping": (
        {"rounds_each": 2, "largest_k": 2, "keep_rate": 0.6, "warmup_epochs": 1, "max_epochs": 5}, {}, LateStopping
    ),
    "multi_encoder_backdoor_adjustment": ({"tau": 0.8, "M": 2}, {}, lambda: backdoor_adjustment),
    "progressively_balanced_sampling": ({"ramp": 4}, {}, lambda: progressively_balanced),
    "rotation_consistency_decoupling": (
        {"w_rot": 2, "w_rot_invariance": 0.5, "ramp": 4, "ema": 0.9, "noise": 0, "head_hidden": 5, "head_lr": 0.05},
        {}, RotationConsistency,
    ),
    "storm_meta_loss_rescaling": ({"G": 1, "hidden": 4, "outer_lr": 0.05}, {}, MetaLossRescaling),
    "tau_normalization": ({"tau": 0.7}, {}, lambda: tau_normalization),
    "tram_privileged": (
        {"random_pi_dim": 2, "pi_head_width": 5, "pi_lr": 0.01}, {"privileged": PRIVILEGED}, Privileged
    ),
    "volume_minimization": ({"lam": 0.1, "transition_lr": 0.1}, {}, VolumeMinimization),
    "adaptive_k": ({"beta1": 0.7, "beta2": 0.9, "warmup_epochs": 2}, {}, AdaptiveK),
    "co_teaching": (SHARE, {}, lambda: co_teaching),
    "co_teaching_plus": ({**SHARE, "warmup_epochs": 2}, {}, lambda: co_teaching_plus),
    "decoupling": ({}, {}, lambda: decoupling),
    "jocor": ({**SHARE, "lam": 0.3}, {}, lambda: jocor),
    "learning_to_reweight": ({}, TRUSTED, lambda: learning_to_reweight),
    "mentor_weights": ({"percentile": 0.6, "width": 0.3, "warmup_epochs": 1}, {}, MentorWeights),
    "meta_weight_net": ({"hidden": 5, "meta_lr": 0.05}, TRUSTED, MetaWeightNet),
    "small_loss": (SHARE, {}, lambda: small_loss),
    "sop": ({"lr_u": 0.5, "lr_v": 0.3, "init": 0.3}, {}, OverParametrization),
}


def case(name):
    parameters, inputs, make_step = CASES[name]
    return temper.procedure(name, **parameters), inputs, make_step()


# Those of the pages on optimization and regularization: test_optimization_procedures.py; of quantization:
# test_low_bit_training.py.
ELSEWHERE = {
    "bang_weight_ensemble", "cascade_refinement", "dynamic_sparse_training", "feasible_learning",
    "ignite_surrogate_sharpness", "mono_forward", "policy_gradient_noise_mask", "quick_selection", "sam_unlearning",
    "sensitivity_aware_finetune", "soft_subnetwork_fscil",
}  # fmt: skip


def test_every_procedure_is_here():
    assert {record["name"] for record in temper.catalog("procedure")} == set(CASES) | ELSEWHERE
    assert set(dir(temper.procedures)) == set(CASES) | ELSEWHERE


@pytest.mark.parametrize("name", CASES)
def test_steps(name):
    """Parameters of all networks after each of twelve steps on all samples."""
    procedure, inputs, step = case(name)
    inputs = dict(inputs)
    trainer = make(procedure, loss=inputs.pop("loss", "cross_entropy"))
    start = np.array(trainer.model.parameters()["0.weight"])
    assert follow(trainer, step, X, inputs.pop("y", Y), 12, **inputs) < 1e-9
    assert np.abs(trainer.model.parameters()["0.weight"] - start).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_resuming(name, tmp_path):
    """Batches of 10; stopped after two epochs and after four, when all that is kept is in use, each time taken over by
    another trainer, with other threads: the same bits."""
    procedure, inputs, _ = case(name)
    inputs = {"y": Y, **inputs}
    loss = inputs.pop("loss", "cross_entropy")

    def trainer(threads=1):
        model = temper.Model(reference.LAYERS, input=(4,), seed=3)
        return temper.Trainer(model, loss=loss, procedure=procedure, batch_size=10, seed=4, threads=threads)

    whole, last = trainer(), trainer()
    history = whole.fit(X, epochs=6, **inputs)
    last.fit(X, epochs=2, **inputs)
    for epochs, threads in [(4, 2), (6, 3)]:
        last.save(tmp_path / "run")
        last = trainer(threads)
        last.resume(tmp_path / "run")
        resumed = last.fit(X, epochs=epochs, **inputs)
    assert np.isfinite(history["training_loss"]).all()
    assert np.array_equal(history["training_loss"], resumed["training_loss"])
    for a, b in zip(whole.networks, last.networks):
        for key, value in a.parameters().items():
            assert np.array_equal(value, b.parameters()[key]), key


@pytest.mark.parametrize("name", CASES)
def test_memory_by_sample_is_what_the_record_says(name):
    """What is kept of twice the samples is larger by what the record states for each, and nothing else grows."""
    record = temper.procedure(name).record
    parameters, inputs, _ = CASES[name]
    loss = inputs.get("loss", "cross_entropy")
    by_sample = {e["name"] for e in record["inputs"] if e["forms"][0]["shape"][0] == "N"} | {"y"}

    def kept(times):
        trainer = make(temper.procedure(name, **parameters), loss=loss)
        given = {"y": Y, **{key: value for key, value in inputs.items() if key != "loss"}}
        given = {key: np.concatenate([v] * times) if key in by_sample else v for key, v in given.items()}
        trainer.fit(np.concatenate([X] * times), epochs=1, **given)
        return {key: value.size for key, value in trainer.state.items()}

    once, twice = kept(1), kept(2)
    missing = 3 * np.bincount(Y).max() - len(Y)
    sizes = {"C": 3, "F": 6, "R": -(-missing // len(Y)), "own_features": 0}
    sizes |= {p["name"]: p["default"] for p in record["parameters"] if isinstance(p["default"], int)} | parameters

    def size(words):
        return int(np.prod([int(word) if word.isdigit() else int(sizes[word]) for word in words.split()]))

    stated = sum(size(part) for part in record["numbers_by_sample"].split(" + "))
    assert sum(twice.values()) - sum(once.values()) == len(X) * stated
    for entry in record["state"]:
        assert once.get(entry["name"], 0) == len(X) * size(" ".join(entry["shape"]) or "1"), entry["name"]
    assert once.keys() == twice.keys() and "Memory by sample" in temper.describe(name)


# Other settings of what has choices: parameters, what fit takes, and what makes the step.
FURTHER = {
    "bag_of_multilabel_descriptors, one descriptor": (
        "bag_of_multilabel_descriptors",
        {"M": 1, "embed": 5, "K": 4, "pool": 12, "descriptor_epochs": 4, "descriptor_lr": 0.05}, MULTI,
        lambda: curation.MultilabelDescriptors(1),
    ),
    "linear_separation_alternating, two networks": (
        "linear_separation_alternating",
        {"warmup_epochs": 2, "noise": 0, "contrast": 0.5, "co_training": True}, {}, curation.LinearSeparation,
    ),
    "nested_co_teaching, whole batches and a growing share": (
        "nested_co_teaching",
        {"s": 3, "forget_rate": 0.4, "stage1_epochs": 2, "T_k": 3, "gradual_in_finetune": True, "split_batch": False},
        VALIDATION, lambda: curation.NestedCoTeaching((X[:9] + 0.1, TRUTH[:9]), True, False, 2),
    ),
    "alim, one class": ("alim", {"lam": 0.4, "e0": 2, "norm": "onehot"}, CANDIDATES, lambda: Alim(0.4, True)),
    "imbalanced_semi_self, rotations first": (
        "imbalanced_semi_self",
        {"w": 0.7, "base_epochs": 3, "pretrain_epochs": 2, "head_hidden": 5, "head_lr": 0.05},
        UNLABELLED, lambda: SemiSelf(2),
    ),
    "estimated_transition, anchors": (
        "estimated_transition", {"estimator": "anchor", "warmup_epochs": 2, "percentile": 0.9}, {},
        lambda: EstimatedTransition(False),
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", FURTHER)
def test_steps_of_other_settings(label):
    name, parameters, inputs, make_step = FURTHER[label]
    inputs = {"y": Y, **inputs}
    trainer = make(temper.procedure(name, **parameters), loss=inputs.pop("loss", "cross_entropy"))
    assert follow(trainer, make_step(), X, inputs.pop("y"), 8, **inputs) < 1e-9


@pytest.mark.parametrize(
    "procedure",
    [
        temper.procedure("rotation_consistency_decoupling", w_rot=0, w_cons=0),
        temper.procedure("storm_meta_loss_rescaling", outer_lr=0, G=2),
        temper.procedure("small_loss", forget_rate=0),
        temper.procedure("adaptive_k", warmup_epochs=100),
    ],
)
def test_what_is_left_is_plain_training(procedure):
    """Where a method's own part is switched off, steps on all samples are those of plain training."""
    trainer = make(procedure)
    plain = make(None)
    trainer.fit(X, Y, epochs=5)
    plain.fit(X, Y, epochs=5)
    for network in trainer.networks[-1:]:
        for name, value in plain.model.parameters().items():
            np.testing.assert_allclose(network.parameters()[name], value, rtol=1e-12, atol=1e-14)


def test_a_mixture_parts_losses():
    """divide_mix: the posteriors kept for one network are those of a mixture fitted to the losses in the other."""
    mixture = pytest.importorskip("sklearn.mixture")
    x, y, _ = reference.data(300, seed=9)
    trainer = make(temper.procedure("divide_mix", warmup_epochs=30))
    trainer.fit(x, y, epochs=30)
    for index, model in enumerate(trainer.networks):
        losses = cross_entropy(model.predict(x), y)
        scaled = ((losses - losses.min()) / (losses.max() - losses.min()))[:, None]
        fitted = mixture.GaussianMixture(2, reg_covar=5e-4, max_iter=10, tol=1e-2, random_state=0).fit(scaled)
        expected = fitted.predict_proba(scaled)[:, fitted.means_.argmin()]
        # The two begin elsewhere, and both stop early.
        kept = trainer.state[f"clean.{1 - index}"][:, 0]
        assert np.abs(kept - expected).max() < 0.2 and ((kept > 0.5) == (expected > 0.5)).mean() > 0.97


def test_samplers_and_objectives_go_together():
    """Small losses of samples drawn by class, with the names that each keeps apart."""
    both = make([temper.procedure("class_balanced_sampling"), temper.procedure("adaptive_k", warmup_epochs=0)])
    both.fit(X, Y, epochs=3)
    assert set(both.state) == {"adaptive_k.m", "adaptive_k.v"}
    alone = make(temper.procedure("adaptive_k", warmup_epochs=0))
    alone.fit(X, Y, epochs=3)
    assert not np.array_equal(both.model.parameters()["0.weight"], alone.model.parameters()["0.weight"])


def test_robust_losses_take_part():
    """The loss is the trainer's: co-teaching with generalized cross-entropy differs from that with cross-entropy."""
    losses = [
        make("co_teaching", loss=temper.loss(name)).fit(X, Y, epochs=2)["training_loss"]
        for name in ("cross_entropy", "generalized_cross_entropy")
    ]
    assert np.abs(losses[0] - losses[1]).min() > 1e-3


def test_state():
    trainer = make(temper.procedure("adaptive_k", warmup_epochs=0))
    assert trainer.state == {}
    loss = trainer.fit(X, Y, epochs=1)["training_loss"][0]
    assert np.isfinite(loss) and set(trainer.state) == {"m", "v"}


def test_networks_differ():
    """Each network begins from a seed of its own, and those given are trained."""
    trainer = make("co_teaching")
    a, b = trainer.networks
    assert a is trainer.model and not np.array_equal(a.parameters()["0.weight"], b.parameters()["0.weight"])
    peer = temper.Model(reference.LAYERS, input=(4,), seed=9, dtype="float64")
    before = np.array(peer.parameters()["0.weight"])
    given = make("co_teaching", peers=[peer])
    given.fit(X, Y, epochs=1)
    assert not np.array_equal(peer.parameters()["0.weight"], before)
    assert np.array_equal(given.networks[1].parameters()["0.weight"], peer.parameters()["0.weight"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: temper.procedure("co_teeching"), "co_teaching"),
        (lambda: temper.procedure("adam"), "optimizer, not procedure"),
        (lambda: temper.procedure("co_teaching", forget_rate=1.5), "forget_rate"),
        (lambda: make("co_teaching", loss="dmi"), "one value for the whole batch"),
        (lambda: make(["co_teaching", "small_loss"]), "objective"),
        (lambda: make(["co_teaching", "co_teaching"]), "twice"),
        (lambda: make("small_loss", peers=[temper.Model(["relu"], input=(4,))]), "1 networks; 2 models"),
        (lambda: make([]), "no procedure"),
        (lambda: make("sop", loss="focal"), "cross-entropy of its own"),
        (lambda: make("rotation_consistency_decoupling", layers=[{"reshape": [2, 2]}]), "classifier"),
        (lambda: make("tram_privileged", layers=[{"dense": 3}]), "trunk"),
        (lambda: make("meta_weight_net").fit(X, Y), "trusted_x"),
        (lambda: make("meta_weight_net").fit(X, Y, trusted_x=X[:3, :2], trusted_y=Y[:3]), "trusted_x"),
        (lambda: make("alim").fit(X, Y), "sets of candidates"),
        (lambda: make("late_stopping").fit(X, one_hot(Y)), "one class id"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(temper.Error, match=words):
        call()
