/* What calls give: values against formulas, gradients against finite differences, state and files against themselves.
 */
#include <unistd.h>

#include "check.h"
#include "temper_dlpack.h"

static temper_context *context;
static int released;

static void release(void *user) { released += *(int *)user; }

static void tensors(void) {
  float memory[24];
  int one = 1;
  for (int i = 0; i < 24; ++i) memory[i] = (float)i;
  /* Every second column of 4 rows, rows backwards, from memory that is not aligned. */
  unsigned char shifted[sizeof memory + 1];
  memcpy(shifted + 1, memory, sizeof memory);
  const int64_t sizes[] = {4, 3}, strides[] = {-6, 2}, flat[] = {12}, row[] = {3};
  temper_buffer buffer = {.struct_size = sizeof buffer,
                          .dtype = TEMPER_FLOAT32,
                          .rank = 2,
                          .data = shifted + 1,
                          .byte_length = sizeof memory,
                          .byte_offset = 18 * 4,
                          .sizes = sizes,
                          .strides = strides,
                          .release = release,
                          .release_user = &one};
  temper_tensor *view = NULL, *copy = NULL, *part = NULL, *again = NULL;
  OK(temper_tensor_borrow(&view, &buffer, &error));
  OK(temper_tensor_copy(&copy, view, TEMPER_FLOAT64, &error));
  const double *values = temper_tensor_data(copy);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 3; ++j) NEAR(values[3 * i + j], 18 - 6 * i + 2 * j, 0);
  OK(temper_tensor_slice(&part, view, 0, 1, 2, &error));
  temper_tensor_info info = {.struct_size = sizeof info};
  OK(temper_tensor_get_info(&info, part, &error));
  TRUE(info.rank == 2 && info.sizes[0] == 2 && info.sizes[1] == 3 && info.strides[0] == -6 && info.count == 6 &&
       info.flags == 0);
  TRUE(info.data == shifted + 1 + 12 * 4);
  STATUS(TEMPER_OK, temper_tensor_free(view));
  TRUE(released == 0); /* the part still needs the memory */
  OK(temper_tensor_reshape(&again, part, 1, (const int64_t[]){6}, &error));
  NEAR(float_data(again)[3], 6, 0);
  STATUS(TEMPER_OK, temper_tensor_free(part));
  TRUE(released == 1);
  /* A failed call takes nothing over. */
  buffer.byte_length = 4;
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_borrow(&view, &buffer, &error));
  TRUE(released == 1);
  OK(temper_tensor_reshape(&view, copy, 1, flat, &error));
  ((double *)temper_tensor_data(view))[0] = 99;
  NEAR(values[0], 99, 0); /* dense: the same memory */
  const int32_t axes[] = {1, 0};
  OK(temper_tensor_permute(&part, copy, axes, 2, &error));
  OK(temper_tensor_get_info(&info, part, &error));
  TRUE(info.sizes[0] == 3 && info.strides[0] == 1 && info.strides[1] == 3);
  temper_tensor *ints = NULL;
  double wild[] = {NAN, 1e30, -2.7};
  temper_buffer wild_buffer = {.struct_size = sizeof wild_buffer,
                               .dtype = TEMPER_FLOAT64,
                               .rank = 1,
                               .data = wild,
                               .byte_length = sizeof wild,
                               .sizes = row};
  OK(temper_tensor_borrow(&view, &wild_buffer, &error));
  OK(temper_tensor_copy(&ints, view, TEMPER_INT32, &error));
  const int32_t *whole = temper_tensor_data(ints);
  TRUE(whole[0] == 0 && whole[1] == INT32_MAX && whole[2] == -2);
}

static int deleted;
static void delete_managed(DLManagedTensorVersioned *managed) { deleted += managed->manager_ctx == &deleted; }

static void dlpack(void) {
  temper_tensor *t = floats(2, 3), *back = NULL;
  DLManagedTensorVersioned *managed = NULL;
  fill(t, 1);
  OK(temper_tensor_to_dlpack(&managed, t, &error));
  TRUE(managed->version.major == 1 && managed->dl_tensor.ndim == 2 && managed->dl_tensor.shape[1] == 3);
  TRUE(managed->dl_tensor.dtype.code == kDLFloat && managed->dl_tensor.dtype.bits == 32 &&
       managed->dl_tensor.dtype.lanes == 1);
  TRUE(managed->dl_tensor.data == temper_tensor_data(t) && managed->flags == 0 && managed->dl_tensor.strides[0] == 3);
  OK(temper_tensor_from_dlpack(&back, managed, &error));
  TRUE(temper_tensor_data(back) == temper_tensor_data(t));
  STATUS(TEMPER_OK, temper_tensor_free(t));
  float_data(back)[5] = 4; /* the exported struct keeps the memory */
  STATUS(TEMPER_OK, temper_tensor_free(back));

  float memory[6] = {1, 2, 3, 4, 5, 6};
  int64_t sizes[] = {3, 2}, strides[] = {-2, 1};
  DLManagedTensorVersioned foreign = {{1, 3},
                                      &deleted,
                                      delete_managed,
                                      DLPACK_FLAG_BITMASK_READ_ONLY,
                                      {memory, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, sizes, strides, 16}};
  OK(temper_tensor_from_dlpack(&back, &foreign, &error));
  NEAR(float_data(back)[0], 5, 0);
  temper_tensor *copy = NULL;
  OK(temper_tensor_copy(&copy, back, 0, &error));
  NEAR(float_data(copy)[4], 1, 0);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_assign(back, copy, &error));
  STATUS(TEMPER_OK, temper_tensor_free(back));
  TRUE(deleted == 1);
