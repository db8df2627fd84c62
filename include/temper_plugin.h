/* temper_plugin.h: how to bring a loss of your own to Temper, as a shared library (.so).
 *
 * A plug-in exports one symbol, `temper_plugin_v1`: a constant descriptor with the losses it offers. Temper reads it
 * from the file before any code of the plug-in runs, then loads the library, probes every loss in a child process, and
 * adds it to the catalogue; from there on it is called like any other: in the trainer, from C, from Python.
 *
 *   cc -O2 -shared -fPIC -I$(pkg-config --variable=includedir temper) my_loss.c -o my_loss.so
 *
 * There are two kinds of losses.
 *
 * COMPOSED: a function that builds the loss from the host's expressions, once for each shape. Derivatives of any order,
 * fused execution, both float types and the same bits on any number of threads come from the host. Prefer it.
 *
 * FUNCTION: a function that computes, for a batch, the value of every sample and the gradient with respect to inputs.
 * For code that exists already and for what the expressions do not cover.
 *
 * What a plug-in may rely on
 * --------------------------
 * - Descriptor and all that it points to must be constants: the linker places them, no constructor fills them.
 * - Everything the host passes is valid during the call only, unless said otherwise.
 * - Structs begin with `struct_size`, filled by whoever makes them; read only what lies within it. Arrays of structs
 *   are stepped through by the struct_size of their first element.
 * - A newer plug-in on an older host, and the reverse, work with what both know. `min_host` says what a plug-in cannot
 *   do without.
 * - A function returns 0, or another number after it has described the reason in `message`.
 * - It must not throw across the call, exit, abort, or change process-wide state (signals, locale, floating-point
 *   modes). The probe of the host catches what it can.
 *
 * Thread tags: [one-at-a-time] the host never makes two calls at once for one library; [any] calls may overlap.
 */
#ifndef TEMPER_PLUGIN_H
#define TEMPER_PLUGIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The revision of this header. Additions raise it; a break would change the name of the descriptor. */
#define TEMPER_PLUGIN_REVISION 2

/* A function's text for people goes to `text` (ends with NUL, at most `capacity` bytes; snprintf fits). */
typedef struct temper_message {
  char *text;
  uint64_t capacity;
} temper_message;

/* ---------------------------------------------------------------------------------------------------- Parameters */

#define TEMPER_PLUGIN_BOOLEAN 1
#define TEMPER_PLUGIN_INTEGER 2
#define TEMPER_PLUGIN_REAL 3
#define TEMPER_PLUGIN_TEXT 4 /* free, or one of `choices` */

#define TEMPER_EXCLUDES_LOWER 1u /* the interval is open below */
#define TEMPER_EXCLUDES_UPPER 2u /* the interval is open above */

/* A parameter as the descriptor declares it. The host checks values, so that the loss only sees valid ones. */
typedef struct temper_plugin_parameter {
  uint32_t struct_size;
  int32_t type;         /* TEMPER_PLUGIN_BOOLEAN ... TEMPER_PLUGIN_TEXT */
  const char *name;     /* lower_case */
  const char *summary;  /* one line */
  double initial;       /* default of BOOLEAN (0 or 1), INTEGER and REAL */
  double lower, upper;  /* range of INTEGER and REAL; both 0: any number */
  uint32_t flags;       /* TEMPER_EXCLUDES_* */
  uint32_t reserved;    /* 0 */
  const char *text;     /* default of TEXT */
  const char *choices;  /* values of TEXT, separated by "|"; NULL: any */
} temper_plugin_parameter;

/* A parameter's value as a loss of kind FUNCTION receives it, in the order of the declaration. */
typedef struct temper_plugin_value {
  int64_t integer;  /* BOOLEAN and INTEGER */
  double real;      /* REAL, and INTEGER and BOOLEAN as well */
  const char *text; /* TEXT; NULL otherwise */
} temper_plugin_value;

/* ---------------------------------------------------------------------------------------------------- Inputs */

#define TEMPER_ELEMENT_REAL 1  /* float32 or float64 */
#define TEMPER_ELEMENT_INDEX 2 /* int32, checked by the host to lie in 0..size-1 of the letter in `below` */
#define TEMPER_ELEMENT_MASK 3  /* 0 or 1, of the floating type */

#define TEMPER_INPUT_OPTIONAL 1u
#define TEMPER_INPUT_DIFFERENTIABLE 2u /* a gradient with respect to it exists; its first axis is N, it is REAL */

