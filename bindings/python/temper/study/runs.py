"""What studies of training share: one small network, the same splits for all, and a process for each processor."""

import concurrent.futures
import importlib.util
import multiprocessing
import os
import sys

import numpy as np

import temper

BATCH, RATE, HIDDEN = 64, 0.003, 128
# Wherever the work of others runs, one thread does it, as one does ours: the processes share the processors.
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def trainer(width, outputs, seed, loss="cross_entropy", procedure=None):
    """A network with one hidden layer, and what trains it."""
    return temper.Trainer(
        temper.Model([{"dense": HIDDEN}, "relu", {"dense": outputs}], input=(width,), seed=seed),
        loss,
        optimizer=temper.optimizer("adam", learning_rate=RATE),
        procedure=procedure,
        batch_size=BATCH,
        seed=seed,
        threads=1,
    )


class Plain:
    """The network as an estimator of scikit-learn's kind, for packages that train one of theirs."""

    _estimator_type = "classifier"

    def __init__(self, epochs=200, seed=0):
        self.epochs, self.seed = epochs, seed

    def get_params(self, deep=True):
        return {"epochs": self.epochs, "seed": self.seed}

    def set_params(self, **parameters):
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def fit(self, x, y, sample_weight=None):
        self.classes_, ids = np.unique(y, return_inverse=True)
        self.trainer_ = trainer(x.shape[1], len(self.classes_), self.seed)
        self.trainer_.fit(np.asarray(x, np.float32), ids.astype(np.int32), epochs=self.epochs)
        return self

    def predict_proba(self, x):
        logits = self.trainer_.model.predict(np.asarray(x, np.float32)).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict(self, x):
        return self.classes_[self.predict_proba(x).argmax(axis=1)]

    def score(self, x, y, sample_weight=None):
        return float(np.mean(self.predict(x) == y))


class PlainRegressor(Plain):
    """The same of numbers, learnt and given in units of their median deviation."""

    _estimator_type = "regressor"

    def fit(self, x, y, sample_weight=None):
        self.centre_, self.scale_ = np.median(y), 1.4826 * np.median(np.abs(y - np.median(y)))
        self.trainer_ = trainer(x.shape[1], 1, self.seed, "mse")
        self.trainer_.fit(
            np.asarray(x, np.float32), ((y - self.centre_) / self.scale_).astype(np.float32), epochs=self.epochs
        )
        return self

    def predict(self, x):
        return self.trainer_.model.predict(np.asarray(x, np.float32))[:, 0] * self.scale_ + self.centre_


def available(package):
    """Whether a package of others is here; a study leaves its rows out where it is not."""
    return importlib.util.find_spec(package) is not None


def average_precision(wrong, scores):
    """The area under precision and recall, by steps; samples of one score come together."""
    order = np.argsort(-scores, kind="stable")
    wrong, scores = np.asarray(wrong, float)[order], scores[order]
    ends = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
    found = wrong.cumsum()[ends]
    return float(np.sum(np.diff(np.r_[0, found]) * found / (ends + 1)) / max(wrong.sum(), 1))


def in_parallel(function, tasks, jobs=None):
    """function(*task) for each task, in their order; the tasks are shared by processes."""
    jobs = min(jobs or os.cpu_count() or 1, len(tasks))
    os.environ.update({name: os.environ.get(name, value) for name, value in _ONE_THREAD.items()})
    context = multiprocessing.get_context("spawn")
    results = []
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for task, result in zip(tasks, pool.map(function, *zip(*tasks), chunksize=1)):
            results.append(result)
            if sys.stderr.isatty():
                what = ", ".join(str(part) for part in task[:-1])
                print(f"\r\033[K{len(results)} of {len(tasks)}: {what}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return results


def chosen(known, options, always):
    """The methods to run: all, or those of --methods beside the ones that always run."""
    wanted = [name.strip() for text in options.only or () for name in text.split(",")]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"The study has no method {', '.join(unknown)}; it has {', '.join(known)}.")
    return [name for name in known if not wanted or name in always or name in wanted]


def sets_of(options, known, first):
    """The data sets to run on."""
    if options.quick:
        return [first]
    wanted = [name.strip() for text in options.sets or () for name in text.split(",")]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"The study has no set {', '.join(unknown)}; it has {', '.join(known)}.")
    return [name for name in known if not wanted or name in wanted]
