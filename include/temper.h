/* temper.h: the C interface of Temper, a library for robust training, losses and quantization.
 *
 * The shape of every call
 * -----------------------
 *   int32_t temper_<noun>_<verb>(<results>..., <subject>, <arguments>..., temper_error *error);
 *
 * Results come first. A call that can fail returns a status: TEMPER_OK (0) or one of the TEMPER_ERROR_* codes. The last
 * argument may be NULL; otherwise the call fills it with the code, the index of the argument at fault, where the error
 * comes from, and a whole sentence that says what was expected, what came and what to do. On failure results are not
 * written, except handles, which are set to NULL. Nothing aborts, exits, prints or throws.
 *
 * Who owns what
 * -------------
 * Handles (temper_context, temper_tensor, ...) are opaque. Whoever receives one through an out-parameter owns it and
 * gives it back with the matching _free; _free(NULL) does nothing. A handle keeps alive what it needs: a trainer its
 * model, a model its context, a tensor its memory; free in any order. A handle of the wrong kind, one freed already,
 * and a pointer that never was a handle are found out and answered with TEMPER_ERROR_INVALID_HANDLE.
 * Text and arrays passed in are only read during the call, unless the function says that it borrows. Text is UTF-8,
 * ends with NUL, and is at most 16 MB long.
 *
 * Text results go to memory of the caller: (char *text, uint64_t capacity, uint64_t *length). `*length` receives the
 * length without the NUL. With text NULL and capacity 0 the call only measures. A capacity of `*length` or less is
 * TEMPER_ERROR_OUT_OF_RANGE, nothing is written to `text`, and `*length` says what is needed.
 *
 * Structs that may grow begin with `struct_size`, set by the caller to sizeof(the struct). All zero means all defaults.
 * A struct from a newer header, with a field set that this library does not know, is an error that names the offset.
 *
 * Threads
 * -------
 * [any]             may be called from any thread, at any time.
 * [one-per-handle]  from any thread, but by one at a time for each handle passed (a handle that is only read, such as
 *                   an input tensor, may be shared by readers).
 * [callback]        called by the library, on the thread that made the call which takes the callback.
 * The child of a fork, made while no call was running, may go on with what it has: alone, without the context's threads,
 * until it makes a context of its own.
 * The only thread-local thing is the copy of the last error. Nothing is process-wide: threads, seed, log and permitted
 * plug-in directories belong to a temper_context.
 *
 * Numbers
 * -------
 * The same inputs give the same bits with one thread and with many, today and after a resume.
 * N is samples, C classes, D features, B the batch.
 */
#ifndef TEMPER_H
#define TEMPER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------- Version */

/* The version of this header: breaking changes, additions, repairs. */
#define TEMPER_VERSION_MAJOR 1
#define TEMPER_VERSION_MINOR 0
#define TEMPER_VERSION_PATCH 0
#define TEMPER_VERSION ((TEMPER_VERSION_MAJOR << 16) | (TEMPER_VERSION_MINOR << 8) | TEMPER_VERSION_PATCH)

/* The version of the loaded library, in the form of TEMPER_VERSION. [any] */
uint32_t temper_version(void);

/* For hosts that load the library at run time: the table of all functions (temper_api.h: struct temper_api).
 * `wanted` is the TEMPER_API_VERSION the host was compiled with; `*granted` (may be NULL) receives the version that the
 * table has, which is the smaller of wanted and known: slots above it must not be read. Tables only grow at their end.
 * NULL when `wanted` is 0. The table is constant and lives as long as the library. [any] */
struct temper_api;
const struct temper_api *temper_get_api(uint32_t wanted, uint32_t *granted);

/* ---------------------------------------------------------------------------------------------------- Errors */

#define TEMPER_OK 0
#define TEMPER_ERROR_INVALID_ARGUMENT 1 /* NULL, an unknown constant, arguments that contradict each other */
#define TEMPER_ERROR_INVALID_SHAPE 2    /* rank, sizes, strides or buffer length do not fit */
#define TEMPER_ERROR_INVALID_TYPE 3     /* another element type is needed */
#define TEMPER_ERROR_UNKNOWN_NAME 4     /* no such method, parameter, input or state */
#define TEMPER_ERROR_OUT_OF_RANGE 5     /* a value, label or size outside what is allowed */
#define TEMPER_ERROR_NOT_FINITE 6       /* NaN or infinity where it cannot be worked with */
#define TEMPER_ERROR_OUT_OF_MEMORY 7
#define TEMPER_ERROR_INPUT_OUTPUT 8     /* the system refused a file; the text has its reason */
#define TEMPER_ERROR_MALFORMED_FILE 9   /* a file that is truncated, damaged or hostile */
#define TEMPER_ERROR_PLUGIN_FAILED 10   /* a plug-in was refused or returned an error */
#define TEMPER_ERROR_CANCELLED 11       /* a callback asked to stop; what was done stays usable */
#define TEMPER_ERROR_WRONG_STATE 12     /* the call does not fit what the handle has done so far */
#define TEMPER_ERROR_UNSUPPORTED 13     /* well formed, but this version or method does not do it */
#define TEMPER_ERROR_INVALID_HANDLE 14  /* not a handle, freed already, or of another kind */
#define TEMPER_ERROR_INTERNAL 15        /* a fault of Temper itself; please report it */

/* Where a call leaves its error. Belongs to the caller; needs no initialisation; never grows (2048 bytes). */
typedef struct temper_error {
  int32_t code;       /* TEMPER_ERROR_*; TEMPER_OK after a call that succeeded */
  int32_t argument;   /* index from 0 of the argument at fault, or -1 */
  char origin[248];   /* plug-in, method or file that the error comes from; empty when it is the call itself */
  char message[1792]; /* a whole sentence; ends with NUL, cut at a whole character with "..." if longer */
} temper_error;

/* The error of the last call on this thread that failed; code TEMPER_OK if none has. Valid until the next call that
 * fails on this thread. For scripts; programs pass a temper_error. [any] */
const temper_error *temper_last_error(void);

/* The name of a status, such as "TEMPER_ERROR_OUT_OF_RANGE"; "unknown status" for other numbers. Constant. [any] */
const char *temper_status_name(int32_t status);

/* ---------------------------------------------------------------------------------------------------- Handles */

typedef struct temper_context temper_context;       /* threads, seed, log, catalogue with the plug-ins loaded */
typedef struct temper_tensor temper_tensor;         /* a strided view of memory */
typedef struct temper_tensor_map temper_tensor_map; /* an ordered list of named tensors: parameters, state, history */
typedef struct temper_loss temper_loss;
typedef struct temper_op temper_op;                 /* an operator or an activation */
typedef struct temper_decoder temper_decoder;       /* a rule that chooses the next token, or marks a text */
typedef struct temper_metric temper_metric;         /* a measurement of arrays */
typedef struct temper_optimizer temper_optimizer;
typedef struct temper_schedule temper_schedule;
typedef struct temper_model temper_model;
typedef struct temper_trainer temper_trainer;
typedef struct temper_quantizer temper_quantizer;
typedef struct temper_quantized temper_quantized;   /* one quantized matrix, packed */
typedef struct temper_plugin temper_plugin;         /* a loaded plug-in */
typedef struct temper_file temper_file;             /* a file of tensors and metadata, open for reading */
typedef struct temper_procedure temper_procedure;   /* what a trainer does otherwise than plain training */

/* ---------------------------------------------------------------------------------------------------- Context */

#define TEMPER_LOG_INFORMATION 1
#define TEMPER_LOG_WARNING 2

/* Receives a line of text (no line end, valid during the call). The value returned must be 0. [callback] */
typedef int32_t (*temper_log_function)(void *user, int32_t level, const char *text);

/* Releases what a callback's `user` points to; called once, on the thread that drops the last handle needing it.
 * [callback] */
typedef void (*temper_destroy_function)(void *user);

typedef struct temper_context_options {
  uint32_t struct_size;
  int32_t threads;                       /* 0: one for each processor; at most 256 */
  uint64_t seed;                         /* the seed wherever a seed of 0 is passed */
  temper_log_function log;               /* NULL: silence */
  void *log_user;
  temper_destroy_function log_destroy;   /* may be NULL; on failure of the create call it is not called */
  const char *const *plugin_directories; /* where plug-ins may be loaded from, subdirectories included, after resolving
                                            symbolic links; with none, an explicit path to any file may be loaded */
  uint64_t plugin_directory_count;
} temper_context_options;

/* A context. `options` NULL: all defaults. Nothing is read from the environment. [any] */
int32_t temper_context_create(temper_context **out, const temper_context_options *options, temper_error *error);

/* The number of threads that work is shared among, the caller's included. [any] */
int32_t temper_context_threads(int32_t *out, temper_context *context, temper_error *error);

/* Gives the context back. Handles made from it stay usable. [one-per-handle] */
int32_t temper_context_free(temper_context *context);

/* ---------------------------------------------------------------------------------------------------- Tensors */

#define TEMPER_FLOAT32 1
#define TEMPER_FLOAT64 2
#define TEMPER_INT32 3
#define TEMPER_INT64 4
#define TEMPER_UINT8 5
#define TEMPER_BOOL 6 /* one byte, 0 or 1 */
#define TEMPER_INT8 7

#define TEMPER_MAXIMUM_RANK 8

