/* A training step allocates nothing after the first: an epoch of many steps asks for as much memory as one of few.
 * Replaces the allocation functions of the C library in this process, and so in the library, by counting ones. */
#include <errno.h>
#include <stdatomic.h>

#include "check.h"

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static atomic_long allocations;
static void count_one(void) { atomic_fetch_add(&allocations, 1); }

void *malloc(size_t size) { return count_one(), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return count_one(), __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return count_one(), __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return count_one(), __libc_memalign(alignment, size); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = aligned_alloc(alignment, size);
  return *memory ? 0 : ENOMEM;
}

enum { EPOCHS = 3, BATCH = 16, STEPS = 20, CLASSES = 3 };

static long before, in_steps, steps_seen;

/* Counts what is allocated from the end of one step to the end of the next, after the first epoch. */
static int32_t note(void *user, const temper_progress *p) {
  (void)user;
  const long now = allocations;
  if (!p->is_epoch_end && p->epoch > 1 && p->step > 1) in_steps += now - before, ++steps_seen;
  before = now;
  return 0;
}

static void train(const char *layers, const int64_t *input, int32_t rank, const char *loss_name,
                  const char *optimizer_name) {
  temper_context *context;
  temper_model *model;
  temper_loss *loss;
  temper_optimizer *optimizer;
  temper_trainer *trainer;
  temper_tensor *x, *y;
  int64_t sizes[4] = {BATCH * STEPS}, count = BATCH * STEPS;
  for (int32_t i = 0; i < rank; ++i) sizes[i + 1] = input[i], count *= input[i];
  const temper_context_options two = {.struct_size = sizeof two, .threads = 2};
  OK(temper_context_create(&context, &two, &error));
  OK(temper_tensor_create(&x, TEMPER_FLOAT32, rank + 1, sizes, &error));
  OK(temper_tensor_create(&y, TEMPER_INT32, 1, sizes, &error));
  for (int64_t i = 0; i < count; ++i) ((float *)temper_tensor_data(x))[i] = (float)(i % 7) - 3;
  for (int64_t i = 0; i < sizes[0]; ++i) ((int32_t *)temper_tensor_data(y))[i] = (int32_t)(i % CLASSES);
  OK(temper_model_create(&model, context, layers, input, rank, 0, 1, &error));
  OK(temper_loss_create(&loss, context, loss_name, NULL, 0, &error));
  OK(temper_optimizer_create(&optimizer, context, optimizer_name, NULL, 0, &error));
  const temper_trainer_options options = {.struct_size = sizeof options, .batch_size = BATCH, .clip_norm = 1};
  OK(temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  const temper_samples samples = {.x = x, .y = y};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = EPOCHS, .every_step = 1, .progress = note};
  in_steps = steps_seen = 0;
  OK(temper_trainer_fit(trainer, &samples, &fit, &error));
  if (in_steps != 0 || steps_seen != (EPOCHS - 1) * (STEPS - 1))
    fprintf(stderr, "%s: %ld allocations in %ld steps\n", layers, in_steps, steps_seen), ++failures;
  temper_trainer_free(trainer), temper_optimizer_free(optimizer), temper_loss_free(loss), temper_model_free(model);
  temper_tensor_free(x), temper_tensor_free(y), temper_context_free(context);
}

int main(void) {
  const int64_t row[] = {20}, image[] = {1, 8, 8};
  train("[{\"dense\": 32}, \"relu\", {\"dropout\": 0.1}, {\"dense\": 3}]", row, 1, "cross_entropy", "adam");
  train("[{\"dense\": 32}, \"gelu\", {\"dense\": 3}]", row, 1, "early_learning_regularization", "sgd");
  train("[{\"conv2d\": {\"channels\": 4}}, \"batch_norm\", \"relu\", {\"max_pool\": 2}, \"flatten\", {\"dense\": 3}]",
        image, 3, "symmetric_cross_entropy", "adamw");
  if (allocations < 1000) fprintf(stderr, "the library's allocations are not counted\n"), ++failures;
  return failures != 0;
}
