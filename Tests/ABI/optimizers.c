/* Optimizers from C: steps in place beside their formulas, closures that go on, stop and fail, groups with rates and
 * schedules, averages, state through files and maps, and what gradients say of their noise. Takes a directory for
 * files. */
#include "check.h"

enum { COUNT = 3 };

static temper_context *context;

static temper_optimizer *optimizer(const char *name, double rate) {
  temper_optimizer *made = NULL;
  const temper_param parameters[] = {{.name = "learning_rate", .type = TEMPER_PARAM_REAL, .real = rate}};
  OK(temper_optimizer_create(&made, context, name, parameters, 1, &error));
  return made;
}

static temper_tensor *doubles(int64_t count, double value) {
  temper_tensor *tensor = make(TEMPER_FLOAT64, 1, count, 0);
  for (int64_t i = 0; i < count; ++i) ((double *)temper_tensor_data(tensor))[i] = value + (double)i;
  return tensor;
}

static double *data(temper_tensor *tensor) { return temper_tensor_data(tensor); }

/* A bowl: the loss is half the square of w, the gradient w. */
typedef struct bowl {
  temper_tensor *w, *gradient;
  int64_t count, calls;
  int64_t stop_at, answer; /* at this call, say that */
} bowl;

static int32_t measure(void *user, double *loss) {
  bowl *b = user;
  if (++b->calls == b->stop_at) return (int32_t)b->answer;
  *loss = 0;
  for (int64_t i = 0; i < b->count; ++i) {
    const double w = data(b->w)[i];
    *loss += 0.5 * w * w;
    data(b->gradient)[i] = w;
  }
  return 0;
}

static void closures(void) {
  bowl b = {.w = doubles(COUNT, 1), .gradient = doubles(COUNT, 0), .count = COUNT};
  temper_tensor *parameters[] = {b.w}, *gradients[] = {b.gradient};

  /* The worked step of sharpness-aware descent: w = 1, rate 0.1, radius 0.05 gives 1 - 0.1 * 1.05. */
  temper_optimizer *sam = optimizer("sam", 0.1);
  bowl one = {.w = doubles(1, 1), .gradient = doubles(1, 0), .count = 1};
  temper_tensor *one_w[] = {one.w}, *one_g[] = {one.gradient};
  temper_optimizer_info info = {.struct_size = sizeof info};
  OK(temper_optimizer_get_info(&info, sam, &error));
  TRUE(info.needs_closure == 1 && info.steps == 0);
  double loss = 0;
  OK(temper_optimizer_step_closure(&loss, sam, one_w, one_g, 1, NAN, measure, &one, &error));
  NEAR(loss, 0.5, 1e-15);
  NEAR(data(one.w)[0], 0.895, 1e-12);
  TRUE(one.calls == 2);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(sam, one_w, one_g, 1, NAN, &error));
  SAYS("closure");
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT,
        temper_optimizer_step_closure(&loss, sam, one_w, one_g, 1, NAN, NULL, NULL, &error));

  /* Stopped at its second call, or failing there: the parameters are as they were, and the next step is the first. */
  for (int answer = 1; answer <= 7; answer += 6) {
    temper_optimizer *stopped = optimizer("sam", 0.1);
    const double before[COUNT] = {data(b.w)[0], data(b.w)[1], data(b.w)[2]};
    b.calls = 0, b.stop_at = 2, b.answer = answer;
    FAILS(answer == 1 ? TEMPER_ERROR_CANCELLED : TEMPER_ERROR_INVALID_ARGUMENT,
          temper_optimizer_step_closure(&loss, stopped, parameters, gradients, 1, NAN, measure, &b, &error));
    TRUE(memcmp(before, data(b.w), sizeof before) == 0);
    OK(temper_optimizer_get_info(&info, stopped, &error));
    TRUE(info.steps == 0);
    temper_optimizer_free(stopped);
  }

  /* A search: one step of L-BFGS finds the bottom of a bowl. */
  temper_optimizer *search = NULL;
  OK(temper_optimizer_create(&search, context, "lbfgs", NULL, 0, &error));
  b.stop_at = b.calls = 0;
  OK(temper_optimizer_step_closure(NULL, search, parameters, gradients, 1, NAN, measure, &b, &error));
  OK(temper_optimizer_step_closure(&loss, search, parameters, gradients, 1, NAN, measure, &b, &error));
  TRUE(b.calls > 2);
  for (int i = 0; i < COUNT; ++i) NEAR(data(b.w)[i], 0, 1e-6);
  temper_optimizer_free(sam), temper_optimizer_free(search);
  temper_tensor_free(b.w), temper_tensor_free(b.gradient), temper_tensor_free(one.w), temper_tensor_free(one.gradient);
}