#define REFUSED(status, change)                                    \
  do {                                                             \
    DLManagedTensorVersioned bad = foreign;                        \
    bad.change;                                                    \
    FAILS(status, temper_tensor_from_dlpack(&back, &bad, &error)); \
  } while (0)
  REFUSED(TEMPER_ERROR_UNSUPPORTED, version.major = 2);
  REFUSED(TEMPER_ERROR_UNSUPPORTED, dl_tensor.device.device_type = (DLDeviceType)2);
  REFUSED(TEMPER_ERROR_INVALID_TYPE, dl_tensor.dtype.bits = 16);
  REFUSED(TEMPER_ERROR_INVALID_TYPE, dl_tensor.dtype.lanes = 4);
  REFUSED(TEMPER_ERROR_INVALID_SHAPE, dl_tensor.ndim = -1);
  REFUSED(TEMPER_ERROR_INVALID_SHAPE, dl_tensor.ndim = 1000);
  REFUSED(TEMPER_ERROR_INVALID_ARGUMENT, dl_tensor.shape = NULL);
  REFUSED(TEMPER_ERROR_INVALID_ARGUMENT, dl_tensor.data = NULL);
  REFUSED(TEMPER_ERROR_INVALID_ARGUMENT, dl_tensor.byte_offset = UINT64_MAX);
  sizes[0] = INT64_MAX;
  REFUSED(TEMPER_ERROR_INVALID_SHAPE, flags = 0);
  sizes[0] = 3, strides[0] = INT64_MIN;
  REFUSED(TEMPER_ERROR_INVALID_SHAPE, flags = 0);
  strides[0] = -2;
  TRUE(deleted == 1); /* what was refused stays the caller's */
}

static void catalogue(void) {
  uint64_t count, all, length, longest;
  static char text[1 << 22];
  OK(temper_catalogue_count(&all, context, NULL, &error));
  OK(temper_catalogue_count(&count, context, "loss", &error));
  TRUE(all > count && count > 10);
  for (uint64_t i = 0; i < all; ++i) {
    char name[128], same[128];
    OK(temper_catalogue_name(name, sizeof name, &length, context, NULL, i, &error));
    TRUE(strlen(name) == length);
    OK(temper_catalogue_find(same, sizeof same, NULL, context, NULL, name, &error));
    TRUE(!strcmp(name, same));
    OK(temper_catalogue_describe(text, sizeof text, &length, context, name, TEMPER_FORMAT_TEXT, &error));
    TRUE(strstr(text, name) == text);
  }
  OK(temper_catalogue_find(text, 100, NULL, context, "loss", "gce", &error));
  TRUE(!strcmp(text, "generalized_cross_entropy"));
  OK(temper_catalogue_describe(NULL, 0, &longest, context, NULL, TEMPER_FORMAT_JSON, &error));
  OK(temper_catalogue_describe(text, longest + 1, &length, context, NULL, TEMPER_FORMAT_JSON, &error));
  TRUE(length == longest && text[0] == '[' && text[length - 1] == ']' && text[length] == 0);
  FAILS(TEMPER_ERROR_OUT_OF_RANGE,
        temper_catalogue_describe(text, longest, &length, context, NULL, TEMPER_FORMAT_JSON, &error));
}

/* -log softmax at the target, its mean, its gradient, and Hessian times vector by differences of the gradient. */
static void losses(void) {
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 3, 4), *y = make(TEMPER_INT64, 1, 3, 0),
                *v = make(TEMPER_FLOAT64, 1, 3, 0);
  temper_tensor *g = make(TEMPER_FLOAT64, 2, 3, 4), *up = make(TEMPER_FLOAT64, 2, 3, 4),
                *down = make(TEMPER_FLOAT64, 2, 3, 4);
  temper_tensor *d = make(TEMPER_FLOAT64, 2, 3, 4), *h = make(TEMPER_FLOAT64, 2, 3, 4);
  temper_loss *loss = NULL;
  double *logits = temper_tensor_data(x), *gradient = temper_tensor_data(g), value;
  int64_t *ids = temper_tensor_data(y), count;
  fill(x, 7), fill(d, 8);
  ids[0] = 2, ids[1] = 0, ids[2] = 3;
  const temper_named_tensor inputs[] = {{"targets", y}, {"logits", x}}, gradients[] = {{"logits", g}};
  OK(temper_loss_create(&loss, context, "cross_entropy", NULL, 0, &error));
  OK(temper_loss_value_count(&count, loss, inputs, 2, &error));
  TRUE(count == 3);
  OK(temper_loss_evaluate(v, loss, inputs, 2, &error));
  OK(temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, TEMPER_REDUCTION_MEAN, &error));
  double mean = 0;
  for (int n = 0; n < 3; ++n) {
    double sum = 0;
    for (int c = 0; c < 4; ++c) sum += exp(logits[4 * n + c]);
    const double expected = log(sum) - logits[4 * n + ids[n]];
    NEAR(((double *)temper_tensor_data(v))[n], expected, 1e-14);
    for (int c = 0; c < 4; ++c) NEAR(gradient[4 * n + c], (exp(logits[4 * n + c]) / sum - (c == ids[n])) / 3, 1e-14);
    mean += expected / 3;
  }
  NEAR(value, mean, 1e-14);
  OK(temper_loss_value_and_grad(&value, NULL, 0, loss, inputs, 2, TEMPER_REDUCTION_SUM, &error));
  NEAR(value, 3 * mean, 1e-13);
  OK(temper_loss_value_and_grad(NULL, gradients, 1, loss, inputs, 2, TEMPER_REDUCTION_SUM, &error));

  const temper_named_tensor products[] = {{"logits", h}}, directions[] = {{"logits", d}};
  OK(temper_loss_hessian_product(products, directions, 1, loss, inputs, 2, TEMPER_REDUCTION_SUM, &error));
  const double step = 1e-5, *direction = temper_tensor_data(d);
  for (int side = -1; side <= 1; side += 2) {
    const temper_named_tensor to[] = {{"logits", side > 0 ? up : down}};
    for (int i = 0; i < 12; ++i) logits[i] += side * step * direction[i];
    OK(temper_loss_value_and_grad(NULL, to, 1, loss, inputs, 2, TEMPER_REDUCTION_SUM, &error));
    for (int i = 0; i < 12; ++i) logits[i] -= side * step * direction[i];
  }
  for (int i = 0; i < 12; ++i)
    NEAR(((double *)temper_tensor_data(h))[i],
         (((double *)temper_tensor_data(up))[i] - ((double *)temper_tensor_data(down))[i]) / (2 * step), 1e-9);

  /* The gradient under another name of the input goes where it was asked to go. */
  const temper_param smoothing[] = {temper_real("label_smoothing", 0.1)};
  OK(temper_loss_create(&loss, context, "cross_entropy", smoothing, 1, &error));
  OK(temper_loss_evaluate(v, loss, inputs, 2, &error));
}