/* A dense tensor of zeros that owns its memory (64-byte aligned). `sizes` has `rank` entries, outermost first; it may
 * be NULL for rank 0, a scalar. Sizes of 0 are allowed. [any] */
int32_t temper_tensor_create(temper_tensor **out, int32_t dtype, int32_t rank, const int64_t *sizes,
                             temper_error *error);

#define TEMPER_BUFFER_READ_ONLY 1u

/* Memory of the caller, and how elements lie in it. */
typedef struct temper_buffer {
  uint32_t struct_size;
  int32_t dtype;
  int32_t rank;
  uint32_t flags;         /* TEMPER_BUFFER_READ_ONLY or 0 */
  void *data;             /* start of the memory; any alignment; NULL only for byte_length 0 */
  uint64_t byte_length;   /* bytes from data on that elements may lie in: checked against sizes and strides */
  uint64_t byte_offset;   /* of the first element, from data */
  const int64_t *sizes;   /* rank entries */
  const int64_t *strides; /* rank entries, in elements, 0 and negative allowed; NULL: dense, row by row */
  temper_destroy_function release; /* called when no tensor needs the memory any more; may be NULL */
  void *release_user;
} temper_buffer;

/* A tensor over memory that stays the caller's: no copy. The memory must stay valid until `release` is called, or, with
 * no release, until this handle and all made from it are freed. When the call fails `release` is not called. [any] */
int32_t temper_tensor_borrow(temper_tensor **out, const temper_buffer *buffer, temper_error *error);

/* Elements start..start+count-1 along `axis` (negative axes count from the end), as a view of the same memory. [any] */
int32_t temper_tensor_slice(temper_tensor **out, temper_tensor *tensor, int32_t axis, int64_t start, int64_t count,
                            temper_error *error);

/* The same elements under another shape with as many elements; a view if the tensor is dense, else a copy. [any] */
int32_t temper_tensor_reshape(temper_tensor **out, temper_tensor *tensor, int32_t rank, const int64_t *sizes,
                              temper_error *error);

/* The axes in another order, as a view of the same memory; `axes` has as many entries as the tensor's rank. [any] */
int32_t temper_tensor_permute(temper_tensor **out, temper_tensor *tensor, const int32_t *axes, int32_t axis_count,
                              temper_error *error);

/* A dense copy with memory of its own; `dtype` 0 keeps the type. Floats become integers by truncation, saturating, NaN
 * becoming 0. [any] */
int32_t temper_tensor_copy(temper_tensor **out, temper_tensor *tensor, int32_t dtype, temper_error *error);

/* Writes all elements of `source` into `target`, converted as in temper_tensor_copy. Shapes must be equal; memory must
 * not overlap. [one-per-handle] */
int32_t temper_tensor_assign(temper_tensor *target, temper_tensor *source, temper_error *error);

/* A read-only tensor over a .npy file of NumPy, versions 1.0 to 3.0, with elements float32, float64, int32, int64, uint8,
 * int8 or bool in this machine's byte order: the file is mapped and not read, so that it may be larger than memory. It
 * must stay as it is while a handle to the tensor lives: if another program cuts it short, the process dies of SIGBUS. Files
 * that are damaged or hostile are errors. [any] */
int32_t temper_tensor_open_npy(temper_tensor **out, const char *path, temper_error *error);

#define TEMPER_TENSOR_READ_ONLY 1u
#define TEMPER_TENSOR_DENSE 2u

typedef struct temper_tensor_info {
  uint32_t struct_size; /* set by the caller */
  int32_t dtype;
  int32_t rank;
  uint32_t flags;       /* TEMPER_TENSOR_* */
  int64_t count;        /* elements */
  int64_t sizes[TEMPER_MAXIMUM_RANK];
  int64_t strides[TEMPER_MAXIMUM_RANK]; /* in elements */
  void *data;           /* the first element (index 0 along every axis) */
} temper_tensor_info;

/* What a tensor is. The data pointer is valid while a handle to the memory lives. [any] */
int32_t temper_tensor_get_info(temper_tensor_info *out, temper_tensor *tensor, temper_error *error);

/* The first element, for short programs; NULL if the handle is invalid. [any] */
void *temper_tensor_data(temper_tensor *tensor);

/* Gives the tensor back; its memory goes with the last handle to it. [one-per-handle] */
int32_t temper_tensor_free(temper_tensor *tensor);

/* DLPack (temper_dlpack.h declares the struct; an official dlpack.h works as well, in any order). CPU memory only.
 *
 * Import: a tensor over the memory of `managed`, no copy; READ_ONLY is respected. On success the tensor owns `managed`
 * and calls its deleter in the end; on failure it stays the caller's. [any] */
struct DLManagedTensorVersioned;
int32_t temper_tensor_from_dlpack(temper_tensor **out, struct DLManagedTensorVersioned *managed, temper_error *error);

/* Export: a new managed tensor over this tensor's memory, no copy. The receiver calls its deleter. [any] */
int32_t temper_tensor_to_dlpack(struct DLManagedTensorVersioned **out, temper_tensor *tensor, temper_error *error);

/* A tensor under a name: how inputs, gradients, parameters and state are passed. Whether the tensor is read or written
 * is said by the function. Within one call names are unique, and what is written overlaps nothing else. */
typedef struct temper_named_tensor {
  const char *name;
  temper_tensor *tensor;
} temper_named_tensor;

/* How many tensors a map holds. [any] */
int32_t temper_tensor_map_count(uint64_t *out, temper_tensor_map *map, temper_error *error);

/* Entry `index`: its name, borrowed from the map, and a new handle to its tensor (the same memory). Either
 * out-parameter may be NULL. [any] */
int32_t temper_tensor_map_get(const char **name, temper_tensor **tensor, temper_tensor_map *map, uint64_t index,
                              temper_error *error);

/* The tensor called `name`, as a new handle to the same memory. [any] */
int32_t temper_tensor_map_find(temper_tensor **out, temper_tensor_map *map, const char *name, temper_error *error);

/* [one-per-handle] */
int32_t temper_tensor_map_free(temper_tensor_map *map);

/* ---------------------------------------------------------------------------------------------------- Parameters */

#define TEMPER_PARAM_NONE 0 /* no value, where a parameter allows that */
#define TEMPER_PARAM_BOOLEAN 1
#define TEMPER_PARAM_INTEGER 2
#define TEMPER_PARAM_REAL 3
#define TEMPER_PARAM_TEXT 4

/* A parameter of a method: a name and a typed value. Whole numbers may come as either INTEGER or REAL. An unknown name,
 * one given twice, and a value outside its range are errors that list what is valid. Make them with the functions
 * below. */
typedef struct temper_param {
  const char *name;
  int32_t type;    /* TEMPER_PARAM_*: which of the following counts */
  int32_t boolean; /* 0 or 1 */
  int64_t integer;
  double real;
  const char *text;
} temper_param;

static inline temper_param temper_none(const char *name) {
  temper_param p = {name, TEMPER_PARAM_NONE, 0, 0, 0.0, 0};
  return p;
}
static inline temper_param temper_boolean(const char *name, int32_t value) {
  temper_param p = {name, TEMPER_PARAM_BOOLEAN, value, 0, 0.0, 0};
  return p;
}
static inline temper_param temper_integer(const char *name, int64_t value) {
  temper_param p = {name, TEMPER_PARAM_INTEGER, 0, value, 0.0, 0};
  return p;
}
static inline temper_param temper_real(const char *name, double value) {
  temper_param p = {name, TEMPER_PARAM_REAL, 0, 0, value, 0};
  return p;
}
static inline temper_param temper_text(const char *name, const char *value) {
  temper_param p = {name, TEMPER_PARAM_TEXT, 0, 0, 0.0, value};
  return p;
}

/* ---------------------------------------------------------------------------------------------------- Catalogue */

/* Every method has one record: name, aliases, kind, area, summary, parameters (type, default, range), inputs (shape,
 * type, optional or not), state, reference, origin. Kinds are "loss", "op", "activation", "optimizer", "schedule",
 * "layer", "procedure", "sampler", "quantizer", "detector", "calibrator", "metric", "decoder", "generator", and
 * "experiment". `kind` NULL means all of them. Plug-ins add to the catalogue of the context they are loaded into. */

/* How many methods of a kind there are. [any] */
int32_t temper_catalogue_count(uint64_t *out, temper_context *context, const char *kind, temper_error *error);

/* The name of method `index`, in alphabetical order. [any] */
int32_t temper_catalogue_name(char *text, uint64_t capacity, uint64_t *length, temper_context *context,
                              const char *kind, uint64_t index, temper_error *error);

/* The name of the method that `name` or alias stands for; an unknown one is an error with the nearest names. [any] */
int32_t temper_catalogue_find(char *text, uint64_t capacity, uint64_t *length, temper_context *context,
                              const char *kind, const char *name, temper_error *error);

#define TEMPER_FORMAT_TEXT 0 /* for people */
#define TEMPER_FORMAT_JSON 1 /* for programs */

/* The record of one method, or, with `name` NULL, of all: as JSON a list of objects with name, aliases, kind, area,
 * summary, parameters, inputs, state, reference, properties, origin. [any] */
int32_t temper_catalogue_describe(char *text, uint64_t capacity, uint64_t *length, temper_context *context,
                                  const char *name, int32_t format, temper_error *error);

