// Running a function in a child process: what it does to memory, signals and the process itself stays there.
#pragma once
#include <stdint.h>

enum {
  ISOLATION_RETURNED = 0,   // detail: what the function returned
  ISOLATION_SIGNALLED = 1,  // detail: the signal; address: where the fault was, if it was one of memory
  ISOLATION_EXITED = 2,     // the function ended the process; detail: its exit status
  ISOLATION_TIMED_OUT = 3,
  ISOLATION_FAILED = 4,     // no child could be made; detail: errno
};

typedef struct isolation_result {
  int32_t outcome;
  int32_t detail;
  uint64_t address;
} isolation_result;

// Forks, runs `body(argument)` in the child for at most `milliseconds`, and says how that ended. What the body writes to
// shared memory is seen afterwards; everything else is lost with the child. In the child there is only this thread.
// `make` forks, with what must be done around it; NULL: plain fork.
isolation_result isolation_run(int32_t (*body)(void *argument), void *argument, int32_t milliseconds,
                               int32_t (*make)(void));

// Memory shared with children: a page that traps, `*bytes` (rounded up to pages), a page that traps. NULL if refused.
void *isolation_map(uint64_t *bytes);
void isolation_unmap(void *memory, uint64_t bytes);
// Whether the memory may be written.
int32_t isolation_protect(void *memory, uint64_t bytes, int32_t writable);
