// FORWARD and INPUT_GRADIENT: planes of the source against filters, tile by tile. See convolution_kernels.h.
#include "../matmul/matmul_kernels.h"
#include "plan.h"

// The taps of one result residue: pairs (r, q) in order.
static int64_t residue_taps(const shape *shape, int64_t row_residue, int64_t column_residue) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  if (!rows->transposed) return shape->taps;
  int64_t row_taps = 0, column_taps = 0;
  for (int64_t r = 0; r < rows->taps; r++) row_taps += tap_residue(rows, r) == row_residue;
  for (int64_t q = 0; q < columns->taps; q++) column_taps += tap_residue(columns, q) == column_residue;
  return row_taps * column_taps;
}

static bool takes_tap(const axis *axis, int64_t residue, int64_t tap) {
  return !axis->transposed || tap_residue(axis, tap) == residue;
}

// A tile's filters as the strips read them: [result residue][source channel, tap][row of the tile].
static void arrange_tile(const temper_convolution_job *job, const temper_convolution_plan *plan, const shape *shape,
                         int64_t group, int64_t first_row, int64_t rows, void *filters) {
  const matmul_kernels *kernels = temper_matmul_kernels(plan->variant, job->element);
  const axis *row_axis = &shape->geometry.rows, *column_axis = &shape->geometry.columns;
  const int64_t size = shape->size, taps = shape->taps;
  if (!row_axis->transposed) {
    const int64_t depth = shape->source_group * taps;
    kernels->pack(depth, rows, rows, offset(job->weight, (group * shape->written_group + first_row) * depth, size), 1,
                  depth, filters);
    return;
  }
  for (int64_t a = 0; a < result_residues(row_axis); a++) {
    for (int64_t b = 0; b < result_residues(column_axis); b++) {
      for (int64_t o = 0; o < shape->source_group; o++) {
        const int64_t from = ((group * shape->source_group + o) * shape->written_group + first_row) * taps;
        if (residue_taps(shape, a, b) == taps) {
          kernels->pack(taps, rows, rows, offset(job->weight, from, size), 1, taps, filters);
          filters = offset(filters, taps * rows, size);
          continue;
        }
        for (int64_t r = 0; r < row_axis->taps; r++) {
          for (int64_t q = 0; q < column_axis->taps; q++) {
            if (!takes_tap(row_axis, a, r) || !takes_tap(column_axis, b, q)) continue;
            kernels->pack(1, rows, rows, offset(job->weight, from + r * column_axis->taps + q, size), 0, taps, filters);
            filters = offset(filters, rows, size);
          }
        }
      }
    }
  }
}

static int64_t tile_filters(const shape *shape) { return shape->tile_rows * shape->source_group * shape->taps; }

void temper_correlation_arrange_filters(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                        int64_t piece, void *workspace) {
  const shape shape = temper_convolution_shape(job, plan);
  const range tiles = part_of(job->groups * shape.tiles, plan->piece_counts[0], piece, 1);
  for (int64_t index = tiles.begin; index < tiles.end; index++) {
    const int64_t first_row = index % shape.tiles * shape.tile_rows;
    arrange_tile(job, plan, &shape, index / shape.tiles, first_row,
                 minimum(shape.tile_rows, shape.written_group - first_row),
                 offset(workspace, index * tile_filters(&shape), shape.size));
  }
}

// Where in the planes each (source channel, tap) of a residue begins, in the order of `arrange_tile`: the same for
// every band, so for the first.
static int64_t tap_offsets(const shape *shape, int64_t row_residue, int64_t column_residue, int64_t *offsets) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  const int64_t first_row = results_of(rows, row_residue, 0, rows->written).first;
  int64_t taps = 0;
  for (int64_t r = 0; r < rows->taps; r++) {
    for (int64_t q = 0; q < columns->taps; q++) {
      if (!takes_tap(rows, row_residue, r) || !takes_tap(columns, column_residue, q)) continue;
      const int64_t plane = (rows->transposed ? 0 : tap_residue(rows, r)) * columns->taps + q;
      offsets[taps++] = plane * shape->plane + tap_row(rows, r, 0, first_row) * tap_results(columns, q).count;
    }
  }
  const int64_t count = shape->source_group * taps;
  for (int64_t i = taps; i < count; i++) offsets[i] = offsets[i - taps] + shape->channel_planes * shape->plane;
  return count;
}

