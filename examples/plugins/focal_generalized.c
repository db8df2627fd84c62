/* A loss of one's own, composed from the host's expressions:
 *
 *   value = (1 - p^q) / q * (1 - p)^gamma,    p the probability of the target
 *
 * generalized cross-entropy (Zhang and Sabuncu, 2018), which forgives wrong labels, with the weight of focal loss (Lin et
 * al., 2017), which looks past what is easy. Derivatives, fusion and both float types come from the host.
 *
 *   cc -shared -fPIC $(pkg-config --cflags temper) focal_generalized.c -o focal_generalized.so */
#include <temper_plugin.h>

static int32_t compose(void *state, temper_build *b, const temper_builder *make, temper_expr *result,
                       temper_message message) {
  (void)state, (void)message;
  const temper_expr q = make->constant(b, make->number(b, "q")), gamma = make->constant(b, make->number(b, "gamma"));
  const temper_expr one = make->constant(b, 1), targets = make->input(b, "targets");
  const temper_expr log_p = make->pick(b, make->unary(b, TEMPER_LOG_SOFTMAX, make->input(b, "logits")), targets);
  const temper_expr p = make->unary(b, TEMPER_EXP, log_p);
  const temper_expr robust =
      make->binary(b, TEMPER_DIVIDE, make->binary(b, TEMPER_SUBTRACT, one, make->binary(b, TEMPER_POWER, p, q)), q);
  /* At a sure prediction 1 - p rounds to 0, where its power has no derivative. */
  const temper_expr rest =
      make->binary(b, TEMPER_MAXIMUM, make->binary(b, TEMPER_SUBTRACT, one, p), make->constant(b, 1e-7));
  const temper_expr focus = make->binary(b, TEMPER_POWER, rest, gamma);
  *result = make->binary(b, TEMPER_MULTIPLY, robust, focus);
  return 0;
}

#define SIZED(type) .struct_size = sizeof(type)

static const temper_plugin_input inputs[] = {
    {SIZED(temper_plugin_input), .name = "logits", .shape = "N,C", .element = TEMPER_ELEMENT_REAL,
     .flags = TEMPER_INPUT_DIFFERENTIABLE, .summary = "Scores before the softmax."},
    {SIZED(temper_plugin_input), .name = "targets", .shape = "N", .element = TEMPER_ELEMENT_INDEX, .below = "C",
     .summary = "Class ids."}};

static const temper_plugin_parameter parameters[] = {
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "q", .initial = 0.7, .lower = 0, .upper = 1,
     .flags = TEMPER_EXCLUDES_LOWER, .summary = "Towards 0 it is cross-entropy, at 1 mean absolute error."},
    {SIZED(temper_plugin_parameter), .type = TEMPER_PLUGIN_REAL, .name = "gamma", .initial = 0.5, .lower = 0, .upper = 10,
     .summary = "How much less easy samples count."}};

static const temper_plugin_loss losses[] = {
    {SIZED(temper_plugin_loss), .kind = TEMPER_LOSS_COMPOSED, .name = "focal_generalized", .compose = compose,
     .summary = "(1 - p^q) / q * (1 - p)^gamma", .inputs = inputs, .input_count = 2, .parameters = parameters,
     .parameter_count = 2}};

const temper_plugin_descriptor temper_plugin_v1 = {
    SIZED(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 1, .name = "example",
    .version = "1.0.0", .licence = "Apache-2.0", .losses = losses, .loss_count = 1};
