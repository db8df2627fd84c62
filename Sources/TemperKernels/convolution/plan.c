#include "plan.h"

int64_t temper_convolution_out_height(const temper_convolution_job *job) {
  return (job->height + 2 * job->padding_height - job->dilation_height * (job->kernel_height - 1) - 1) /
             job->stride_height +
         1;
}

int64_t temper_convolution_out_width(const temper_convolution_job *job) {
  return (job->width + 2 * job->padding_width - job->dilation_width * (job->kernel_width - 1) - 1) / job->stride_width +
         1;
}

const convolution_kernels *temper_convolution_kernels(temper_variant resolved, temper_element element) {
  const bool wide = element == TEMPER_ELEMENT_F64;
  switch (resolved) {
#if defined(__x86_64__)
  case TEMPER_VARIANT_AVX512:
    return wide ? &temper_convolution_kernels_avx512_f64 : &temper_convolution_kernels_avx512_f32;
  case TEMPER_VARIANT_AVX2:
    return wide ? &temper_convolution_kernels_avx2_f64 : &temper_convolution_kernels_avx2_f32;
#endif
  default:
    return wide ? &temper_convolution_kernels_plain_f64 : &temper_convolution_kernels_plain_f32;
  }
}

// The planes of a group, beside which the second-level cache holds filters or output gradients.
enum { PLANES_BYTES = 768 << 10 };

// Weight gradient: a band's positions, and the positions of several small images, whose sums stay in registers; the
// bytes of planes and of output gradients that stay in the second-level cache.
enum { BAND_POSITIONS = 2048, REGISTER_POSITIONS = 768, MOST_IMAGES_TOGETHER = 16, DOT_OPERAND_BYTES = 192 << 10 };

// Weight gradient: partial sums of the whole weight, in number and in elements.
enum { MOST_PARTIAL_SUMS = 16, PARTIAL_SUM_ELEMENTS = 4 << 20 };

// Elements of weights whose rearrangement is worth a piece.
enum { FILTER_PIECE = 1 << 17 };

shape temper_convolution_shape(const temper_convolution_job *job, const temper_convolution_plan *plan) {
  const convolution_kernels *kernels = temper_convolution_kernels(plan->variant, job->element);
  shape shape = {.kernels = kernels, .geometry = geometry_of(job), .size = element_size(job->element)};
  const axis *rows = &shape.geometry.rows, *columns = &shape.geometry.columns;
  const int64_t in_group = job->channels / job->groups, out_group = job->out_channels / job->groups;
  const bool transposed = job->kind == TEMPER_CONVOLUTION_INPUT_GRADIENT;
  shape.taps = job->kernel_height * job->kernel_width;
  shape.source_group = transposed ? out_group : in_group;
  shape.written_group = transposed ? in_group : out_group;
  shape.tiles = divide_up(shape.written_group, kernels->strip_rows);
  shape.tile_rows = divide_up(shape.written_group, shape.tiles);
  shape.strip_positions = kernels->lanes * (shape.tile_rows == 1 ? MAX_SINGLE_VECTORS : STRIP_VECTORS);
  shape.plane_rows = 0;
  for (int64_t begin = 0; begin < rows->written; begin += plan->band_rows) {
    shape.plane_rows = maximum(shape.plane_rows, plane_extent(rows, begin, plan->band_rows));
  }
  const int64_t pitch = divide_up(columns->written, result_step(columns));
  shape.plane = shape.plane_rows * pitch;
  shape.channel_planes = plane_residues(rows) * columns->taps;
  shape.slack = MAX_SINGLE_VECTORS * kernels->lanes;
  shape.left = round_up(plan->band_rows * pitch, kernels->lanes);
  return shape;
}

// The band of rows, a multiple of the stride where results are split by residue, whose planes take at most so many
// bytes.
static void choose_band(const temper_convolution_job *job, temper_convolution_plan *plan, int64_t channels,
                        int64_t bytes, int64_t positions) {
  const geometry geometry = geometry_of(job);
  const int64_t grain = result_step(&geometry.rows), written = geometry.rows.written;
  plan->band_rows = round_up(written, grain);
  for (;;) {
    const shape shape = temper_convolution_shape(job, plan);
    const bool fits = channels * shape.channel_planes * shape.plane * shape.size <= bytes &&
                      plan->band_rows * geometry.columns.written <= positions;
    if (fits || plan->band_rows <= grain) break;
    plan->band_rows = round_up(plan->band_rows / 2, grain);
  }
  plan->bands = divide_up(written, plan->band_rows);
}

