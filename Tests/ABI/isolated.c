/* Losses in processes of their own: whatever they do, the host gets an error with the reason, and lives. The folder
 * given holds troubled.so, legacy.so, and the files of examples/plugins. */
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static temper_context *context;
static const char *folder;
static char log_text[4096];

static const char *file(const char *name) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static int32_t keep_log(void *user, int32_t level, const char *text) {
  (void)user, (void)level;
  snprintf(log_text, sizeof log_text, "%s", text);
  return 0;
}

static temper_plugin_options isolated(void) {
  const temper_plugin_options options = {.struct_size = sizeof options,
                                         .time_limit_milliseconds = 1000,
                                         .flags = TEMPER_PLUGIN_ISOLATED,
                                         .memory_limit = 128u << 20};
  return options;
}

/* A context with troubled.so in it. */
static temper_context *with(const temper_plugin_options *options) {
  temper_context *made = NULL;
  temper_plugin *plugin = NULL;
  const temper_context_options settings = {.struct_size = sizeof settings, .threads = 1, .log = keep_log};
  OK(temper_context_create(&made, &settings, &error));
  OK(temper_plugin_load(&plugin, made, file("troubled.so"), options, &error));
  STATUS(TEMPER_OK, temper_plugin_free(plugin));
  return made;
}

static temper_loss *loss(temper_context *of, int trouble) {
  temper_loss *made = NULL;
  const temper_param params[] = {temper_integer("trouble", trouble)};
  OK(temper_loss_create(&made, of, "troubled.square", params, 1, &error));
  return made;
}

static temper_tensor *x, *y, *gradient;

static int32_t call(temper_loss *of, double *value, temper_error *e) {
  const temper_named_tensor inputs[] = {{"predictions", x}, {"targets", y}}, wanted[] = {{"predictions", gradient}};
  return temper_loss_value_and_grad(value, wanted, 1, of, inputs, 2, TEMPER_REDUCTION_SUM, e);
}

static double expected(void) {
  double sum = 0;
  for (int i = 0; i < 21; ++i) {
    const double difference = (double)float_data(x)[i] - (double)float_data(y)[i];
    sum += difference * difference / 2;
  }
  return sum;
}

static const struct {
  int trouble;
  const char *says; /* NULL: nothing goes wrong */
} troubles[] = {{1, "SIGSEGV"},
                {2, "SIGABRT"},
                {3, "did not return within 1000 milliseconds"},
                {4, "exit status 5"},
                {5, "exit status 6"},
                {6, "12 bytes past the end of the values"},
                {7, "before the start of the values"},
                {8, "which is only to be read"},
                {9, "SIGABRT"},
                {10, "SIGSEGV"},
                {11, "did not return"},
                {12, "SIGKILL"},
                {13, "no more memory"},
                {15, NULL},
                {16, "no network"},
                {17, "no files"},
                {18, "no deleting"},
                {19, "no processes"},
                {20, "no programs"},
                {21, "no killing"},
                {22, ""},
                {23, NULL},
                {25, "no more limits"}};

static void everything(void) {
  const temper_plugin_options options = isolated();
  temper_context *own = with(&options);
  temper_loss *good = loss(own, 0);
  double value;
  OK(call(good, &value, &error));
  NEAR(value, expected(), 1e-5);
  for (size_t i = 0; i < sizeof troubles / sizeof *troubles; ++i) {
    temper_loss *bad = loss(own, troubles[i].trouble);
    if (troubles[i].says && troubles[i].says[0]) {
      FAILS(TEMPER_ERROR_PLUGIN_FAILED, call(bad, &value, &error));
      if (!strstr(error.message, troubles[i].says))
        check_fail(__FILE__, troubles[i].trouble, troubles[i].says, error.message);
    } else {
      const int32_t status = call(bad, &value, &error);
      TRUE(status == TEMPER_OK || (!troubles[i].says && status == TEMPER_ERROR_PLUGIN_FAILED) || troubles[i].says);
    }
    STATUS(TEMPER_OK, temper_loss_free(bad));
    if (troubles[i].trouble == 15) { /* its thread goes on writing: into this process only, until that ends */
      temper_loss *end = loss(own, 1);
      FAILS(TEMPER_ERROR_PLUGIN_FAILED, call(end, &value, &error));
      STATUS(TEMPER_OK, temper_loss_free(end));
    }
    /* What took its files away may not be able to go on; a new process is. */
    if (call(good, &value, &error)) OK(call(good, &value, &error));
    NEAR(value, expected(), 1e-5);
  }
  /* A leak ends when memory does, and the reason says so. */
  temper_loss *leak = loss(own, 14);
  int32_t status = TEMPER_OK;
  for (int i = 0; i < 100 && !status; ++i) status = call(leak, &value, &error);
  STATUS(TEMPER_ERROR_PLUGIN_FAILED, status);
  SAYS("MB that it may use");
  /* State of the process goes with it. */
  temper_loss *counting = loss(own, 26);
  OK(call(counting, &value, &error));
  STATUS(TEMPER_OK, temper_loss_free(leak));
  STATUS(TEMPER_OK, temper_loss_free(counting));
  STATUS(TEMPER_OK, temper_loss_free(good));
  STATUS(TEMPER_OK, temper_context_free(own));
}