/* An input as the descriptor declares it. The first input's first axis must be "N", the samples of the batch. */
typedef struct temper_plugin_input {
  uint32_t struct_size;
  int32_t element;     /* TEMPER_ELEMENT_* */
  const char *name;    /* "logits", "targets", "predictions", ... */
  const char *shape;   /* sizes, separated by commas: letters (one size throughout a call) or numbers: "N,C" */
  const char *below;   /* for INDEX: the letter of the size that bounds it, "C"; NULL: not bounded above */
  const char *summary; /* one line */
  double lower, upper; /* REAL: values the loss is made for: the probe draws from between. Both 0: -2 to 2, or 0 to 1
                          for an input without a gradient */
  uint32_t flags;      /* TEMPER_INPUT_* */
  uint32_t reserved;   /* 0 */
} temper_plugin_input;

/* ---------------------------------------------------------------------------------------------------- State */

/* What a loss of kind FUNCTION keeps for each sample between calls, as the descriptor declares it: numbers of the
 * floating type, which the trainer keeps and checkpoints. Since revision 2. */
typedef struct temper_plugin_state {
  uint32_t struct_size;
  uint32_t reserved;   /* 0 */
  const char *name;    /* lower_case */
  const char *shape;   /* sizes for one sample, separated by commas: letters of the inputs or numbers; NULL: one number */
  const char *summary; /* one line */
  double initial;      /* of every sample */
} temper_plugin_state;

/* ---------------------------------------------------------------------------------------------------- FUNCTION */

#define TEMPER_PLUGIN_FLOAT32 1
#define TEMPER_PLUGIN_FLOAT64 2

/* An array, dense, row by row. `data` is NULL for an optional input that is absent. */
typedef struct temper_plugin_array {
  const void *data;
  int64_t rank;
  int64_t sizes[8];
} temper_plugin_array;

/* One batch. Inputs are read only; values and gradients are written whole, and nothing else. */
typedef struct temper_loss_call {
  uint32_t struct_size;
  int32_t dtype;                     /* of REAL and MASK inputs, values and gradients: TEMPER_PLUGIN_FLOAT32 or 64 */
  int64_t count;                     /* N */
  uint64_t input_count;              /* as declared */
  const temper_plugin_array *inputs; /* in the order of the declaration */
  const temper_plugin_value *parameters;
  void *values;                      /* N numbers: the loss of each sample */
  void *const *gradients;            /* one for each input: NULL where none is wanted, else where to write
                                        d value[n] / d input[n, ...], in the input's shape */
  temper_message message;
  /* Since revision 2: there if struct_size reaches so far. */
  uint64_t state_count;              /* as declared */
  const temper_plugin_array *states; /* what the samples of the batch keep: (N, ...) */
  void *const *new_states;           /* for each state: NULL, or where to write what they keep from now on */
  /* Second derivatives, for a loss with TEMPER_LOSS_HAS_PRODUCTS. NULL in most calls; else both have an entry for each
   * input. One of the directions is not NULL: an array in the shape of its input j. For each input i: NULL, or where to
   * write sum over elements of d2 value[n] / (d input_i[n, ...] d input_j[n, ...]) * direction_j[n, ...]. */
  const void *const *directions;
  void *const *products;
} temper_loss_call;

/* `state` is what init gave. 0, or another number with a message. [any] */
typedef int32_t (*temper_loss_function)(void *state, const temper_loss_call *call);

/* ---------------------------------------------------------------------------------------------------- COMPOSED */

/* An expression of the host: a value in a graph, with a known shape. Made by the builder's functions, valid during the
 * compose call. A wrong use (shapes that do not fit, an unknown name) gives an expression that carries the error;
 * whatever is made of it carries it on, and the host reports it: checks in between are not needed. */
typedef struct temper_expr {
  int32_t id;
} temper_expr;

/* element by element, one argument */
#define TEMPER_NEGATE 1
#define TEMPER_ABS 2
#define TEMPER_SIGN 3
#define TEMPER_SQUARE 4
#define TEMPER_SQRT 5
#define TEMPER_RECIPROCAL 6
#define TEMPER_EXP 7
#define TEMPER_EXPM1 8
#define TEMPER_LOG 9
#define TEMPER_LOG1P 10
#define TEMPER_TANH 11
#define TEMPER_SIGMOID 12
#define TEMPER_SOFTPLUS 13
#define TEMPER_ERF 14
#define TEMPER_SIN 15
#define TEMPER_COS 16
#define TEMPER_FLOOR 17
#define TEMPER_CEIL 18
#define TEMPER_ROUND 19
#define TEMPER_NOT 20
#define TEMPER_IS_FINITE 21
#define TEMPER_LOG_GAMMA 22
#define TEMPER_DIGAMMA 23
#define TEMPER_ATAN 24
#define TEMPER_INVERSE_ERF 25
#define TEMPER_NORMAL_CDF 26
#define TEMPER_RELU 27
#define TEMPER_STOP_GRADIENT 28 /* the value; derivative 0 */

