/* A loss that keeps something for each sample, and has second derivatives:
 *
 *   value = mean over d of (x - y)^2 / 2 + weight * (x - m)^2 / 2
 *
 * m is the moving average of what was predicted for the sample in the epochs before: predictions that jump cost more
 * (temporal ensembling, Laine and Aila, 2017, arXiv 1610.02242). The trainer keeps m, and puts it into checkpoints.
 *
 *   cc -shared -fPIC $(pkg-config --cflags temper) steady.c -o steady.so */
#include <stdint.h>
#include <temper_plugin.h>

static int32_t evaluate(void *state, const temper_loss_call *call) {
  (void)state;
  const float *x = call->inputs[0].data, *y = call->inputs[1].data, *m = call->states[0].data;
  const float weight = (float)call->parameters[0].real, keep = (float)call->parameters[1].real;
  float *values = call->values, *gradient = call->gradients[0], *next = call->new_states[0];
  const float *direction = call->directions ? call->directions[0] : 0;
  float *product = call->products ? call->products[0] : 0;
  const int64_t width = call->inputs[0].sizes[1];
  for (int64_t n = 0; n < call->count; ++n) {
    values[n] = 0;
    for (int64_t i = n * width; i < (n + 1) * width; ++i) {
      const float error = x[i] - y[i], jump = x[i] - m[i];
      values[n] += (error * error + weight * jump * jump) / (2 * (float)width);
      if (gradient) gradient[i] = (error + weight * jump) / (float)width;
      if (next) next[i] = keep * m[i] + (1 - keep) * x[i];
      if (product) product[i] = (1 + weight) / (float)width * direction[i];
    }
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
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "weight", .initial = 0.5, .lower = 0, .upper = 100,
     .summary = "What a jump costs beside an error."},
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "keep", .initial = 0.6, .lower = 0, .upper = 1,
     .flags = TEMPER_EXCLUDES_UPPER, .summary = "How much of the average stays in an epoch."}};

static const temper_plugin_state states[] = {
    {SIZED(temper_plugin_state), .name = "average", .shape = "D", .initial = 0,
     .summary = "The moving average of what was predicted."}};

static const temper_plugin_loss losses[] = {
    {SIZED(temper_plugin_loss), .kind = TEMPER_LOSS_FUNCTION, .name = "steady", .evaluate = evaluate,
     .summary = "The squared error, and what predictions jump from epoch to epoch.",
     .flags = TEMPER_LOSS_HAS_PRODUCTS, .inputs = inputs, .input_count = 2, .parameters = parameters,
     .parameter_count = 2, .states = states, .state_count = 1}};

const temper_plugin_descriptor temper_plugin_v1 = {
    SIZED(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 2, .name = "temporal",
    .version = "1.0.0", .licence = "Apache-2.0", .losses = losses, .loss_count = 1};