/* ---------------------------------------------------------------------------------------------------- Losses */

/* Floating inputs may be float32 or float64; if one is float64, the work is done in float64. Class ids may be int32 or
 * int64; every id must lie in 0..C-1 or be the method's ignore index. */

/* A loss by name. Parameters not given have their defaults. [any] */
int32_t temper_loss_create(temper_loss **out, temper_context *context, const char *name, const temper_param *params,
                           uint64_t param_count, temper_error *error);

/* How many values the loss gives for these inputs: N, or 1 where the loss is of the whole batch. [one-per-handle] */
int32_t temper_loss_value_count(int64_t *out, temper_loss *loss, const temper_named_tensor *inputs,
                                uint64_t input_count, temper_error *error);

/* The values, without reduction, into `values`: shape (N,) or (1,), float32 or float64. [one-per-handle] */
int32_t temper_loss_evaluate(temper_tensor *values, temper_loss *loss, const temper_named_tensor *inputs,
                             uint64_t input_count, temper_error *error);

#define TEMPER_REDUCTION_MEAN 0
#define TEMPER_REDUCTION_SUM 1

/* The reduced value, and its gradient with respect to each input named in `gradients`, written into the tensors given
 * there: the input's shape, float32 or float64. `value` may be NULL; `gradient_count` may be 0. [one-per-handle] */
int32_t temper_loss_value_and_grad(double *value, const temper_named_tensor *gradients, uint64_t gradient_count,
                                   temper_loss *loss, const temper_named_tensor *inputs, uint64_t input_count,
                                   int32_t reduction, temper_error *error);

/* Hessian times vector: the derivative of the gradient with respect to the inputs named in `products`, along
 * `directions` (the same names, the inputs' shapes), written into `products`. [one-per-handle] */
int32_t temper_loss_hessian_product(const temper_named_tensor *products, const temper_named_tensor *directions,
                                    uint64_t product_count, temper_loss *loss, const temper_named_tensor *inputs,
                                    uint64_t input_count, int32_t reduction, temper_error *error);

/* The loss's own record, in the form of temper_catalogue_describe: also of a composed one, which is in no catalogue.
 * [any] */
int32_t temper_loss_describe(char *text, uint64_t capacity, uint64_t *length, temper_loss *loss, int32_t format,
                             temper_error *error);

/* Losses compose: each call makes a new loss, used like any other, also by a trainer; the ones given stay as they are
 * and may be freed. Its parameters are those of its parts, under "PART.NAME". */

/* A term of a sum. */
typedef struct temper_loss_term {
  const char *name; /* of the part; NULL: the loss's own, with a number if an earlier part has it */
  double weight;    /* the parameter "NAME.weight" */
  temper_loss *loss;
} temper_loss_term;

/* The sum of weight times loss. An input that several parts take comes once; state by sample that two parts would share
 * by name is kept apart. With a loss of the whole batch among them, so is the sum. [one-per-handle] */
int32_t temper_loss_sum(temper_loss **out, const temper_loss_term *terms, uint64_t term_count, temper_error *error);

/* `loss` with one of its inputs, by name, changed by an operator first, such as logits by "logit_clip".
 * [one-per-handle] */
int32_t temper_loss_through(temper_loss **out, temper_loss *loss, const char *input, temper_op *op,
                            temper_error *error);

#define TEMPER_CLOCK_STEP 0  /* steps done */
#define TEMPER_CLOCK_EPOCH 1 /* epochs done */

/* `loss` with a parameter that follows a schedule of steps or epochs while a trainer trains. Calls of its own, and the
 * measuring of validation and test sets, take the value that the loss was made with. A sum's weights move at no cost;
 * where another parameter moves, the trainer makes its plan anew. [one-per-handle] */
int32_t temper_loss_schedule(temper_loss **out, temper_loss *loss, const char *parameter, temper_schedule *schedule,
                             int32_t clock, temper_error *error);

/* `loss` with the parameters that its schedules give after so many steps and epochs, for loops of one's own.
 * [one-per-handle] */
int32_t temper_loss_at(temper_loss **out, temper_loss *loss, int64_t steps, int64_t epochs, temper_error *error);

/* [one-per-handle] */
int32_t temper_loss_free(temper_loss *loss);

/* ---------------------------------------------------------------------------------------------------- Operators */

/* Operators and activations: arrays from arrays. One with a single input works along `axis` (-1 is the last); others
 * work along the last axis of their inputs, and `axis` must be -1. */

/* An operator or activation by name. [any] */
int32_t temper_op_create(temper_op **out, temper_context *context, const char *name, const temper_param *params,
                         uint64_t param_count, temper_error *error);

/* The shape of the result for these inputs: `*rank`, and `sizes` with room for TEMPER_MAXIMUM_RANK entries.
 * [one-per-handle] */
int32_t temper_op_result_shape(int32_t *rank, int64_t *sizes, temper_op *op, const temper_named_tensor *inputs,
                               uint64_t input_count, int32_t axis, temper_error *error);

/* The result into `result`: the shape that temper_op_result_shape tells, float32 or float64. [one-per-handle] */
int32_t temper_op_evaluate(temper_tensor *result, temper_op *op, const temper_named_tensor *inputs,
                           uint64_t input_count, int32_t axis, temper_error *error);

/* Vector-Jacobian products: the gradient of sum(dy * result) with respect to each input named in `gradients`.
 * `dy` has the result's shape. [one-per-handle] */
int32_t temper_op_vjp(const temper_named_tensor *gradients, uint64_t gradient_count, temper_op *op,
                      const temper_named_tensor *inputs, uint64_t input_count, temper_tensor *dy, int32_t axis,
                      temper_error *error);

/* [one-per-handle] */
int32_t temper_op_free(temper_op *op);

/* ---------------------------------------------------------------------------------------------------- Decoders */

/* What a language model's scores become before a token is drawn, and the marks of its texts. Decoders work along the
 * last axis of their inputs. Words are an array of bytes (words, bytes of the longest), UTF-8, padded with zeros. */

/* A decoder by name. [any] */
int32_t temper_decoder_create(temper_decoder **out, temper_context *context, const char *name,
                              const temper_param *params, uint64_t param_count, temper_error *error);

/* The shape of the result for these inputs: `*rank`, and `sizes` with room for TEMPER_MAXIMUM_RANK entries.
 * [one-per-handle] */
int32_t temper_decoder_result_shape(int32_t *rank, int64_t *sizes, temper_decoder *decoder,
                                    const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);

/* The result into `result`: the shape that temper_decoder_result_shape tells. float32 or float64, and also int32 or
 * int64 where the record's properties say "whole": tokens, positions, bits. [one-per-handle] */
int32_t temper_decoder_evaluate(temper_tensor *result, temper_decoder *decoder, const temper_named_tensor *inputs,
                                uint64_t input_count, temper_error *error);

/* [one-per-handle] */
int32_t temper_decoder_free(temper_decoder *decoder);

/* ------------------------------------------------------------------------------------------------------- Metrics */

/* Measurements of arrays: a number of shape (), or an array. */

/* A metric by name. [any] */
int32_t temper_metric_create(temper_metric **out, temper_context *context, const char *name, const temper_param *params,
                             uint64_t param_count, temper_error *error);

/* The shape of the result for these inputs: `*rank`, and `sizes` with room for TEMPER_MAXIMUM_RANK entries.
 * [one-per-handle] */
int32_t temper_metric_result_shape(int32_t *rank, int64_t *sizes, temper_metric *metric,
                                   const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);

/* The result into `result`, float32 or float64, of the shape that temper_metric_result_shape tells. [one-per-handle] */
int32_t temper_metric_evaluate(temper_tensor *result, temper_metric *metric, const temper_named_tensor *inputs,
                               uint64_t input_count, temper_error *error);

/* [one-per-handle] */
int32_t temper_metric_free(temper_metric *metric);

/* ---------------------------------------------------------------------------------------------------- Optimizers */

/* An optimizer by name. [any] */
int32_t temper_optimizer_create(temper_optimizer **out, temper_context *context, const char *name,
                                const temper_param *params, uint64_t param_count, temper_error *error);

/* One step, in place: parameters[i] is updated from gradients[i] (equal shapes, dense, float32 or float64). The first
 * step fixes count and shapes; state belongs to the position i. `learning_rate` NAN takes the optimizer's own.
 * Parameters must not overlap each other or a gradient. [one-per-handle] */
int32_t temper_optimizer_step(temper_optimizer *optimizer, temper_tensor *const *parameters,
                              temper_tensor *const *gradients, uint64_t count, double learning_rate,
                              temper_error *error);

/* Computes the loss and its gradients at the parameters as they stand: the loss into `*loss`, the gradients into the
 * memory of the gradient tensors that the step was called with. 0 goes on; 1 stops: the step returns
 * TEMPER_ERROR_CANCELLED. Any other value stops with TEMPER_ERROR_INVALID_ARGUMENT. The optimizer must not be used
 * meanwhile. [callback] */
typedef int32_t (*temper_closure_function)(void *user, double *loss);

/* One step of any method with a closure, which methods need that take losses or gradients at several points (sam, lbfgs;
 * temper_optimizer_get_info tells). The parameters are moved to each point before a call; the gradients need not be
 * there before the first. `*loss` (NULL if not wanted) receives the loss at the first point. Whatever stops the step
 * leaves the parameters as they were. [one-per-handle] */
