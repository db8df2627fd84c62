/* Plug-ins that do what none may do. One source; CASE says what goes wrong. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper_plugin.h>
#include <unistd.h>

#define GOOD 0
#define WRONG_GRADIENT 1
#define NOT_A_NUMBER 2
#define PAST_THE_END 3
#define BEFORE_THE_START 4
#define UNWRITTEN 5
#define WRITES_INPUT 6
#define SEGFAULT 7
#define ABORTS 8
#define EXITS 9
#define QUITS 10
#define HANGS 11
#define RETURNS_ERROR 12
#define CROSS_SAMPLE 13
#define FORGETFUL 14
#define INIT_FAILS 15
#define INIT_CRASHES 16
#define CONSTRUCTOR_CRASHES 17
#define SCALED_GRADIENT 18
#define READS_PAST_THE_END 19
#define ENDLESS_STACK 20
/* lies of the descriptor */
#define NO_NAME 30
#define BAD_NAME 31
#define NO_LOSSES 32
#define ABSURD_COUNT 33
#define NULL_LOSSES 34
#define NO_INPUTS 35
#define ABSURD_INPUTS 36
#define DANGLING 37
#define DATA_AS_CODE 38
#define NO_EVALUATE 39
#define FUTURE_HOST 40
#define BAD_SHAPE 41
#define BAD_RANGE 42
#define BAD_DEFAULT 43
#define TINY_SIZE 44
#define TWO_ALIKE 45
#define UNKNOWN_KIND 46
#define NO_LICENCE 47
/* composed */
#define COMPOSE_FAILS 60
#define COMPOSE_SHAPE 61
#define COMPOSE_UNKNOWN_INPUT 62
#define COMPOSE_GARBAGE 63
#define COMPOSE_ENDLESS 64
#define COMPOSE_CRASHES 65
#define COMPOSE_NAN 66
#define COMPOSE_BAD_IDS 67
#define COMPOSE_NOTHING 68
#define COMPOSE_NULLS 69
#define COMPOSE_GOOD 70

static int calls;

/* Half the squared difference, as it should be, and then not. */
static int32_t evaluate(void *state, const temper_loss_call *call) {
  (void)state;
  const float *x = call->inputs[0].data, *y = call->inputs[1].data;
  float *values = call->values, *gradient = call->gradients[0];
  const int64_t width = call->inputs[0].sizes[1];
  for (int64_t n = 0; n < call->count; ++n) {
    float sum = 0;
    for (int64_t i = n * width; i < (n + 1) * width; ++i) {
      sum += (x[i] - y[i]) * (x[i] - y[i]) / 2;
      if (gradient) gradient[i] = x[i] - y[i];
    }
    values[n] = sum;
  }
  switch (CASE) {
    case WRONG_GRADIENT:
      if (gradient) gradient[3] = -gradient[3];
      break;
    case SCALED_GRADIENT:
      for (int64_t i = 0; gradient && i < call->count * width; ++i) gradient[i] /= (float)call->count;
      break;
    case NOT_A_NUMBER:
      values[call->count - 1] = NAN;
      break;
    case PAST_THE_END:
      values[call->count + 2] = 1;
      break;
    case BEFORE_THE_START:
      values[-1] = 1;
      break;
    case UNWRITTEN:
      if (gradient) memset(gradient, 0xA5, sizeof *gradient);
      break;
    case WRITES_INPUT:
      ((float *)call->inputs[0].data)[0] = 1;
      break;
    case READS_PAST_THE_END:
      values[0] += 0 * ((volatile const float *)x)[call->count * width + 1];
      break;
    case SEGFAULT:
      *(volatile int *)16 = 1;
      break;
    case ABORTS:
      abort();
    case EXITS:
      exit(3);
    case QUITS:
      _exit(4);
    case HANGS:
      for (volatile int forever = 1; forever;) {
      }
      break;
    case RETURNS_ERROR:
      snprintf(call->message.text, call->message.capacity, "the moon is full");
      return 5;
    case CROSS_SAMPLE:
      values[call->count - 1] += x[0];
      break;
    case FORGETFUL:
      values[0] += (float)calls++;
      break;
    case ENDLESS_STACK: {
      volatile char frame[4096];
      frame[0] = 1;
      frame[1] = (char)evaluate(state, call);
      return frame[1];
    }
    default:
      break;
  }
  return 0;
}