// One residue's results in a band.
typedef struct strip {
  results rows, columns;
  int64_t first_tap, taps;  // among the (source channel, tap) of all residues
  const int64_t *offsets;   // of the first
  const void *planes;
  void *written;  // the first channel of the group, of one image
  const void *bias;
  bool relu;
} strip;

// The results among `width` positions from `first`.
static int64_t find_runs(const shape *shape, const strip *strip, int64_t first, int64_t width, run *runs) {
  const int64_t row_step = result_step(&shape->geometry.rows), column_step = result_step(&shape->geometry.columns);
  const int64_t written = shape->geometry.columns.written, line = strip->columns.count;
  if (row_step == 1 && column_step == 1) {
    runs[0] = (run){.from = 0, .length = width, .to = strip->rows.first * written + first};
    return 1;
  }
  int64_t count = 0;
  for (int64_t i = first / line; i * line < first + width; i++) {
    const int64_t begin = maximum(0, first - i * line), end = minimum(line, first + width - i * line);
    runs[count++] = (run){
        .from = i * line + begin - first,
        .length = end - begin,
        .to = (strip->rows.first + i * row_step) * written + strip->columns.first + begin * column_step,
    };
  }
  return count;
}

static int64_t vectors_index(int64_t vectors) { return vectors <= 1 ? 0 : vectors <= 2 ? 1 : vectors <= 4 ? 2 : 3; }

// Taps that all tiles pass over before the next ones: their vectors (96 KB) and one tile's filters stay in the caches.
enum { TAP_BLOCK = 768 };

// Some tiles of the group, whose filters are given. `sums` has room for all of the group's rows.
static void run_strip(const shape *shape, const strip *strip, range tiles, const void *filters, void *sums) {
  run runs[MAX_SINGLE_VECTORS * 16];  // of one position each, at worst
  const convolution_kernels *kernels = shape->kernels;
  const int64_t size = shape->size, most = shape->strip_positions;
  const int64_t plane_written = shape->geometry.rows.written * shape->geometry.columns.written;
  const int64_t positions = strip->rows.count * strip->columns.count;
  const bool is_single = shape->tile_rows == 1;
  const int64_t first_row = tiles.begin * shape->tile_rows;
  const int64_t last_row = minimum(tiles.end * shape->tile_rows, shape->written_group);
  for (int64_t first = 0; first < positions; first += most) {
    const int64_t width = minimum(most, positions - first), vectors = divide_up(width, kernels->lanes);
    for (int64_t tap = 0; tap == 0 || tap < strip->taps; tap += TAP_BLOCK) {
      for (int64_t row = first_row, tile = 0; row < last_row; row += shape->tile_rows, tile++) {
        const int64_t rows = minimum(shape->tile_rows, shape->written_group - row);
        strip_function *function =
            is_single ? kernels->singles[vectors_index(vectors)] : kernels->strips[vectors - 1][rows - 1];
        function(minimum(TAP_BLOCK, strip->taps - tap),
                 offset(filters, tile * tile_filters(shape) + (strip->first_tap + tap) * rows, size),
                 offset(strip->planes, first, size), strip->offsets + tap, tap > 0,
                 offset(sums, (row - first_row) * most, size), most);
      }
    }
    const int64_t run_count = find_runs(shape, strip, first, width, runs);
    kernels->scatter(last_row - first_row, sums, most, runs, run_count,
                     offset(strip->written, first_row * plane_written, size), plane_written,
                     result_step(&shape->geometry.columns), strip->bias ? offset(strip->bias, first_row, size) : NULL,
                     strip->relu);
  }
}

