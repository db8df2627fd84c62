#include "../include/pooling.h"

#include <math.h>
#include <string.h>

// The part of a window that is inside the plane.
typedef struct window {
  int64_t top, bottom, left, right;
} window;

static int64_t at_least(int64_t x, int64_t low) { return x > low ? x : low; }
static int64_t at_most(int64_t x, int64_t high) { return x < high ? x : high; }

static window window_at(const temper_pooling *p, int64_t y, int64_t x) {
  const int64_t top = y * p->stride_height - p->padding_height, left = x * p->stride_width - p->padding_width;
  return (window){at_least(top, 0), at_most(top + p->kernel_height, p->height), at_least(left, 0),
                  at_most(left + p->kernel_width, p->width)};
}

static double window_weight(const temper_pooling *p, window w) {
  const int64_t area = p->count_padding ? p->kernel_height * p->kernel_width : (w.bottom - w.top) * (w.right - w.left);
  return w.bottom > w.top && w.right > w.left ? 1.0 / (double)area : 0;
}

#define POOLING(REAL, suffix)                                                                                          \
  static void max_plane_##suffix(const temper_pooling *p, const REAL *in, REAL *out, int32_t *argmax) {                \
    for (int64_t y = 0; y < p->out_height; ++y)                                                                        \
      for (int64_t x = 0; x < p->out_width; ++x) {                                                                     \
        const window w = window_at(p, y, x);                                                                           \
        REAL best = -(REAL)INFINITY;                                                                                   \
        int32_t at = -1;                                                                                               \
        for (int64_t i = w.top; i < w.bottom; ++i)                                                                     \
          for (int64_t j = w.left; j < w.right; ++j) {                                                                 \
            const REAL value = in[i * p->width + j];                                                                   \
            const bool better = at < 0 || value > best || (value != value && best == best);                            \
            best = better ? value : best;                                                                              \
            at = better ? (int32_t)(i * p->width + j) : at;                                                            \
          }                                                                                                            \
        out[y * p->out_width + x] = best;                                                                              \
        argmax[y * p->out_width + x] = at;                                                                             \
      }                                                                                                                \
  }                                                                                                                    \
  static void max_plane_backward_##suffix(const temper_pooling *p, const REAL *out, const int32_t *argmax, REAL *in) { \
    memset(in, 0, (size_t)(p->height * p->width) * sizeof(REAL));                                                      \
    for (int64_t i = 0; i < p->out_height * p->out_width; ++i)                                                         \
      if (argmax[i] >= 0) in[argmax[i]] += out[i];                                                                     \
  }                                                                                                                    \
  static void average_plane_##suffix(const temper_pooling *p, const REAL *in, REAL *out) {                             \
    for (int64_t y = 0; y < p->out_height; ++y)                                                                        \
      for (int64_t x = 0; x < p->out_width; ++x) {                                                                     \
        const window w = window_at(p, y, x);                                                                           \
        REAL sum = 0;                                                                                                  \
        for (int64_t i = w.top; i < w.bottom; ++i)                                                                     \
          for (int64_t j = w.left; j < w.right; ++j) sum += in[i * p->width + j];                                      \
        out[y * p->out_width + x] = sum * (REAL)window_weight(p, w);                                                   \
      }                                                                                                                \
  }                                                                                                                    \
  static void average_plane_backward_##suffix(const temper_pooling *p, const REAL *out, REAL *in) {                    \
    memset(in, 0, (size_t)(p->height * p->width) * sizeof(REAL));                                                      \
    for (int64_t y = 0; y < p->out_height; ++y)                                                                        \
      for (int64_t x = 0; x < p->out_width; ++x) {                                                                     \
        const window w = window_at(p, y, x);                                                                           \
        const REAL share = out[y * p->out_width + x] * (REAL)window_weight(p, w);                                      \
        for (int64_t i = w.top; i < w.bottom; ++i)                                                                     \
          for (int64_t j = w.left; j < w.right; ++j) in[i * p->width + j] += share;                                    \
      }                                                                                                                \
  }

POOLING(float, f32)
POOLING(double, f64)

void temper_max_pool(const temper_pooling *p, const void *in, void *out, int32_t *argmax, int64_t begin, int64_t end) {
  const int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  for (int64_t i = begin; i < end; ++i) {
    if (p->element == TEMPER_ELEMENT_F32)
      max_plane_f32(p, (const float *)in + i * plane, (float *)out + i * out_plane, argmax + i * out_plane);
    else
      max_plane_f64(p, (const double *)in + i * plane, (double *)out + i * out_plane, argmax + i * out_plane);
  }
}

void temper_max_pool_backward(const temper_pooling *p, const void *out, const int32_t *argmax, void *in, int64_t begin,
                              int64_t end) {
  const int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  for (int64_t i = begin; i < end; ++i) {
    if (p->element == TEMPER_ELEMENT_F32)
      max_plane_backward_f32(p, (const float *)out + i * out_plane, argmax + i * out_plane, (float *)in + i * plane);
    else
      max_plane_backward_f64(p, (const double *)out + i * out_plane, argmax + i * out_plane, (double *)in + i * plane);
  }
}

void temper_average_pool(const temper_pooling *p, const void *in, void *out, int64_t begin, int64_t end) {
  const int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  for (int64_t i = begin; i < end; ++i) {
    if (p->element == TEMPER_ELEMENT_F32)
      average_plane_f32(p, (const float *)in + i * plane, (float *)out + i * out_plane);
    else
      average_plane_f64(p, (const double *)in + i * plane, (double *)out + i * out_plane);
  }
}

void temper_average_pool_backward(const temper_pooling *p, const void *out, void *in, int64_t begin, int64_t end) {
  const int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  for (int64_t i = begin; i < end; ++i) {
    if (p->element == TEMPER_ELEMENT_F32)
      average_plane_backward_f32(p, (const float *)out + i * out_plane, (float *)in + i * plane);
    else
      average_plane_backward_f64(p, (const double *)out + i * out_plane, (double *)in + i * plane);
  }
}
