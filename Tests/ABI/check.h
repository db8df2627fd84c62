/* What the C tests share: calls that must succeed, calls that must fail with a status and a sentence, and numbers. */
#ifndef CHECK_H
#define CHECK_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "temper.h"

static temper_error error;
static int checks, failures;

static inline void check_fail(const char *file, int line, const char *what, const char *why) {
  fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, why);
  ++failures;
}

static inline int check_is_sentence(const char *text) {
  const size_t length = strlen(text);
  return length > 12 && length < sizeof error.message && strchr(".?", text[length - 1]) && !strstr(text, "  ");
}

/* The call succeeds, and leaves an empty error. */
#define OK(call)                                                             \
  do {                                                                       \
    memset(&error, 0x55, sizeof error);                                      \
    const int32_t status_ = (call);                                          \
    ++checks;                                                                \
    if (status_ != TEMPER_OK)                                                \
      check_fail(__FILE__, __LINE__, #call, error.message);                  \
    else if (error.code != TEMPER_OK || error.message[0] || error.origin[0]) \
      check_fail(__FILE__, __LINE__, #call, "succeeded but left an error");  \
  } while (0)

/* The call fails with this status, and says why in a sentence, in `error` and in the thread's copy. */
#define FAILS(expected, call)                                                                                 \
  do {                                                                                                        \
    memset(&error, 0x55, sizeof error);                                                                       \
    const int32_t status_ = (call);                                                                           \
    ++checks;                                                                                                 \
    if (status_ != (expected)) {                                                                              \
      char why_[2200];                                                                                        \
      snprintf(why_, sizeof why_, "gave %s instead of " #expected ": %s", temper_status_name(status_),        \
               status_ ? error.message : "");                                                                 \
      check_fail(__FILE__, __LINE__, #call, why_);                                                            \
    } else if (error.code != status_ || !check_is_sentence(error.message)) {                                  \
      check_fail(__FILE__, __LINE__, #call, error.message);                                                   \
    } else if (temper_last_error()->code != status_ || strcmp(temper_last_error()->message, error.message)) { \
      check_fail(__FILE__, __LINE__, #call, "the thread's copy differs");                                     \
    }                                                                                                         \
  } while (0)

/* The last error's text has this in it. */
#define SAYS(part)                                                                                          \
  do {                                                                                                      \
    ++checks;                                                                                               \
    if (!strstr(error.message, part)) check_fail(__FILE__, __LINE__, "does not say " #part, error.message); \
  } while (0)

/* A call without an error argument. */
#define STATUS(expected, call)                                                                     \
  do {                                                                                             \
    const int32_t status_ = (call);                                                                \
    ++checks;                                                                                      \
    if (status_ != (expected)) check_fail(__FILE__, __LINE__, #call, temper_status_name(status_)); \
  } while (0)

#define TRUE(condition)                                                        \
  do {                                                                         \
    ++checks;                                                                  \
    if (!(condition)) check_fail(__FILE__, __LINE__, #condition, "is not so"); \
  } while (0)

#define NEAR(actual, expected, tolerance)                         \
  do {                                                            \
    const double a_ = (actual), e_ = (expected);                  \
    ++checks;                                                     \
    if (!(fabs(a_ - e_) <= (tolerance))) {                        \
      char why_[120];                                             \
      snprintf(why_, sizeof why_, "is %.17g, not %.17g", a_, e_); \
      check_fail(__FILE__, __LINE__, #actual, why_);              \
    }                                                             \
  } while (0)

static inline int check_result(const char *name) {
  printf("%s: %d checks, %d failures\n", name, checks, failures);
  return failures != 0;
}

/* A new tensor of up to three sizes; the tests free few of them. */
static inline temper_tensor *make(int32_t dtype, int32_t rank, int64_t a, int64_t b) {
  const int64_t sizes[] = {a, b};
  temper_tensor *tensor = NULL;
  if (temper_tensor_create(&tensor, dtype, rank, sizes, &error)) fprintf(stderr, "%s\n", error.message), exit(2);
  return tensor;
}

static inline temper_tensor *floats(int64_t rows, int64_t columns) { return make(TEMPER_FLOAT32, 2, rows, columns); }
static inline float *float_data(temper_tensor *tensor) { return temper_tensor_data(tensor); }

/* Numbers in -1...1, the same in every run. */
static inline void fill(temper_tensor *tensor, unsigned seed) {
  temper_tensor_info info = {.struct_size = sizeof info};
  if (temper_tensor_get_info(&info, tensor, &error)) exit(2);
  uint64_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < info.count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = (double)(state >> 33) / 1073741824.0 - 1;
    if (info.dtype == TEMPER_FLOAT32) ((float *)info.data)[i] = (float)value;
    if (info.dtype == TEMPER_FLOAT64) ((double *)info.data)[i] = value;
  }
}
#endif
