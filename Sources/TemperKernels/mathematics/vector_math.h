// Template over SINGLE (1: float, 0: double): elementary functions.
#include "scalar.h"

// clang-format off: each of these uses the ones before it
#include "exponential.h"
#include "logarithm.h"
#include "error_function.h"
#include "trigonometric.h"
#include "power.h"
#include "library_functions.h"
// clang-format on