int32_t temper_optimizer_step_closure(double *loss, temper_optimizer *optimizer, temper_tensor *const *parameters,
                                      temper_tensor *const *gradients, uint64_t count, double learning_rate,
                                      temper_closure_function closure, void *user, temper_error *error);

/* Before the first step: the parameters at these positions follow other values of some of the method's parameters and,
 * if `schedule` is not NULL, its learning rates, from its step 0 on. The `learning_rate` of a step is for parameters
 * without a rate or schedule of their own. [one-per-handle] */
int32_t temper_optimizer_add_group(temper_optimizer *optimizer, const uint64_t *positions, uint64_t position_count,
                                   const temper_param *params, uint64_t param_count, temper_schedule *schedule,
                                   temper_error *error);

/* A parameter of the method (momentum, beta1, beta2, weight_decay) follows a schedule: at each step its value is the
 * schedule's, from step 0 on. Before the first step and before groups, which follow too unless they give the parameter
 * a value of their own. What a rule makes once of a parameter cannot be moved: TEMPER_ERROR_UNSUPPORTED. A trainer
 * takes the schedules over; files of state do not hold them. [one-per-handle] */
int32_t temper_optimizer_schedule(temper_optimizer *optimizer, const char *parameter, temper_schedule *schedule,
                                  temper_error *error);

/* Where the model should be evaluated, into results[i] of the shape of parameters[i]: the average that the method keeps
 * (ema, swa, lookahead, schedule_free_adamw), or the parameters themselves. Changes nothing. [one-per-handle] */
int32_t temper_optimizer_evaluation_point(temper_tensor *const *results, temper_optimizer *optimizer,
                                          temper_tensor *const *parameters, uint64_t count, temper_error *error);

typedef struct temper_optimizer_info {
  uint32_t struct_size;   /* set by the caller */
  int32_t needs_closure;  /* 1: a step takes losses or gradients at several points */
  int64_t steps;          /* made */
} temper_optimizer_info;

/* [one-per-handle] */
int32_t temper_optimizer_get_info(temper_optimizer_info *out, temper_optimizer *optimizer, temper_error *error);

/* The state as a safetensors file, with the method's name and the version of the format. Whole or not at all.
 * [one-per-handle] */
int32_t temper_optimizer_save(temper_optimizer *optimizer, const char *path, temper_error *error);

/* Puts the state of a file back; the method must be the same, its parameters may differ. [one-per-handle] */
int32_t temper_optimizer_load(temper_optimizer *optimizer, const char *path, temper_error *error);

/* The state as named tensors: "step" (int64, scalar), "<position>.<state>" and, for numbers that a method keeps,
 * "scalar.<name>" (float64, scalar). Copies; empty before the first step. [one-per-handle] */
int32_t temper_optimizer_get_state(temper_tensor_map **out, temper_optimizer *optimizer, temper_error *error);

/* Puts a state back that temper_optimizer_get_state gave: the next step continues with the same bits. Names, types and
 * shapes are checked at once or, before the first step, at the first step. [one-per-handle] */
int32_t temper_optimizer_set_state(temper_optimizer *optimizer, const temper_named_tensor *state,
                                   uint64_t state_count, temper_error *error);

/* [one-per-handle] */
int32_t temper_optimizer_free(temper_optimizer *optimizer);

/* ---------------------------------------------------------------------------------------------------- Schedules */

/* A learning-rate schedule by name. [any] */
int32_t temper_schedule_create(temper_schedule **out, temper_context *context, const char *name,
                               const temper_param *params, uint64_t param_count, temper_error *error);

/* The value at a step; 0 is the first. [any] */
int32_t temper_schedule_value(double *out, temper_schedule *schedule, double step, temper_error *error);

/* Takes in a measurement, for schedules that follow one (plateau: "loss"; accuracy_gradient_lr: "accuracy"); all take
 * "metric" too. A trainer tells its schedule what each epoch has measured. [one-per-handle] */
int32_t temper_schedule_observe(temper_schedule *schedule, const char *name, double value, temper_error *error);

/* What observations have left, as a tensor of float64; empty for schedules that depend on the step alone. A copy.
 * [one-per-handle] */
int32_t temper_schedule_get_state(temper_tensor **out, temper_schedule *schedule, temper_error *error);

/* Puts a state back that temper_schedule_get_state gave. [one-per-handle] */
int32_t temper_schedule_set_state(temper_schedule *schedule, temper_tensor *state, temper_error *error);

/* [one-per-handle] */
int32_t temper_schedule_free(temper_schedule *schedule);

/* ---------------------------------------------------------------------------------------------------- Models */

/* A model from its description: a list of layers as JSON text, each a name or {name: size or options}; lists nest, for
 * example: [{"dense": 128}, "relu", {"dense": 10}]. `input_sizes` is the shape of one sample, without the batch.
 * `dtype` is TEMPER_FLOAT32, TEMPER_FLOAT64, or 0 for float32. `seed` decides the initial parameters; 0 takes the
 * context's. [any] */
int32_t temper_model_create(temper_model **out, temper_context *context, const char *description,
                            const int64_t *input_sizes, int32_t input_rank, int32_t dtype, uint64_t seed,
                            temper_error *error);

/* A model from a file that temper_model_save wrote, safetensors, GGUF or ONNX, quantized or not; one from a GGUF or an
 * ONNX file has float parameters. The file is checked in full before use.
 *
 * A path that ends in ".onnx" may also be another program's: its graph becomes layers and its constants their weights.
 * Imported are dense layers (Gemm; MatMul with a matrix of the file), Conv, MaxPool and AveragePool in two dimensions,
 * GlobalAveragePool, means over positions, Batch-, Layer-, RMS-, Group- and InstanceNormalization, embeddings (Gather),
 * learned positions, attention of a sequence to itself (causal or to all of it), softmax and the activations, as one
 * operator or as several that compute the same, sums and concatenations of branches, moves of whole outputs (Reshape,
 * Transpose and the like), scaling by constants, and weights as codes (DequantizeLinear). The sizes of the one input must
 * be fixed, but for the batch's, which is free in the model also where the file fixes it. Not imported are several inputs
 * or outputs, recurrent operators, transposed convolutions and those of other dimensions, sides padded differently, masks
 * that are given and attention to another sequence, products of two branches, pieces cut out of an output, loops and
 * conditions, functions and operators of other domains, and constants in other files: TEMPER_ERROR_UNSUPPORTED, with the
 * node's name. [any] */
int32_t temper_model_load(temper_model **out, temper_context *context, const char *path, temper_error *error);

/* Writes the model with its description: a path that ends in ".gguf" becomes a GGUF file, one in ".onnx" an ONNX model,
 * any other a safetensors file. The file appears whole or not at all. [one-per-handle] */
int32_t temper_model_save(temper_model *model, const char *path, temper_error *error);

/* The same with options, which are those of the format. GGUF: `type`, text: how a float model's matrices are stored, such
 * as "Q4_K"; matrices without whole blocks of it get a smaller type or float32. Without it float32; a quantized model's
 * matrices are stored in the type that holds their codes, with scales in float16. ONNX: none; the graph has operators of
 * opset 21 and takes batches of any size, indices are int64, and weights of uniform grids are codes of 4 or 8 bits with a
 * DequantizeLinear each (onnxruntime rounds the other factor of their products to 8 bits too, unless its session option
 * session.qdq_matmulnbits_accuracy_level is "1"). What a layer does that ONNX has no form for is
 * TEMPER_ERROR_UNSUPPORTED. [one-per-handle] */
int32_t temper_model_export(temper_model *model, const char *path, const temper_param *params, uint64_t param_count,
                            temper_error *error);

/* Outputs (such as logits) for inputs `x` (N, ...), as in evaluation, into `result` (N, ...): float32 or float64.
 * `mask` (N, T), 1 where attention may look: for models that need one, else NULL. [one-per-handle] */
int32_t temper_model_predict(temper_tensor *result, temper_model *model, temper_tensor *x, temper_tensor *mask,
                             temper_error *error);

/* Vector-Jacobian products of the model as it predicts: the gradient of sum(dy * outputs) with respect to "x" and to
 * parameters by name, one for each entry of `gradients`, written into the tensors given there. With the gradient of a
 * loss as `dy` these are the loss's gradients with respect to inputs and parameters. `mask` as in temper_model_predict.
 * [one-per-handle] */
int32_t temper_model_vjp(const temper_named_tensor *gradients, uint64_t gradient_count, temper_model *model,
                         temper_tensor *x, temper_tensor *mask, temper_tensor *dy, temper_error *error);

/* For each sample n the Euclidean norm of the gradient of the sum of dy[n] * outputs[n] with respect to a parameter, into
 * an array (N,) for each parameter named: with the gradient of each sample's loss as dy, the norms of the samples'
 * gradients. No sample's gradient is made. An error for a parameter that is more than a weight of a product, convolution or
 * table, or a vector. `mask` as in temper_model_predict. [one-per-handle] */
int32_t temper_model_gradient_norms(const temper_named_tensor *norms, uint64_t norm_count, temper_model *model,
                                    temper_tensor *x, temper_tensor *mask, temper_tensor *dy, temper_error *error);

