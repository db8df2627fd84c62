/* Many threads: the same bits with more threads than processors, from several threads of the host that share one context
 * or have their own, and in the child of a fork. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { HOSTS = 4, ROUNDS = 16, KINDS = 5 };

/* Work whose pieces are few, one or many. */
static const int64_t rows[] = {1, 3, 70, 700}, columns = 1200, outputs = 700;
enum { SIZES = sizeof rows / sizeof *rows };

typedef struct {
  temper_context *context;
  temper_tensor *weights, *x[SIZES]; /* shared, only read */
  uint64_t sums[KINDS][SIZES];
  int wrong, failed;
} host;

/* FNV-1a of a tensor's bytes. */
static uint64_t digest(temper_tensor *tensor) {
  temper_tensor_info info = {.struct_size = sizeof info};
  if (temper_tensor_get_info(&info, tensor, NULL)) return 0;
  uint64_t sum = 14695981039346656037u;
  for (int64_t i = 0; i < info.count * 4; ++i) sum = (sum ^ ((const unsigned char *)info.data)[i]) * 1099511628211u;
  return sum;
}

/* The bits of every kind of work, with handles of its own. 0 where a call fails. */
static uint64_t work(const host *h, int kind, int size) {
  const int64_t wide[] = {rows[size], outputs}, same[] = {rows[size], columns}, ids[] = {rows[size]}, inputs[] = {columns};
  temper_tensor *result = NULL, *targets = NULL;
  int32_t status = temper_tensor_create(&result, TEMPER_FLOAT32, 2, kind < 2 || kind == 4 ? wide : same, NULL);
  if (kind < 2) {
    const temper_param params[] = {temper_integer("bits", 4), temper_integer("group_size", 96)};
    temper_quantizer *quantizer = NULL;
    temper_quantized *matrix = NULL;
    status |= temper_quantizer_create(&quantizer, h->context, "round_to_nearest", params, 2, NULL);
    status |= temper_quantizer_quantize(&matrix, quantizer, h->weights, NULL, NULL);
    status |= (kind ? temper_quantized_matmul_int8 : temper_quantized_matmul)(result, matrix, h->x[size], NULL);
    temper_quantized_free(matrix), temper_quantizer_free(quantizer);
  } else if (kind == 2) {
    temper_op *op = NULL;
    const temper_named_tensor x = {"x", h->x[size]};
    status |= temper_op_create(&op, h->context, "sparsemax", NULL, 0, NULL);
    status |= temper_op_evaluate(result, op, &x, 1, -1, NULL);
    temper_op_free(op);
  } else if (kind == 3) {
    temper_loss *loss = NULL;
    status |= temper_tensor_create(&targets, TEMPER_INT32, 1, ids, NULL);
    if (!status)
      for (int64_t i = 0; i < rows[size]; ++i) ((int32_t *)temper_tensor_data(targets))[i] = (int32_t)(i * 7 % columns);
    const temper_named_tensor given[] = {{"logits", h->x[size]}, {"targets", targets}}, gradient = {"logits", result};
    status |= temper_loss_create(&loss, h->context, "lovasz_softmax", NULL, 0, NULL);
    status |= temper_loss_value_and_grad(NULL, &gradient, 1, loss, given, 2, TEMPER_REDUCTION_MEAN, NULL);
    temper_loss_free(loss), temper_tensor_free(targets);
  } else {
    temper_model *model = NULL;
    status |= temper_model_create(&model, h->context, "[{\"dense\": 700}, \"relu\"]", inputs, 1, 0, 3, NULL);
    status |= temper_model_predict(result, model, h->x[size], NULL, NULL);
    temper_model_free(model);
  }
  const uint64_t sum = status ? 0 : digest(result);
  temper_tensor_free(result);
  return sum;
}

static void *visit(void *argument) {
  host *h = argument;
  for (int round = 0; round < ROUNDS; ++round)
    for (int kind = 0; kind < KINDS; ++kind) {
      const int size = (round + kind) % SIZES;
      if (size == SIZES - 1 && round >= SIZES) continue; /* the largest once */
      const uint64_t sum = work(h, kind, size);
      h->wrong += sum != h->sums[kind][size], h->failed += !sum;
    }
  return NULL;
}

static temper_context *context_of(int threads) {
  const temper_context_options options = {.struct_size = sizeof options, .threads = threads};
  temper_context *context = NULL;
  OK(temper_context_create(&context, &options, &error));
  return context;
}

/* All hosts at once; `threads` of each context, or of the one that they share. */
static void together(const host *like, int threads, int shares) {
  host hosts[HOSTS];
  pthread_t thread[HOSTS];
  temper_context *shared = context_of(threads);
  for (int i = 0; i < HOSTS; ++i) {
    hosts[i] = *like;
    hosts[i].context = shares ? shared : context_of(threads + i);
  }
  for (int i = 0; i < HOSTS; ++i) TRUE(pthread_create(&thread[i], NULL, visit, &hosts[i]) == 0);
  for (int i = 0; i < HOSTS; ++i) {
    pthread_join(thread[i], NULL);
    TRUE(hosts[i].wrong == 0 && hosts[i].failed == 0);
    if (!shares) STATUS(TEMPER_OK, temper_context_free(hosts[i].context));
  }
  STATUS(TEMPER_OK, temper_context_free(shared));
}

/* A fork takes none of the threads along: the child works alone, makes contexts of its own, and gives all back. */
static void children(const host *like) {
  host h = *like;
  h.context = context_of(5);
  for (int round = 0; round < 12; ++round) {
    TRUE(work(&h, 4, 3) == h.sums[4][3]);
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      int wrong = work(&h, 4, 3) != h.sums[4][3];
      temper_context_free(h.context);
      h.context = context_of(3);
      wrong += work(&h, 4, 3) != h.sums[4][3];
      temper_context_free(h.context);
      _exit(wrong + failures);
    }
    int status = -1;
    TRUE(child > 0 && waitpid(child, &status, 0) == child);
    TRUE(status == 0);
  }
  STATUS(TEMPER_OK, temper_context_free(h.context));
}

int main(void) {
  host one = {.context = context_of(1), .weights = floats(outputs, columns)};
  fill(one.weights, 1);
  for (int size = 0; size < SIZES; ++size) fill(one.x[size] = floats(rows[size], columns), 2 + (unsigned)size);
  for (int kind = 0; kind < KINDS; ++kind)
    for (int size = 0; size < SIZES; ++size) TRUE((one.sums[kind][size] = work(&one, kind, size)) != 0);
  children(&one);
  together(&one, 16, 1);
  together(&one, 3, 0);
  STATUS(TEMPER_OK, temper_context_free(one.context));
  return check_result("threads");
}
