/* Losses that no header of Temper describes: formulas, functions of libraries, Python files in a C program. The folder
 * given holds the files of examples/plugins, and legacy.so. */
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"

static temper_context *context;
static const char *folder;

static const char *file(const char *name) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

/* The value, summed over samples, and the gradient, of float64 arrays. */
static double run(const char *name, const char *first, temper_tensor *x, temper_tensor *y, temper_tensor *gradient) {
  temper_loss *loss = NULL;
  double value = NAN;
  const temper_named_tensor inputs[] = {{first, x}, {"targets", y}}, wanted[] = {{first, gradient}};
  OK(temper_loss_create(&loss, context, name, NULL, 0, &error));
  OK(temper_loss_value_and_grad(&value, wanted, 1, loss, inputs, y ? 2 : 1, TEMPER_REDUCTION_SUM, &error));
  STATUS(TEMPER_OK, temper_loss_free(loss));
  return value;
}

static double at(temper_tensor *tensor, int index) { return ((double *)temper_tensor_data(tensor))[index]; }

static void formulas(void) {
  temper_plugin *plugin = NULL;
  temper_loss *loss = NULL;
  const temper_param params[] = {temper_real("q", 0.7)};
  temper_tensor *logits = make(TEMPER_FLOAT64, 2, 6, 5), *ids = make(TEMPER_INT32, 1, 6, 0),
                *ours = make(TEMPER_FLOAT64, 2, 6, 5), *theirs = make(TEMPER_FLOAT64, 2, 6, 5);
  fill(logits, 5);
  for (int i = 0; i < 6; ++i) ((int32_t *)temper_tensor_data(ids))[i] = i % 5;
  OK(temper_plugin_formula(&plugin, context, "acme.tail", "(1 - p[y]^q) / q", params, 1, &error));
  NEAR(run("acme.tail", "logits", logits, ids, ours),
       run("generalized_cross_entropy", "logits", logits, ids, theirs), 1e-12);
  for (int i = 0; i < 30; ++i) NEAR(at(ours, i), at(theirs, i), 1e-12);

  /* Names, taken and free; unloading, refused and done. */
  temper_plugin *again = NULL;
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_formula(&again, context, "acme.tail", "p[y]", NULL, 0, &error));
  SAYS("\"acme.tail\" of acme");
  SAYS("acme 0 (no licence stated) has it already");
  OK(temper_loss_create(&loss, context, "tail", NULL, 0, &error));
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_plugin_unload(plugin, &error));
  STATUS(TEMPER_OK, temper_loss_free(loss));
  OK(temper_plugin_unload(plugin, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_create(&loss, context, "acme.tail", NULL, 0, &error));
  OK(temper_plugin_formula(&again, context, "acme.tail", "p[y]", NULL, 0, &error));
  STATUS(TEMPER_OK, temper_plugin_free(plugin));

  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_formula(&plugin, context, "acme.x", "p[y", NULL, 0, &error));
  SAYS("column 4");
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_formula(&plugin, context, "a.b.c", "p[y]", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_formula(&plugin, context, NULL, "p[y]", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_formula(&plugin, context, "acme.x", NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_define(&plugin, context, "name =", NULL, &error));
  SAYS("line 1");
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_plugin_unload(NULL, &error));
  const temper_plugin_options callable = {.struct_size = sizeof callable, .callable = &error};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT,
        temper_plugin_load(&plugin, context, file("formulas.toml"), &callable, &error));
  FAILS(TEMPER_ERROR_WRONG_STATE,
        temper_plugin_define(&plugin, context, "name = 'a'\n[[loss]]\nname = 'b'", &callable, &error));
}

static void libraries(void) {
  temper_plugin *plugin = NULL;
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 7, 3), *y = make(TEMPER_FLOAT64, 2, 7, 3), *g = make(TEMPER_FLOAT64, 2, 7, 3);
  fill(x, 1), fill(y, 2);
  OK(temper_plugin_load(&plugin, context, file("legacy.toml"), NULL, &error));
  double expected = 0;
  for (int i = 0; i < 21; ++i) expected += fabs(at(x, i) - at(y, i)) / 2 / 3;
  NEAR(run("legacy.pinball", "predictions", x, y, g), expected, 1e-12);
  for (int i = 0; i < 21; ++i) NEAR(at(g, i), (at(x, i) > at(y, i) ? 0.5 : -0.5) / 3, 1e-12);
  expected = 0;
  for (int i = 0; i < 21; ++i) expected += hypot(at(x, i), at(y, i));
  NEAR(run("legacy.hypotenuse", "predictions", x, y, g), expected, 1e-12);
  for (int i = 0; i < 21; ++i) NEAR(at(g, i), at(x, i) / hypot(at(x, i), at(y, i)), 1e-7);
}

/* Python files, in a program that has no Python: the same from several threads, and trained with. */
static double expected_loss;