static int32_t compose(void *state, temper_build *b, const temper_builder *make, temper_expr *result,
                       temper_message message) {
  (void)state;
  const temper_expr x = make->input(b, "predictions"), y = make->input(b, "targets");
  const temper_expr square = make->unary(b, TEMPER_SQUARE, make->binary(b, TEMPER_SUBTRACT, x, y));
  const int64_t absurd[] = {INT64_MAX, -1};
  const int32_t axes[] = {5, 5};
  const temper_expr parts[] = {{900}, {-5}};
  *result = make->reduce(b, TEMPER_REDUCE_MEAN, square, -1);
  switch (CASE) {
    case COMPOSE_FAILS:
      snprintf(message.text, message.capacity, "the tide is low");
      return 6;
    case COMPOSE_SHAPE:
      *result = square;
      break;
    case COMPOSE_UNKNOWN_INPUT:
      *result = make->binary(b, TEMPER_ADD, *result, make->input(b, "tea"));
      break;
    case COMPOSE_GARBAGE:
      result->id = 123456;
      break;
    case COMPOSE_NOTHING:
      result->id = 0;
      break;
    case COMPOSE_ENDLESS:
      for (;;)
        if (make->binary(b, TEMPER_ADD, *result, *result).id < 0) break;
      break;
    case COMPOSE_CRASHES:
      raise(SIGSEGV);
      break;
    case COMPOSE_NAN:
      *result = make->unary(b, TEMPER_LOG, make->constant(b, -1));
      *result = make->binary(b, TEMPER_ADD, make->reduce(b, TEMPER_REDUCE_MEAN, square, -1), *result);
      break;
    case COMPOSE_BAD_IDS:
      make->unary(b, 999, x), make->binary(b, -3, x, y), make->reduce(b, 77, x, -1), make->reduce(b, 1, x, 99);
      make->iota(b, 2, absurd, 0), make->iota(b, -7, 0, 0), make->reshape(b, x, 2, absurd),
          make->broadcast(b, x, 99, 0);
      make->permute(b, x, axes, 2), make->permute(b, x, 0, 2), make->permute(b, x, axes, -1),
          make->slice(b, x, 9, -5, INT64_MAX);
      make->slice(b, x, 0, INT64_MAX, INT64_MAX), make->concatenate(b, parts, 2, 0), make->concatenate(b, 0, 4, 0);
      make->matmul(b, x, y, 99), make->matmul(b, x, x, 0), make->pick(b, x, x), make->place(b, x, y, -9),
          make->one_hot(b, x, INT64_MAX);
      make->select(b, x, parts[0], y), make->shape(b, parts[0], 0), make->number(b, 0), make->number(b, "tea"),
          make->text(b, "tea");
      make->has(b, 0), make->input(b, 0);
      *result = make->unary(b, 999, *result);
      break;
    case COMPOSE_NULLS:
      *result = make->unary(0, TEMPER_EXP, x);
      make->number(0, "a"), make->has(0, "a"), make->shape(0, x, 0);
      break;
    default:
      break;
  }
  return 0;
}

#define SIZED(type) .struct_size = sizeof(type)

static const temper_plugin_input inputs[] = {
    {SIZED(temper_plugin_input), .name = "predictions", .element = TEMPER_ELEMENT_REAL,
     .shape = CASE == BAD_SHAPE ? "N,lots" : "N,D", .flags = TEMPER_INPUT_DIFFERENTIABLE},
    {SIZED(temper_plugin_input), .name = "targets", .element = TEMPER_ELEMENT_REAL, .shape = "N,D"}};

static const temper_plugin_parameter parameters[] = {
    {.struct_size = CASE == TINY_SIZE ? 3 : sizeof(temper_plugin_parameter),
     .type = TEMPER_PLUGIN_REAL,
     .name = "weight",
     .initial = CASE == BAD_DEFAULT ? 9 : 1,
     .lower = CASE == BAD_RANGE ? 5 : 0,
     .upper = 2}};

static const temper_plugin_loss losses[] = {
    {SIZED(temper_plugin_loss),
     .kind = CASE == UNKNOWN_KIND    ? 99
             : CASE >= COMPOSE_FAILS ? TEMPER_LOSS_COMPOSED
                                     : TEMPER_LOSS_FUNCTION,
     .name = CASE == BAD_NAME ? "Has Spaces" : "square", .summary = "Half the squared difference.",
     .inputs = CASE == DANGLING ? (const temper_plugin_input *)0x7fffdeadbeef : inputs,
     .input_count = CASE == NO_INPUTS       ? 0
                    : CASE == ABSURD_INPUTS ? UINT64_MAX
                                            : 2,
     .parameters = parameters, .parameter_count = 1,
     .evaluate = CASE == NO_EVALUATE    ? 0
                 : CASE == DATA_AS_CODE ? (temper_loss_function)(void *)inputs
                                        : evaluate,
     .compose = compose},
    {SIZED(temper_plugin_loss), .kind = TEMPER_LOSS_FUNCTION, .name = CASE == TWO_ALIKE ? "square" : "other",
     .summary = "Again.", .inputs = inputs, .input_count = 2, .evaluate = evaluate, .compose = compose}};

static int32_t init(const temper_host *host, void **state, temper_message message) {
  *state = &calls;
  if (CASE == INIT_FAILS) return snprintf(message.text, message.capacity, "no licence key"), 1;
  if (CASE == INIT_CRASHES) *(volatile int *)16 = 1;
  if (host->extension(host->context, "temper.nothing/1")) return 2;
  host->log(host->context, 1, "hello");
  return 0;
}

static void deinit(void *state) { ++*(int *)state; }

#if CASE == CONSTRUCTOR_CRASHES
__attribute__((constructor)) static void crash(void) { *(volatile int *)16 = 1; }
#endif

#ifndef WITHOUT_DESCRIPTOR
const temper_plugin_descriptor temper_plugin_v1 = {SIZED(temper_plugin_descriptor),
                                                   .built_for = TEMPER_PLUGIN_REVISION,
                                                   .min_host = CASE == FUTURE_HOST ? 99 : 1,
                                                   .name = CASE == NO_NAME ? 0 : "misbehaving",
                                                   .version = "0.1",
                                                   .licence = CASE == NO_LICENCE ? "" : "MIT",
                                                   .losses = CASE == NULL_LOSSES ? 0 : losses,
                                                   .loss_count = CASE == NO_LOSSES      ? 0
                                                                 : CASE == ABSURD_COUNT ? UINT64_MAX / 2
                                                                 : CASE == TWO_ALIKE    ? 2
                                                                                        : 1,
                                                   .init = init,
                                                   .deinit = deinit};
#endif