/* 2 CE(clip(z)) + w GCE(z), w from 1 to 0 in four steps. */
static void compositions(void) {
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 3, 4), *clipped = make(TEMPER_FLOAT64, 2, 3, 4),
                *y = make(TEMPER_INT64, 1, 3, 0);
  temper_tensor *v[5];
  for (int i = 0; i < 5; ++i) v[i] = make(TEMPER_FLOAT64, 1, 3, 0);
  fill(x, 9);
  for (int n = 0; n < 3; ++n) ((int64_t *)temper_tensor_data(y))[n] = 3 - n;
  const temper_param tau[] = {temper_real("tau", 0.5)};
  const temper_param down[] = {temper_integer("total_steps", 4), temper_real("start_factor", 1),
                               temper_real("end_factor", 0)};
  temper_loss *ce = NULL, *gce = NULL, *through = NULL, *sum = NULL, *moving = NULL, *later = NULL;
  temper_op *clip = NULL;
  temper_schedule *schedule = NULL;
  OK(temper_loss_create(&ce, context, "cross_entropy", NULL, 0, &error));
  OK(temper_loss_create(&gce, context, "generalized_cross_entropy", NULL, 0, &error));
  OK(temper_op_create(&clip, context, "logit_clip", tau, 1, &error));
  OK(temper_schedule_create(&schedule, context, "linear_lr", down, 3, &error));
  const temper_named_tensor plain[] = {{"logits", x}, {"targets", y}};
  const temper_named_tensor short_ones[] = {{"logits", clipped}, {"targets", y}};
  const temper_named_tensor of_clip[] = {{"x", x}};
  OK(temper_op_evaluate(clipped, clip, of_clip, 1, -1, &error));
  OK(temper_loss_evaluate(v[0], ce, short_ones, 2, &error));
  OK(temper_loss_evaluate(v[1], gce, plain, 2, &error));

  OK(temper_loss_through(&through, ce, "logits", clip, &error));
  const temper_loss_term terms[] = {{"clipped", 2, through}, {NULL, 1, gce}};
  OK(temper_loss_sum(&sum, terms, 2, &error));
  OK(temper_loss_schedule(&moving, sum, "generalized_cross_entropy.weight", schedule, TEMPER_CLOCK_EPOCH, &error));
  OK(temper_loss_at(&later, moving, 0, 3, &error));
  /* The parts are not needed any more. */
  temper_loss_free(ce), temper_loss_free(gce), temper_loss_free(through), temper_op_free(clip);
  temper_schedule_free(schedule);
  char text[8000];
  uint64_t length;
  OK(temper_loss_describe(text, sizeof text, &length, sum, TEMPER_FORMAT_JSON, &error));
  TRUE(strstr(text, "\"clipped.logit_clip.tau\"") && strstr(text, "\"generalized_cross_entropy.weight\""));
  OK(temper_loss_evaluate(v[2], sum, plain, 2, &error));
  OK(temper_loss_evaluate(v[3], moving, plain, 2, &error));
  OK(temper_loss_evaluate(v[4], later, plain, 2, &error));
  const double *a = temper_tensor_data(v[0]), *b = temper_tensor_data(v[1]);
  for (int n = 0; n < 3; ++n) {
    NEAR(((double *)temper_tensor_data(v[2]))[n], 2 * a[n] + b[n], 1e-13);
    NEAR(((double *)temper_tensor_data(v[3]))[n], 2 * a[n] + b[n], 1e-13);
    NEAR(((double *)temper_tensor_data(v[4]))[n], 2 * a[n] + 0.25 * b[n], 1e-13);
  }
  temper_loss_free(sum), temper_loss_free(moving), temper_loss_free(later);
}

/* Cross-entropy and a Brier score whose weight falls from step to step. */
static temper_loss *falling(temper_context *own) {
  temper_loss *parts[2] = {NULL, NULL}, *sum = NULL, *loss = NULL;
  temper_schedule *schedule = NULL;
  OK(temper_loss_create(&parts[0], own, "cross_entropy", NULL, 0, &error));
  OK(temper_loss_create(&parts[1], own, "brier", NULL, 0, &error));
  OK(temper_schedule_create(&schedule, own, "exponential", NULL, 0, &error));
  OK(temper_loss_sum(&sum, (temper_loss_term[]){{NULL, 1, parts[0]}, {"square", 1, parts[1]}}, 2, &error));
  OK(temper_loss_schedule(&loss, sum, "square.weight", schedule, TEMPER_CLOCK_STEP, &error));
  temper_loss_free(parts[0]), temper_loss_free(parts[1]), temper_loss_free(sum), temper_schedule_free(schedule);
  return loss;
}

static void operators(void) {
  temper_op *op = NULL;
  temper_tensor *x = make(TEMPER_FLOAT64, 2, 3, 4), *y = make(TEMPER_FLOAT64, 2, 3, 4),
                *dy = make(TEMPER_FLOAT64, 2, 3, 4), *g = make(TEMPER_FLOAT64, 2, 3, 4);
  double *in = temper_tensor_data(x), *out = temper_tensor_data(y), *slope = temper_tensor_data(g);
  fill(x, 4), fill(dy, 5);
  const temper_named_tensor inputs[] = {{"x", x}}, gradients[] = {{"x", g}};
  OK(temper_op_create(&op, context, "online_softmax", NULL, 0, &error));
  int32_t rank;
  int64_t sizes[TEMPER_MAXIMUM_RANK];
  OK(temper_op_result_shape(&rank, sizes, op, inputs, 1, 0, &error));
  TRUE(rank == 2 && sizes[0] == 3 && sizes[1] == 4);
  OK(temper_op_evaluate(y, op, inputs, 1, 0, &error)); /* along columns */
  for (int c = 0; c < 4; ++c) {
    double sum = 0;
    for (int r = 0; r < 3; ++r) sum += exp(in[4 * r + c]);
    for (int r = 0; r < 3; ++r) NEAR(out[4 * r + c], exp(in[4 * r + c]) / sum, 1e-14);
  }
  OK(temper_op_vjp(gradients, 1, op, inputs, 1, dy, 0, &error));
  for (int i = 0; i < 12; ++i) { /* finite differences */
    double difference = 0;
    for (int side = -1; side <= 1; side += 2) {
      const double kept = in[i];
      in[i] += side * 1e-6;
      OK(temper_op_evaluate(y, op, inputs, 1, 0, &error));
      for (int j = 0; j < 12; ++j) difference += side * out[j] * ((double *)temper_tensor_data(dy))[j] / 2e-6;
      in[i] = kept;
    }
    NEAR(slope[i], difference, 1e-8);
  }
}

