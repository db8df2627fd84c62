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

// ---- a process that serves calls

// A keeper, forked when the server starts, that forks workers: one after the other, each a clean copy of the keeper.
// Workers and host share an arena of memory, at the same address in both; what a worker may do is limited.
typedef struct isolation_server isolation_server;

// What a worker does. Both run in the worker only; 0, or another number with a text in `message`.
typedef struct isolation_service {
  int32_t (*prepare)(void *context, char *message, uint64_t capacity);  // once, before its first call
  int32_t (*serve)(void *context, int32_t index, void *request, char *message, uint64_t capacity);
  void *context;
} isolation_service;

enum {
  ISOLATION_ANSWERED = 10,  // detail: what serve returned
  ISOLATION_UNPREPARED = 11,  // prepare failed; detail: what it returned
};

enum { ISOLATION_SECCOMP = 1, ISOLATION_LANDLOCK = 2, ISOLATION_LANDLOCK_NETWORK = 4 };

// How a call ended, beside `message` for those that answered.
typedef struct isolation_answer {
  isolation_result result;
  uint64_t memory;  // bytes of address space that the worker had used beyond its beginning, where it was ended by a signal
} isolation_answer;

// One array of the arena.
typedef struct isolation_slot {
  uint64_t offset;  // of its pages
  uint64_t bytes;   // of its pages
  int32_t is_writable;
} isolation_slot;

enum { ISOLATION_SLOTS = 320, ISOLATION_MESSAGE = 1600 };

// NULL if the system refuses (errno). `make` forks, as for isolation_run.
isolation_server *isolation_start(isolation_service service, uint64_t memory_limit, int32_t (*make)(void));
void isolation_stop(isolation_server *server);
// The arena; it has at least `bytes` after this. NULL if the system refuses.
char *isolation_arena(isolation_server *server, uint64_t bytes);
// What a worker may touch of the arena from the next call on; the rest traps. At most ISOLATION_SLOTS.
void isolation_arrange(isolation_server *server, const isolation_slot *slots, uint32_t count);
// One call: starts a worker if there is none. `message` has room for ISOLATION_MESSAGE bytes.
isolation_answer isolation_call(isolation_server *server, int32_t index, void *request, int32_t milliseconds,
                                char *message);
// What limits the worker, beside its rlimits: ISOLATION_SECCOMP and so on. Known after the first call.
int32_t isolation_protections(const isolation_server *server);