/* The shape of the result for `count` samples: `*rank`, and `sizes` with room for TEMPER_MAXIMUM_RANK entries. [any] */
int32_t temper_model_result_shape(int32_t *rank, int64_t *sizes, temper_model *model, int64_t count,
                                  temper_error *error);

/* All parameters by name, those that layers freeze among them; the tensors share the model's memory, so that writing to
 * them changes the model. Quantized parameters come as copies, dequantized. [one-per-handle] */
int32_t temper_model_parameters(temper_tensor_map **out, temper_model *model, temper_error *error);

/* As TEMPER_FORMAT_TEXT a table of layers, shapes and parameters; as TEMPER_FORMAT_JSON the description. [any] */
int32_t temper_model_describe(char *text, uint64_t capacity, uint64_t *length, temper_model *model, int32_t format,
                              temper_error *error);

typedef struct temper_model_info {
  uint32_t struct_size;     /* set by the caller */
  int32_t dtype;            /* of parameters and outputs */
  int32_t is_quantized;     /* 1 if some weights are packed */
  int32_t needs_mask;       /* 1 if predictions and training take a mask */
  int64_t parameter_count;  /* numbers that training changes, packed ones included */
  int64_t parameter_bytes;  /* memory of parameters and running statistics as they are held, packed ones packed */
} temper_model_info;

/* [any] */
int32_t temper_model_get_info(temper_model_info *out, temper_model *model, temper_error *error);

/* [one-per-handle] */
int32_t temper_model_free(temper_model *model);

/* ---------------------------------------------------------------------------------------------------- Trainers */

/* A set of samples: x (N, ...) as the model takes it, y as the loss takes its targets. The tensors are read during the
 * call. A sample's id is its row, whatever the order in which it is visited. */
typedef struct temper_samples {
  const char *name; /* of a test set, for results: "clean_test"; otherwise NULL is fine */
  temper_tensor *x;
  temper_tensor *y; /* NULL for a loss without targets */
  const temper_named_tensor *inputs; /* further inputs of loss and model by name: "mask", "class_weights"; (N, ...) for
                                        each sample, or as a whole */
  uint64_t input_count;
} temper_samples;

/* Means over samples. */
typedef struct temper_measurement {
  double loss;
  double accuracy; /* share whose largest output is at the target's class; NAN where there are no classes */
} temper_measurement;

typedef struct temper_trainer_options {
  uint32_t struct_size;
  int32_t batch_size;        /* 0: 128 */
  uint64_t seed;             /* of shuffling and dropout; 0: the context's */
  double clip_value;         /* 0: none; else every gradient element goes into [-clip_value, clip_value] */
  double clip_norm;          /* 0: none; else the norm over all gradients is at most this */
  int32_t drop_last;         /* 1: leave out a last batch with fewer samples */
  int32_t skip_non_finite;   /* 1: a step with NaN or infinity changes nothing, instead of ending in an error */
  int32_t allow_non_finite;  /* 1: data with NaN or infinity is let through, instead of being an error */
  int32_t threads;           /* that share the training's work; 0: those of the model's context; at most 256 */
  temper_procedure *procedure;    /* NULL: plain training */
  temper_model *const *peers;     /* models that the procedure trains beside `model`; NULL: as many as it needs are made
                                     like `model`, from seeds of their own */
  uint64_t peer_count;
} temper_trainer_options;

/* A training procedure by name, such as "co_teaching" with forget_rate: which samples, targets, weights and networks a
 * trainer's steps have. It is set in temper_trainer_options; a trainer takes its settings over. Arrays that its record
 * names come with the data, as `inputs` of temper_samples. [any] */
int32_t temper_procedure_create(temper_procedure **out, temper_context *context, const char *name,
                                const temper_param *params, uint64_t param_count, temper_error *error);

/* Several procedures used together: one that chooses the samples of an epoch with one that shapes the objective, say.
 * TEMPER_ERROR_UNSUPPORTED says why where two do not go together. [any] */
int32_t temper_procedure_combine(temper_procedure **out, temper_procedure *const *procedures, uint64_t count,
                                 temper_error *error);

/* [one-per-handle] */
int32_t temper_procedure_free(temper_procedure *procedure);

/* A trainer for `model`, whose parameters it changes. Settings of `loss` and `optimizer` are taken over, with the groups
 * of the optimizer, whose positions count the model's trained parameters; the state of an optimizer that has made steps
 * is not. Validation and evaluation look at the model where the optimizer wants it used: at the average that it keeps,
 * if it keeps one. `schedule` gives the learning rate of each step; NULL: the optimizer's own,
 * constant. `options` NULL: all defaults. [one-per-handle] */
int32_t temper_trainer_create(temper_trainer **out, temper_model *model, temper_loss *loss,
                              temper_optimizer *optimizer, temper_schedule *schedule,
                              const temper_trainer_options *options, temper_error *error);

/* The model at `index`: 0 is the one that the trainer was made for, further ones are those of its procedure. The handle
 * shares the network with the trainer; use one of the two at a time. [one-per-handle] */
int32_t temper_trainer_network(temper_model **out, temper_trainer *trainer, uint64_t index, temper_error *error);

/* What a trainer reports after a step or an epoch. */
typedef struct temper_progress {
  uint32_t struct_size;          /* set by the library: fields beyond it do not exist */
  int32_t is_epoch_end;          /* 1: the numbers are of the whole epoch */
  int64_t epoch;                 /* from 1 */
  int64_t epochs;                /* of the whole run */
  int64_t step;                  /* from 1, within the epoch */
  int64_t steps;                 /* in an epoch */
  double loss;                   /* mean over the step's batch, or over the epoch */
  double learning_rate;
  double seconds;                /* of the epoch, at its end; 0 after a step */
  temper_measurement validation; /* at an epoch's end; NAN where there is none */
  const temper_measurement *tests; /* at an epoch's end, one for each test set, valid during the call */
  uint64_t test_count;
} temper_progress;

/* Called between steps and at the end of each epoch. 0 goes on; 1 stops: temper_trainer_fit returns
 * TEMPER_ERROR_CANCELLED and the trainer can go on later. Any other value stops with TEMPER_ERROR_INVALID_ARGUMENT.
 * [callback] */
typedef int32_t (*temper_progress_function)(void *user, const temper_progress *progress);

/* Writes the rows of samples that training needs: `ids` are `count` numbers below the source's own count, in any order,
 * and some may come several times; `rows` is (count, ...), dense, of the source's type. TEMPER_OK goes on.
 * TEMPER_ERROR_CANCELLED stops, as a progress callback does. Another TEMPER_ERROR_* is the status of the whole call, whose
 * error says what the callback wrote into error->message; any other value counts as TEMPER_ERROR_INVALID_ARGUMENT.
 * Whatever stops it, finished steps stay, and the step under way changes nothing. [callback] */
typedef int32_t (*temper_rows_function)(void *user, const int64_t *ids, uint64_t count, void *rows,
                                        temper_error *error);

/* x of samples that are too many for memory, read batch by batch. A sample's id is its number in the source and says the
 * same sample in every epoch and every call: what losses and procedures keep hangs on it. The bits of a run are those
 * of the same numbers in memory. Numbers are checked as they are read. */
typedef struct temper_source {
  uint32_t struct_size;
  int32_t dtype;            /* TEMPER_FLOAT32, ... of the rows; another than the model's is converted */
  int64_t count;            /* samples */
  const int64_t *sizes;     /* of one row */
  int32_t rank;             /* of one row */
  int32_t reserved;         /* 0 */
  temper_rows_function read;
  void *user;
} temper_source;

#define TEMPER_MONITOR_NONE 0
#define TEMPER_MONITOR_TRAINING_LOSS 1
#define TEMPER_MONITOR_VALIDATION_LOSS 2
#define TEMPER_MONITOR_VALIDATION_ACCURACY 3

typedef struct temper_fit_options {
  uint32_t struct_size;
  int32_t epochs;                    /* train until so many are done in all, those of earlier calls and of a resumed
                                        checkpoint included; 0: one more */
  const temper_samples *validation;  /* measured after each epoch; NULL: none */
  const temper_samples *tests;       /* measured after each epoch, never looked at by training */
  uint64_t test_count;
  int32_t monitor;                   /* TEMPER_MONITOR_*: what early stopping and keeping the best look at */
  int32_t patience;                  /* epochs without an improvement until training stops; 0: never */
  double minimum_delta;              /* an improvement is larger than this */
  int32_t restore_best;              /* 1: put the parameters of the best epoch back in the end */
  int32_t every_step;                /* 1: call progress after every step too; 0: after epochs only */
  temper_progress_function progress; /* NULL: none */
  void *progress_user;
  const char *checkpoint_path;       /* NULL: none; else a checkpoint is written there after epochs */
  int32_t checkpoint_every;          /* after so many epochs each, and after the last; 0: 1 */
  int32_t reserved;                  /* 0 */
  const temper_source *source;       /* NULL; else the training data's x, whose `x` in temper_samples is NULL */
} temper_fit_options;

/* Trains on `data`. Long: may be stopped by the progress callback; whatever ends it, finished steps stay in the model,
 * and the trainer can go on, be saved, or be freed. Stopping early is TEMPER_OK. `options` NULL: one epoch.
 * [one-per-handle] */
int32_t temper_trainer_fit(temper_trainer *trainer, const temper_samples *data, const temper_fit_options *options,
                           temper_error *error);