static void groups(void) {
  temper_tensor *w[] = {doubles(COUNT, 1), doubles(COUNT, 1), doubles(COUNT, 1)};
  temper_tensor *g[] = {doubles(COUNT, 1), doubles(COUNT, 1), doubles(COUNT, 1)};
  temper_optimizer *sgd = optimizer("sgd", 0.5);
  const temper_param slow[] = {{.name = "learning_rate", .type = TEMPER_PARAM_REAL, .real = 0.125}};
  const uint64_t second[] = {1}, third[] = {2};
  OK(temper_optimizer_add_group(sgd, second, 1, slow, 1, NULL, &error));
  temper_schedule *halving = NULL;
  const temper_param steps[] = {{.name = "learning_rate", .type = TEMPER_PARAM_REAL, .real = 1},
                                {.name = "gamma", .type = TEMPER_PARAM_REAL, .real = 0.5}};
  OK(temper_schedule_create(&halving, context, "exponential", steps, 2, &error));
  OK(temper_optimizer_add_group(sgd, third, 1, NULL, 0, halving, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_add_group(sgd, third, 1, slow, 1, NULL, &error));
  for (int i = 0; i < 2; ++i) OK(temper_optimizer_step(sgd, w, g, 3, NAN, &error));
  for (int i = 0; i < COUNT; ++i) {
    const double start = 1.0 + i;
    NEAR(data(w[0])[i], start - 2 * 0.5 * start, 1e-15);
    NEAR(data(w[1])[i], start - 2 * 0.125 * start, 1e-15);
    NEAR(data(w[2])[i], start - (1 + 0.5) * start, 1e-15);
  }
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_optimizer_add_group(sgd, second, 1, slow, 1, NULL, &error));
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_optimizer_schedule(sgd, "momentum", halving, &error));
  temper_optimizer_free(sgd);

  /* Momentum 1/2, 1/4, ... of a gradient of 1: directions 1, 1 + 1/4, (1 + 1/4) / 8 + 1. */
  const temper_param half[] = {{.name = "learning_rate", .type = TEMPER_PARAM_REAL, .real = 0.5}, steps[1]};
  temper_schedule *falling = NULL;
  OK(temper_schedule_create(&falling, context, "exponential", half, 2, &error));
  sgd = optimizer("sgd", 1);
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_optimizer_schedule(sgd, "momentum", halving, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_optimizer_schedule(sgd, "beta1", falling, &error));
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_optimizer_schedule(sgd, "dampening", falling, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_optimizer_schedule(NULL, "momentum", falling, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_schedule(sgd, NULL, falling, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_optimizer_schedule(sgd, "momentum", NULL, &error));
  OK(temper_optimizer_schedule(sgd, "momentum", falling, &error));
  temper_tensor *moved = doubles(1, 0), *one = doubles(1, 1);
  for (int i = 0; i < 3; ++i) OK(temper_optimizer_step(sgd, &moved, &one, 1, NAN, &error));
  NEAR(data(moved)[0], -(1 + 1.25 + 1.25 / 8 + 1), 1e-15);
  temper_tensor_free(moved), temper_tensor_free(one);
  temper_optimizer_free(sgd), temper_schedule_free(halving), temper_schedule_free(falling);
  for (int i = 0; i < 3; ++i) temper_tensor_free(w[i]), temper_tensor_free(g[i]);
}

/* Many small arrays, other arrays in between, and one whose handle was given back meanwhile. */
static void arrays(void) {
  enum { MANY = 40 };
  temper_tensor *w[MANY], *g[MANY], *twin[MANY];
  for (int i = 0; i < MANY; ++i) w[i] = doubles(i + 1, 1), twin[i] = doubles(i + 1, 1), g[i] = doubles(i + 1, -2);
  temper_optimizer *adam = optimizer("adam", 0.1), *alone[MANY];
  for (int i = 0; i < MANY; ++i) alone[i] = optimizer("adam", 0.1);
  for (int step = 0; step < 4; ++step) {
    OK(temper_optimizer_step(adam, w, g, MANY, NAN, &error));
    for (int i = 0; i < MANY; ++i) OK(temper_optimizer_step(alone[i], &twin[i], &g[i], 1, NAN, &error));
    if (step == 1) {
      temper_tensor *other = doubles(MANY, 0);
      memcpy(data(other), data(w[MANY - 1]), MANY * sizeof(double));
      temper_tensor_free(w[MANY - 1]);
      w[MANY - 1] = other;
    }
  }
  for (int i = 0; i < MANY; ++i) TRUE(memcmp(data(w[i]), data(twin[i]), (size_t)(i + 1) * sizeof(double)) == 0);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(adam, w, g, MANY - 1, NAN, &error));
  temper_tensor *same[MANY];
  memcpy(same, w, sizeof same);
  temper_tensor_free(w[3]);
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_optimizer_step(adam, same, g, MANY, NAN, &error));
  for (int i = 0; i < MANY; ++i) {
    if (i != 3) temper_tensor_free(w[i]);
    temper_tensor_free(twin[i]), temper_tensor_free(g[i]), temper_optimizer_free(alone[i]);
  }
  temper_optimizer_free(adam);
}