static void decoders(void) {
  temper_decoder *best = NULL, *filter = NULL;
  temper_tensor *rewards = make(TEMPER_FLOAT64, 2, 3, 4), *scores = make(TEMPER_FLOAT32, 2, 3, 4),
                *tokens = make(TEMPER_INT32, 1, 3, 0), *p = make(TEMPER_FLOAT32, 2, 3, 4);
  double *r = temper_tensor_data(rewards);
  fill(rewards, 6);
  OK(temper_tensor_assign(scores, rewards, &error));
  const temper_named_tensor inputs[] = {{"rewards", rewards}}, logits[] = {{"logits", scores}};
  OK(temper_decoder_create(&best, context, "alignment_resampling", NULL, 0, &error));
  int32_t rank;
  int64_t sizes[TEMPER_MAXIMUM_RANK];
  OK(temper_decoder_result_shape(&rank, sizes, best, inputs, 1, &error));
  TRUE(rank == 1 && sizes[0] == 3);
  OK(temper_decoder_evaluate(tokens, best, inputs, 1, &error));
  const temper_param width[] = {temper_real("n", 0.0)};
  OK(temper_decoder_create(&filter, context, "top_n_sigma", width, 1, &error));
  OK(temper_decoder_evaluate(p, filter, logits, 1, &error));
  for (int i = 0; i < 3; ++i) {
    int32_t token = ((int32_t *)temper_tensor_data(tokens))[i];
    for (int j = 0; j < 4; ++j) {
      TRUE(r[4 * i + j] <= r[4 * i + token]);
      TRUE(((float *)temper_tensor_data(p))[4 * i + j] == (j == token)); /* no width: the best alone */
    }
  }
  STATUS(TEMPER_ERROR_INVALID_TYPE, temper_decoder_evaluate(tokens, filter, logits, 1, &error));
  STATUS(TEMPER_OK, temper_decoder_free(best));
  STATUS(TEMPER_OK, temper_decoder_free(filter));
}

/* The noise scale of two gradients: variance over squared mean, without bias. */
static void metrics(void) {
  temper_metric *metric = NULL;
  temper_tensor *gradients = make(TEMPER_FLOAT64, 2, 2, 2), *value = make(TEMPER_FLOAT64, 0, 0, 0);
  double *g = temper_tensor_data(gradients);
  g[0] = 3, g[1] = 0, g[2] = 5, g[3] = 2;
  const temper_named_tensor inputs[] = {{"gradients", gradients}};
  OK(temper_metric_create(&metric, context, "gradient_noise_scale", NULL, 0, &error));
  int32_t rank;
  int64_t sizes[TEMPER_MAXIMUM_RANK];
  OK(temper_metric_result_shape(&rank, sizes, metric, inputs, 1, &error));
  TRUE(rank == 0);
  OK(temper_metric_evaluate(value, metric, inputs, 1, &error));
  /* mean (4, 1), variance 2 + 2, signal 17 - 4 / 2 */
  TRUE(fabs(*(double *)temper_tensor_data(value) - 4.0 / 15) < 1e-15);
  STATUS(TEMPER_ERROR_INVALID_ARGUMENT, temper_metric_evaluate(value, metric, NULL, 0, &error));
  STATUS(TEMPER_OK, temper_metric_free(metric));
}

/* A map's tensor of this name, which the caller gives back. */
static temper_tensor *found(temper_tensor_map *map, const char *name) {
  temper_tensor *tensor = NULL;
  OK(temper_tensor_map_find(&tensor, map, name, &error));
  return tensor;
}

