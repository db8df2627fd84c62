"""A small network in NumPy, float64, against which the steps of procedures are followed."""

import numpy as np

import temper

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
        trainer.fit(x, y, epochs=epoch, **inputs)
        reference(networks, x, y, epoch)
        for network, model in zip(networks, trainer.networks):
            for name, value in zip(NAMES, network.values):
                worst = max(worst, np.abs(model.parameters()[name] - value).max())
    return worst