/* along the last axis, which stays */
#define TEMPER_SOFTMAX 40
#define TEMPER_LOG_SOFTMAX 41
#define TEMPER_SORT_ASCENDING 42
#define TEMPER_SORT_DESCENDING 43
#define TEMPER_CUMULATIVE_SUM 44

/* element by element, two arguments; shapes broadcast as in NumPy; comparisons give 0 or 1 */
#define TEMPER_ADD 1
#define TEMPER_SUBTRACT 2
#define TEMPER_MULTIPLY 3
#define TEMPER_DIVIDE 4
#define TEMPER_POWER 5
#define TEMPER_MAXIMUM 6
#define TEMPER_MINIMUM 7
#define TEMPER_REMAINDER 8
#define TEMPER_EQUAL 9
#define TEMPER_NOT_EQUAL 10
#define TEMPER_LESS 11
#define TEMPER_LESS_EQUAL 12
#define TEMPER_AND 13
#define TEMPER_OR 14

/* reductions; the axis stays with size 1 */
#define TEMPER_REDUCE_SUM 1
#define TEMPER_REDUCE_MEAN 2
#define TEMPER_REDUCE_MAX 3
#define TEMPER_REDUCE_MIN 4
#define TEMPER_REDUCE_PRODUCT 5
#define TEMPER_REDUCE_LOG_SUM_EXP 6 /* last axis only */
#define TEMPER_REDUCE_ARGMAX 7      /* last axis only; the index as a number, of the first largest */
#define TEMPER_REDUCE_ARGMIN 8      /* last axis only */

#define TEMPER_TRANSPOSE_A 1u
#define TEMPER_TRANSPOSE_B 2u

typedef struct temper_build temper_build; /* the graph being built */

/* The functions that compose expressions. Slots are only appended; those within struct_size are never NULL. Axes count
 * from 0, negative ones from the end. `b` is the pointer that compose received. */
typedef struct temper_builder {
  uint32_t struct_size;
  uint32_t revision; /* TEMPER_PLUGIN_REVISION of the host */

  /* An input by its declared name, in the declared shape; INDEX inputs of shape (N,) come as (N, 1) indices for pick,
   * place and one_hot. An absent optional input is an error expression: ask `has` first. */
  temper_expr (*input)(temper_build *b, const char *name);
  int32_t (*has)(temper_build *b, const char *name); /* 1 if the input came */
  /* Parameters: BOOLEAN, INTEGER and REAL as a number; the text of a TEXT, valid during compose. */
  double (*number)(temper_build *b, const char *name);
  const char *(*text)(temper_build *b, const char *name);

  /* The rank (-1 for an error expression), and up to 8 sizes into `sizes`, which may be NULL. */
  int32_t (*shape)(temper_build *b, temper_expr x, int64_t *sizes);

  temper_expr (*constant)(temper_build *b, double value); /* a scalar; broadcasts */
  temper_expr (*iota)(temper_build *b, int32_t rank, const int64_t *sizes, int32_t axis); /* 0, 1, 2, ... along axis */
  temper_expr (*unary)(temper_build *b, int32_t operation, temper_expr x);
  temper_expr (*binary)(temper_build *b, int32_t operation, temper_expr x, temper_expr y);
  temper_expr (*select)(temper_build *b, temper_expr mask, temper_expr x, temper_expr y); /* mask != 0 ? x : y */
  temper_expr (*reduce)(temper_build *b, int32_t operation, temper_expr x, int32_t axis);

  temper_expr (*pick)(temper_build *b, temper_expr x, temper_expr index); /* x[n, index[n]]: (..., C) -> (..., 1) */
  temper_expr (*place)(temper_build *b, temper_expr value, temper_expr index, int64_t columns); /* its transpose */
  temper_expr (*one_hot)(temper_build *b, temper_expr index, int64_t columns);

  temper_expr (*reshape)(temper_build *b, temper_expr x, int32_t rank, const int64_t *sizes);
  temper_expr (*broadcast)(temper_build *b, temper_expr x, int32_t rank, const int64_t *sizes);
  temper_expr (*permute)(temper_build *b, temper_expr x, const int32_t *axes, int32_t axis_count);
  temper_expr (*slice)(temper_build *b, temper_expr x, int32_t axis, int64_t start, int64_t count);
  temper_expr (*concatenate)(temper_build *b, const temper_expr *parts, int32_t part_count, int32_t axis);
  /* Over the last two axes; `transpose` is TEMPER_TRANSPOSE_A, TEMPER_TRANSPOSE_B, both or 0. */
  temper_expr (*matmul)(temper_build *b, temper_expr x, temper_expr y, uint32_t transpose);
} temper_builder;

