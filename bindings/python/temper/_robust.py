"""The automatic mode: estimators that see for themselves what is wrong with the data."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from . import _context, errors
from ._arrays import Borrow, mapped
from ._interrupts import Interrupts
from ._library import library, pending
from ._models import Model, load
from ._progress import Work

if TYPE_CHECKING:
    from ._types import Array, Path, Result


class RobustReport:
    """What the automatic mode found; print it.

    noise_rate: estimated share of wrong labels, or of numbers far off. transition_matrix (C, C): P(given label | true
    class). suspicion (N,): how probable it is that a sample's label or number is wrong; suspected: the samples above
    one half, the most suspect first. believed (N,): the class or number that the model believes; given (N,): what came,
    as class numbers. losses (N,): minus the logarithm of the given label's probability, or the residual, by networks
    that did not see the sample. loss_mixture: (weights, means, deviations) of two normal distributions fitted to the
    losses of labels. remoteness (N,): how far a sample lies from its neighbours, in robust deviations from the median;
    outliers: the samples above 6. class_counts, class_weights: by class; weights are those of the choice, None where
    samples counted alike. temperature: that the logits were divided by. approach, epochs: what the model was trained
    with. trials: {approach: (epochs, score)} of all that was tried. score, plain_score: of the chosen approach and of
    plain training, on samples not learnt from; NaN where it was not tried so.
    """

    def __init__(self, report, details, classes, given):
        self.text = report.text.decode()
        self.noise_rate, self.temperature = report.noise_rate, report.temperature
        self.score, self.plain_score = report.score, report.plain_score
        self.approach, self.epochs = report.approach.decode(), report.epochs
        self.suspicion, self.losses = details["suspicion"], details["losses"]
        order = np.argsort(-self.suspicion, kind="stable")
        self.suspected = order[self.suspicion[order] > 0.5]
        self.remoteness, self.loss_mixture = details["remoteness"], details.get("loss_mixture")
        self.outliers = np.flatnonzero(self.remoteness > 6)
        self.trials = {
            name.removeprefix("trial: "): (int(values[0]), float(values[1]))
            for name, values in details.items()
            if name.startswith("trial: ")
        }
        self.classes, self.given = classes, given
        self.believed, self.transition_matrix = details["believed"], details.get("transition")
        self.class_counts = self.class_weights = None
        if classes is not None:
            self.believed = classes[self.believed.astype(np.intp)]
            self.class_counts = details["class_counts"].astype(np.intp)
            if report.is_balanced:
                self.class_weights = self.class_counts.sum() / (len(classes) * self.class_counts)

    def __str__(self):
        return self.text

    def save_pictures(self, folder: Path) -> list[Path]:
        """Writes SVG pictures into a folder and returns their paths: losses.svg, and for classes labels.svg."""
        from . import _robust_pictures

        return _robust_pictures.write(self, folder)


class _Robust:
    """What both estimators share. The parameters are the attributes of their names, as scikit-learn wants it."""

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self._parameters}

    def set_params(self, **parameters):
        """Changes parameters; returns the estimator."""
        for name, value in parameters.items():
            if name not in self._parameters:
                raise errors.InvalidArgument(
                    f"There is no parameter {name!r}; there are {', '.join(self._parameters)}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self):
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._parameters)
        return f"{type(self).__name__}({given})"

    def __sklearn_is_fitted__(self):
        return hasattr(self, "model_")

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type, target_tags=TargetTags(required=True), input_tags=InputTags(),
            classifier_tags=ClassifierTags() if is_classifier else None,
            regressor_tags=None if is_classifier else RegressorTags(),
        )  # fmt: skip

    def __getstate__(self):
        state = dict(self.__dict__)
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model.safetensors")
                self.model_.save(path)
                with open(path, "rb") as file:
                    state["model_"] = file.read()
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model.safetensors")
                with open(path, "wb") as file:
                    file.write(state["model_"])
                self.model_ = load(path)

    def _fit(self, x, y, class_count, classes=None):
        x = _table(x)
        if len(x) != len(y):
            raise errors.InvalidShape(f"x has {len(x)} samples and y has {len(y)}; they must be as many.")
        context, report = _context.default(), library.struct("robust_report")
        balanced = {None: "AUTO", True: "ALWAYS", False: "NEVER"}[getattr(self, "balanced", None)]
        with Borrow() as borrow, Interrupts() as interrupts, Work(self.progress) as work:
            options = library.struct(
                "robust_options", folds=self.folds, hidden=self.hidden, epochs=self.epochs or 0,
                batch_size=self.batch_size or 0, balanced=library.constants[f"TEMPER_BALANCED_{balanced}"],
                seed=0 if self.random_state is None else int(self.random_state), threads=self.threads or 0,
                progress=library.callback("work_function", _receiving(interrupts, work)),
            )  # fmt: skip
            model, details = ctypes.c_void_p(), ctypes.c_void_p()
            try:
                library.robust_fit(
                    ctypes.byref(model), ctypes.byref(report), ctypes.byref(details), context, borrow.tensor(x),
                    borrow.tensor(y), class_count, ctypes.byref(options),
                )  # fmt: skip
            except errors.Cancelled:
                if not interrupts.came:
                    raise
                return self
        self.model_ = Model._from(context, model)
        self.n_features_in_ = x.shape[1]
        self.report_ = RobustReport(report, {name: np.array(v) for name, v in mapped(details).items()}, classes, y)
        return self

    def _outputs(self, x):
        if not hasattr(self, "model_"):
            raise _not_fitted(f"This {type(self).__name__} has not been fitted; call fit first.")
        x = _table(x)
        if x.shape[1] != self.n_features_in_:
            raise errors.InvalidShape(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input"
            )
        if len(x) == 1:  # a product of one row may round otherwise than one of many; a sample has one prediction
            return self.model_.predict(np.repeat(x, 2, axis=0))[:1]
        return self.model_.predict(x)


class RobustClassifier(_Robust):
    """Learns classes from data as they are: with wrong labels, rare classes, too few samples to trust any of them.

        classifier = temper.RobustClassifier().fit(x, y)
        print(classifier.report_)

    x (N, D): numbers. y (N,): labels of any kind. A few ways to train, plain ones and such that do not trust every
    label, are tried on parts of the data; the one that does best on samples not learnt from is taken: plain training,
    or a way made for wrong labels or rare classes where that does better, unless another is clearly better. Where more
    than a fifth of the labels look wrong, plain training is taken only if it is clearly better. Where classes count
    alike and one has fewer than ten samples, such scores say nothing, and logit adjustment is taken. report_ says what
    was found, model_ is the network, a temper.Model. It keeps scikit-learn's conventions.

    hidden: units of the one hidden layer. folds: parts of the data that take turns in not being learnt from. epochs: at
    most so many; None: enough for 1,500 steps, and at least 10. batch_size: None: a tenth of the samples, from 16 to
    128. balanced: whether every class counts alike, however rare; None: where one class has three times the samples of
    another. random_state: the seed. threads: that share the work, None: one for each processor; the results are the same
    bits with any number. progress: True, or a title, draws a bar on stderr.
    """

    _estimator_type = "classifier"
    _parameters = ("hidden", "folds", "epochs", "batch_size", "balanced", "random_state", "threads", "progress")

    def __init__(
        self,
        hidden: int = 128,
        folds: int = 4,
        epochs: int | None = None,
        batch_size: int | None = None,
        balanced: bool | None = None,
        random_state: int | None = 0,
        threads: int | None = None,
        progress: bool | str = False,
    ):
        self.hidden, self.folds, self.epochs, self.batch_size = hidden, folds, epochs, batch_size
        self.balanced, self.random_state, self.threads, self.progress = balanced, random_state, threads, progress

    def fit(self, X: Array, y: Array) -> RobustClassifier:
        """Learns from x (N, D) and labels y (N,)."""
        y = _labels(y)
        classes, ids = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise errors.InvalidArgument(f"Telling classes apart needs two or more; y has {len(classes)} class.")
        self.classes_ = classes
        return self._fit(X, ids.astype(np.int32), len(classes), classes)

    def decision_function(self, X: Array) -> Result:
        """Logits (N, C), calibrated; for two classes (N,), of the second against the first."""
        logits = self._outputs(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Array) -> Result:
        """Probabilities of the classes in the order of classes_, (N, C)."""
        logits = self._outputs(X).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict(self, X: Array) -> Result:
        """The most probable class of each sample, (N,)."""
        return self.classes_[self._outputs(X).argmax(axis=1)] if hasattr(self, "model_") else self._outputs(X)

    def score(self, X: Array, y: Array) -> float:
        """Accuracy."""
        return float(np.mean(self.predict(X) == np.asarray(y)))


class RobustRegressor(_Robust):
    """Learns numbers from data as they are: some of the numbers may be far off.

        regressor = temper.RobustRegressor().fit(x, y)
        print(regressor.report_)

    As temper.RobustClassifier, with y (N,) numbers.
    """

    _estimator_type = "regressor"
    _parameters = ("hidden", "folds", "epochs", "batch_size", "random_state", "threads", "progress")

    def __init__(
        self,
        hidden: int = 128,
        folds: int = 4,
        epochs: int | None = None,
        batch_size: int | None = None,
        random_state: int | None = 0,
        threads: int | None = None,
        progress: bool | str = False,
    ):
        self.hidden, self.folds, self.epochs, self.batch_size = hidden, folds, epochs, batch_size
        self.random_state, self.threads, self.progress = random_state, threads, progress

    def fit(self, X: Array, y: Array) -> RobustRegressor:
        """Learns from x (N, D) and numbers y (N,)."""
        return self._fit(X, _column(y).astype(np.float64), 0)

    def predict(self, X: Array) -> Result:
        """A number for each sample, (N,)."""
        return self._outputs(X)[:, 0].astype(np.float64)

    def score(self, X: Array, y: Array) -> float:
        """The coefficient of determination: 1 minus the squared error in units of the variance of y."""
        y = np.asarray(y, np.float64)
        return float(1 - np.mean((y - self.predict(X)) ** 2) / np.var(y))


def _table(x):
    """(N, D) of floats, as scikit-learn lets them come."""
    if hasattr(x, "toarray"):
        raise TypeError("Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert it.")
    x = np.asarray(x)
    if np.iscomplexobj(x):
        raise errors.InvalidArgument("Complex data not supported")
    if x.dtype.kind not in "fiub":
        x = x.astype(np.float64)
    x = np.ascontiguousarray(x, None if x.dtype in (np.float32, np.float64) else np.float64)
    if x.ndim != 2:
        raise errors.InvalidShape(
            f"Expected 2D array, got {x.ndim}D array instead: x is a table (samples, features). Reshape your data."
        )
    if not len(x):
        raise errors.InvalidShape(f"Found array with 0 sample(s) (shape={x.shape}) while a minimum of 1 is required.")
    if not x.shape[1]:
        raise errors.InvalidShape(f"Found array with 0 feature(s) (shape={x.shape}) while a minimum of 1 is required.")
    if not np.isfinite(x).all():
        raise errors.NotFinite("Input X contains NaN or infinity; clean the data first.")
    return x


def _column(y):
    if y is None:
        raise errors.InvalidArgument("requires y to be passed, but the target y is None")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        _warn("A column-vector y was passed when a 1d array was expected.")
        y = y[:, 0]
    if y.ndim != 1:
        raise errors.InvalidShape(f"y has one entry for each sample, shape (N,); {y.shape} came.")
    if y.dtype.kind in "fc" and not np.isfinite(y).all():
        raise errors.NotFinite("Input y contains NaN or infinity; clean the data first.")
    return y


def _labels(y):
    y = _column(y)
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise errors.InvalidArgument("Unknown label type: continuous. Labels are whole numbers or words.")
    return y


def _receiving(interrupts, work):
    def receive(_, done, what):
        try:
            work.show(done, what.decode())
            return 1 if interrupts.came else 0
        except BaseException as exception:
            pending.exceptions.append(exception)
            return 1

    return receive


def _not_fitted(message):
    """scikit-learn's own error where it is in use."""
    if "sklearn" in sys.modules:
        from sklearn.exceptions import NotFittedError

        return NotFittedError(message)
    return errors.WrongState(message)


def _warn(message):
    import warnings

    kind = UserWarning
    if "sklearn" in sys.modules:
        from sklearn.exceptions import DataConversionWarning as kind
    warnings.warn(message, kind, stacklevel=4)
