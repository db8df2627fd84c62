/* Matrix products beside OpenBLAS, in turn, in one process, on one thread each (waiting threads of one library would take
 * processors from the other):
 *   products OPENBLAS   -> a line "bits size seconds_ours seconds_other ratio" for each size */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "TemperKernels.h"

typedef void gemm_f32(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                      const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void gemm_f64(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                      int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

enum { ROUNDS = 15, MAXIMUM = 2048 };
static gemm_f32 *other_f32;
static gemm_f64 *other_f64;
static temper_matmul_job job;
static temper_matmul_plan plan;
static void *workspace, *scratch;

static void ours(void) { temper_matmul_run(&job, &plan, workspace, scratch); }

static void other(void) {
  const int64_t n = job.n;
  if (job.element == TEMPER_ELEMENT_F32) other_f32(101, 111, 111, n, n, n, 1, job.a, n, job.b, n, 0, job.c, n);
  else other_f64(101, 111, 111, n, n, n, 1, job.a, n, job.b, n, 0, job.c, n);
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

int main(int count, char **arguments) {
  static const int64_t sizes[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048};
  void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  if (!library) return fprintf(stderr, "usage: products OPENBLAS\n"), 2;
  other_f32 = (gemm_f32 *)dlsym(library, "scipy_cblas_sgemm64_");
  other_f64 = (gemm_f64 *)dlsym(library, "scipy_cblas_dgemm64_");
  void (*set_threads)(int) = (void (*)(int))dlsym(library, "scipy_openblas_set_num_threads64_");
  if (!other_f32 || !other_f64 || !set_threads) return fprintf(stderr, "not NumPy's OpenBLAS\n"), 2;
  set_threads(1);
  double *memory = aligned_alloc(64, 3 * sizeof(double) * MAXIMUM * MAXIMUM);
  for (int64_t i = 0; i < 3 * MAXIMUM * MAXIMUM; ++i) memory[i] = 0;
  for (int bits = 32; bits <= 64; bits += 32)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
      const int64_t n = sizes[s];
      job = (temper_matmul_job){.element = bits == 32 ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64, .alpha = 1, .m = n, .n = n,
                                .k = n, .batch = 1, .a = memory, .a_row_stride = n, .a_column_stride = 1,
                                .b = memory + MAXIMUM * MAXIMUM, .b_row_stride = n, .b_column_stride = 1,
                                .c = memory + 2 * MAXIMUM * MAXIMUM, .c_row_stride = n};
      plan = temper_matmul_plan_make(&job);
      workspace = aligned_alloc(64, (plan.workspace_bytes + 127) & ~(size_t)63);
      scratch = aligned_alloc(64, (plan.scratch_bytes + 127) & ~(size_t)63);
      const long repeats = 1 + (long)(2e7 / ((double)n * (double)n * (double)n));
      double a[ROUNDS], b[ROUNDS], ratio[ROUNDS];
      ours(), other();
      for (int round = 0; round < ROUNDS; ++round) {
        a[round] = seconds(ours, repeats), b[round] = seconds(other, repeats);
        ratio[round] = b[round] / a[round];
      }
      printf("%d %lld %.9g %.9g %.4f\n", bits, (long long)n, median(a), median(b), median(ratio));
      fflush(stdout);
      free(workspace), free(scratch);
    }
  return 0;
}
