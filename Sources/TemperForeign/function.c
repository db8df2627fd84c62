#include <ffi.h>
#include <stdlib.h>

#include "TemperForeign.h"

struct foreign_function {
  ffi_cif interface;
  void (*code)(void);
  ffi_type *types[];
};

static ffi_type *type_of(int32_t type) {
  switch (type) {
    case FOREIGN_FLOAT: return &ffi_type_float;
    case FOREIGN_DOUBLE: return &ffi_type_double;
    case FOREIGN_INT32: return &ffi_type_sint32;
    case FOREIGN_INT64: return &ffi_type_sint64;
    case FOREIGN_POINTER: return &ffi_type_pointer;
    default: return &ffi_type_void;
  }
}

foreign_function *foreign_prepare(const void *code, int32_t result, const int32_t *types, uint32_t count) {
  foreign_function *function = malloc(sizeof *function + count * sizeof *function->types);
  if (!function) return 0;
  function->code = (void (*)(void))code;
  for (uint32_t i = 0; i < count; ++i) function->types[i] = type_of(types[i]);
  if (ffi_prep_cif(&function->interface, FFI_DEFAULT_ABI, count, type_of(result), function->types) != FFI_OK) {
    free(function);
    return 0;
  }
  return function;
}

void foreign_call(const foreign_function *function, void **arguments, void *result) {
  ffi_call((ffi_cif *)&function->interface, function->code, result, arguments);
}

void foreign_free(foreign_function *function) { free(function); }