/* Methods over arrays: a sampler that balances, a generator of noise, a detector and a calibrator through a file. */
static void array_methods(const char *folder) {
  char path[4200];
  snprintf(path, sizeof path, "%s/fit.safetensors", folder);
  temper_tensor *x = make(TEMPER_FLOAT32, 2, 6, 2), *y = make(TEMPER_INT64, 1, 6, 0), *made;
  float *values = temper_tensor_data(x);
  int64_t *ids = temper_tensor_data(y);
  for (int i = 0; i < 6; ++i) values[2 * i] = (float)i, values[2 * i + 1] = (float)(i * i), ids[i] = i > 3;
  const temper_named_tensor samples[] = {{"x", x}, {"y", y}};
  temper_tensor_map *map = NULL;
  temper_tensor_info info = {.struct_size = sizeof info};

  temper_sampler *sampler = NULL;
  OK(temper_sampler_create(&sampler, context, "random_oversampler", NULL, 0, &error));
  OK(temper_sampler_resample(&map, sampler, samples, 2, 7, &error));
  OK(temper_tensor_get_info(&info, made = found(map, "x"), &error));
  TRUE(info.sizes[0] == 8 && info.sizes[1] == 2 && info.dtype == TEMPER_FLOAT32);
  STATUS(TEMPER_OK, temper_tensor_free(made));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  OK(temper_sampler_weights(&map, sampler, samples + 1, 1, &error));
  const double *weights = temper_tensor_data(made = found(map, "weights"));
  TRUE(fabs(weights[0] - 0.125) < 1e-15 && fabs(weights[5] - 0.25) < 1e-15);
  STATUS(TEMPER_OK, temper_tensor_free(made));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  OK(temper_sampler_indices(&map, sampler, samples + 1, 1, 0, &error));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  STATUS(TEMPER_ERROR_UNKNOWN_NAME, temper_sampler_indices(&map, sampler, samples, 2, 0, &error));
  TRUE(map == NULL);
  OK(temper_sampler_state(&map, sampler, &error));
  uint64_t count = 9;
  OK(temper_tensor_map_count(&count, map, &error));
  TRUE(count == 0);
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  STATUS(TEMPER_ERROR_WRONG_STATE, temper_sampler_save(sampler, path, &error));
  STATUS(TEMPER_OK, temper_sampler_free(sampler));

  const temper_param rate[] = {temper_real("rate", 1)};
  temper_generator *generator = NULL;
  OK(temper_generator_create(&generator, context, "pair_noise", rate, 1, &error));
  OK(temper_generator_generate(&map, generator, samples + 1, 1, 7, &error));
  const int64_t *noisy = temper_tensor_data(made = found(map, "y"));
  for (int i = 0; i < 6; ++i) TRUE(noisy[i] == 1 - ids[i]);
  STATUS(TEMPER_OK, temper_tensor_free(made));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  STATUS(TEMPER_OK, temper_generator_free(generator));

  const temper_param k[] = {temper_integer("k", 1)};
  temper_detector *detector = NULL, *twin = NULL;
  OK(temper_detector_create(&detector, context, "nearest_neighbours", k, 1, &error));
  STATUS(TEMPER_ERROR_WRONG_STATE, temper_detector_score(&map, detector, samples, 1, &error));
  STATUS(TEMPER_ERROR_WRONG_STATE, temper_detector_save(detector, path, &error));
  OK(temper_detector_fit(detector, samples, 1, &error));
  OK(temper_detector_save(detector, path, &error));
  OK(temper_detector_create(&twin, context, "k_nearest_neighbours", k, 1, &error));
  OK(temper_detector_load(twin, path, &error));
  OK(temper_detector_score(&map, twin, NULL, 0, &error));
  const double *scores = temper_tensor_data(made = found(map, "scores"));
  TRUE(fabs(scores[0] - sqrt(2)) < 1e-15 && fabs(scores[5] - sqrt(82)) < 1e-14);
  STATUS(TEMPER_OK, temper_tensor_free(made));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  OK(temper_detector_state(&map, twin, &error));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  STATUS(TEMPER_OK, temper_detector_free(detector));
  STATUS(TEMPER_OK, temper_detector_free(twin));

  temper_calibrator *calibrator = NULL;
  const temper_named_tensor labelled[] = {{"logits", x}, {"targets", y}};
  OK(temper_calibrator_create(&calibrator, context, "temperature_scaling", NULL, 0, &error));
  STATUS(TEMPER_ERROR_INPUT_OUTPUT, temper_calibrator_load(calibrator, folder, &error));
  STATUS(TEMPER_ERROR_INVALID_ARGUMENT, temper_calibrator_load(calibrator, path, &error));
  OK(temper_calibrator_fit(calibrator, labelled, 2, &error));
  OK(temper_calibrator_transform(&map, calibrator, labelled, 1, &error));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  OK(temper_calibrator_state(&map, calibrator, &error));
  STATUS(TEMPER_OK, temper_tensor_map_free(map));
  OK(temper_calibrator_save(calibrator, path, &error));
  STATUS(TEMPER_OK, temper_calibrator_free(calibrator));
  STATUS(TEMPER_OK, temper_tensor_free(x));
  STATUS(TEMPER_OK, temper_tensor_free(y));
}

static void optimizers(void) {
  temper_optimizer *sgd = NULL, *adam = NULL, *twin = NULL;
  temper_schedule *schedule = NULL;
  temper_tensor *p = make(TEMPER_FLOAT64, 1, 3, 0), *g = make(TEMPER_FLOAT64, 1, 3, 0), *q = NULL, *list[1] = {p},
                *slopes[1] = {g};
  double *weights = temper_tensor_data(p), value;
  fill(p, 1), fill(g, 2);
  double before[3];
  memcpy(before, weights, sizeof before);
  const temper_param rate[] = {temper_real("learning_rate", 0.25)};
  OK(temper_optimizer_create(&sgd, context, "sgd", rate, 1, &error));
  OK(temper_optimizer_step(sgd, list, slopes, 1, NAN, &error));
  for (int i = 0; i < 3; ++i) NEAR(weights[i], before[i] - 0.25 * ((double *)temper_tensor_data(g))[i], 1e-15);
  OK(temper_optimizer_step(sgd, list, slopes, 1, 0.5, &error));
  for (int i = 0; i < 3; ++i) NEAR(weights[i], before[i] - 0.75 * ((double *)temper_tensor_data(g))[i], 1e-15);

  /* State taken out and put back continues with the same bits. */
  OK(temper_optimizer_create(&adam, context, "adam", rate, 1, &error));
  OK(temper_optimizer_create(&twin, context, "adam", rate, 1, &error));
  for (int i = 0; i < 3; ++i) OK(temper_optimizer_step(adam, list, slopes, 1, NAN, &error));
  OK(temper_tensor_copy(&q, p, 0, &error));
  temper_tensor_map *state = NULL;
  uint64_t count;
  temper_named_tensor entries[8];
  OK(temper_optimizer_get_state(&state, adam, &error));
  OK(temper_tensor_map_count(&count, state, &error));
  TRUE(count == 3);
  for (uint64_t i = 0; i < count; ++i)
    OK(temper_tensor_map_get(&entries[i].name, &entries[i].tensor, state, i, &error));
  temper_tensor *step = NULL;
  OK(temper_tensor_map_find(&step, state, "step", &error));
  TRUE(*(int64_t *)temper_tensor_data(step) == 3);
  OK(temper_optimizer_set_state(twin, entries, count, &error));
  OK(temper_optimizer_step(adam, list, slopes, 1, NAN, &error));
  list[0] = q;
  OK(temper_optimizer_step(twin, list, slopes, 1, NAN, &error));
  TRUE(!memcmp(temper_tensor_data(p), temper_tensor_data(q), 3 * sizeof(double)));

  const temper_param cosine[] = {temper_real("learning_rate", 2), temper_integer("total_steps", 10)};
  char text[2000];
  OK(temper_catalogue_describe(text, sizeof text, NULL, context, "constant", 0, &error));
  OK(temper_schedule_create(&schedule, context, "constant", cosine, 1, &error));
  OK(temper_schedule_value(&value, schedule, 12, &error));
  NEAR(value, 2, 0);
}

