/* Plug-ins, good and bad. The folder given holds misbehaving-<CASE>.so for every case of misbehaving.c,
 * no-descriptor.so, and the compiled examples. */
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static temper_context *context;
static const char *folder;
static char path[PATH_MAX], log_line[256];

static const char *library(const char *name) {
  snprintf(path, sizeof path, "%s/%s.so", folder, name);
  return path;
}

static int32_t log_to_line(void *user, int32_t level, const char *text) {
  (void)user, (void)level;
  snprintf(log_line, sizeof log_line, "%s", text);
  return 0;
}

static const struct {
  int number;
  const char *says;
} bad[] = {{1, "is not that of its value"},
           {2, "nan at element"},
           {3, "8 bytes past the end of the values"},
           {4, "before the start of the values"},
           {5, "unwritten"},
           {6, "which is only to be read"},
           {7, "SIGSEGV"},
           {8, "SIGABRT"},
           {9, "exit status 3"},
           {10, "exit status 4"},
           {11, "did not return within"},
           {12, "the moon is full"},
           {13, "when only sample 0"},
           {14, "gives other values"},
           {15, "no licence key"},
           {16, "SIGSEGV"},
           {17, "SIGSEGV"},
           {18, "is not that of its value"},
           {19, "past the end of the input predictions"},
           {20, "SIGSEGV"},
           {30, "name is missing"},
           {31, "lower-case"},
           {32, "offers 0 losses"},
           {33, "1 to 1024"},
           {34, "NULL"},
           {35, "0 inputs"},
           {36, "inputs"},
           {37, "points to"},
           {38, "does not point to code"},
           {39, "does not point to code"},
           {40, "revision 99"},
           {41, "capital letters"},
           {42, "range"},
           {43, "default"},
           {44, "struct_size"},
           {45, "two losses"},
           {47, "licence"},
           {60, "the tide is low"},
           {61, "one value for each sample"},
           {62, "tea"},
           {63, "not an expression"},
           {64, "did not return"},
           {65, "SIGSEGV"},
           {66, "nan"},
           {67, "not an operation"},
           {68, "not an expression"},
           {69, "not an expression"}};

static void misbehaving(void) {
  const temper_plugin_options options = {.struct_size = sizeof options, .time_limit_milliseconds = 400};
  uint64_t before, after;
  OK(temper_catalogue_count(&before, context, NULL, &error));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    char name[64];
    temper_plugin *plugin = (temper_plugin *)context;
    snprintf(name, sizeof name, "misbehaving-%d", bad[i].number);
    FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, library(name), &options, &error));
    TRUE(plugin == NULL && error.origin[0] && error.argument == 2);
    if (!strstr(error.message, bad[i].says)) check_fail(__FILE__, bad[i].number, bad[i].says, error.message);
  }
  OK(temper_catalogue_count(&after, context, NULL, &error));
  TRUE(before == after);
}

static void files(void) {
  temper_plugin *plugin = NULL;
  uint64_t length;
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_plugin_load(&plugin, context, "/nowhere/at/all.so", NULL, &error));
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, folder, NULL, &error));
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, __FILE__, NULL, &error));
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, library("no-descriptor"), NULL, &error));
  SAYS("temper_plugin_v1");
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, context, "/proc/self/exe", NULL, &error));
  const temper_plugin_options negative = {.struct_size = sizeof negative, .time_limit_milliseconds = -1};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_plugin_load(&plugin, context, library("misbehaving-0"), &negative, &error));
  /* A truncated library, at every 97th byte; one with bytes turned over. */
  static unsigned char bytes[1 << 16];
  char cut_path[PATH_MAX];
  FILE *file = fopen(library("misbehaving-0"), "rb");
  const size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
  if (file) fclose(file);
  TRUE(size > 8000);
  snprintf(cut_path, sizeof cut_path, "%s/cut.so", folder);
  for (size_t cut = 0; cut < size; cut += 97) {
    file = fopen(cut_path, "wb");
    TRUE(file && fwrite(bytes, 1, cut, file) == cut && fclose(file) == 0);
    const int32_t status = temper_plugin_inspect(NULL, 0, &length, context, cut_path, 0, &error);
    TRUE(status == TEMPER_OK || (status == TEMPER_ERROR_PLUGIN_FAILED && check_is_sentence(error.message)));
  }
  for (size_t at = 16; at < size; at += 11) {
    const unsigned char kept = bytes[at];
    bytes[at] ^= 0xff;
    file = fopen(cut_path, "wb");
    TRUE(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    const int32_t status = temper_plugin_inspect(NULL, 0, &length, context, cut_path, 1, &error);
    TRUE(status == TEMPER_OK || (status == TEMPER_ERROR_PLUGIN_FAILED && check_is_sentence(error.message)));
    bytes[at] = kept;
  }
  unlink(cut_path);
}

