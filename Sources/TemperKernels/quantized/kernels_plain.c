// What every machine can run: vectors of 4, tables in memory.
#include "kernels.h"
#include "../small.h"

typedef struct table_plain {
  float values[16];
} table_plain;

#define LANES 4
#define ROWS 1
#define MANY_INPUTS 1
#define ROWS_OF_MANY 1
#define NAME(x) x##_plain
#define TABLE table_plain
#define LOAD_TABLE(p) (*(const table_plain *)(p))
#define LOOK_UP(table, codes)                                                                          \
  ((V){(table).values[(codes)[0] & 15], (table).values[(codes)[1] & 15], (table).values[(codes)[2] & 15], \
       (table).values[(codes)[3] & 15]})
#include "kernels_template.h"
#pragma clang attribute pop