/* Mean loss and accuracy of the model on a set of samples; changes nothing. [one-per-handle] */
int32_t temper_trainer_evaluate(temper_measurement *out, temper_trainer *trainer, const temper_samples *data,
                                temper_error *error);

#define TEMPER_ENDING_FINISHED 0
#define TEMPER_ENDING_STOPPED_EARLY 1
#define TEMPER_ENDING_CANCELLED 2

typedef struct temper_trainer_info {
  uint32_t struct_size; /* set by the caller */
  int32_t ending;       /* TEMPER_ENDING_*: why the last fit came to its end */
  int64_t epochs;       /* done in all */
  int64_t best_epoch;   /* from 1; 0 while nothing is monitored */
  int64_t network_count; /* the model, and those that the procedure trains beside it */
} temper_trainer_info;

/* [one-per-handle] */
int32_t temper_trainer_get_info(temper_trainer_info *out, temper_trainer *trainer, temper_error *error);

/* The epochs so far as float64 columns, one entry an epoch: "training_loss", "learning_rate", "seconds",
 * "multiplications" (of matrix products, convolutions and solving with matrices, evaluations included), and, where
 * measured, "validation_loss", "validation_accuracy", "<test name>_loss", "<test name>_accuracy"; NAN in epochs
 * without. Copies. [one-per-handle] */
int32_t temper_trainer_history(temper_tensor_map **out, temper_trainer *trainer, temper_error *error);

/* What loss and procedure keep, by name, as a checkpoint holds it: rows by sample, an estimated transition matrix.
 * Empty before the first fit. Copies. [one-per-handle] */
int32_t temper_trainer_state(temper_tensor_map **out, temper_trainer *trainer, temper_error *error);

/* Writes a checkpoint: parameters, optimizer state, loss state, place in the data, history. Whole or not at all.
 * [one-per-handle] */
int32_t temper_trainer_save(temper_trainer *trainer, const char *path, temper_error *error);

/* Goes back to a checkpoint of a trainer of the same making; a following fit with the same data gives the same bits as
 * if training had never stopped. A checkpoint that does not fit is an error that says what differs, and changes
 * nothing. [one-per-handle] */
int32_t temper_trainer_resume(temper_trainer *trainer, const char *path, temper_error *error);

/* [one-per-handle] */
int32_t temper_trainer_free(temper_trainer *trainer);

/* ---------------------------------------------------------------------------------------------------- Quantizers */

/* A quantizer by name, such as "round_to_nearest" with bits, granularity, group_size, symmetric. [any] */
int32_t temper_quantizer_create(temper_quantizer **out, temper_context *context, const char *name,
                                const temper_param *params, uint64_t param_count, temper_error *error);

/* Quantizes a matrix `weight` (outputs, inputs), float32. `calibration` (samples, inputs) for methods that look at
 * data; NULL otherwise. [one-per-handle] */
int32_t temper_quantizer_quantize(temper_quantized **out, temper_quantizer *quantizer, temper_tensor *weight,
                                  temper_tensor *calibration, temper_error *error);

/* A model with packed weights, made from `model`, which stays as it is. It predicts from the packed weights, and saves
 * and loads like any model. `calibration`: inputs (N, ...) of the model, or NULL; methods that look at the weights
 * alone do not read it. [one-per-handle] */
int32_t temper_quantizer_quantize_model(temper_model **out, temper_quantizer *quantizer, temper_model *model,
                                        temper_tensor *calibration, temper_error *error);

/* What became of one tensor of a file. */
typedef struct temper_quantize_step {
  uint32_t struct_size;
  int32_t is_quantized;     /* 0: copied as it is; the numbers below are 0 then */
  const char *name;         /* valid during the call */
  int64_t done;             /* tensors that are done, with this one */
  int64_t count;            /* tensors of the file */
  int64_t byte_count;       /* codes, scales and zero points */
  int64_t float_byte_count; /* of the same weight in float32 */
  double relative_error;    /* sum of squared errors over the sum of squares */
} temper_quantize_step;

/* Called after each tensor. 0 goes on; 1 stops: the call returns TEMPER_ERROR_CANCELLED and what is finished stays in
 * "TARGET.partial": the next call with the same source, target and quantizer tells of it again and goes on after it, to
 * the same bytes. Any other value stops with TEMPER_ERROR_INVALID_ARGUMENT. [callback] */
typedef int32_t (*temper_quantize_function)(void *user, const temper_quantize_step *step);

/* Quantizes the weights of a safetensors file, float32, float64, float16 or bfloat16, or of a GGUF file, one after the
 * other into another file: only one is in memory at a time, so the file may be larger than memory. Of a model all
 * weights that temper_quantizer_quantize_model packs, else all of at least two dimensions; the rest is copied. For
 * methods that look at the weights alone. A target that ends in .gguf becomes a GGUF file. The new file appears whole
 * or not at all. `progress` may be NULL. [one-per-handle] */
int32_t temper_quantizer_quantize_file(temper_quantizer *quantizer, const char *source, const char *target,
                                       temper_quantize_function progress, void *user, temper_error *error);

/* The same; the tensors named in `skip` stay floats. Each must be in the file. [one-per-handle] */
int32_t temper_quantizer_quantize_file_except(temper_quantizer *quantizer, const char *source, const char *target,
                                              const char *const *skip, uint64_t skip_count,
                                              temper_quantize_function progress, void *user, temper_error *error);

/* What quantizing one weight cost and saved. */
typedef struct temper_quantization_report {
  uint32_t struct_size;      /* set by the caller */
  uint32_t reserved;
  double bits;               /* of one weight, without scales and tables */
  double effective_bits;     /* with them */
  int64_t byte_count;        /* with them */
  int64_t float_byte_count;  /* of the same weight in float32 */
  double mean_squared_error;
  double largest_error;
  double relative_error;     /* sum of squared errors over sum of squares */
  double output_error;       /* the same of the layer's outputs for its calibration inputs; NAN without such */
} temper_quantization_report;

/* Told after each weight, and after each round of methods that search. `what` and `report` are valid during the call. */
typedef struct temper_quantization_progress {
  uint32_t struct_size; /* set by the library */
  uint32_t reserved;
  int64_t done;         /* weights, or rounds */
  int64_t count;        /* of them */
  const char *what;     /* the weight's name, or what a round found */
  const temper_quantization_report *report; /* of the weight; NULL for a round */
} temper_quantization_progress;

/* 0 goes on; 1 stops: temper_quantizer_run returns TEMPER_ERROR_CANCELLED, and called again for the same model goes on
 * after the weights that are finished. Any other value stops with TEMPER_ERROR_INVALID_ARGUMENT. [callback] */
typedef int32_t (*temper_quantization_progress_function)(void *user, const temper_quantization_progress *progress);

typedef struct temper_quantization_options {
  uint32_t struct_size;
  uint32_t reserved;
  temper_tensor *calibration; /* inputs (N, ...) of the model, read a part at a time; NULL: none, or what was observed */
  temper_tensor *targets;     /* class ids (N,) for methods that look at the loss; NULL: what the model itself says */
  const char *const *skip;    /* layers or parameters that stay floats: "0", "2.weight" */
  uint64_t skip_count;
  temper_quantization_progress_function progress; /* NULL: none */
  void *progress_user;
} temper_quantization_options;

/* temper_quantizer_quantize_model with options. Long: may be stopped by the progress callback. [one-per-handle] */
int32_t temper_quantizer_run(temper_model **out, temper_quantizer *quantizer, temper_model *model,
                             const temper_quantization_options *options, temper_error *error);

/* Takes in calibration inputs, a part at a time, before temper_quantizer_run of the same model; with `model` NULL inputs
 * (N, inputs) of one matrix, before temper_quantizer_quantize. What was taken in serves the next such call without
 * calibration, and is forgotten after it. [one-per-handle] */
int32_t temper_quantizer_observe(temper_quantizer *quantizer, temper_model *model, temper_tensor *x,
                                 temper_error *error);

/* What temper_quantizer_run finished before it was cancelled, as a file, and back in another program: the next run of the
 * same model by the same quantizer goes on after it. Saving what no run has left is TEMPER_ERROR_WRONG_STATE. The file
 * appears whole or not at all. [one-per-handle] */
int32_t temper_quantizer_save(temper_quantizer *quantizer, const char *path, temper_error *error);
int32_t temper_quantizer_load(temper_quantizer *quantizer, temper_model *model, const char *path, temper_error *error);

/* How many weights of a model this program quantized; 0 for others and those from files. [any] */
int32_t temper_model_quantization_count(uint64_t *out, temper_model *model, temper_error *error);

/* Name and report of the weight at `index`. `name` as texts of other calls; `out` may be NULL. [any] */
int32_t temper_model_quantization(char *name, uint64_t capacity, uint64_t *length, temper_quantization_report *out,
                                  temper_model *model, uint64_t index, temper_error *error);

/* [one-per-handle] */
int32_t temper_quantizer_free(temper_quantizer *quantizer);

typedef struct temper_quantized_info {
  uint32_t struct_size; /* set by the caller */
  int32_t bits;         /* of one weight */
  int64_t outputs;      /* rows */
  int64_t inputs;       /* columns */
  int64_t byte_count;   /* packed weights with their scales and zero points */
} temper_quantized_info;

