// Shims to what Swift cannot call: functions whose signature is known only at run time, and an interpreter of Python
// that is found or loaded when it is first needed.
#pragma once
#include <stdint.h>

// ---- functions by signature, through libffi

enum { FOREIGN_VOID, FOREIGN_FLOAT, FOREIGN_DOUBLE, FOREIGN_INT32, FOREIGN_INT64, FOREIGN_POINTER };

typedef struct foreign_function foreign_function;

// NULL if there is no memory, or no such way to call.
foreign_function *foreign_prepare(const void *code, int32_t result, const int32_t *types, uint32_t count);
// arguments[i] points to the value of argument i; `result` has room for 16 bytes.
void foreign_call(const foreign_function *function, void **arguments, void *result);
void foreign_free(foreign_function *function);

// ---- Python

// Texts of errors go to `message`.
typedef struct python_message {
  char *text;
  uint64_t capacity;
} python_message;

// Whether an interpreter runs in this process.
int32_t python_is_running(void);
// Finds the running interpreter, or loads libpython and starts one, and runs `bridge`, a source text, in a module of its
// own. `folders`, separated by ':', go to sys.path of an interpreter that is started here. Once done it is done. 0, or 1.
int32_t python_start(const char *bridge, const char *folders, python_message message);
// What the bridge's `name(*texts, object)` gives: a new reference, to be released; NULL with a message. A text as the
// result is an error.
void *python_make(const char *name, const char *const *texts, int32_t text_count, void *object, python_message message);
// Calls `function(address)`. 0 where that gives None; 1 with the text that it gives.
int32_t python_evaluate(void *function, const void *address, python_message message);
void python_release(void *object);
// fork, with what the running interpreter needs before and after; the child holds its lock.
int32_t python_fork(void);
