"""What quantizing weights cost."""

import ctypes

from ._library import library

_NAMES = (
    "bits",
    "effective_bits",
    "byte_count",
    "float_byte_count",
    "mean_squared_error",
    "largest_error",
    "relative_error",
    "output_error",
)


def numbers(report):
    """The numbers of a report by name; output_error only where there were calibration inputs."""
    return {name: value for name in _NAMES if (value := getattr(report, name)) == value}


def reports(model):
    """{name of a weight: what it cost}, in the model's order."""
    count = ctypes.c_uint64()
    library.model_quantization_count(ctypes.byref(count), model)
    result = {}
    for index in range(count.value):
        report = library.struct("quantization_report")
        name = library.text(library.model_quantization, ctypes.byref(report), model, index)
        result[name] = numbers(report)
    return result
