#include "TemperEdge.h"
#include "temper.h"

static _Thread_local temper_error last;

void *edge_thread_error(void) { return &last; }

const temper_error *temper_last_error(void) { return &last; }
