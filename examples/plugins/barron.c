/* A loss of one's own with values and gradients computed here, in plain C: the general robust loss
 *
 *   value = mean over d of |a - 2| / a * ((z^2 / |a - 2| + 1)^(a / 2) - 1),    z = (prediction - target) / scale
 *
 * for a = 1 (a smooth absolute error) down to a < 0 (which all but ignores outliers); limits at a = 0 and a = 2.
 * Barron, 2019. A General and Adaptive Robust Loss Function. arXiv 1701.03077.
 *
 *   cc -shared -fPIC $(pkg-config --cflags temper) barron.c -o barron.so -lm */
#include <math.h>
#include <stdio.h>
#include <temper_plugin.h>

/* rho(z) and its slope. */
static double rho(double z, double a, double *slope) {
  const double b = fabs(a - 2), square = z * z;
  if (b < 1e-6) return *slope = z, square / 2;
  if (fabs(a) < 1e-6) return *slope = z / (square / 2 + 1), log1p(square / 2);
  const double base = square / b + 1;
  *slope = z * pow(base, a / 2 - 1);
  return b / a * (pow(base, a / 2) - 1);
}

static int32_t evaluate(void *state, const temper_loss_call *call) {
  (void)state;
  const double a = call->parameters[0].real, scale = call->parameters[1].real;
  const int64_t width = call->inputs[0].sizes[1];
  const int wide = call->dtype == TEMPER_PLUGIN_FLOAT64;
  void *const gradient = call->gradients[0];
  if (width == 0) {
    snprintf(call->message.text, call->message.capacity, "predictions have no columns");
    return 1;
  }
  for (int64_t n = 0; n < call->count; ++n) {
    double sum = 0;
    for (int64_t i = n * width; i < (n + 1) * width; ++i) {
      const double prediction = wide ? ((const double *)call->inputs[0].data)[i] : ((const float *)call->inputs[0].data)[i];
      const double target = wide ? ((const double *)call->inputs[1].data)[i] : ((const float *)call->inputs[1].data)[i];
      double slope;
      sum += rho((prediction - target) / scale, a, &slope);
      slope /= scale * (double)width;
      if (gradient && wide) ((double *)gradient)[i] = slope;
      if (gradient && !wide) ((float *)gradient)[i] = (float)slope;
    }
    if (wide) ((double *)call->values)[n] = sum / (double)width;
    if (!wide) ((float *)call->values)[n] = (float)(sum / (double)width);
  }
  return 0;
}

#define SIZED(type) .struct_size = sizeof(type)

static const temper_plugin_input inputs[] = {
    {SIZED(temper_plugin_input), .name = "predictions", .shape = "N,D", .element = TEMPER_ELEMENT_REAL,
     .flags = TEMPER_INPUT_DIFFERENTIABLE, .summary = "What the model says."},
    {SIZED(temper_plugin_input), .name = "targets", .shape = "N,D", .element = TEMPER_ELEMENT_REAL,
     .summary = "What is right."}};

static const temper_plugin_parameter parameters[] = {
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "alpha", .initial = 1, .lower = -100, .upper = 2,
     .summary = "2 is the squared error, 1 a smooth absolute one, below 0 outliers stop pulling."},
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "scale", .initial = 1, .lower = 0, .upper = 1e6,
     .flags = TEMPER_EXCLUDES_LOWER, .summary = "Errors smaller than this count as in the squared error."}};

static const temper_plugin_loss losses[] = {
    {SIZED(temper_plugin_loss), .kind = TEMPER_LOSS_FUNCTION, .name = "barron", .evaluate = evaluate,
     .flags = TEMPER_LOSS_HAS_FLOAT64, .summary = "The general robust loss of one shape parameter.",
     .reference = "Barron, 2019. A General and Adaptive Robust Loss Function. arXiv 1701.03077.", .inputs = inputs,
     .input_count = 2, .parameters = parameters, .parameter_count = 2}};

const temper_plugin_descriptor temper_plugin_v1 = {
    SIZED(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 1, .name = "robust",
    .version = "1.0.0", .licence = "Apache-2.0", .losses = losses, .loss_count = 1};