static void plan_correlation(const temper_convolution_job *job, temper_convolution_plan *plan, int64_t wanted) {
  const bool transposed = job->kind == TEMPER_CONVOLUTION_INPUT_GRADIENT;
  choose_band(job, plan, (transposed ? job->out_channels : job->channels) / job->groups, PLANES_BYTES, INT64_MAX);
  const shape shape = temper_convolution_shape(job, plan);
  const int64_t units = job->images * plan->bands, tiles = job->groups * shape.tiles;
  plan->unit_pieces = minimum(units, wanted);
  plan->row_pieces = minimum(tiles, divide_up(wanted, plan->unit_pieces));
  const int64_t filters = job->groups * shape.tiles * shape.tile_rows * shape.source_group * shape.taps;
  plan->workspace_bytes = (size_t)round_up(filters * shape.size, ALIGNMENT);
  plan->scratch_bytes =
      (size_t)(round_up((shape.source_group * shape.channel_planes * shape.plane + shape.slack) * shape.size,
                        ALIGNMENT) +
               round_up(shape.source_group * shape.taps * (int64_t)sizeof(int64_t), ALIGNMENT) +
               round_up(shape.tiles * shape.tile_rows * shape.strip_positions * shape.size, ALIGNMENT));
  plan->phase_count = 2;
  plan->piece_counts[0] = minimum(tiles, divide_up(filters, FILTER_PIECE));
  plan->piece_counts[1] = plan->unit_pieces * plan->row_pieces;
}

static void plan_weight_gradient(const temper_convolution_job *job, temper_convolution_plan *plan, int64_t wanted) {
  choose_band(job, plan, 1, INT64_MAX, BAND_POSITIONS);
  const shape shape = temper_convolution_shape(job, plan);
  const int64_t positions = shape.left;
  plan->images_together = 1;
  if (plan->bands == 1) {
    const int64_t together = minimum(MOST_IMAGES_TOGETHER, maximum(1, REGISTER_POSITIONS / positions));
    plan->images_together = maximum(1, minimum(job->images, together));
  }
  const int64_t channel_bytes = shape.channel_planes * plan->images_together * shape.plane * shape.size;
  plan->channels_together = minimum(shape.source_group, maximum(1, DOT_OPERAND_BYTES / channel_bytes));
  const int64_t left_bytes = plan->images_together * shape.left * shape.size;
  plan->rows_together =
      minimum(shape.written_group, round_up(divide_up(DOT_OPERAND_BYTES, left_bytes), shape.kernels->dot_rows));

  const int64_t units = divide_up(job->images, plan->images_together) * plan->bands;
  const int64_t weights = job->out_channels * shape.source_group * shape.taps;
  plan->unit_pieces =
      minimum(minimum(units, wanted), minimum(MOST_PARTIAL_SUMS, maximum(1, PARTIAL_SUM_ELEMENTS / weights)));
  plan->unit_pieces = maximum(1, plan->unit_pieces);
  const int64_t row_tiles = job->groups * divide_up(shape.written_group, shape.kernels->dot_rows);
  plan->row_pieces = minimum(row_tiles, divide_up(wanted, plan->unit_pieces));
  plan->scratch_bytes =
      (size_t)(round_up((plan->channels_together * shape.channel_planes * plan->images_together * shape.plane +
                         shape.slack) *
                            shape.size,
                        ALIGNMENT) +
               round_up(plan->rows_together * left_bytes, ALIGNMENT) +
               round_up(plan->channels_together * shape.taps * (int64_t)sizeof(int64_t), ALIGNMENT));
  plan->phase_count = 1;
  plan->piece_counts[0] = plan->unit_pieces * plan->row_pieces;
  if (plan->unit_pieces > 1) {
    plan->workspace_bytes = (size_t)round_up(plan->unit_pieces * weights * shape.size, ALIGNMENT);
    plan->phase_count = 2;
    plan->piece_counts[1] = minimum(MOST_PARTIAL_SUMS, divide_up(plan->unit_pieces * weights, 2 * FILTER_PIECE));
  }
}

temper_convolution_plan temper_convolution_plan_make(const temper_convolution_job *job) {
  temper_convolution_plan plan = {.variant = temper_variant_resolve(job->variant)};
  if (job->channels == 0 || job->out_channels == 0) return plan;
  if (job->images == 0 && job->kind != TEMPER_CONVOLUTION_WEIGHT_GRADIENT) return plan;
  const double work = (double)job->images * (double)job->out_channels * (double)(job->channels / job->groups) *
                      (double)(job->kernel_height * job->kernel_width) *
                      (double)(temper_convolution_out_height(job) * temper_convolution_out_width(job));
  const int64_t wanted = wanted_pieces(work);
  if (job->kind == TEMPER_CONVOLUTION_WEIGHT_GRADIENT) {
    plan_weight_gradient(job, &plan, wanted);
  } else {
    plan_correlation(job, &plan, wanted);
  }
  return plan;
}