/* [any] */
int32_t temper_quantized_get_info(temper_quantized_info *out, temper_quantized *quantized, temper_error *error);

/* [any] */
int32_t temper_quantized_get_report(temper_quantization_report *out, temper_quantized *quantized, temper_error *error);

/* The matrix as floats into `result` (outputs, inputs), float32. [any] */
int32_t temper_quantized_dequantize(temper_tensor *result, temper_quantized *quantized, temper_error *error);

/* x (M, inputs) times the transposed matrix into `result` (M, outputs), straight from the packed weights. float32.
 * [one-per-handle] */
int32_t temper_quantized_matmul(temper_tensor *result, temper_quantized *quantized, temper_tensor *x,
                                temper_error *error);

/* The same in integers: each row of x is rounded to whole numbers from -127 to 127 with a scale of its own, max |x| /
 * 127, and the sums over a group of weights are exact. For one code a weight with whole levels (no tables). The bits
 * are the same whatever the machine's instructions and the number of threads, but for the order of few additions
 * between groups, which differs between one to eight rows and more. A row that is not finite gives NaN.
 * [one-per-handle] */
int32_t temper_quantized_matmul_int8(temper_tensor *result, temper_quantized *quantized, temper_tensor *x,
                                     temper_error *error);

/* result = a b for matrices of 8-bit integers: a (M, K) and b (K, N) int8, in any strides; `result` (M, N) int32. The
 * sums are exact; K is at most 131071, so that none can overflow. [one-per-handle] */
int32_t temper_tensor_matmul_int8(temper_tensor *result, temper_context *context, temper_tensor *a, temper_tensor *b,
                                  temper_error *error);

/* [one-per-handle] */
int32_t temper_quantized_free(temper_quantized *quantized);

/* ---------------------------------------------------------------------------------------------------- Files */

/* Opens a file of named tensors: GGUF or safetensors as its first bytes say, ONNX where the path ends in ".onnx", whose
 * constants are its tensors. Its header is checked in full; data is read when it is asked for. [any] */
int32_t temper_file_open(temper_file **out, temper_context *context, const char *path, temper_error *error);

/* As TEMPER_FORMAT_JSON {"format": "gguf", "metadata": {...}, "tensors": [{"name": ..., "type": "Q4_0", "shape": [...],
 * "byte_count": ...}, ...]}; as TEMPER_FORMAT_TEXT a table of the tensors. [any] */
int32_t temper_file_describe(char *text, uint64_t capacity, uint64_t *length, temper_file *file, int32_t format,
                             temper_error *error);

/* The numbers of one tensor, decoded: float32 for all low-bit and half-precision types. An own copy. [any] */
int32_t temper_file_tensor(temper_tensor **out, temper_file *file, const char *name, temper_error *error);

/* [one-per-handle] */
int32_t temper_file_free(temper_file *file);

/* Fills all parameters and running statistics of a float model from a file, or changes nothing: each from the tensor of
 * its name, or of the name that a text among `names` gives for it, such as temper_text("0.weight", "fc1.weight");
 * "fc1.weight^T" for a matrix stored as (inputs, outputs), as MatMul of ONNX has it. What else the file holds is not
 * looked at. [one-per-handle] */
int32_t temper_model_fill(temper_model *model, temper_file *file, const temper_param *names, uint64_t name_count,
                          temper_error *error);

/* A tensor that goes into a file: floats or integers, or a quantized matrix, one of the two. */
typedef struct temper_stored_tensor {
  const char *name;
  temper_tensor *tensor;
  temper_quantized *quantized;
  const char *type; /* GGUF: such as "Q4_K", found by a search of least squared error; NULL: the type of the tensor, or
                       the one that holds the matrix's codes */
} temper_stored_tensor;

/* Writes a GGUF file where the path ends in ".gguf", else a safetensors file, whose metadata are texts. Rows of low-bit
 * GGUF types are whole blocks: 32 columns or 256. The file appears whole or not at all. [any] */
int32_t temper_file_write(temper_context *context, const char *path, const temper_stored_tensor *tensors,
                          uint64_t tensor_count, const temper_param *metadata, uint64_t metadata_count,
                          temper_error *error);

/* ---------------------------------------------------------------------------------------------------- Plug-ins */

/* A loss of one's own may come as
 *   a shared library that follows temper_plugin.h (.so), with functions or with the host's expressions;
 *   a declaration (.toml, .json, or a text) of formulas, and of functions of any library, called by their signature;
 *   a Python file (.py) with a declaration in its comments; in a Python process also as a function handed over.
 * All of them are probed before they are added, are listed in the catalogue with their origin, version, licence, form
 * and where their gradient comes from, and are used like any other loss. examples/plugins/README.md says what stands
 * in a declaration. */

/* What a plug-in file says of itself and of the losses it offers, as JSON or text, read from the file without running
 * any of its code. The path must be permitted, as for temper_plugin_load. [any] */
int32_t temper_plugin_inspect(char *text, uint64_t capacity, uint64_t *length, temper_context *context,
                              const char *path, int32_t format, temper_error *error);

/* What lies in the context's plug-in directories, subdirectories included: a list of what temper_plugin_inspect says of
 * each plug-in, with its path; a file that is meant to be a plug-in and is none is listed with its error. None of their
 * code runs. [any] */
int32_t temper_plugin_list(char *text, uint64_t capacity, uint64_t *length, temper_context *context, int32_t format,
                           temper_error *error);

#define TEMPER_PLUGIN_ISOLATED 1u /* functions run in a process of their own */

#define TEMPER_FAILURE_ERROR 0 /* the call that needed the loss fails with the reason */
#define TEMPER_FAILURE_NAN 1   /* the batch's values and gradients are NAN, and the reason goes to the log: a trainer
                                  with `skip_non_finite` goes on without the batch */

/* Isolated: the functions of a library or a Python file run in a process of their own, which shares only the memory of
 * the batch. A crash, an endless loop (`time_limit_milliseconds` for each call), an exit, a write outside the arrays
 * and memory beyond the limit cost an error with the reason; the next call has a new process. That process can write
 * no file, use no network and start no program, as far as the kernel has seccomp and Landlock: the report says. */
typedef struct temper_plugin_options {
  uint32_t struct_size;
  int32_t time_limit_milliseconds;   /* of each loss in the probe, of each call when isolated; 0: 10000 */
  const char *const *python_folders; /* where Python files find modules, if the interpreter is started here */
  uint64_t python_folder_count;
  void *callable;                    /* temper_plugin_define: a PyObject, the function that the text declares */
  uint32_t flags;                    /* TEMPER_PLUGIN_ISOLATED or 0 */
  int32_t retries;                   /* isolated: how often a call that ended the process is made again; 0 to 1000 */
  int32_t on_failure;                /* isolated: TEMPER_FAILURE_*, after all retries */
  uint32_t reserved;                 /* 0 */
  uint64_t memory_limit;             /* isolated: bytes beyond what the process begins with; 0: 2 GB */
} temper_plugin_options;

/* Loads a plug-in file, probes every loss of it, and adds them to the context's catalogue under "<plug-in>.<loss>";
 * where the short name is free, as an alias under that too. The probe runs in a child process: a plug-in that crashes,
 * hangs, exits, writes outside its buffers, gives NaN, or has a gradient that is not that of its value costs an error
 * with the report, and is not loaded. `options` may be NULL. A library stays in memory until the process ends. A
 * Python file is run by the interpreter of the process, or by a libpython3 that is loaded when it is first needed and
 * stays. [any] */
int32_t temper_plugin_load(temper_plugin **out, temper_context *context, const char *path,
                           const temper_plugin_options *options, temper_error *error);

/* Adds the losses that a text declares, as a .toml or .json file would: formulas, and functions of libraries. With
 * `options->callable` the text declares one loss, which that Python function computes; the function is kept until
 * nothing needs it. [any] */
int32_t temper_plugin_define(temper_plugin **out, temper_context *context, const char *declaration,
                             const temper_plugin_options *options, temper_error *error);

/* Adds a loss written as a formula, "(1 - p[y]^q) / q", under `name`, "acme.tail". The params are its parameters with
 * their defaults; they may be any numbers. A formula with p, log_p or logits has the inputs logits and targets (class
 * ids or probabilities), one with x or predictions has predictions and targets; declare others in a text. [any] */
int32_t temper_plugin_formula(temper_plugin **out, temper_context *context, const char *name, const char *formula,
                              const temper_param *params, uint64_t param_count, temper_error *error);

/* Takes the plug-in's losses out of the catalogue; TEMPER_ERROR_WRONG_STATE while a loss or a trainer made from them
 * lives. The handle stays, to be freed. [any] */
int32_t temper_plugin_unload(temper_plugin *plugin, temper_error *error);

/* The probe's report, for people: each check of each loss, with numbers. [any] */
int32_t temper_plugin_report(char *text, uint64_t capacity, uint64_t *length, temper_plugin *plugin,
                             temper_error *error);

/* Gives the handle back. The losses stay in the catalogue. [one-per-handle] */
int32_t temper_plugin_free(temper_plugin *plugin);

/* ------------------------------------------------------------------- Samplers, generators, detectors, calibrators */

