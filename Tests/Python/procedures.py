"""A small network in NumPy, float64, against which the steps of procedures are followed."""

import numpy as np
import temper

MASK = 2**64 - 1

LAYERS = [{"dense": 6}, "tanh", {"dense": 3}]
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
RATE = 0.5


def data(count=24, classes=3, seed=5):
    """Clouds in four dimensions, a third of the labels wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    x = rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[truth]
    wrong = rng.random(count) < 0.33
    return x, np.where(wrong, (truth + 1 + rng.integers(0, classes - 1, count)) % classes, truth), truth


class Network:
    """Two dense layers with tanh between: the same as LAYERS, from the same parameters."""

    def __init__(self, model):
        self.values = [np.array(model.parameters()[name]) for name in NAMES]

    def copy(self, values):
        network = object.__new__(type(self))
        network.values = values
        return network

    def hidden(self, x):
        return np.tanh(x @ self.values[0].T + self.values[1])

    def logits(self, x):
        return self.hidden(x) @ self.values[2].T + self.values[3]

    def gradients(self, x, slopes):
        """Of sum(slopes * logits)."""
        hidden = self.hidden(x)
        inner = slopes @ self.values[2] * (1 - hidden**2)
        return [inner.T @ x, inner.sum(0), slopes.T @ hidden, slopes.sum(0)]

    def sample_gradients(self, x, slopes):
        """(N, parameters): each sample's own."""
        each = (self.gradients(x[i : i + 1], slopes[i : i + 1]) for i in range(len(x)))
        return np.array([np.concatenate([part.ravel() for part in parts]) for parts in each])

    def moved(self, gradients, rate=RATE):
        return self.copy([value - rate * gradient for value, gradient in zip(self.values, gradients)])

    def move(self, x, slopes, rate=RATE):
        """One step of gradient descent on sum(slopes * logits), in place."""
        self.values = self.moved(self.gradients(x, slopes), rate).values


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def one_hot(y, classes=3):
    return np.eye(classes)[y]


def cross_entropy(logits, y):
    """Values by sample; y: class ids or probabilities."""
    return -((one_hot(y) if np.ndim(y) == 1 else y) * log_softmax(logits)).sum(axis=1)


def slopes(logits, y, weights=None):
    """The gradient by the logits of sum(weights * cross-entropy), of the mean without weights."""
    weights = np.full(len(logits), 1 / len(logits)) if weights is None else weights
    return np.asarray(weights)[:, None] * (softmax(logits) - (one_hot(y) if np.ndim(y) == 1 else y))


def order(epoch, seed=3, count=24):
    """In which the samples of an epoch are visited."""
    return np.array(Random(seed).stream("shuffle").stream(epoch).permutation(count))


def mixing_share(alpha, steps, seed=3):
    random = Random(seed).stream("mixup").stream(steps)
    x, y = random.gamma(alpha), random.gamma(alpha)
    return max(x / (x + y), y / (x + y))


def mixed(rows, share):
    """Each with the next one."""
    return share * rows + (1 - share) * np.roll(rows, -1, axis=0)


def through_softmax(p, slope):
    """The gradient by logits of what has this gradient by p."""
    return p * (slope - (slope * p).sum(axis=1, keepdims=True))


def make(procedure, seed=3, dtype="float64", layers=LAYERS, batch_size=1000, **options):
    """A trainer whose steps see all samples, by gradient descent."""
    model = temper.Model(layers, input=(4,), seed=seed, dtype=dtype)
    optimizer = temper.optimizer("sgd", learning_rate=RATE)
    return temper.Trainer(
        model, optimizer=optimizer, procedure=procedure, batch_size=batch_size, seed=seed, threads=1, **options
    )


def follow(trainer, reference, x, y, epochs, **inputs):
    """The largest difference in parameters between the trainer and `reference(networks, x, y, epoch)`, which moves the
    networks, over so many epochs of one step."""
    networks = [Network(model) for model in trainer.networks]
    worst = 0.0
    for epoch in range(1, epochs + 1):
        if hasattr(reference, "state"):
            reference.state = trainer.state
        trainer.fit(x, y, epochs=epoch, **inputs)
        reference(networks, x, y, epoch)
        for network, model in zip(networks, trainer.networks):
            for name, value in zip(NAMES, network.values):
                worst = max(worst, np.abs(model.parameters()[name] - value).max())
    return worst