static void averages(void) {
  temper_tensor *w = doubles(COUNT, 1), *g = doubles(COUNT, 1), *result = doubles(COUNT, 0);
  temper_optimizer *swa = optimizer("swa", 0.25);
  double sum[COUNT] = {0};
  for (int step = 1; step <= 4; ++step) {
    OK(temper_optimizer_step(swa, &w, &g, 1, NAN, &error));
    for (int i = 0; i < COUNT; ++i) sum[i] += data(w)[i];
  }
  OK(temper_optimizer_evaluation_point(&result, swa, &w, 1, &error));
  for (int i = 0; i < COUNT; ++i) NEAR(data(result)[i], sum[i] / 4, 1e-12);
  temper_optimizer_free(swa), temper_tensor_free(w), temper_tensor_free(g), temper_tensor_free(result);
}

/* Stopped after three steps, written to a file, read by another: the same bits. */
static void files(const char *directory) {
  static const char *const names[] = {"adamw", "muon", "nadam", "lookahead", "prodigy", "soap"};
  char path[512];
  snprintf(path, sizeof path, "%s/optimizer.safetensors", directory);
  for (size_t n = 0; n < sizeof names / sizeof *names; ++n) {
    temper_tensor *w = make(TEMPER_FLOAT32, 2, 4, 3), *g = floats(4, 3), *twin = floats(4, 3);
    temper_optimizer *first = NULL, *second = NULL;
    fill(w, 1);
    memcpy(float_data(twin), float_data(w), 12 * sizeof(float));
    OK(temper_optimizer_create(&first, context, names[n], NULL, 0, &error));
    OK(temper_optimizer_create(&second, context, names[n], NULL, 0, &error));
    for (unsigned step = 0; step < 6; ++step) {
      fill(g, 10 + step);
      OK(temper_optimizer_step(first, &w, &g, 1, NAN, &error));
      if (step == 2) {
        OK(temper_optimizer_save(first, path, &error));
        OK(temper_optimizer_load(second, path, &error));
        memcpy(float_data(twin), float_data(w), 12 * sizeof(float));
      } else if (step > 2) {
        OK(temper_optimizer_step(second, &twin, &g, 1, NAN, &error));
      }
    }
    TRUE(memcmp(float_data(w), float_data(twin), 12 * sizeof(float)) == 0);
    temper_optimizer *other = optimizer("lion", 0.1);
    FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_load(other, path, &error));
    temper_optimizer_free(first), temper_optimizer_free(second), temper_optimizer_free(other);
    temper_tensor_free(w), temper_tensor_free(g), temper_tensor_free(twin);
  }
}

/* A new tensor that holds these numbers. */
static temper_tensor *holding(int32_t rank, const int64_t *sizes, const double *values) {
  temper_tensor *tensor = NULL;
  OK(temper_tensor_create(&tensor, TEMPER_FLOAT64, rank, sizes, &error));
  size_t elements = 1;
  for (int32_t i = 0; i < rank; ++i) elements *= (size_t)sizes[i];
  memcpy(data(tensor), values, elements * sizeof(double));
  return tensor;
}