/* Methods over arrays that are fitted, drawn from or asked. Each has a few calls; its record ("calls") says which inputs a
 * call takes and which arrays it gives. A call that a method does not have is TEMPER_ERROR_UNSUPPORTED. Results come as
 * maps of new arrays, because their sizes follow from the data; the caller frees the map. Texts are arrays of bytes
 * (texts, bytes of the longest), UTF-8, padded with zeros. Numbers must be finite: NaN is an error that says where it is.
 * `seed` decides every random number; 0 stands for the context's seed. The same inputs and seed give the same bits with
 * any number of threads. */

typedef struct temper_sampler temper_sampler;       /* chooses, weighs or makes samples */
typedef struct temper_generator temper_generator;   /* makes data, or makes data worse in a known way */
typedef struct temper_detector temper_detector;     /* tells which samples are abnormal */
typedef struct temper_calibrator temper_calibrator; /* corrects what a model says */

/* A sampler by name, such as "smote". [any] */
int32_t temper_sampler_create(temper_sampler **out, temper_context *context, const char *name,
                              const temper_param *params, uint64_t param_count, temper_error *error);

/* Samples anew: of `x` (N, ...) and class ids `y` (N,), and what else the record names, the arrays "x" and "y" of the new
 * samples, and what tells how they were made. [one-per-handle] */
int32_t temper_sampler_resample(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
                                uint64_t input_count, uint64_t seed, temper_error *error);

/* The numbers of the samples to take, "indices" (int64), a number for each time. [one-per-handle] */
int32_t temper_sampler_indices(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
                               uint64_t input_count, uint64_t seed, temper_error *error);

/* The chance of each sample to be taken, "weights" (float64), of sum 1. [one-per-handle] */
int32_t temper_sampler_weights(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
                               uint64_t input_count, temper_error *error);

/* What a sampler keeps between calls, by name. Copies; empty where there is nothing. [one-per-handle] */
int32_t temper_sampler_state(temper_tensor_map **out, temper_sampler *sampler, temper_error *error);

/* What is kept as a safetensors file, whole or not at all. [one-per-handle] */
int32_t temper_sampler_save(temper_sampler *sampler, const char *path, temper_error *error);

/* Puts what a file holds back; the method must be the same. [one-per-handle] */
int32_t temper_sampler_load(temper_sampler *sampler, const char *path, temper_error *error);

/* [one-per-handle] */
int32_t temper_sampler_free(temper_sampler *sampler);

/* A generator by name, such as "symmetric_noise". [any] */
int32_t temper_generator_create(temper_generator **out, temper_context *context, const char *name,
                                const temper_param *params, uint64_t param_count, temper_error *error);

/* The arrays that it makes. Generators of noise tell the true labels too, and where they differ. [one-per-handle] */
int32_t temper_generator_generate(temper_tensor_map **out, temper_generator *generator,
                                  const temper_named_tensor *inputs, uint64_t input_count, uint64_t seed,
                                  temper_error *error);

/* [one-per-handle] */
int32_t temper_generator_free(temper_generator *generator);

/* A detector by name, such as "confident_learning". [any] */
int32_t temper_detector_create(temper_detector **out, temper_context *context, const char *name,
                               const temper_param *params, uint64_t param_count, temper_error *error);

/* Learns from arrays what is normal. [one-per-handle] */
int32_t temper_detector_fit(temper_detector *detector, const temper_named_tensor *inputs, uint64_t input_count,
                            temper_error *error);

/* "scores" (N,), larger for what is more abnormal, and what else the record names. [one-per-handle] */
int32_t temper_detector_score(temper_tensor_map **out, temper_detector *detector, const temper_named_tensor *inputs,
                              uint64_t input_count, temper_error *error);

/* What was learned, by name. Copies; empty before a fit. [one-per-handle] */
int32_t temper_detector_state(temper_tensor_map **out, temper_detector *detector, temper_error *error);

/* What was learned as a safetensors file, whole or not at all. [one-per-handle] */
int32_t temper_detector_save(temper_detector *detector, const char *path, temper_error *error);

/* Puts what a file holds back; the method must be the same. [one-per-handle] */
int32_t temper_detector_load(temper_detector *detector, const char *path, temper_error *error);

/* [one-per-handle] */
int32_t temper_detector_free(temper_detector *detector);

/* A calibrator by name, such as "temperature_scaling". [any] */
int32_t temper_calibrator_create(temper_calibrator **out, temper_context *context, const char *name,
                                 const temper_param *params, uint64_t param_count, temper_error *error);

/* Learns from `logits` (N, C) and `targets` (N,), or what the record names. [one-per-handle] */
int32_t temper_calibrator_fit(temper_calibrator *calibrator, const temper_named_tensor *inputs, uint64_t input_count,
                              temper_error *error);

/* "logits" (N, C) as they should have been, or what the record names. [one-per-handle] */
int32_t temper_calibrator_transform(temper_tensor_map **out, temper_calibrator *calibrator,
                                    const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);

/* What was learned, by name. Copies; empty before a fit. [one-per-handle] */
int32_t temper_calibrator_state(temper_tensor_map **out, temper_calibrator *calibrator, temper_error *error);

/* What was learned as a safetensors file, whole or not at all. [one-per-handle] */
int32_t temper_calibrator_save(temper_calibrator *calibrator, const char *path, temper_error *error);

/* Puts what a file holds back; the method must be the same. [one-per-handle] */
int32_t temper_calibrator_load(temper_calibrator *calibrator, const char *path, temper_error *error);

/* [one-per-handle] */
int32_t temper_calibrator_free(temper_calibrator *calibrator);

/* ---------------------------------------------------------------------------------------------------- Automatic mode */

/* Called now and then during long work: how much of it is done, 0 to 1, and what is being done. 0 goes on; 1 stops with
 * TEMPER_ERROR_CANCELLED. [callback] */
typedef int32_t (*temper_work_function)(void *user, double done, const char *what);

#define TEMPER_BALANCED_AUTO 0   /* where one class has at least three times the samples of another */
#define TEMPER_BALANCED_ALWAYS 1
#define TEMPER_BALANCED_NEVER 2

typedef struct temper_robust_options {
  uint32_t struct_size;
  int32_t folds;                 /* parts of the data that take turns in not being learnt from; 0: 4 */
  int32_t hidden;                /* units of the one hidden layer; 0: 128 */
  int32_t epochs;                /* at most so many; 0: enough for 1,500 steps, and at least 10 */
  int32_t batch_size;            /* 0: a tenth of the samples, from 16 to 128 */
  int32_t balanced;              /* TEMPER_BALANCED_*: whether every class counts alike, however rare */
  uint64_t seed;                 /* 0: the context's */
  temper_work_function progress; /* NULL: none */
  void *progress_user;
  int32_t threads;               /* 0: those of the context; at most 256 */
  int32_t reserved;              /* 0 */
} temper_robust_options;

/* Scores are accuracies (of all samples, or the mean over classes if is_balanced), or minus a mean squared error with
 * residuals cut at three deviations, in units of the numbers' own spread; on samples not learnt from, by given labels. */
typedef struct temper_robust_report {
  uint32_t struct_size;     /* set by the caller */
  int32_t class_count;      /* 0: numbers were learnt */
  int64_t sample_count;
  int64_t feature_count;
  int64_t suspected_count;  /* samples whose label is more probably wrong than right */
  int64_t outlier_count;    /* samples that lie far from all others */
  double noise_rate;        /* estimated share of wrong labels, or of numbers far off */
  double temperature;       /* that the model's logits were divided by, so that probabilities mean what they say */
  double score;             /* of the approach that was chosen; NaN: no sample could be held back */
  double plain_score;       /* of plain training; NaN: it was not tried */
  int32_t epochs;           /* of the training of the model */
  int32_t is_balanced;      /* 1: every class counted alike in the choice */
  char approach[64];        /* what the model was trained with: "early_learning_regularization" */
  char text[2048];          /* all of it in plain words */
} temper_robust_report;

/* Trains on data as they are: tries a few ways, plain ones and such that do not trust every label, on parts of the data,
 * takes the one that does best on samples it did not learn from (plain training, or a way made for wrong labels or rare
 * classes where that does better, unless another is clearly better; where more than a fifth of the labels look wrong,
 * plain training only if it is clearly better), and trains a model with it that standardizes its inputs itself. Where
 * every class counts alike and one has fewer than ten samples, scores say nothing and logit adjustment is taken.
 * x (N, D) floats; y (N,) class ids below `class_count`, or with class_count 0 numbers. The model gives logits
 * (N, class_count), calibrated, or numbers (N, 1).
 * `report` may be NULL; so may `details`: "suspicion" (N,), how probable it is that a sample's label or number is wrong;
 * "believed" (N,), the class or number that the model believes; "losses" (N,); "remoteness" (N,), how many robust
 * deviations a sample's distance to its neighbours lies above the median (outliers: above 6), empty for few samples; of
 * classes "class_counts" (C,), "transition" (C, C), P(given label | true class), and "loss_mixture" (3, 2), weights, means
 * and deviations of two normal distributions fitted to the losses; for each approach "trial: <approach>", its epochs and
 * its score.
 * `options` NULL: all defaults. Long: the progress callback may stop it. [any] */
int32_t temper_robust_fit(temper_model **out, temper_robust_report *report, temper_tensor_map **details,
                          temper_context *context, temper_tensor *x, temper_tensor *y, int32_t class_count,
                          const temper_robust_options *options, temper_error *error);

#ifdef __cplusplus
}
#endif
#endif
