"""Temper: robust training, losses and quantization.

    loss = temper.loss("focal", gamma=2.0)
    value, gradients = loss.value_and_grad(logits, targets)

    model = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), seed=0)
    temper.Trainer(model, loss=loss, optimizer="adam").fit(x, y, epochs=10)
    temper.quantizer("round_to_nearest", bits=4).quantize_model(model).save("digits.safetensors")

temper.catalog() lists all methods; temper.describe(name) and help(temper.loss(name)) say what one is. temper.losses,
ops, decoders, metrics, optimizers, schedules, procedures, quantizers, samplers, generators, detectors and calibrators
have each of them as a function: temper.losses.focal(gamma=2.0). `python -m temper experiment NAME` measures again what
a paper claims.
"""

from . import (
    calibrators,
    decoders,
    detectors,
    errors,
    generators,
    losses,
    metrics,
    ops,
    optimizers,
    procedures,
    quantizers,
    samplers,
    schedules,
)  # fmt: skip
from ._array_methods import Calibrator, Detector, Generator, Sampler
from ._catalogue import (
    calibrator,
    catalog,
    decoder,
    describe,
    detector,
    experiment,
    generator,
    loss,
    metric,
    op,
    optimizer,
    procedure,
    quantizer,
    sampler,
    schedule,
    weighted_sum,
)  # fmt: skip
from ._context import Context
from ._files import File, open_file, save_file
from ._library import library as _library
from ._losses import Loss
from ._models import Model, load
from ._operators import Operator
from ._optimizers import Optimizer, Schedule
from ._plugins import Plugin, define_plugin, inspect_plugin, list_plugins, load_plugin, register_loss
from ._procedures import Procedure
from ._products import matmul_int8
from ._quantizers import Quantized, Quantizer
from ._robust import RobustClassifier, RobustRegressor, RobustReport
from ._training import Trainer
from ._values import Decoder, Metric
from .errors import Error

__all__ = [
    "Calibrator", "Context", "Decoder", "Detector", "Error", "File", "Generator", "Loss", "Metric", "Model",
    "Operator", "Optimizer", "Plugin", "Procedure", "Quantized", "Quantizer", "RobustClassifier", "RobustRegressor",
    "RobustReport", "Sampler", "Schedule", "Trainer", "calibrator", "calibrators", "catalog", "decoder", "decoders",
    "define_plugin", "describe", "detector", "detectors", "errors", "experiment", "generator", "generators",
    "inspect_plugin", "list_plugins", "load", "load_plugin", "loss", "losses", "matmul_int8", "metric", "metrics",
    "op", "open_file", "ops", "optimizer", "optimizers", "procedure", "procedures", "quantizer", "quantizers",
    "register_loss", "sampler", "samplers", "save_file", "schedule", "schedules", "weighted_sum",
]  # fmt: skip

__version__ = ".".join(str(_library.version() >> shift & mask) for shift, mask in ((16, 0xFFFF), (8, 0xFF), (0, 0xFF)))
