"""Methods by name, and every method of a kind as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _context, errors, experiments
from ._methods import constructor_signature

if TYPE_CHECKING:
    from ._array_methods import Calibrator, Detector, Generator, Sampler
    from ._losses import Loss, Terms
    from ._operators import Operator
    from ._optimizers import Optimizer, Schedule
    from ._procedures import Procedure
    from ._quantizers import Quantizer
    from ._types import Parameter
    from ._values import Decoder, Metric


def catalog(kind: str | None = None, area: str | None = None) -> list[dict]:
    """The records of all methods, as a list of dicts with name, aliases, kind, area, summary, parameters, inputs,
    reference and more; with `kind` or `area` only those."""
    return _context.default().catalog(kind, area)


def describe(name: str) -> str:
    """What a method is, its parameters, inputs and source, as text."""
    return _context.default().describe(name)


def loss(name: str, /, **parameters: Parameter) -> Loss:
    """The loss of this name: temper.loss("focal", gamma=2.0)(logits, targets) -> (N,) values."""
    return _context.default().loss(name, **parameters)


def weighted_sum(terms: Terms) -> Loss:
    """The sum of weight times loss, used like any other loss: temper.weighted_sum([(1.0, "focal"), (0.1, "brier")]).

    terms: pairs (weight, loss), or a dict of them by the name that the part has in the sum's parameters: its weight is
    "name.weight". Inputs that several parts take come once. Operands may be composed themselves.
    """
    return _context.default().weighted_sum(terms)


def op(name: str, /, **parameters: Parameter) -> Operator:
    """The operator or activation of this name: temper.op("sparsemax")(x, axis=-1)."""
    return _context.default().op(name, **parameters)


def decoder(name: str, /, **parameters: Parameter) -> Decoder:
    """The decoder of this name: temper.decoder("top_n_sigma", n=1.0)(logits)."""
    return _context.default().decoder(name, **parameters)


def metric(name: str, /, **parameters: Parameter) -> Metric:
    """The metric of this name: temper.metric("gradient_noise_scale")(gradients) -> float."""
    return _context.default().metric(name, **parameters)


def optimizer(name: str, /, **parameters: Parameter) -> Optimizer:
    """The optimizer of this name: temper.optimizer("adam", learning_rate=0.001).step(params, grads)."""
    return _context.default().optimizer(name, **parameters)


def schedule(name: str, /, **parameters: Parameter) -> Schedule:
    """The schedule of this name: temper.schedule("cosine")(step) -> float."""
    return _context.default().schedule(name, **parameters)


def procedure(name: str, /, **parameters: Parameter) -> Procedure:
    """The training procedure of this name: temper.Trainer(model, procedure=temper.procedure("co_teaching"))."""
    return _context.default().procedure(name, **parameters)


def quantizer(name: str, /, **parameters: Parameter) -> Quantizer:
    """The quantizer of this name: temper.quantizer("round_to_nearest", bits=4).quantize(weight)."""
    return _context.default().quantizer(name, **parameters)


def experiment(name: str, /) -> experiments.Experiment:
    """The experiment of this name: for finding in temper.experiment("low_precision_format_sweep")(): print(finding)."""
    found = experiments.find(name)
    if found is None:
        known = ", ".join(record["name"] for record in experiments.records())
        raise errors.UnknownName(f"There is no experiment {name}; there are {known}.")
    return found


def sampler(name: str, /, **parameters: Parameter) -> Sampler:
    """The sampler of this name: temper.sampler("smote", k=5).resample(x, y) -> (x, y)."""
    return _context.default().sampler(name, **parameters)


def generator(name: str, /, **parameters: Parameter) -> Generator:
    """The generator of this name: temper.generator("symmetric_noise", rate=0.4)(y, seed=1) -> {name: array}."""
    return _context.default().generator(name, **parameters)


def detector(name: str, /, **parameters: Parameter) -> Detector:
    """The detector of this name: temper.detector("confident_learning").fit(targets, probabilities)."""
    return _context.default().detector(name, **parameters)


def calibrator(name: str, /, **parameters: Parameter) -> Calibrator:
    """The calibrator of this name: temper.calibrator("temperature_scaling").fit(logits, targets).transform(logits)."""
    return _context.default().calibrator(name, **parameters)


def namespace(make, *kinds):
    """`__getattr__` and `__dir__` for a module in which every method of these kinds is a function."""

    def find(name):
        if name.startswith("_"):  # tools that look around must not open the catalogue
            raise AttributeError(name)
        context = _context.default()
        try:
            record = context.record(name)
        except KeyError as error:
            raise AttributeError(str(error)) from None
        if record["kind"] not in kinds:
            raise AttributeError(f"{name} is of kind {record['kind']}, not {' or '.join(kinds)}")

        def method(**parameters):
            return make(name, **parameters)

        method.__name__ = method.__qualname__ = name
        method.__doc__ = context.describe(name)
        method.__signature__ = constructor_signature(record)
        return method

    def names():
        found = [name for kind in kinds for name in _context.default().names(kind)]
        return sorted(filter(str.isidentifier, found))  # those of plug-ins have a dot

    return find, names
