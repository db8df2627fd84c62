#include "row_program.h"