/* Builds the loss: the value of each sample as (N, 1) or (N,), or, for a loss of the batch, (1, 1), (1,) or ().
 * 0 with `*result` set, or another number with a message. Called once for each set of shapes and parameters. [any] */
typedef int32_t (*temper_compose_function)(void *state, temper_build *b, const temper_builder *builder,
                                           temper_expr *result, temper_message message);

/* ---------------------------------------------------------------------------------------------------- Descriptor */

#define TEMPER_LOSS_FUNCTION 1
#define TEMPER_LOSS_COMPOSED 2

#define TEMPER_LOSS_HAS_FLOAT64 1u /* FUNCTION: it may be called with float64 too; otherwise the host converts */
#define TEMPER_LOSS_OF_BATCH 2u    /* COMPOSED: one value for the batch instead of one for each sample */
#define TEMPER_LOSS_HAS_PRODUCTS 4u /* FUNCTION: it writes products with second derivatives. Since revision 2 */

/* One loss. */
typedef struct temper_plugin_loss {
  uint32_t struct_size;
  int32_t kind;          /* TEMPER_LOSS_FUNCTION or TEMPER_LOSS_COMPOSED; other kinds are skipped with a note */
  const char *name;      /* lower_case; the catalogue has it as "<plug-in>.<name>" */
  const char *summary;   /* one line: the formula where it fits */
  const char *reference; /* authors, year, title; or NULL */
  const temper_plugin_input *inputs;
  uint64_t input_count;
  const temper_plugin_parameter *parameters;
  uint64_t parameter_count;
  uint32_t flags;        /* TEMPER_LOSS_* flags */
  uint32_t reserved;     /* 0 */
  temper_loss_function evaluate;   /* FUNCTION */
  temper_compose_function compose; /* COMPOSED */
  const temper_plugin_state *states; /* FUNCTION; since revision 2 */
  uint64_t state_count;
} temper_plugin_loss;

/* What the host offers to a plug-in, valid until deinit. Slots within struct_size are never NULL. */
typedef struct temper_host {
  uint32_t struct_size;
  uint32_t revision;        /* TEMPER_PLUGIN_REVISION of the host */
  uint32_t library_version; /* TEMPER_VERSION of the host */
  uint32_t reserved;
  void *context;            /* passed back to the functions below */
  void (*log)(void *context, int32_t level, const char *text); /* level 1: information, 2: warning. [any] */
  /* A further table of the host by its id with a revision ("temper.weighted-loss/1"), or NULL if it has none. Ids that
   * begin with "draft." may change or go. [any] */
  const void *(*extension)(void *context, const char *id);
} temper_host;

typedef struct temper_plugin_descriptor {
  uint32_t struct_size;
  uint32_t built_for; /* TEMPER_PLUGIN_REVISION of the header it was compiled with */
  uint32_t min_host;  /* smallest revision of a host that it can work with */
  uint32_t reserved;  /* 0 */
  const char *name;    /* lower_case: the namespace of its losses */
  const char *version; /* "1.0.0" */
  const char *licence; /* an SPDX identifier: "MIT" */
  const char *summary; /* one line; or NULL */
  const temper_plugin_loss *losses;
  uint64_t loss_count;
  /* Called for each context that loads the plug-in; what it leaves in `*state` goes to its losses and to deinit. May be
   * NULL; so may deinit. 0, or another number with a message. [one-at-a-time] */
  int32_t (*init)(const temper_host *host, void **state, temper_message message);
  /* Called once for each init that succeeded, when nothing of that context uses the plug-in any more.
   * [one-at-a-time] */
  void (*deinit)(void *state);
} temper_plugin_descriptor;

#if defined(__GNUC__)
#define TEMPER_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define TEMPER_PLUGIN_EXPORT
#endif

/* Defined by the plug-in; the only symbol it needs to export. */
extern TEMPER_PLUGIN_EXPORT const temper_plugin_descriptor temper_plugin_v1;

#ifdef __cplusplus
}
#endif
#endif