/* Only from permitted directories, symbolic links resolved. */
static void permission(void) {
  char allowed[PATH_MAX], link_path[PATH_MAX], inside[PATH_MAX];
  snprintf(allowed, sizeof allowed, "%s/allowed", folder);
  snprintf(link_path, sizeof link_path, "%s/allowed/link.so", folder);
  snprintf(inside, sizeof inside, "%s/allowed/../allowed/inside.so", folder);
  mkdir(allowed, 0700), unlink(link_path), unlink(inside);
  TRUE(symlink(library("misbehaving-0"), link_path) == 0 && link(library("misbehaving-0"), inside) == 0);
  const char *const directories[] = {allowed};
  const temper_context_options options = {
      .struct_size = sizeof options, .threads = 1, .plugin_directories = directories, .plugin_directory_count = 1};
  temper_context *strict = NULL;
  temper_plugin *plugin = NULL;
  uint64_t length;
  OK(temper_context_create(&strict, &options, &error));
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, strict, library("misbehaving-0"), NULL, &error));
  SAYS("outside the directories");
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&plugin, strict, link_path, NULL, &error));
  FAILS(TEMPER_ERROR_PLUGIN_FAILED,
        temper_plugin_inspect(NULL, 0, &length, strict, library("misbehaving-0"), 0, &error));
  OK(temper_plugin_load(&plugin, strict, inside, NULL, &error));
  STATUS(TEMPER_OK, temper_plugin_free(plugin));
  STATUS(TEMPER_OK, temper_context_free(strict));
  unlink(link_path), unlink(inside), rmdir(allowed);
}

/* (value, gradient) of one loss for a batch of predictions and targets or logits and class ids. */
static double run(const char *name, const temper_param *params, uint64_t count, const char *first, temper_tensor *x,
                  temper_tensor *y, temper_tensor *gradient) {
  temper_loss *loss = NULL;
  double value = NAN;
  const temper_named_tensor inputs[] = {{first, x}, {"targets", y}}, gradients[] = {{first, gradient}};
  OK(temper_loss_create(&loss, context, name, params, count, &error));
  OK(temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, TEMPER_REDUCTION_SUM, &error));
  STATUS(TEMPER_OK, temper_loss_free(loss));
  return value;
}

static void good(void) {
  temper_plugin *plugin = NULL, *again = NULL;
  static char text[1 << 16];
  uint64_t length;
  log_line[0] = 0;
  OK(temper_plugin_load(&plugin, context, library("misbehaving-0"), NULL, &error));
  TRUE(strstr(log_line, "misbehaving 0.1 (MIT): hello") != NULL);
  FAILS(TEMPER_ERROR_PLUGIN_FAILED, temper_plugin_load(&again, context, library("misbehaving-0"), NULL, &error));
  SAYS("misbehaving 0.1");
  OK(temper_plugin_report(text, sizeof text, &length, plugin, &error));
  TRUE(strstr(text, "gradient as finite differences") != NULL);
  STATUS(TEMPER_OK, temper_plugin_free(plugin));
  OK(temper_plugin_inspect(text, sizeof text, &length, context, library("misbehaving-46"), TEMPER_FORMAT_JSON, &error));
  TRUE(strstr(text, "\"skipped\"") != NULL);
  OK(temper_catalogue_describe(text, sizeof text, &length, context, "misbehaving.square", TEMPER_FORMAT_JSON, &error));
  TRUE(strstr(text, "misbehaving 0.1 (MIT)") != NULL);

  /* The function kind: in float32 and, converted by the host, in float64. */
  const int32_t types[] = {TEMPER_FLOAT32, TEMPER_FLOAT64};
  for (int i = 0; i < 2; ++i) {
    temper_tensor *x = make(types[i], 2, 7, 3), *y = make(types[i], 2, 7, 3), *g = make(types[i], 2, 7, 3);
    fill(x, 1), fill(y, 2);
    const double value = run("misbehaving.square", NULL, 0, "predictions", x, y, g);
    double expected = 0;
    for (int j = 0; j < 21; ++j) {
      const double a = i ? ((double *)temper_tensor_data(x))[j] : float_data(x)[j];
      const double b = i ? ((double *)temper_tensor_data(y))[j] : float_data(y)[j];
      expected += (a - b) * (a - b) / 2;
      NEAR(i ? ((double *)temper_tensor_data(g))[j] : float_data(g)[j], a - b, 1e-6);
    }
    NEAR(value, expected, 1e-5);
  }

  OK(temper_plugin_load(&plugin, context, library("barron"), NULL, &error));
  OK(temper_plugin_report(text, sizeof text, &length, plugin, &error));
  TRUE(strstr(text, "float64, 6 samples: predictions: samples one by one") != NULL);
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 5, 4), *y = make(TEMPER_FLOAT64, 2, 5, 4),
                *g = make(TEMPER_FLOAT64, 2, 5, 4);
  fill(x, 3), fill(y, 4);
  const temper_param squared[] = {temper_real("alpha", 2)};
  const double barron = run("barron", squared, 1, "predictions", x, y, g),
               half = run("mse", NULL, 0, "predictions", x, y, g) / 2;
  NEAR(barron, half, 1e-12);
  const temper_param wrong[] = {temper_real("alpha", 3)};
  temper_loss *loss = NULL;
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_create(&loss, context, "robust.barron", wrong, 1, &error));

  /* The composed kind: gamma 0 makes it generalized cross-entropy, value and gradient. */
  OK(temper_plugin_load(&plugin, context, library("focal_generalized"), NULL, &error));
  temper_tensor *logits = make(TEMPER_FLOAT64, 2, 6, 5), *ids = make(TEMPER_INT32, 1, 6, 0),
                *ours = make(TEMPER_FLOAT64, 2, 6, 5), *theirs = make(TEMPER_FLOAT64, 2, 6, 5);
  fill(logits, 5);
  for (int i = 0; i < 6; ++i) ((int32_t *)temper_tensor_data(ids))[i] = i % 5;
  const temper_param flat[] = {temper_real("gamma", 0), temper_real("q", 0.4)};
  const double a = run("example.focal_generalized", flat, 2, "logits", logits, ids, ours);
  const double b = run("generalized_cross_entropy", flat + 1, 1, "logits", logits, ids, theirs);
  NEAR(a, b, 1e-12);
  for (int i = 0; i < 30; ++i)
    NEAR(((double *)temper_tensor_data(ours))[i], ((double *)temper_tensor_data(theirs))[i], 1e-12);

  /* Second derivatives: the host has them of a composed loss, and of a function it says that there are none. */
  OK(temper_loss_create(&loss, context, "focal_generalized", NULL, 0, &error));
  const temper_named_tensor inputs[] = {{"logits", logits}, {"targets", ids}}, product[] = {{"logits", ours}},
                            direction[] = {{"logits", theirs}};
  OK(temper_loss_hessian_product(product, direction, 1, loss, inputs, 2, 0, &error));
  OK(temper_loss_create(&loss, context, "barron", NULL, 0, &error));
  const temper_named_tensor pair[] = {{"predictions", x}, {"targets", y}}, none[] = {{"predictions", g}},
                            one[] = {{"predictions", y}};
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_loss_hessian_product(none, one, 1, loss, pair, 2, 0, &error));
}

