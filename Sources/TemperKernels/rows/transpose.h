// Template over REAL: between rows and columns of few elements.

// Vectors of rows i to vectors of lanes i. Each step takes the upper and the lower half of the vectors lane by lane in
// turn; it rotates the bits of (vector, lane) by one place, and as many steps as the lane has bits exchange the two.
static inline void transpose_lanes(lanes v[LANES]) {
#if VECTOR_BYTES / (SINGLE ? 4 : 8) == 16
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif VECTOR_BYTES / (SINGLE ? 4 : 8) == 8
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif VECTOR_BYTES / (SINGLE ? 4 : 8) == 4
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif
#pragma clang loop unroll(full)
  for (int width = 1; width < LANES; width *= 2) {
    lanes turned[LANES];
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES / 2; ++i) {
      turned[2 * i] = LOW(v[i], v[i + LANES / 2]);
      turned[2 * i + 1] = HIGH(v[i], v[i + LANES / 2]);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; ++i) v[i] = turned[i];
  }
}

// Few columns, dense rows: the compiler knows how to take them apart.
#define FEW_COLUMNS(columns, TO, FROM)                                                                      \
  _Pragma("clang loop vectorize(assume_safety)") for (int64_t r = 0; r < rows; ++r)                         \
      _Pragma("clang loop unroll(full)") for (int64_t c = 0; c < columns; ++c) TO(columns) = FROM(columns); \
  return;
#define IN_ROWS(columns) in_rows[r * columns + c]
#define IN_COLUMNS(columns) in_columns[c * pitch + r]

// Rows of `columns` elements, `row_stride` apart, to columns `pitch` apart. Whole vectors are read from the rows, which
// includes elements of the rows after: the last rows are done one by one.
static void to_columns(REAL *in_columns, int64_t pitch, const REAL *in_rows, int64_t row_stride, int64_t rows,
                       int64_t columns) {
  if (row_stride == 0) {  // the same for all rows
    for (int64_t c = 0; c < columns; ++c) {
      const REAL value = in_rows[c];
      for (int64_t r = 0; r < rows; ++r) in_columns[c * pitch + r] = value;
    }
    return;
  }
  if (row_stride == columns) switch (columns) {
      case 1:
        FEW_COLUMNS(1, IN_COLUMNS, IN_ROWS)
      case 2:
        FEW_COLUMNS(2, IN_COLUMNS, IN_ROWS)
      case 3:
        FEW_COLUMNS(3, IN_COLUMNS, IN_ROWS)
      case 4:
        FEW_COLUMNS(4, IN_COLUMNS, IN_ROWS)
    }
  int64_t r = 0;
  // The last vector of columns starts at a multiple of LANES and ends at `reach`.
  const int64_t reach = (columns + LANES - 1) / LANES * LANES;
  for (; row_stride > 0 && r + LANES <= rows && (rows - r - LANES) * row_stride + columns >= reach; r += LANES)
    for (int64_t c = 0; c < columns; c += LANES) {
      lanes v[LANES];
      for (int i = 0; i < LANES; ++i) v[i] = lanes_at(in_rows + (r + i) * row_stride + c);
      transpose_lanes(v);
      for (int i = 0; i < LANES; ++i)
        if (c + i < columns) lanes_store(in_columns + (c + i) * pitch + r, v[i]);
    }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) in_columns[c * pitch + r] = in_rows[r * row_stride + c];
}

// The way back, for dense rows. Whole vectors are written to the rows, which spoils the start of the row after until
// that is written: vectors of columns are done from the last to the first, and the last rows one by one.
static void to_rows(REAL *in_rows, const REAL *in_columns, int64_t pitch, int64_t rows, int64_t columns) {
  switch (columns) {
    case 1:
      FEW_COLUMNS(1, IN_ROWS, IN_COLUMNS)
    case 2:
      FEW_COLUMNS(2, IN_ROWS, IN_COLUMNS)
    case 3:
      FEW_COLUMNS(3, IN_ROWS, IN_COLUMNS)
    case 4:
      FEW_COLUMNS(4, IN_ROWS, IN_COLUMNS)
  }
  int64_t r = 0;
  const int64_t reach = (columns + LANES - 1) / LANES * LANES;
  for (; r + LANES <= rows && (rows - r - LANES) * columns + columns >= reach; r += LANES)
    for (int64_t c = reach - LANES; c >= 0; c -= LANES) {
      lanes v[LANES];
      for (int i = 0; i < LANES; ++i) v[i] = c + i < columns ? lanes_at(in_columns + (c + i) * pitch + r) : (lanes)0;
      transpose_lanes(v);
      for (int i = 0; i < LANES; ++i) lanes_store(in_rows + (r + i) * columns + c, v[i]);
    }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) in_rows[r * columns + c] = in_columns[c * pitch + r];
}
