/* Matrix products beside OpenBLAS.
 *   products OPENBLAS               in turn, on one thread each: "bits size seconds_ours seconds_other ratio" for each
 * size products OPENBLAS SIZE          seconds of its float32 product on two threads products ours SIZE seconds of ours
 * on two threads: processes that take turns, because waiting threads of one library would take processors from the
 * other */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "TemperKernels.h"

typedef void gemm_f32(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                      int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void gemm_f64(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                      int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

enum { ROUNDS = 15, MAXIMUM = 2048 };
static gemm_f32 *other_f32;
static gemm_f64 *other_f64;
static temper_matmul_job job;
static temper_matmul_plan plan;
static void *workspace, *scratch, *helper_scratch;

static void ours(void) { temper_matmul_run(&job, &plan, workspace, scratch); }

/* Two threads take pieces, phase by phase; the second spins between products, as the library's workers do. */
static atomic_long generation, next_piece, busy;
static int phase;

static void drain(void *own_scratch) {
  for (long piece; (piece = atomic_fetch_add(&next_piece, 1)) < plan.piece_counts[phase];)
    temper_matmul_run_piece(&job, &plan, phase, piece, workspace, own_scratch);
}

static void *help(void *unused) {
  for (long seen = 0;; ++seen) {
    while (atomic_load(&generation) == seen) temper_pause();
    temper_leave_processor(atomic_load(&busy) >> 1);
    drain(helper_scratch);
    atomic_fetch_and(&busy, ~1L);
  }
  return unused;
}

static void ours_on_two(void) {
  for (phase = 0; phase < plan.phase_count; ++phase) {
    atomic_store(&next_piece, 0);
    atomic_store(&busy, (long)temper_processor() << 1 | 1);
    atomic_fetch_add(&generation, 1);
    drain(scratch);
    while (atomic_load(&busy) & 1) temper_pause();
  }
}

static void other(void) {
  const int64_t n = job.n;
  if (job.element == TEMPER_ELEMENT_F32)
    other_f32(101, 111, 111, n, n, n, 1, job.a, n, job.b, n, 0, job.c, n);
  else
    other_f64(101, 111, 111, n, n, n, 1, job.a, n, job.b, n, 0, job.c, n);
}

static double seconds(void (*action)(void), long repeats) {
  struct timespec a, b;
  timespec_get(&a, TIME_UTC);
  for (long i = 0; i < repeats; ++i) action();
  timespec_get(&b, TIME_UTC);
  return ((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec)) / (double)repeats;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values) {
  qsort(values, ROUNDS, sizeof *values, ascending);
  return values[ROUNDS / 2];
}

static void prepare(double *memory, int bits, int64_t n) {
  job = (temper_matmul_job){.element = bits == 32 ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64,
                            .alpha = 1,
                            .m = n,
                            .n = n,
                            .k = n,
                            .batch = 1,
                            .a = memory,
                            .a_row_stride = n,
                            .a_column_stride = 1,
                            .b = memory + MAXIMUM * MAXIMUM,
                            .b_row_stride = n,
                            .b_column_stride = 1,
                            .c = memory + 2 * MAXIMUM * MAXIMUM,
                            .c_row_stride = n};
  plan = temper_matmul_plan_make(&job);
  free(workspace), free(scratch), free(helper_scratch);
  workspace = aligned_alloc(64, (plan.workspace_bytes + 127) & ~(size_t)63);
  scratch = aligned_alloc(64, (plan.scratch_bytes + 127) & ~(size_t)63);
  helper_scratch = aligned_alloc(64, (plan.scratch_bytes + 127) & ~(size_t)63);
}

static long repeats_for(int64_t n) { return 1 + (long)(2e7 / ((double)n * (double)n * (double)n)); }

int main(int count, char **arguments) {
  static const int64_t sizes[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048};
  const bool alone = count == 3, is_ours = alone && strcmp(arguments[1], "ours") == 0;
  void (*set_threads)(int) = NULL;
  if (!is_ours) {
    void *library = count == 2 || alone ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!library) return fprintf(stderr, "usage: products OPENBLAS|ours [SIZE]\n"), 2;
    other_f32 = (gemm_f32 *)dlsym(library, "scipy_cblas_sgemm64_");
    other_f64 = (gemm_f64 *)dlsym(library, "scipy_cblas_dgemm64_");
    set_threads = (void (*)(int))dlsym(library, "scipy_openblas_set_num_threads64_");
    if (!other_f32 || !other_f64 || !set_threads) return fprintf(stderr, "not NumPy's OpenBLAS\n"), 2;
    set_threads(alone ? 2 : 1);
  }
  double *memory = aligned_alloc(64, 3 * sizeof(double) * MAXIMUM * MAXIMUM);
  for (int64_t i = 0; i < 3 * MAXIMUM * MAXIMUM; ++i) memory[i] = 0;
  double a[ROUNDS], b[ROUNDS], ratio[ROUNDS];
  if (alone) {
    pthread_t helper;
    prepare(memory, 32, atol(arguments[2]));
    void (*product)(void) = is_ours ? ours_on_two : other;
    if (is_ours) pthread_create(&helper, NULL, help, NULL);
    for (int round = -3; round < ROUNDS; ++round) a[round < 0 ? 0 : round] = seconds(product, repeats_for(job.n));
    printf("%.9g\n", median(a));
    return 0;
  }
  for (int bits = 32; bits <= 64; bits += 32)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
      prepare(memory, bits, sizes[s]);
      const long repeats = repeats_for(job.n);
      ours(), other();
      for (int round = 0; round < ROUNDS; ++round) {
        a[round] = seconds(ours, repeats), b[round] = seconds(other, repeats);
        ratio[round] = b[round] / a[round];
      }
      printf("%d %lld %.9g %.9g %.4f\n", bits, (long long)job.n, median(a), median(b), median(ratio));
      fflush(stdout);
    }
  return 0;
}