/* One plug-in loss in trainers on several threads at once; each gives what it gives alone. */
static void *train(void *result) {
  temper_context *own = NULL;
  temper_plugin *plugin = NULL;
  temper_model *model = NULL;
  temper_loss *loss = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  temper_error e;
  char file[PATH_MAX];
  const temper_context_options options = {.struct_size = sizeof options, .threads = 1};
  const int64_t three[] = {3};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 5};
  temper_measurement measured = {NAN, NAN};
  temper_tensor *x = NULL, *y = NULL;
  const int64_t x_sizes[] = {64, 3}, y_sizes[] = {64, 2};
  snprintf(file, sizeof file, "%s/barron.so", folder);
  if (temper_context_create(&own, &options, &e) || temper_plugin_load(&plugin, own, file, NULL, &e) ||
      temper_tensor_create(&x, TEMPER_FLOAT32, 2, x_sizes, &e) ||
      temper_tensor_create(&y, TEMPER_FLOAT32, 2, y_sizes, &e))
    return fprintf(stderr, "%s\n", e.message), NULL;
  for (int i = 0; i < 192; ++i) float_data(x)[i] = (float)(i * 37 % 19) / 19;
  for (int i = 0; i < 128; ++i) float_data(y)[i] = (float)(i * 11 % 7) / 7;
  const temper_samples samples = {.x = x, .y = y};
  if (temper_model_create(&model, own, "[{\"dense\": 8}, \"relu\", {\"dense\": 2}]", three, 1, 0, 1, &e) ||
      temper_loss_create(&loss, own, "robust.barron", NULL, 0, &e) ||
      temper_optimizer_create(&optimizer, own, "adam", NULL, 0, &e) ||
      temper_trainer_create(&trainer, model, loss, optimizer, NULL, NULL, &e) ||
      temper_trainer_fit(trainer, &samples, &fit, &e) || temper_trainer_evaluate(&measured, trainer, &samples, &e))
    fprintf(stderr, "%s\n", e.message);
  *(double *)result = measured.loss;
  temper_context_free(own), temper_plugin_free(plugin), temper_model_free(model), temper_loss_free(loss);
  temper_optimizer_free(optimizer), temper_trainer_free(trainer), temper_tensor_free(x), temper_tensor_free(y);
  return NULL;
}

static void threads(void) {
  double results[4] = {NAN, NAN, NAN, NAN};
  pthread_t thread[3];
  train(&results[3]);
  for (int i = 0; i < 3; ++i) TRUE(pthread_create(&thread[i], NULL, train, &results[i]) == 0);
  for (int i = 0; i < 3; ++i) pthread_join(thread[i], NULL);
  TRUE(isfinite(results[3]));
  for (int i = 0; i < 3; ++i) TRUE(results[i] == results[3]);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  folder = arguments[1];
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2, .log = log_to_line};
  OK(temper_context_create(&context, &options, &error));
  misbehaving(), files(), permission(), good(), threads();
  STATUS(TEMPER_OK, temper_context_free(context));
  return check_result("plugins");
}