static void models(const char *folder) {
  char path[512], text[4096];
  snprintf(path, sizeof path, "%s/calls.safetensors", folder);
  temper_model *model = NULL, *loaded = NULL;
  temper_tensor_map *map = NULL;
  temper_tensor *x = floats(5, 3), *y = floats(5, 2), *z = floats(5, 2), *weight = NULL, *bias = NULL;
  const int64_t three[] = {3};
  fill(x, 3);
  OK(temper_model_create(&model, context, "[{\"dense\": 2}]", three, 1, 0, 9, &error));
  OK(temper_model_parameters(&map, model, &error));
  OK(temper_tensor_map_find(&weight, map, "0.weight", &error));
  OK(temper_tensor_map_find(&bias, map, "0.bias", &error));
  float_data(bias)[1] = 0.5f; /* shares the model's memory */
  OK(temper_model_predict(y, model, x, NULL, &error));
  temper_tensor_info info = {.struct_size = sizeof info};
  OK(temper_tensor_get_info(&info, weight, &error));
  TRUE(info.sizes[0] == 2 && info.sizes[1] == 3);
  for (int n = 0; n < 5; ++n)
    for (int o = 0; o < 2; ++o) {
      double sum = float_data(bias)[o];
      for (int i = 0; i < 3; ++i) sum += (double)float_data(x)[3 * n + i] * float_data(weight)[3 * o + i];
      NEAR(float_data(y)[2 * n + o], sum, 1e-6);
    }
  TRUE(float_data(bias)[1] == 0.5f);
  /* Gradients of sum(dy * y): dy W for x, the transposed dy times x for the weight, column sums of dy for the bias. */
  temper_tensor *dy = floats(5, 2), *dx = floats(5, 3), *dw = make(TEMPER_FLOAT64, 2, 2, 3),
                *db = make(TEMPER_FLOAT32, 1, 2, 0);
  fill(dy, 6);
  const temper_named_tensor slopes[] = {{"x", dx}, {"0.weight", dw}, {"0.bias", db}};
  OK(temper_model_vjp(slopes, 3, model, x, NULL, dy, &error));
  for (int i = 0; i < 3; ++i) {
    for (int n = 0; n < 5; ++n)
      NEAR(float_data(dx)[3 * n + i],
           float_data(dy)[2 * n] * float_data(weight)[i] + float_data(dy)[2 * n + 1] * float_data(weight)[3 + i], 1e-6);
    for (int o = 0; o < 2; ++o) {
      double product = 0, sum = 0;
      for (int n = 0; n < 5; ++n)
        product += (double)float_data(dy)[2 * n + o] * float_data(x)[3 * n + i], sum += float_data(dy)[2 * n + o];
      NEAR(((double *)temper_tensor_data(dw))[3 * o + i], product, 1e-6);
      NEAR(float_data(db)[o], sum, 1e-6);
    }
  }
  /* One row of dy and one of x for each sample: the norms multiply. */
  temper_tensor *nw = make(TEMPER_FLOAT64, 1, 5, 0), *nb = make(TEMPER_FLOAT32, 1, 5, 0);
  const temper_named_tensor norms[] = {{"0.weight", nw}, {"0.bias", nb}};
  OK(temper_model_gradient_norms(norms, 2, model, x, NULL, dy, &error));
  for (int n = 0; n < 5; ++n) {
    const float *gn = float_data(dy) + 2 * n, *xn = float_data(x) + 3 * n;
    const double length = hypot(gn[0], gn[1]);
    NEAR(((double *)temper_tensor_data(nw))[n], length * hypot(hypot(xn[0], xn[1]), xn[2]), 1e-5);
    NEAR(float_data(nb)[n], length, 1e-5);
  }
  OK(temper_model_save(model, path, &error));
  OK(temper_model_load(&loaded, context, path, &error));
  OK(temper_model_predict(z, loaded, x, NULL, &error));
  TRUE(!memcmp(temper_tensor_data(y), temper_tensor_data(z), 40));
  OK(temper_model_predict(make(TEMPER_FLOAT64, 2, 5, 2), loaded, x, NULL, &error));
  OK(temper_model_describe(text, sizeof text, NULL, model, TEMPER_FORMAT_JSON, &error));
  TRUE(strstr(text, "dense") && text[0] == '[');
  OK(temper_model_describe(text, sizeof text, NULL, model, TEMPER_FORMAT_TEXT, &error));
  TRUE(strstr(text, "8 parameters") != NULL);
  temper_model_info about = {.struct_size = sizeof about};
  OK(temper_model_get_info(&about, model, &error));
  TRUE(about.parameter_count == 8 && about.parameter_bytes == 32 && !about.is_quantized &&
       about.dtype == TEMPER_FLOAT32);
  unlink(path);

  temper_quantizer *quantizer = NULL;
  temper_quantized *packed = NULL;
  temper_tensor *w = floats(40, 64), *w_hat = floats(40, 64), *a = floats(7, 64), *b = floats(7, 40);
  fill(w, 1), fill(a, 2);
  const temper_param bits[] = {temper_integer("bits", 4)};
  OK(temper_quantizer_create(&quantizer, context, "round_to_nearest", bits, 1, &error));
  OK(temper_quantizer_quantize(&packed, quantizer, w, NULL, &error));
  OK(temper_quantized_dequantize(w_hat, packed, &error));
  OK(temper_quantized_matmul(b, packed, a, &error));
  temper_quantized_info size = {.struct_size = sizeof size};
  OK(temper_quantized_get_info(&size, packed, &error));
  TRUE(size.bits == 4 && size.outputs == 40 && size.inputs == 64 && size.byte_count < 40 * 64 &&
       size.byte_count >= 40 * 32);
  double worst = 0;
  for (int i = 0; i < 40 * 64; ++i) worst = fmax(worst, fabs(float_data(w)[i] - float_data(w_hat)[i]));
  TRUE(worst > 0 && worst < 0.15);
  for (int n = 0; n < 7; ++n)
    for (int o = 0; o < 40; ++o) {
      double sum = 0;
      for (int i = 0; i < 64; ++i) sum += (double)float_data(a)[64 * n + i] * float_data(w_hat)[64 * o + i];
      NEAR(float_data(b)[40 * n + o], sum, 1e-4);
    }
  /* Rows of 64 numbers rounded by half a 127th of the largest: errors add up to little. */
  temper_tensor *whole = floats(7, 40);
  OK(temper_quantized_matmul_int8(whole, packed, a, &error));
  for (int i = 0; i < 7 * 40; ++i) NEAR(float_data(whole)[i], float_data(b)[i], 0.1);
  temper_tensor_free(whole);

  int8_t left[6] = {-128, 127, 3, 0, -1, 5}, right[6] = {-128, 1, 127, -2, 7, 4};
  int32_t products[4] = {0};
  const int64_t wide[] = {2, 3}, high[] = {3, 2}, square[] = {2, 2};
  const temper_buffer buffers[] = {{.struct_size = sizeof *buffers, .dtype = TEMPER_INT8, .rank = 2, .sizes = wide,
                                    .data = left, .byte_length = sizeof left},
                                   {.struct_size = sizeof *buffers, .dtype = TEMPER_INT8, .rank = 2, .sizes = high,
                                    .data = right, .byte_length = sizeof right},
                                   {.struct_size = sizeof *buffers, .dtype = TEMPER_INT32, .rank = 2, .sizes = square,
                                    .data = products, .byte_length = sizeof products}};
  temper_tensor *integers[3] = {NULL};
  for (int i = 0; i < 3; ++i) OK(temper_tensor_borrow(&integers[i], &buffers[i], &error));
  OK(temper_tensor_matmul_int8(integers[2], context, integers[0], integers[1], &error));
  TRUE(products[0] == 16384 + 127 * 127 + 21 && products[1] == -128 - 254 + 12 && products[2] == -127 + 35 &&
       products[3] == 2 + 20);
  for (int i = 0; i < 3; ++i) temper_tensor_free(integers[i]);
  OK(temper_quantizer_quantize_model(&loaded, quantizer, model, NULL, &error));
  OK(temper_model_get_info(&about, loaded, &error));
  TRUE(about.is_quantized && about.parameter_count == 8);
  OK(temper_model_parameters(&map, loaded, &error));
  OK(temper_tensor_map_find(&weight, map, "0.weight", &error));
  OK(temper_model_save(loaded, path, &error));
  temper_model *again = NULL;
  OK(temper_model_load(&again, context, path, &error));
  OK(temper_model_predict(y, loaded, x, NULL, &error));
  OK(temper_model_predict(z, again, x, NULL, &error));
  TRUE(!memcmp(temper_tensor_data(y), temper_tensor_data(z), 40));
  unlink(path);
}