static int entries(const char *path) {
  DIR *directory = opendir(path);
  int count = 0;
  while (directory && readdir(directory)) ++count;
  if (directory) closedir(directory);
  return count;
}

/* Pages that this process has in memory. */
static long pages(void) {
  long all = 0, here = 0;
  FILE *statistics = fopen("/proc/self/statm", "r");
  TRUE(statistics && fscanf(statistics, "%ld %ld", &all, &here) == 2);
  if (statistics) fclose(statistics);
  return here;
}

/* 1,000 crashes in a row leave no file, process or memory behind. */
static void crashes(void) {
  const temper_plugin_options options = isolated();
  temper_context *own = with(&options);
  temper_loss *bad = loss(own, 1);
  double value;
  long before = 0;
  int files = 0, wrong = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 100) before = pages(), files = entries("/proc/self/fd");
    wrong += call(bad, &value, &error) != TEMPER_ERROR_PLUGIN_FAILED;
  }
  TRUE(wrong == 0);
  TRUE(entries("/proc/self/fd") == files);
  TRUE(pages() - before < 256); /* 1 MB in 900 crashes */
  STATUS(TEMPER_OK, temper_loss_free(bad));
  STATUS(TEMPER_OK, temper_context_free(own));
  TRUE(waitpid(-1, NULL, WNOHANG) < 0); /* no child is left */
}

/* Trainers stop, try again, or go on. */
static int32_t trained(temper_context *own, int trouble, int32_t skips) {
  temper_model *model = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  const int64_t three[] = {3};
  const temper_trainer_options settings = {.struct_size = sizeof settings, .batch_size = 16, .skip_non_finite = skips};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 2};
  temper_tensor *inputs = floats(64, 3), *targets = floats(64, 2);
  fill(inputs, 3), fill(targets, 4);
  const temper_samples data = {.x = inputs, .y = targets};
  temper_loss *chosen = loss(own, trouble);
  OK(temper_model_create(&model, own, "[{\"dense\": 2}]", three, 1, 0, 1, &error));
  OK(temper_optimizer_create(&optimizer, own, "sgd", NULL, 0, &error));
  OK(temper_trainer_create(&trainer, model, chosen, optimizer, NULL, &settings, &error));
  const int32_t status = temper_trainer_fit(trainer, &data, &fit, &error);
  temper_trainer_free(trainer), temper_model_free(model), temper_optimizer_free(optimizer), temper_loss_free(chosen);
  temper_tensor_free(inputs), temper_tensor_free(targets);
  return status;
}

static void trainers(void) {
  temper_plugin_options options = isolated();
  temper_context *stops = with(&options);
  STATUS(TEMPER_OK, trained(stops, 0, 0));
  STATUS(TEMPER_ERROR_PLUGIN_FAILED, trained(stops, 1, 0));
  SAYS("SIGSEGV");
  options.retries = 40;
  temper_context *retries = with(&options);
  STATUS(TEMPER_OK, trained(retries, 24, 0));
  options.retries = 1, options.on_failure = TEMPER_FAILURE_NAN;
  temper_context *goes_on = with(&options);
  STATUS(TEMPER_OK, trained(goes_on, 1, 1));
  TRUE(strstr(log_text, "not a number") != NULL);
  STATUS(TEMPER_ERROR_NOT_FINITE, trained(goes_on, 1, 0));
  temper_context_free(stops), temper_context_free(retries), temper_context_free(goes_on);
}