static void metric_is(const char *name, const temper_named_tensor *inputs, uint64_t given, int64_t results,
                      const double *expected) {
  temper_metric *metric = NULL;
  temper_tensor *value = NULL;
  OK(temper_metric_create(&metric, context, name, NULL, 0, &error));
  OK(temper_tensor_create(&value, TEMPER_FLOAT64, results ? 1 : 0, &results, &error));
  OK(temper_metric_evaluate(value, metric, inputs, given, &error));
  for (int64_t i = 0; i < (results ? results : 1); ++i) NEAR(data(value)[i], expected[i], 1e-12);
  temper_metric_free(metric), temper_tensor_free(value);
}

/* Norms of single samples' gradients, medians and tails, at values found by hand. */
static void statistics(void) {
  const int64_t two[] = {2, 2}, steps[] = {1, 2, 1}, image[] = {1, 1, 3, 3}, pixel[] = {1, 1, 1, 1}, row[] = {40};
  const double ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  temper_tensor *a = holding(2, two, (const double[]){3, 4, 0, 1}), *g = holding(2, two, (const double[]){1, 2, 2, 0});
  /* Sample by sample |g|^2 (|a|^2 + 1), the 1 for the bias. */
  metric_is("per_sample_gradient_norms_linear", (const temper_named_tensor[]){{"inputs", a}, {"output_gradients", g}},
            2, 2, (const double[]){sqrt(5 * 26.0), sqrt(4 * 2.0)});
  temper_tensor *x = holding(3, steps, (const double[]){1, 2}), *dy = holding(3, steps, (const double[]){3, 4});
  /* Scale 1 * 3 + 2 * 4, shift 3 + 4. */
  metric_is("per_sample_gradient_norms_normalization",
            (const temper_named_tensor[]){{"inputs", x}, {"output_gradients", dy}}, 2, 1,
            (const double[]){sqrt(11 * 11 + 7 * 7.0)});
  temper_tensor *ids = make(TEMPER_INT32, 2, 1, 2);
  ((int32_t *)temper_tensor_data(ids))[0] = ((int32_t *)temper_tensor_data(ids))[1] = 5;
  /* One row twice: its gradient is 3 + 4. */
  metric_is("per_sample_gradient_norms_embedding",
            (const temper_named_tensor[]){{"indices", ids}, {"output_gradients", dy}}, 2, 1, (const double[]){7});
  temper_tensor *picture = holding(4, image, ones), *slope = holding(4, pixel, (const double[]){2});
  /* Nine weights and a bias, each with a slope of 2. */
  metric_is("per_sample_gradient_norms_convolution",
            (const temper_named_tensor[]){{"inputs", picture}, {"output_gradients", slope}}, 2, 1,
            (const double[]){sqrt(10 * 4.0)});

  double powers[40];
  for (int i = 0; i < 40; ++i) powers[i] = pow(2, i);
  temper_tensor *sizes = holding(1, row, powers);
  /* The two largest over the third: 1 / mean(log 4, log 2). */
  metric_is("heavy_tail_index", (const temper_named_tensor[]){{"x", sizes}}, 1, 0,
            (const double[]){1 / (1.5 * log(2))});

  /* Four workers at the corners of a square and one far off: the medians stay. */
  const int64_t workers[] = {5, 2}, point[] = {2};
  temper_tensor *sent = holding(2, workers, (const double[]){1, 1, 1, -1, -1, 1, -1, -1, 1000, 0});
  const char *const medians[] = {"coordinate_median", "geometric_median"};
  for (int i = 0; i < 2; ++i) {
    temper_op *op = NULL;
    temper_tensor *middle = holding(1, point, ones);
    OK(temper_op_create(&op, context, medians[i], NULL, 0, &error));
    OK(temper_op_evaluate(middle, op, (const temper_named_tensor[]){{"gradients", sent}}, 1, -1, &error));
    TRUE(fabs(data(middle)[0]) <= 1.01 && fabs(data(middle)[1]) < 1e-9);
    temper_op_free(op), temper_tensor_free(middle);
  }
  temper_tensor *all[] = {a, g, x, dy, ids, picture, slope, sizes, sent};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) temper_tensor_free(all[i]);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  if (temper_context_create(&context, NULL, &error)) return 2;
  closures(), groups(), arrays(), averages(), files(arguments[1]), statistics();
  temper_context_free(context);
  return check_result("optimizers");
}