class Random:
    """The library's random numbers: Philox4x32-10 by (seed, stream, counter)."""

    def __init__(self, seed=None, key=None):
        self.key, self.counter, self.left = self._mix(seed, "") if key is None else key, 0, []

    @staticmethod
    def _finish(value):
        z = (value + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    @classmethod
    def _mix(cls, seed, name):
        value = 0xCBF29CE484222325
        for byte in name.encode():
            value = ((value ^ byte) * 0x100000001B3) & MASK
        return cls._finish(cls._finish(seed) ^ value)

    def stream(self, name):
        if isinstance(name, str):
            return Random(key=self._mix(self.key, name))
        return Random(key=self._finish(self.key ^ self._finish(name + 1)))

    def _block(self):
        c = [self.counter & 0xFFFFFFFF, self.counter >> 32, 0, 0]
        k0, k1 = self.key & 0xFFFFFFFF, self.key >> 32
        for _ in range(10):
            p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(q >> 32) ^ c[1] ^ k0, q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k1, p & 0xFFFFFFFF]
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        self.counter += 1
        return c

    def word(self):
        if not self.left:
            self.left = self._block()
        return self.left.pop(0)

    def long(self):
        return self.word() << 32 | self.word()

    def uniform(self):
        return (self.long() >> 11) * 2.0**-53

    def normal(self):
        radius = np.sqrt(-2 * np.log(1 - self.uniform()))
        return radius * np.cos(2 * np.pi * self.uniform())

    def gamma(self, shape):
        """Marsaglia and Tsang's method."""
        boost = self.uniform() ** (1 / shape) if shape < 1 else 1
        d = (shape + 1 if shape < 1 else shape) - 1 / 3
        while True:
            x = self.normal()
            v = (1 + x / np.sqrt(9 * d)) ** 3
            if v > 0 and np.log(1 - self.uniform()) < 0.5 * x * x + d * (1 - v + np.log(v)):
                return boost * d * v

    def draws(self, count, weights):
        """With replacement, in proportion to weights."""
        sums = np.cumsum(weights)
        return [int(np.searchsorted(sums, self.uniform() * sums[-1], side="right")) for _ in range(count)]

    def below(self, bound):
        if bound <= 1:
            return 0
        while True:
            product = self.long() * bound
            if product & MASK >= bound or product & MASK >= (2**64 - bound) % bound:
                return product >> 64

    def permutation(self, count):
        order = list(range(count))
        for i in range(count - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


class SideNetwork:
    """The small network of a method's own, moved by Adam."""

    def __init__(self, seed, name, widths, flat=False):
        self.parameters, self.steps = [], 0
        for layer in range(1, len(widths)):
            for part, shape in (("weight", (widths[layer], widths[layer - 1])), ("bias", (1, widths[layer]))):
                random = Random(seed).stream("side network").stream(f"{name}.{layer}.{part}")
                values = [2 * random.uniform() - 1 for _ in range(np.prod(shape))]
                scale = 0 if flat and layer == len(widths) - 1 else 1 / np.sqrt(widths[layer - 1])
                self.parameters.append(scale * np.reshape(values, shape))
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]

    def run(self, x):
        """Outputs, and what `gradients` needs."""
        inputs = []
        for layer in range(0, len(self.parameters), 2):
            x = np.maximum(x, 0) if layer else x
            inputs.append(x)
            x = x @ self.parameters[layer].T + self.parameters[layer + 1]
        return x, inputs

    def gradients(self, inputs, slopes):
        found = []
        for layer in range(len(self.parameters) - 2, -1, -2):
            x = inputs[layer // 2]
            found = [slopes.T @ x, slopes.sum(0, keepdims=True), *found]
            slopes = slopes @ self.parameters[layer] * (x > 0)
        return found

    def move(self, gradients, rate):
        self.steps += 1
        for index, g in enumerate(gradients):
            m, v = self.moments[index]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            self.moments[index] = m, v
            m, v = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            self.parameters[index] = self.parameters[index] - rate * m / (np.sqrt(v) + 1e-8)
