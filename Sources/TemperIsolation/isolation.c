#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "TemperIsolation.h"

// What the child leaves for its parent, in shared memory. `outcome` is written last.
typedef struct note {
  volatile uint64_t address;
  volatile int32_t detail;
  volatile int32_t is_written;
  volatile int32_t outcome;
} note;

static note *child_note;

static void leave(int32_t outcome, int32_t detail, uint64_t address) {
  if (!child_note->is_written) {
    child_note->address = address;
    child_note->detail = detail;
    child_note->outcome = outcome;
    __sync_synchronize();
    child_note->is_written = 1;
  }
  _exit(0);
}

static void fault(int number, siginfo_t *information, void *context) {
  (void)context;
  int of_memory = number == SIGSEGV || number == SIGBUS;
  leave(ISOLATION_SIGNALLED, number, of_memory ? (uint64_t)(uintptr_t)information->si_addr : 0);
}

static void at_exit(int status, void *unused) {
  (void)unused;
  leave(ISOLATION_EXITED, status, 0);
}

static void become_child(int32_t milliseconds) {
  static char stack[1 << 16];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // What a plug-in prints while it is tried is nobody's.
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere >= 0) dup2(nowhere, 1), dup2(nowhere, 2);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  // A second bound on time, for a parent that is gone.
  struct rlimit processor = {(rlim_t)(milliseconds / 1000 + 2), (rlim_t)(milliseconds / 1000 + 2)};
  setrlimit(RLIMIT_CPU, &processor);
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternative, 0);
  struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
  for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) sigaction(faults[i], &action, 0);
  sigset_t all;
  sigemptyset(&all);
  sigprocmask(SIG_SETMASK, &all, 0);
  // Handlers run newest first: this one ends the child before the program's own would run in it.
  on_exit(at_exit, 0);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

isolation_result isolation_run(int32_t (*body)(void *), void *argument, int32_t milliseconds, int32_t (*make)(void)) {
  isolation_result result = {ISOLATION_FAILED, 0, 0};
  note *shared = mmap(0, sizeof(note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    result.detail = errno;
    return result;
  }
  pid_t child = make ? make() : fork();
  if (child == 0) {
    child_note = shared;
    become_child(milliseconds);
    leave(ISOLATION_RETURNED, body(argument), 0);
  }
  if (child < 0) {
    result.detail = errno;
    munmap(shared, sizeof(note));
    return result;
  }
  int64_t deadline = now() + (int64_t)milliseconds * 1000000, pause = 50000;
  int status = 0, timed_out = 0;
  for (;;) {
    pid_t ended = waitpid(child, &status, WNOHANG);
    // A host that ignores SIGCHLD has its children reaped for it; the note then says all there is to know.
    if (ended == child || (ended < 0 && errno == ECHILD)) break;
    if (now() > deadline && !timed_out) {
      timed_out = 1;
      kill(child, SIGKILL);
    }
    struct timespec time = {0, pause};
    nanosleep(&time, 0);
    if (pause < 5000000) pause += pause / 2;
  }
  if (shared->is_written) {
    result = (isolation_result){shared->outcome, shared->detail, shared->address};
  } else if (timed_out) {
    result.outcome = ISOLATION_TIMED_OUT;
  } else if (WIFSIGNALED(status)) {
    result = (isolation_result){ISOLATION_SIGNALLED, WTERMSIG(status), 0};
  } else {
    result = (isolation_result){ISOLATION_EXITED, WEXITSTATUS(status), 0};
  }
  munmap(shared, sizeof(note));
  return result;
}

static uint64_t page(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

void *isolation_map(uint64_t *bytes) {
  uint64_t size = (*bytes + page() - 1) / page() * page();
  char *memory = mmap(0, size + 2 * page(), PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  if (mprotect(memory + page(), size, PROT_READ | PROT_WRITE)) {
    munmap(memory, size + 2 * page());
    return 0;
  }
  *bytes = size;
  return memory + page();
}

void isolation_unmap(void *memory, uint64_t bytes) { munmap((char *)memory - page(), bytes + 2 * page()); }

int32_t isolation_protect(void *memory, uint64_t bytes, int32_t writable) {
  return mprotect(memory, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ);
}
