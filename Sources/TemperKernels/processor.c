#define _GNU_SOURCE
#include "include/processor.h"

#include <sched.h>

int temper_processor(void) { return sched_getcpu(); }

void temper_leave_processor(int processor) {
  cpu_set_t allowed, others;
  if (processor < 0 || processor >= CPU_SETSIZE || sched_getcpu() != processor) return;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  others = allowed;
  CPU_CLR(processor, &others);
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}