/* One process for calls from many threads. */
static void *many(void *own) {
  temper_error e;
  temper_loss *mine = NULL;
  double value, sum = 0;
  float values[7];
  const int64_t sizes[] = {7};
  const temper_buffer buffer = {.struct_size = sizeof buffer, .dtype = TEMPER_FLOAT32, .rank = 1, .data = values,
                                .byte_length = sizeof values, .sizes = sizes};
  temper_tensor *out = NULL;
  const temper_named_tensor inputs[] = {{"predictions", x}, {"targets", y}};
  if (temper_loss_create(&mine, own, "troubled.square", NULL, 0, &e) || temper_tensor_borrow(&out, &buffer, &e)) return own;
  for (int i = 0; i < 200; ++i) {
    if (temper_loss_evaluate(out, mine, inputs, 2, &e)) return own;
    for (sum = 0, value = expected(); sum == 0;)
      for (int j = 0; j < 7; ++j) sum += (double)values[j];
    if (fabs(sum - value) > 1e-4) return own;
  }
  temper_loss_free(mine), temper_tensor_free(out);
  return NULL;
}

static void threads(void) {
  const temper_plugin_options options = isolated();
  temper_context *own = with(&options);
  pthread_t thread[4];
  for (int i = 0; i < 4; ++i) TRUE(pthread_create(&thread[i], NULL, many, own) == 0);
  for (int i = 0; i < 4; ++i) {
    void *failed = NULL;
    pthread_join(thread[i], &failed);
    TRUE(failed == NULL);
  }
  temper_context_free(own);
}

static void *endless(void *of) {
  double value;
  temper_error e;
  call(of, &value, &e);
  return NULL;
}

/* A program may end in any way while a call runs: its processes end with it. */
static void exits(void) {
  prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans come to this process */
  for (int how = 0; how < 3; ++how) {
    const pid_t child = fork();
    if (child == 0) {
      temper_plugin_options options = isolated();
      options.time_limit_milliseconds = 60000;
      temper_context *own = with(&options);
      pthread_t thread;
      pthread_create(&thread, NULL, endless, loss(own, 3));
      usleep(200000);
      if (how == 0) exit(0);
      if (how == 1) _exit(0);
      raise(SIGKILL);
    }
    int status = -1, left = 0;
    TRUE(waitpid(child, &status, 0) == child);
    TRUE(how == 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (int i = 0; i < 500 && (left = waitpid(-1, NULL, WNOHANG)) >= 0; ++i) usleep(10000);
    TRUE(left < 0);
  }
}

/* The other forms, and what cannot be isolated. */
static void forms(void) {
  temper_plugin *plugin = NULL;
  const temper_plugin_options options = {.struct_size = sizeof options, .flags = TEMPER_PLUGIN_ISOLATED};
  static char text[1 << 16];
  uint64_t length;
  OK(temper_plugin_load(&plugin, context, file("legacy.toml"), &options, &error));
  OK(temper_plugin_report(text, sizeof text, &length, plugin, &error));
  TRUE(strstr(text, "in a process of its own: 2048 MB") != NULL);
  TRUE(strstr(text, "no files written") && strstr(text, "no network")); /* on a kernel with seccomp */
  OK(temper_catalogue_describe(text, sizeof text, &length, context, "legacy.huber", TEMPER_FORMAT_JSON, &error));
  TRUE(strstr(text, "\"isolated\": true") != NULL);
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_plugin_load(&plugin, context, file("formulas.toml"), &options, &error));
  FAILS(TEMPER_ERROR_UNSUPPORTED,
        temper_plugin_load(&plugin, context, file("focal_generalized.so"), &options, &error));
  const int32_t status = temper_plugin_load(&plugin, context, file("quadratic.py"), &options, &error);
  if (status && strstr(error.message, "there is no Python"))
    printf("isolated: Python files not tried: %s\n", error.message);
  else
    STATUS(TEMPER_OK, status);

  temper_plugin_options wrong = options;
  wrong.flags = 4;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_load(&plugin, context, file("troubled.so"), &wrong, &error));
  wrong = options, wrong.retries = -1;
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_plugin_load(&plugin, context, file("troubled.so"), &wrong, &error));
  wrong = options, wrong.on_failure = 9;
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_plugin_load(&plugin, context, file("troubled.so"), &wrong, &error));
  wrong.flags = 0, wrong.on_failure = TEMPER_FAILURE_NAN;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_load(&plugin, context, file("troubled.so"), &wrong, &error));
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  folder = arguments[1];
  x = floats(7, 3), y = floats(7, 3), gradient = floats(7, 3);
  fill(x, 1), fill(y, 2);
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2};
  OK(temper_context_create(&context, &options, &error));
  everything(), crashes(), exits(), trainers(), threads(), forms();
  /* The context is left: its processes end with this one. */
  return check_result("isolated");
}