typedef struct {
  int epochs, steps;
  double last, test;
  int stop_after;
} watch;

static int32_t look(void *user, const temper_progress *progress) {
  watch *w = user;
  TRUE(progress->struct_size == sizeof *progress && progress->epochs > 0);
  if (!progress->is_epoch_end) return w->steps++, 0;
  TRUE(progress->epoch == ++w->epochs && progress->step == progress->steps && progress->test_count == 1);
  w->last = progress->loss, w->test = progress->tests[0].accuracy;
  return w->epochs == w->stop_after;
}

/* Training in one go, with two threads, and stopped, saved, and resumed elsewhere: the same bits. */
static void trainers(const char *folder) {
  char path[512];
  snprintf(path, sizeof path, "%s/calls.checkpoint", folder);
  temper_tensor *x = floats(50, 6), *y = make(TEMPER_INT32, 1, 50, 0), *results[3];
  fill(x, 11);
  for (int i = 0; i < 50; ++i) ((int32_t *)temper_tensor_data(y))[i] = float_data(x)[6 * i] > 0;
  const temper_samples samples = {.x = x, .y = y}, test = {.name = "same", .x = x, .y = y};
  for (int variant = 0; variant < 3; ++variant) {
    temper_context *own = NULL;
    temper_model *model = NULL;
    temper_loss *loss = NULL;
    temper_optimizer *optimizer = NULL;
    temper_schedule *schedule = NULL;
    temper_trainer *trainer = NULL;
    watch w = {.stop_after = variant == 2 ? 2 : 0};
    const temper_context_options options = {.struct_size = sizeof options, .threads = variant == 1 ? 2 : 1, .seed = 5};
    const temper_trainer_options settings = {.struct_size = sizeof settings, .batch_size = 16, .clip_norm = 1};
    temper_fit_options fit = {.struct_size = sizeof fit,
                              .epochs = 5,
                              .tests = &test,
                              .test_count = 1,
                              .validation = &samples,
                              .monitor = TEMPER_MONITOR_VALIDATION_LOSS,
                              .every_step = 1,
                              .progress = look,
                              .progress_user = &w};
    const temper_param rate[] = {temper_real("learning_rate", 0.02)};
    const int64_t six[] = {6};
    OK(temper_context_create(&own, &options, &error));
    int32_t threads;
    OK(temper_context_threads(&threads, own, &error));
    TRUE(threads == options.threads);
    const char *description = "[{\"dense\": 16}, \"relu\", {\"dropout\": 0.2}, {\"dense\": 2}]";
    OK(temper_model_create(&model, own, description, six, 1, 0, 0, &error));
    loss = falling(own);
    OK(temper_optimizer_create(&optimizer, own, "adam", rate, 1, &error));
    OK(temper_schedule_create(&schedule, own, "constant", rate, 1, &error));
    OK(temper_trainer_create(&trainer, model, loss, optimizer, schedule, &settings, &error));
    /* Whatever the trainer needs stays alive. */
    temper_loss_free(loss), temper_optimizer_free(optimizer), temper_schedule_free(schedule), temper_context_free(own);
    if (variant < 2) {
      OK(temper_trainer_fit(trainer, &samples, &fit, &error));
    } else {
      FAILS(TEMPER_ERROR_CANCELLED, temper_trainer_fit(trainer, &samples, &fit, &error));
      temper_trainer_info info = {.struct_size = sizeof info};
      OK(temper_trainer_get_info(&info, trainer, &error));
      TRUE(info.epochs == 2 && info.ending == TEMPER_ENDING_CANCELLED);
      OK(temper_trainer_save(trainer, path, &error));
      temper_trainer_free(trainer), temper_model_free(model);
      OK(temper_context_create(&own, &options, &error));
      OK(temper_model_create(&model, own, description, six, 1, 0, 77, &error));
      loss = falling(own);
      OK(temper_optimizer_create(&optimizer, own, "adam", rate, 1, &error));
      OK(temper_schedule_create(&schedule, own, "constant", rate, 1, &error));
      OK(temper_trainer_create(&trainer, model, loss, optimizer, schedule, &settings, &error));
      OK(temper_trainer_resume(trainer, path, &error));
      w.stop_after = 0;
      OK(temper_trainer_fit(trainer, &samples, &fit, &error));
      unlink(path);
    }
    TRUE(w.epochs == 5 && w.steps == 20 && w.test > 0.7);
    temper_trainer_info info = {.struct_size = sizeof info};
    OK(temper_trainer_get_info(&info, trainer, &error));
    TRUE(info.epochs == 5 && info.ending == TEMPER_ENDING_FINISHED && info.best_epoch >= 1);
    temper_tensor_map *history = NULL;
    temper_tensor *column = NULL;
    OK(temper_trainer_history(&history, trainer, &error));
    OK(temper_tensor_map_find(&column, history, "training_loss", &error));
    NEAR(((double *)temper_tensor_data(column))[4], w.last, 0);
    OK(temper_tensor_map_find(&column, history, "same_accuracy", &error));
    NEAR(((double *)temper_tensor_data(column))[4], w.test, 0);
    OK(temper_tensor_map_find(&column, history, "validation_accuracy", &error));
    temper_measurement measured;
    OK(temper_trainer_evaluate(&measured, trainer, &samples, &error));
    NEAR(measured.accuracy, w.test, 0);
    results[variant] = floats(50, 2);
    OK(temper_model_predict(results[variant], model, x, NULL, &error));
    temper_trainer_free(trainer), temper_model_free(model);
  }
  TRUE(!memcmp(temper_tensor_data(results[0]), temper_tensor_data(results[1]), 400));
  TRUE(!memcmp(temper_tensor_data(results[0]), temper_tensor_data(results[2]), 400));
}