// The planes of one group of one image, for results from row `begin`.
static void fill_planes(const shape *shape, const void *source, int64_t begin, void *planes) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  for (int64_t c = 0; c < shape->source_group; c++) {
    for (int64_t a = 0; a < plane_residues(rows); a++) {
      const bool is_read = rows->transposed || residue_occurs(rows, a);
      for (int64_t q = 0; q < columns->taps; q++) {
        if (is_read) fill_plane(shape, source, begin, a, q, planes);
        planes = offset(planes, shape->plane, shape->size);
      }
    }
    source = offset(source, rows->source * columns->source, shape->size);
  }
}

// Tiles first ..< last of one group, in one band of one image.
static void run_band(const temper_convolution_job *job, const shape *shape, int64_t image, range band, int64_t group,
                     range tiles, const void *workspace, const void *planes, const int64_t *offsets, void *sums) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  const int64_t size = shape->size, channel = (image * job->groups + group) * shape->written_group;
  strip strip = {
      .planes = planes,
      .written = offset(rows->transposed ? job->input : job->output, channel * rows->written * columns->written, size),
      .bias = !rows->transposed && job->bias ? offset(job->bias, group * shape->written_group, size) : NULL,
      .relu = !rows->transposed && job->activation == TEMPER_ACTIVATION_RELU,
  };
  const void *filters = offset(workspace, (group * shape->tiles + tiles.begin) * tile_filters(shape), size);
  for (int64_t a = 0; a < result_residues(rows); a++) {
    for (int64_t b = 0; b < result_residues(columns); b++) {
      strip.rows = results_of(rows, a, band.begin, band.end);
      strip.columns = results_of(columns, b, 0, columns->written);
      strip.taps = shape->source_group * residue_taps(shape, a, b);
      strip.offsets = offsets + strip.first_tap;
      if (strip.rows.count > 0 && strip.columns.count > 0) run_strip(shape, &strip, tiles, filters, sums);
      strip.first_tap += strip.taps;
    }
  }
}

void temper_correlation_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan, int64_t piece,
                                  const void *workspace, void *scratch) {
  const shape shape = temper_convolution_shape(job, plan);
  const axis *rows = &shape.geometry.rows, *columns = &shape.geometry.columns;
  const int64_t planes = shape.source_group * shape.channel_planes * shape.plane;
  int64_t *offsets = offset(scratch, round_up((planes + shape.slack) * shape.size, ALIGNMENT), 1);
  void *sums = offset(offsets, round_up(shape.source_group * shape.taps * (int64_t)sizeof(int64_t), ALIGNMENT), 1);
  int64_t first_tap = 0;
  for (int64_t a = 0; a < result_residues(rows); a++) {
    for (int64_t b = 0; b < result_residues(columns); b++) first_tap += tap_offsets(&shape, a, b, offsets + first_tap);
  }
  const range units = part_of(job->images * plan->bands, plan->unit_pieces, piece / plan->row_pieces, 1);
  const range tiles = part_of(job->groups * shape.tiles, plan->row_pieces, piece % plan->row_pieces, 1);
  for (int64_t unit = units.begin; unit < units.end; unit++) {
    const int64_t image = unit / plan->bands, band_begin = unit % plan->bands * plan->band_rows;
    const range band = {band_begin, minimum(band_begin + plan->band_rows, rows->written)};
    for (int64_t tile = tiles.begin; tile < tiles.end;) {
      const int64_t group = tile / shape.tiles;
      const int64_t last = minimum(tiles.end, (group + 1) * shape.tiles);
      const int64_t channel = (image * job->groups + group) * shape.source_group;
      fill_planes(
          &shape,
          offset(rows->transposed ? job->output : job->input, channel * rows->source * columns->source, shape.size),
          band.begin, scratch);
      run_band(job, &shape, image, band, group, (range){tile - group * shape.tiles, last - group * shape.tiles},
               workspace, scratch, offsets, sums);
      tile = last;
    }
  }
}
