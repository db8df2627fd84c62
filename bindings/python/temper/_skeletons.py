"""Skeletons of plug-ins that work: half the squared error, to be replaced by a loss of one's own."""

from . import errors

_DESCRIPTOR = """
static const temper_plugin_input inputs[] = {
    {.struct_size = sizeof(temper_plugin_input), .element = TEMPER_ELEMENT_REAL, .name = "predictions", .shape = "N,D",
     .summary = "What the model says.", .flags = TEMPER_INPUT_DIFFERENTIABLE},
    {.struct_size = sizeof(temper_plugin_input), .element = TEMPER_ELEMENT_REAL, .name = "targets", .shape = "N,D",
     .summary = "What is right."}};

static const temper_plugin_parameter parameters[] = {
    {.struct_size = sizeof(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "weight",
     .summary = "The factor.", .initial = 1, .lower = 0, .upper = 1e6, .flags = TEMPER_EXCLUDES_LOWER}};

static const temper_plugin_loss losses[] = {
    {.struct_size = sizeof(temper_plugin_loss), .kind = TEMPER_LOSS_FUNCTION, .name = "NAME",
     .summary = "weight * sum of (x - y)^2 / 2", .inputs = inputs, .input_count = 2, .parameters = parameters,
     .parameter_count = 1, .flags = TEMPER_LOSS_HAS_FLOAT64, .evaluate = EVALUATE}};

"""

_EXPORT = """{
    .struct_size = sizeof(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 1,
    .name = "SPACE", .version = "0.1.0", .licence = "MIT", .losses = losses, .loss_count = 1};
"""

_C = (
    """/* SPACE.NAME: a loss whose values and gradients are computed here. */
#include <stddef.h>
#include <temper_plugin.h>

/* weight * sum over d of (x - y)^2 / 2, and its gradient weight * (x - y), for one type of numbers. */
#define BATCH(number)                                                                            \\
  static void batch_##number(const temper_loss_call *call, number weight) {                      \\
    const number *x = call->inputs[0].data, *y = call->inputs[1].data;                           \\
    number *values = call->values, *gradient = call->gradients[0]; /* NULL if nobody needs it */ \\
    const int64_t width = call->inputs[0].sizes[1];                                              \\
    for (int64_t n = 0; n < call->count; ++n) {                                                  \\
      values[n] = 0;                                                                             \\
      for (int64_t i = n * width; i < (n + 1) * width; ++i) {                                    \\
        const number error = x[i] - y[i];                                                        \\
        values[n] += weight * error * error / 2;                                                 \\
        if (gradient) gradient[i] = weight * error;                                              \\
      }                                                                                          \\
    }                                                                                            \\
  }
BATCH(float)
BATCH(double)

static int32_t evaluate(void *state, const temper_loss_call *call) {
  (void)state;
  const double weight = call->parameters[0].real;
  if (call->dtype == TEMPER_PLUGIN_FLOAT64)
    batch_double(call, weight);
  else
    batch_float(call, (float)weight);
  return 0; /* or another number, with the reason in call->message */
}
"""
    + _DESCRIPTOR.replace("EVALUATE", "evaluate")
    + "const temper_plugin_descriptor temper_plugin_v1 = "
    + _EXPORT
)

_CPP = (
    """// SPACE.NAME: a loss whose values and gradients are computed here.
#include <temper_plugin.h>

// weight * sum over d of (x - y)^2 / 2, and its gradient weight * (x - y).
template <typename Number> static void batch(const temper_loss_call &call) {
  const auto *x = static_cast<const Number *>(call.inputs[0].data), *y = static_cast<const Number *>(call.inputs[1].data);
  auto *values = static_cast<Number *>(call.values);
  auto *gradient = static_cast<Number *>(call.gradients[0]);  // null if nobody needs it
  const auto weight = static_cast<Number>(call.parameters[0].real);
  const int64_t width = call.inputs[0].sizes[1];
  for (int64_t n = 0; n < call.count; ++n) {
    values[n] = 0;
    for (int64_t i = n * width; i < (n + 1) * width; ++i) {
      const Number error = x[i] - y[i];
      values[n] += weight * error * error / 2;
      if (gradient) gradient[i] = weight * error;
    }
  }
}

static int32_t evaluate(void *, const temper_loss_call *call) noexcept {  // no exception may leave it
  if (call->dtype == TEMPER_PLUGIN_FLOAT64)
    batch<double>(*call);
  else
    batch<float>(*call);
  return 0;  // or another number, with the reason in call->message
}
"""
    + _DESCRIPTOR.replace("EVALUATE", "evaluate")
    + """extern "C" {
extern TEMPER_PLUGIN_EXPORT const temper_plugin_descriptor temper_plugin_v1;
const temper_plugin_descriptor temper_plugin_v1 = """
    + _EXPORT
    + "}\n"
)

