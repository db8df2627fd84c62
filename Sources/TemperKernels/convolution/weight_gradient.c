// WEIGHT_GRADIENT: dot products of output gradients with planes of the input, summed over images in a fixed order: each
// piece sums a range of (images, band) units into a partial weight of its own, and these are added in sequence.
#include <string.h>

#include "plan.h"

// The operands of a unit: images that are worked on together, or a band of one.
typedef struct unit {
  int64_t first_image, images, first_row;
} unit;

static unit unit_at(const temper_convolution_job *job, const temper_convolution_plan *plan, int64_t index) {
  const int64_t first = index / plan->bands * plan->images_together;
  return (unit){first, minimum(plan->images_together, job->images - first), index % plan->bands * plan->band_rows};
}

// Output gradients [channel][image][position].
typedef struct left_operand {
  const void *base;
  int64_t channel_stride, image_stride, length;  // the length is in whole vectors
} left_operand;

// The output gradients of one image where they are, if they are whole vectors; those of several images side by side, so
// that they do not compete for the same cache sets, with zeros behind each.
static left_operand left_operand_of(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                    const shape *shape, unit unit, int64_t first_channel, int64_t channels,
                                    void *copies) {
  const int64_t height = shape->geometry.rows.written, width = shape->geometry.columns.written, size = shape->size;
  const int64_t positions = minimum(plan->band_rows, height - unit.first_row) * width;
  const int64_t length = round_up(positions, shape->kernels->lanes);
  const int64_t first = ((unit.first_image * job->out_channels + first_channel) * height + unit.first_row) * width;
  const void *source = offset(job->output, first, size);
  if (unit.images == 1 && length == positions) return (left_operand){source, height * width, 0, length};
  void *copy = copies;
  for (int64_t o = 0; o < channels; o++) {
    for (int64_t g = 0; g < unit.images; g++) {
      memcpy(copy, offset(source, (g * job->out_channels + o) * height * width, size), (size_t)(positions * size));
      memset(offset(copy, positions, size), 0, (size_t)((length - positions) * size));
      copy = offset(copy, length, size);
    }
  }
  return (left_operand){copies, unit.images * length, length, length};
}

// Planes of the input [channel][row residue][column of the filter][image].
static void fill_right(const temper_convolution_job *job, const shape *shape, unit unit, int64_t first_channel,
                       int64_t channels, void *right) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  for (int64_t c = first_channel; c < first_channel + channels; c++) {
    for (int64_t a = 0; a < plane_residues(rows); a++) {
      const bool is_read = residue_occurs(rows, a);
      for (int64_t q = 0; q < columns->taps; q++) {
        for (int64_t g = 0; g < unit.images; g++) {
          const int64_t channel = (unit.first_image + g) * job->channels + c;
          const void *source = offset(job->input, channel * job->height * job->width, shape->size);
          if (is_read) {
            fill_plane(shape, source, unit.first_row, a, q, right);
          } else {  // reads beyond the end of the plane before: finite, as they are multiplied by 0
            memset(right, 0, (size_t)(shape->plane * shape->size));
          }
          right = offset(right, shape->plane, shape->size);
        }
      }
    }
  }
}

// Where each (channel, tap) begins in the planes of a unit of so many images.
static void tap_offsets(const shape *shape, int64_t channels, int64_t images, int64_t *offsets) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  for (int64_t r = 0; r < rows->taps; r++) {
    for (int64_t q = 0; q < columns->taps; q++) {
      const int64_t plane = tap_residue(rows, r) * columns->taps + q;
      offsets[r * columns->taps + q] = plane * images * shape->plane + tap_shift(rows, r) * columns->written;
    }
  }
  for (int64_t i = shape->taps; i < channels * shape->taps; i++) {
    offsets[i] = offsets[i - shape->taps] + shape->channel_planes * images * shape->plane;
  }
}