static void *evaluate(void *result) {
  temper_error e;
  temper_loss *loss = NULL;
  const int64_t sizes[] = {7, 3};
  temper_tensor *x = NULL, *y = NULL;
  double value = NAN, worst = 0;
  if (temper_loss_create(&loss, context, "plain.quadratic", NULL, 0, &e) ||
      temper_tensor_create(&x, TEMPER_FLOAT64, 2, sizes, &e) || temper_tensor_create(&y, TEMPER_FLOAT64, 2, sizes, &e))
    return fprintf(stderr, "%s\n", e.message), NULL;
  fill(x, 1), fill(y, 2);
  const temper_named_tensor inputs[] = {{"predictions", x}, {"targets", y}};
  for (int i = 0; i < 50; ++i) {
    if (temper_loss_value_and_grad(&value, NULL, 0, loss, inputs, 2, TEMPER_REDUCTION_SUM, &e))
      return fprintf(stderr, "%s\n", e.message), NULL;
    worst = fmax(worst, fabs(value - expected_loss));
  }
  *(double *)result = worst;
  temper_loss_free(loss), temper_tensor_free(x), temper_tensor_free(y);
  return NULL;
}

static double trained(const char *name) {
  temper_model *model = NULL;
  temper_loss *loss = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  const int64_t three[] = {3};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 30};
  temper_measurement before = {NAN, NAN}, after = {NAN, NAN};
  const temper_param rate[] = {temper_real("learning_rate", 0.02)};
  temper_tensor *x = floats(64, 3), *y = floats(64, 2);
  fill(x, 3);
  for (int i = 0; i < 64; ++i) {
    float_data(y)[2 * i] = float_data(x)[3 * i] - float_data(x)[3 * i + 1];
    float_data(y)[2 * i + 1] = float_data(x)[3 * i + 2] / 2;
  }
  const temper_samples data = {.x = x, .y = y};
  OK(temper_model_create(&model, context, "[{\"dense\": 2}]", three, 1, 0, 1, &error));
  OK(temper_loss_create(&loss, context, name, NULL, 0, &error));
  OK(temper_optimizer_create(&optimizer, context, "adam", rate, 1, &error));
  OK(temper_trainer_create(&trainer, model, loss, optimizer, NULL, NULL, &error));
  OK(temper_trainer_evaluate(&before, trainer, &data, &error));
  OK(temper_trainer_fit(trainer, &data, &fit, &error));
  OK(temper_trainer_evaluate(&after, trainer, &data, &error));
  temper_trainer_free(trainer), temper_loss_free(loss), temper_optimizer_free(optimizer), temper_model_free(model);
  return after.loss / before.loss;
}

static void write_file(const char *path, const char *text) {
  FILE *out = fopen(path, "w");
  TRUE(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

#define DECLARED(arrays)                                                                                          \
  "# /// temper\n# name = 'broken'\n# [[loss]]\n# name = 'loss'\n# function = 'loss'\n# arrays = '" arrays "'\n# ///\n"

static void python(void) {
  temper_plugin *plugin = NULL;
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 7, 3), *y = make(TEMPER_FLOAT64, 2, 7, 3), *g = make(TEMPER_FLOAT64, 2, 7, 3);
  fill(x, 1), fill(y, 2);
  const int32_t status = temper_plugin_load(&plugin, context, file("quadratic.py"), NULL, &error);
  if (status == TEMPER_ERROR_UNSUPPORTED) {
    printf("forms: Python files not tried: %s\n", error.message);
    return;
  }
  STATUS(TEMPER_OK, status);
  for (int i = 0; i < 21; ++i) expected_loss += (at(x, i) - at(y, i)) * (at(x, i) - at(y, i)) / 2;
  NEAR(run("plain.quadratic", "predictions", x, y, g), expected_loss, 1e-12);
  for (int i = 0; i < 21; ++i) NEAR(at(g, i), at(x, i) - at(y, i), 1e-12);
  double worst[3] = {NAN, NAN, NAN};
  pthread_t thread[3];
  for (int i = 0; i < 3; ++i) TRUE(pthread_create(&thread[i], NULL, evaluate, &worst[i]) == 0);
  for (int i = 0; i < 3; ++i) pthread_join(thread[i], NULL);
  for (int i = 0; i < 3; ++i) NEAR(worst[i], 0, 1e-12);
  TRUE(trained("plain.quadratic") < 0.2);

  static const struct {
    const char *body, *says;
  } bad[] = {{"def loss(x, y): raise KeyError('moon')\n", "KeyError: 'moon'"},
             {"import sys\ndef loss(x, y): sys.exit(3)\n", "SystemExit: 3"},
             {"import os\ndef loss(x, y): os._exit(3)\n", "exit status 3"},
             {"import os\nos.kill(os.getpid(), 11)\n", "SIGSEGV"},
             {"def loss(x, y):\n  while True: pass\n", "did not return"},
             {"def loss(x, y): return [1]\n", "6 numbers, and 1 came"},
             {"import no_such_module\n", "ModuleNotFoundError"}};
  const temper_plugin_options quick = {.struct_size = sizeof quick, .time_limit_milliseconds = 1500};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    char text[1024];
    snprintf(text, sizeof text, DECLARED("buffer") "%s", bad[i].body);
    write_file(file("broken.py"), text);
    STATUS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, file("broken.py"), &quick, &error));
    SAYS(bad[i].says);
  }
  unlink(file("broken.py"));
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  folder = arguments[1];
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2};
  OK(temper_context_create(&context, &options, &error));
  formulas(), libraries(), python();
  TRUE(trained("mse") < 0.2);
  /* Everything is left as it is: the end of the process is clean in any state. */
  return check_result("forms");
}