_SWIFT = """// SPACE.NAME: a loss whose values and gradients are computed here. NAME_descriptor.c says what it offers.

/// weight * sum over d of (x - y)^2 / 2, and its gradient weight * (x - y).
private func batch<Number: BinaryFloatingPoint>(_ call: temper_loss_call, _ type: Number.Type) {
  let (count, width) = (Int(call.count), Int(call.inputs[0].sizes.1))
  let x = call.inputs[0].data.assumingMemoryBound(to: Number.self)
  let y = call.inputs[1].data.assumingMemoryBound(to: Number.self)
  let values = call.values.assumingMemoryBound(to: Number.self)
  let gradient = call.gradients[0]?.assumingMemoryBound(to: Number.self)  // nil if nobody needs it
  let weight = Number(call.parameters[0].real)
  for n in 0..<count {
    values[n] = 0
    for i in (n * width)..<((n + 1) * width) {
      let error = x[i] - y[i]
      values[n] += weight * error * error / 2
      gradient?[i] = weight * error
    }
  }
}

@c public func evaluate(_ state: UnsafeMutableRawPointer?, _ call: UnsafePointer<temper_loss_call>?) -> Int32 {
  guard let call = call?.pointee else { return 1 }
  if call.dtype == TEMPER_PLUGIN_FLOAT64 { batch(call, Double.self) } else { batch(call, Float.self) }
  return 0  // or another number, with the reason in call.message
}
"""

_SWIFT_DESCRIPTOR = (
    """/* What SPACE.NAME offers: constants, which Temper reads before any code runs. NAME.swift computes. */
#include <temper_plugin.h>

int32_t evaluate(void *state, const temper_loss_call *call);
"""
    + _DESCRIPTOR.replace("EVALUATE", "evaluate")
    + "TEMPER_PLUGIN_EXPORT const temper_plugin_descriptor temper_plugin_v1 = "
    + _EXPORT
)

_PYTHON = '''"""SPACE.NAME: a loss with NumPy. What it offers stands in the comments, which Temper reads before any code runs."""
# /// temper
# name = "SPACE"
# version = "0.1.0"
# licence = "MIT"
#
# [[loss]]
# name = "NAME"
# function = "NAME"
# gradients = true # without them, and with values alone, they are taken from differences
# inputs = "regression" # predictions and targets; "classification": logits and class ids
# summary = "weight * sum of (x - y)^2 / 2"
# parameters = {weight = {default = 1.0, range = "(0, inf)", doc = "The factor."}}
# ///


def NAME(predictions, targets, weight):
    """(value of each sample, gradient)"""
    error = predictions - targets
    return weight * (error**2).sum(1) / 2, weight * error
'''

_FORMULA = """# SPACE.NAME: a loss as a line of text; derivatives and speed come from the host.
name = "SPACE"
version = "0.1.0"
licence = "MIT"

[[loss]]
name = "NAME"
formula = "weight * sum((x - y)^2) / 2"
parameters = {weight = {default = 1.0, range = "(0, inf)", doc = "The factor."}}
"""

LANGUAGES = ("c", "cpp", "swift", "python", "formula")


def make(language, space, name):
    """(files: text by name, commands that build them, the file that is loaded)"""
    for word in (space, name):
        if not word or not all(c.islower() and c.isascii() or c.isdigit() or c == "_" for c in word) or word[0].isdigit():
            raise errors.InvalidArgument(f"{word!r} is no name: names have lower-case letters, digits and _.")
    shared = f"-O2 -fPIC -shared -I{{include}} {name}"
    files, commands, product = {
        "c": ({f"{name}.c": _C}, [f"cc {shared}.c -o {name}.so"], f"{name}.so"),
        "cpp": ({f"{name}.cc": _CPP}, [f"c++ -std=c++20 {shared}.cc -o {name}.so"], f"{name}.so"),
        "swift": (
            {f"{name}.swift": _SWIFT, f"{name}_descriptor.c": _SWIFT_DESCRIPTOR},
            [
                f"cc -O2 -fPIC -c -I{{include}} {name}_descriptor.c -o {name}_descriptor.o",
                "swiftc -O -parse-as-library -emit-library -static-stdlib -import-objc-header "
                f"{{include}}/temper_plugin.h {name}.swift {name}_descriptor.o -o {name}.so",
            ],
            f"{name}.so",
        ),
        "python": ({f"{name}.py": _PYTHON}, [], f"{name}.py"),
        "formula": ({f"{name}.toml": _FORMULA}, [], f"{name}.toml"),
    }[language]
    return {path: text.replace("SPACE", space).replace("NAME", name) for path, text in files.items()}, commands, product