// All products of `rows` output channels with `count` (channel, tap)s.
static void multiply(const shape *shape, int64_t images, int64_t rows, int64_t count, const left_operand *left,
                     const void *right, const int64_t *offsets, void *sums, int64_t sums_stride) {
  const convolution_kernels *kernels = shape->kernels;
  const int64_t size = shape->size;
  for (int64_t i = 0, height; i < rows; i += height) {
    const bool is_tall = rows - i >= kernels->dot_rows;
    height = is_tall ? kernels->dot_rows : 1;
    for (int64_t t = 0, width; t < count; t += width) {
      const int64_t rest = count - t;
      width = rest >= kernels->dot_columns ? kernels->dot_columns : rest >= 3 ? 3 : 1;
      const int64_t index = width == kernels->dot_columns ? 2 : width == 3 ? 1 : 0;
      kernels->dots[is_tall][index](images, left->length, offset(left->base, i * left->channel_stride, size),
                                    left->channel_stride, left->image_stride, right, offsets + t, shape->plane,
                                    offset(sums, i * sums_stride + t, size), sums_stride);
    }
  }
}

void temper_weight_gradient_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                      int64_t piece, void *workspace, void *scratch) {
  const shape shape = temper_convolution_shape(job, plan);
  const int64_t size = shape.size, filter = shape.source_group * shape.taps;
  const int64_t units = divide_up(job->images, plan->images_together) * plan->bands;
  const range piece_units = part_of(units, plan->unit_pieces, piece / plan->row_pieces, 1);
  const range piece_rows =
      part_of(job->out_channels, plan->row_pieces, piece % plan->row_pieces, shape.kernels->dot_rows);
  void *sums = plan->unit_pieces == 1 ? job->weight
                                      : offset(workspace, piece / plan->row_pieces * job->out_channels * filter, size);
  memset(offset(sums, piece_rows.begin * filter, size), 0,
         (size_t)((piece_rows.end - piece_rows.begin) * filter * size));

  const int64_t planes = plan->channels_together * shape.channel_planes * plan->images_together * shape.plane;
  void *right = scratch;
  void *left = offset(right, round_up((planes + shape.slack) * size, ALIGNMENT), 1);
  int64_t *offsets =
      offset(left, round_up(plan->rows_together * plan->images_together * shape.left * size, ALIGNMENT), 1);
  for (int64_t index = piece_units.begin; index < piece_units.end; index++) {
    const unit unit = unit_at(job, plan, index);
    if (index == piece_units.begin || unit.images < plan->images_together) {
      tap_offsets(&shape, plan->channels_together, unit.images, offsets);
    }
    for (int64_t o = piece_rows.begin, rows; o < piece_rows.end; o += rows) {
      const int64_t group = o / shape.written_group;
      rows = minimum(plan->rows_together, minimum(piece_rows.end, (group + 1) * shape.written_group) - o);
      const left_operand operand = left_operand_of(job, plan, &shape, unit, o, rows, left);
      for (int64_t c = 0; c < shape.source_group; c += plan->channels_together) {
        const int64_t channels = minimum(plan->channels_together, shape.source_group - c);
        fill_right(job, &shape, unit, group * shape.source_group + c, channels, right);
        // Reads of the last channel's last taps run on into these.
        memset(offset(right, channels * shape.channel_planes * unit.images * shape.plane, size), 0,
               (size_t)(shape.slack * size));
        multiply(&shape, unit.images, rows, channels * shape.taps, &operand, right, offsets,
                 offset(sums, o * filter + c * shape.taps, size), filter);
      }
    }
  }
}

#define ADD_PARTS(E, suffix)                                                                                     \
  static void add_parts_##suffix(E *weight, const E *parts, int64_t part_count, int64_t count, range elements) { \
    for (int64_t i = elements.begin; i < elements.end; i++) weight[i] = parts[i];                                \
    for (int64_t part = 1; part < part_count; part++) {                                                          \
      for (int64_t i = elements.begin; i < elements.end; i++) weight[i] += parts[part * count + i];              \
    }                                                                                                            \
  }

ADD_PARTS(float, f32)
ADD_PARTS(double, f64)

void temper_weight_gradient_add_parts(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                      int64_t piece, const void *workspace) {
  const int64_t count = job->out_channels * (job->channels / job->groups) * job->kernel_height * job->kernel_width;
  const range elements = part_of(count, plan->piece_counts[1], piece, 1);
  if (job->element == TEMPER_ELEMENT_F64) {
    add_parts_f64(job->weight, workspace, plan->unit_pieces, count, elements);
  } else {
    add_parts_f32(job->weight, workspace, plan->unit_pieces, count, elements);
  }
}
