"""What each form of a loss of one's own costs beside the same loss built in: the mean squared error, value and gradient,
in float64, a call and an element."""
import pathlib
import subprocess
import tempfile

import numpy as np

import temper
from pairs import report
from temper._library import _find

COMMON = """
static const temper_plugin_input inputs[] = {
    {.struct_size = sizeof(temper_plugin_input), .name = "predictions", .shape = "N,D", .element = TEMPER_ELEMENT_REAL,
     .flags = TEMPER_INPUT_DIFFERENTIABLE},
    {.struct_size = sizeof(temper_plugin_input), .name = "targets", .shape = "N,D", .element = TEMPER_ELEMENT_REAL}};
static const temper_plugin_loss losses[] = {
    {.struct_size = sizeof(temper_plugin_loss), .kind = KIND, .name = "mse", .summary = "mean of (x - y)^2",
     .inputs = inputs, .input_count = 2, .flags = TEMPER_LOSS_HAS_FLOAT64 * (KIND == TEMPER_LOSS_FUNCTION), HOW}};
const temper_plugin_descriptor temper_plugin_v1 = {
    .struct_size = sizeof(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 1, .name = NAME,
    .version = "1", .licence = "MIT", .losses = losses, .loss_count = 1};
"""

FUNCTION = """#include <temper_plugin.h>
#define BATCH(number)                                                              \\
  static void batch_##number(const temper_loss_call *call) {                       \\
    const number *x = call->inputs[0].data, *y = call->inputs[1].data;             \\
    number *values = call->values, *gradient = call->gradients[0];                 \\
    const int64_t width = call->inputs[0].sizes[1];                                \\
    for (int64_t n = 0; n < call->count; ++n) {                                    \\
      number sum = 0;                                                              \\
      for (int64_t i = n * width; i < (n + 1) * width; ++i) {                      \\
        const number error = x[i] - y[i];                                          \\
        sum += error * error;                                                      \\
        if (gradient) gradient[i] = 2 * error / (number)width;                     \\
      }                                                                            \\
      values[n] = sum / (number)width;                                             \\
    }                                                                              \\
  }
BATCH(float) BATCH(double)
static int32_t evaluate(void *state, const temper_loss_call *call) {
  if (call->dtype == TEMPER_PLUGIN_FLOAT64) batch_double(call); else batch_float(call);
  return state != 0;
}
#define KIND TEMPER_LOSS_FUNCTION
#define HOW .evaluate = evaluate
#define NAME "function"
""" + COMMON

COMPOSED = """#include <temper_plugin.h>
static int32_t compose(void *state, temper_build *b, const temper_builder *make, temper_expr *result,
                       temper_message message) {
  (void)state, (void)message;
  const temper_expr error = make->binary(b, TEMPER_SUBTRACT, make->input(b, "predictions"), make->input(b, "targets"));
  *result = make->reduce(b, TEMPER_REDUCE_MEAN, make->unary(b, TEMPER_SQUARE, error), -1);
  return 0;
}
#define KIND TEMPER_LOSS_COMPOSED
#define HOW .compose = compose
#define NAME "composed"
""" + COMMON

FOREIGN = """double one(double x, double y) { return (x - y) * (x - y); }
double slope(double x, double y) { return 2 * (x - y); }
void all(int n, int d, const double *x, const double *y, double *values, double *gradient) {
  for (int i = 0; i < n; ++i) {
    values[i] = 0;
    for (int j = i * d; j < (i + 1) * d; ++j) {
      values[i] += (x[j] - y[j]) * (x[j] - y[j]) / d;
      gradient[j] = 2 * (x[j] - y[j]) / d;
    }
  }
}
"""

DECLARED = """
name = "foreign"
[[loss]]
name = "batch"
library = "foreign.so"
symbol = "all"
signature = "void all(int N, int D, double *predictions, double *targets, double *values, double *gradient)"
[[loss]]
name = "element"
library = "foreign.so"
symbol = "one"
signature = "double one(double predictions, double targets)"
gradient = {symbol = "slope", signature = "double slope(double predictions, double targets)"}
"""

PYTHON = """# /// temper
# name = "python"
# [[loss]]
# name = "mse"
# function = "mse"
# gradients = true
# ///
def mse(x, y):
    error = x - y
    return (error * error).mean(1), error * (2 / x.shape[1])
"""


def compiled(folder, name, source):
    path = pathlib.Path(folder, name + ".c")
    path.write_text(source)
    flags = ["-std=gnu11", "-O3", "-shared", "-fPIC", f"-I{_find()[1].parent}"]
    subprocess.run(["cc", *flags, path, "-o", path.with_suffix(".so")], check=True)
    return path.with_suffix(".so")


def contexts(folder, threads):
    """(what it is, context, loss, the ratio that is aimed at)"""
    function, composed = compiled(folder, "function", FUNCTION), compiled(folder, "composed", COMPOSED)
    compiled(folder, "foreign", FOREIGN)
    declared, python = pathlib.Path(folder, "foreign.toml"), pathlib.Path(folder, "mse.py")
    declared.write_text(DECLARED), python.write_text(PYTHON)

    def context(path, **options):
        made = temper.Context(threads=threads)
        temper.load_plugin(path, context=made, **options)
        return made

    formula = temper.Context(threads=threads)
    temper.register_loss("formula.mse", "mean((x - y)^2)", context=formula)
    yield "formula", formula, "formula.mse", 0.9
    yield "native, composed", context(composed), "composed.mse", 0.9
    yield "native, function", context(function), "function.mse", None
    yield "foreign, a batch", context(declared), "foreign.batch", None
    yield "foreign, an element", context(declared), "foreign.element", None
    yield "python, NumPy", context(python), "python.mse", None
    yield "isolated, native", context(function, isolated=True), "function.mse", None
    yield "isolated, foreign", context(declared, isolated=True), "foreign.batch", None
    yield "isolated, python", context(python, isolated=True), "python.mse", None


def run(threads):
    built_in = temper.Context(threads=threads).loss("mse")
    with tempfile.TemporaryDirectory() as folder:
        for form, context, name, aim in contexts(folder, threads):
            loss = context.loss(name)
            for rows in (32, 1024, 65536):
                x, y = np.random.default_rng(0).standard_normal((2, rows, 10))
                ours, theirs = np.empty_like(x), np.empty_like(x)
                note = lambda seconds: f"{seconds / rows / 10 * 1e9:.2f} ns an element"  # noqa: B023
                report(f"{form}, {rows} x 10, beside built in",
                       lambda: loss.value_and_grad(x, y, out={"predictions": ours}),
                       lambda: built_in.value_and_grad(x, y, out={"predictions": theirs}), aim, note)
                np.testing.assert_allclose(ours, theirs, rtol=1e-10)