static int32_t stop_late(void *user, double done, const char *what) {
  *(double *)user = done;
  return *what == 0 || done > 0.5;
}

static void robust(void) {
  temper_tensor *x = floats(60, 3), *y = make(TEMPER_INT32, 1, 60, 0), *found = NULL, *logits = floats(60, 2);
  fill(x, 21);
  for (int i = 0; i < 60; ++i) ((int32_t *)temper_tensor_data(y))[i] = (float_data(x)[3 * i] > 0) != (i % 10 == 0);
  temper_model *model = NULL;
  temper_tensor_map *details = NULL;
  double done = 0;
  temper_robust_report report = {.struct_size = sizeof report};
  temper_robust_options options = {.struct_size = sizeof options, .epochs = 40, .hidden = 16, .seed = 3};
  OK(temper_robust_fit(&model, &report, &details, context, x, y, 2, &options, &error));
  TRUE(report.class_count == 2 && report.sample_count == 60 && report.feature_count == 3 && strlen(report.text) > 100);
  TRUE(report.noise_rate > 0.02 && report.noise_rate < 0.3 && report.score >= report.plain_score - 0.05);
  OK(temper_tensor_map_find(&found, details, "suspicion", &error));
  int64_t above = 0;
  for (int i = 0; i < 60; ++i) above += ((double *)temper_tensor_data(found))[i] > 0.5;
  TRUE(above == report.suspected_count);
  OK(temper_tensor_map_find(&found, details, "transition", &error));
  const double *transition = temper_tensor_data(found);
  NEAR(transition[0] + transition[1], 1, 1e-12);
  OK(temper_model_predict(logits, model, x, NULL, &error));
  int right = 0;
  for (int i = 0; i < 60; ++i) {
    right += (float_data(logits)[2 * i + 1] > float_data(logits)[2 * i]) == (float_data(x)[3 * i] > 0);
  }
  TRUE(right >= 50);
  temper_model_free(model), temper_tensor_map_free(details);
  /* Numbers; no report, no details. */
  temper_tensor *numbers = floats(60, 1), *flat = NULL;
  for (int i = 0; i < 60; ++i) float_data(numbers)[i] = 100 + 7 * float_data(x)[3 * i];
  OK(temper_tensor_reshape(&flat, numbers, 1, (const int64_t[]){60}, &error));
  OK(temper_robust_fit(&model, NULL, NULL, context, x, flat, 0, &options, &error));
  temper_tensor *predicted = floats(60, 1);
  OK(temper_model_predict(predicted, model, x, NULL, &error));
  for (int i = 0; i < 60; ++i) NEAR(float_data(predicted)[i], float_data(numbers)[i], 6);
  temper_model_free(model);
  options.progress = stop_late, options.progress_user = &done;
  FAILS(TEMPER_ERROR_CANCELLED, temper_robust_fit(&model, &report, &details, context, x, y, 2, &options, &error));
  TRUE(done > 0.5 && done < 0.85 && !model && !details); /* at the first word after the half */
  options.progress = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_robust_fit(&model, &report, NULL, context, x, y, 1, &options, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_robust_fit(&model, &report, NULL, context, x, flat, 2, &options, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_robust_fit(&model, &report, NULL, context, x, numbers, 0, &options, &error));
  options.balanced = 9;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_robust_fit(&model, &report, NULL, context, x, y, 2, &options, &error));
  float_data(x)[7] = NAN;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_robust_fit(&model, &report, NULL, context, x, y, 2, NULL, &error));
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2};
  TRUE(temper_version() == TEMPER_VERSION);
  TRUE(!strcmp(temper_status_name(TEMPER_ERROR_CANCELLED), "TEMPER_ERROR_CANCELLED") &&
       !strcmp(temper_status_name(-8), "unknown status"));
  OK(temper_context_create(&context, &options, &error));
  tensors(), dlpack(), catalogue(), losses(), compositions(), operators(), decoders(), metrics();
  array_methods(arguments[1]), optimizers(), models(arguments[1]), trainers(arguments[1]), robust();
  STATUS(TEMPER_OK, temper_context_free(context));
  return check_result("calls");
}
