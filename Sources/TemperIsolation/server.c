#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "TemperIsolation.h"
#include "limits.h"

// Address space for the arena: the largest batch that fits.
enum { ARENA_GIGABYTES = 16 };
#define ARENA ((uint64_t)ARENA_GIGABYTES << 30)

// Shared by host, keeper and worker. The worker can write anything here: the host believes none of it, beyond taking it
// for numbers and text.
typedef struct control {
  // The host counts requests; the worker repeats the number that it has answered; the keeper counts workers that ended.
  // Whoever ends a wait of the host counts `news`.
  _Atomic uint32_t request, answered, ended, news;
  int32_t status;  // of the answer
  int32_t is_prepared;  // 0: not yet, 1: yes, -1: prepare failed
  int32_t protections;
  // The fault or exit that ended the worker, noted by itself, and what the system says of its end.
  int32_t outcome, detail, wait_status;
  uint64_t address, memory;
  char message[ISOLATION_MESSAGE];
  // The request.
  int32_t index;
  void *pointer;
  uint64_t arena_bytes;
  uint32_t layout, slot_count;
  isolation_slot slots[ISOLATION_SLOTS];
} control;

struct isolation_server {
  control *shared;
  char *arena;
  uint64_t arena_bytes;
  int memory;  // the file behind the arena
  int keeper_socket;
  pid_t keeper;
  isolation_service service;
  uint64_t memory_limit;
  int has_worker;
  pid_t owner;
};

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t nanoseconds) {
  const struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  syscall(SYS_futex, word, FUTEX_WAIT, seen, nanoseconds < 0 ? 0 : &time, 0, 0);
}

static void futex_wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, 0, 0, 0); }

static void pause_briefly(void) {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

// Batches follow each other closely: looking for some microseconds is quicker than sleeping.
static void await_change(_Atomic uint32_t *word, uint32_t seen, int64_t nanoseconds) {
  for (int i = 0; i < 2000; ++i) {
    if (atomic_load(word) != seen) return;
    pause_briefly();
  }
  futex_wait(word, seen, nanoseconds);
}

static void tell(control *shared, _Atomic uint32_t *word, uint32_t value) {
  atomic_store(word, value);
  atomic_fetch_add(&shared->news, 1);
  futex_wake(&shared->news);
}

static int map(isolation_server *server, uint64_t from, uint64_t to, int protection) {
  return mmap(server->arena + from, to - from, protection, MAP_SHARED | MAP_FIXED, server->memory, (off_t)from) ==
                 MAP_FAILED
             ? -1
             : 0;
}

// ---- the worker

static control *own;  // of this worker
static uint64_t beginning;

static void note_end(int32_t outcome, int32_t detail, uint64_t address) {
  if (!own->outcome) {
    own->address = address;
    own->detail = detail;
    const uint64_t space = limits_address_space();
    own->memory = space > beginning ? space - beginning : 0;
    atomic_thread_fence(memory_order_seq_cst);
    own->outcome = outcome;
  }
  _exit(0);
}

static void fault(int number, siginfo_t *information, void *context) {
  (void)context;
  const int of_memory = number == SIGSEGV || number == SIGBUS;
  note_end(ISOLATION_SIGNALLED, number, of_memory ? (uint64_t)(uintptr_t)information->si_addr : 0);
}

static void at_exit(int status, void *unused) {
  (void)unused;
  note_end(ISOLATION_EXITED, status, 0);
}

// Traps everywhere in the arena but in the slots.
static int arrange(isolation_server *server) {
  control *shared = server->shared;
  if (map(server, 0, server->arena_bytes, PROT_NONE)) return -1;
  for (uint32_t i = 0; i < shared->slot_count; ++i) {
    const isolation_slot *slot = &shared->slots[i];
    if (mprotect(server->arena + slot->offset, slot->bytes, slot->is_writable ? PROT_READ | PROT_WRITE : PROT_READ))
      return -1;
  }
  return 0;
}

static void work(isolation_server *server) {
  static char stack[1 << 16];
  control *shared = own = server->shared;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternative, 0);
  struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
  for (unsigned i = 0; i < sizeof faults / sizeof *faults; ++i) sigaction(faults[i], &action, 0);
  on_exit(at_exit, 0);
  // Libraries that count processors would begin threads that nobody asked for.
  setenv("OMP_NUM_THREADS", "1", 1), setenv("OPENBLAS_NUM_THREADS", "1", 1);
  beginning = limits_address_space();
  shared->protections = limits_impose(server->memory_limit);
  const int32_t status = server->service.prepare(server->service.context, shared->message, ISOLATION_MESSAGE);
  shared->status = status;
  shared->is_prepared = status ? -1 : 1;
  uint32_t layout = 0, answered = atomic_load(&shared->answered);
  for (;;) {
    uint32_t request;
    while ((request = atomic_load(&shared->request)) == answered) await_change(&shared->request, answered, -1);
    if (shared->is_prepared == 1) {
      if (layout != shared->layout) {
        server->arena_bytes = shared->arena_bytes;
        if (arrange(server)) note_end(ISOLATION_FAILED, errno, 0);
        layout = shared->layout;
      }
      shared->message[0] = 0;
      shared->status = server->service.serve(server->service.context, shared->index, shared->pointer, shared->message,
                                             ISOLATION_MESSAGE);
    }
    tell(shared, &shared->answered, answered = request);
  }
}

// ---- the keeper

static void become_keeper(isolation_server *server, int socket) {
  // Three files stay: nowhere in place of the standard ones, the socket, and the arena.
  const int nowhere = open("/dev/null", O_RDWR);
  for (int i = 0; i < 3; ++i) dup2(nowhere, i);
  const int high = fcntl(socket, F_DUPFD, 100), memory = fcntl(server->memory, F_DUPFD, 100);
  dup2(high, 3), dup2(memory, 4);
  server->memory = 4;
  if (syscall(SYS_close_range, 5, ~0u, 0))
    for (int file = 5; file < 65536; ++file) close(file);
  setsid();  // signals of a terminal are for the host
  for (int number = 1; number < 32; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  prctl(PR_SET_NAME, "temper-keeper");
}

static void keep(isolation_server *server) {
  control *shared = server->shared;
  pid_t worker = 0;
  int watch = -1;
  for (;;) {
    struct pollfd files[] = {{3, POLLIN, 0}, {watch, POLLIN, 0}};
    if (poll(files, watch < 0 ? 1 : 2, -1) < 0 && errno != EINTR) _exit(1);
    char command = 0;
    if (files[0].revents) {
      if (read(3, &command, 1) != 1) {  // the host is gone, or has no more use for it
        if (worker) kill(worker, SIGKILL), waitpid(worker, 0, 0);
        _exit(0);
      }
    }
    const int is_over = watch >= 0 && files[1].revents;
    if (worker && (is_over || command)) {
      int status = 0;
      if (!is_over) kill(worker, SIGKILL);
      waitpid(worker, &status, 0);
      close(watch);
      worker = 0, watch = -1;
      shared->wait_status = status;
      tell(shared, &shared->ended, atomic_load(&shared->ended) + 1);
    }
    if (command == 'n') {
      shared->outcome = shared->is_prepared = 0;
      worker = fork();
      if (worker == 0) {
        close(3);
        work(server);
      }
      watch = worker > 0 ? (int)syscall(SYS_pidfd_open, worker, 0) : -1;
      if (watch < 0) {  // no process, or a kernel that cannot watch one
        if (worker > 0) kill(worker, SIGKILL), waitpid(worker, 0, 0);
        worker = 0;
        shared->outcome = ISOLATION_FAILED, shared->detail = errno;
        tell(shared, &shared->ended, atomic_load(&shared->ended) + 1);
      }
    }
  }
}

// ---- the host

isolation_server *isolation_start(isolation_service service, uint64_t memory_limit, int32_t (*make)(void)) {
  isolation_server *server = calloc(1, sizeof *server);
  if (!server) return 0;
  int sockets[2] = {-1, -1};
  server->service = service;
  server->memory_limit = memory_limit;
  server->owner = getpid();
  server->shared = mmap(0, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  server->arena = mmap(0, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  server->memory = memfd_create("temper-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  // A file that shrank under the host would end it.
  int is_ready = server->shared != MAP_FAILED && server->arena != MAP_FAILED && server->memory >= 0 &&
                 fcntl(server->memory, F_ADD_SEALS, F_SEAL_SHRINK) == 0 &&
                 socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0;
  if (is_ready) {
    server->keeper = make ? make() : fork();
    if (server->keeper == 0) {
      become_keeper(server, sockets[1]);
      keep(server);
    }
    is_ready = server->keeper > 0;
  }
  const int reason = errno;
  if (sockets[1] >= 0) close(sockets[1]);
  server->keeper_socket = sockets[0];
  if (is_ready) return server;
  isolation_stop(server);
  errno = reason;
  return 0;
}

void isolation_stop(isolation_server *server) {
  if (server->keeper_socket >= 0) close(server->keeper_socket);
  if (server->keeper > 0)
    while (waitpid(server->keeper, 0, 0) < 0 && errno == EINTR) {
    }
  if (server->memory >= 0) close(server->memory);
  if (server->arena != MAP_FAILED) munmap(server->arena, ARENA);
  if (server->shared != MAP_FAILED) munmap(server->shared, sizeof(control));
  free(server);
}

char *isolation_arena(isolation_server *server, uint64_t bytes) {
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  // Half as much again: batches that grow slowly do not map each time.
  uint64_t wanted = (bytes + bytes / 2 + page - 1) / page * page;
  if (bytes <= server->arena_bytes) return server->arena;
  if (wanted > ARENA) wanted = ARENA;
  if (bytes > wanted || ftruncate(server->memory, (off_t)wanted) ||
      map(server, server->arena_bytes, wanted, PROT_READ | PROT_WRITE))
    return 0;
  server->arena_bytes = server->shared->arena_bytes = wanted;
  return server->arena;
}

void isolation_arrange(isolation_server *server, const isolation_slot *slots, uint32_t count) {
  memcpy(server->shared->slots, slots, count * sizeof *slots);
  server->shared->slot_count = count;
  server->shared->arena_bytes = server->arena_bytes;
  ++server->shared->layout;
}

static void command(isolation_server *server, char word) {
  while (send(server->keeper_socket, &word, 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

isolation_answer isolation_call(isolation_server *server, int32_t index, void *request, int32_t milliseconds,
                                char *message) {
  control *shared = server->shared;
  const int64_t deadline = now() + (int64_t)milliseconds * 1000000;
  isolation_answer answer = {{ISOLATION_TIMED_OUT, 0, 0}, 0};
  if (server->owner != getpid()) {  // a copy that fork made: the keeper serves one host
    answer.result = (isolation_result){ISOLATION_FAILED, ECHILD, 0};
    return answer;
  }
  shared->index = index;
  shared->pointer = request;
  shared->message[0] = 0;
  if (!server->has_worker) {
    // Before the request is counted: a new worker begins with the count of what was answered.
    atomic_store(&shared->answered, atomic_load(&shared->request));
    shared->outcome = 0;
    command(server, 'n');
    server->has_worker = 1;
  }
  const uint32_t ended = atomic_load(&shared->ended), number = atomic_fetch_add(&shared->request, 1) + 1;
  futex_wake(&shared->request);
  int is_answered = 0, is_over = 0;
  for (;;) {
    const uint32_t news = atomic_load(&shared->news);
    is_answered = atomic_load(&shared->answered) == number;
    is_over = atomic_load(&shared->ended) != ended;
    const int64_t left = deadline - now();
    if (is_answered || is_over || left <= 0) break;
    await_change(&shared->news, news, left);
  }
  snprintf(message, ISOLATION_MESSAGE, "%.*s", ISOLATION_MESSAGE - 1, shared->message);
  if (is_answered && shared->is_prepared == 1) {
    answer.result = (isolation_result){ISOLATION_ANSWERED, shared->status, 0};
    return answer;
  }
  // Whatever it was, the next call has a new worker, and this one is gone by then.
  server->has_worker = 0;
  if (!is_over) {
    command(server, 'k');
    for (const int64_t patience = now() + 10000000000; atomic_load(&shared->ended) == ended && now() < patience;)
      await_change(&shared->news, atomic_load(&shared->news), 1000000);
  }
  if (is_answered) {
    answer.result = (isolation_result){ISOLATION_UNPREPARED, shared->status, 0};
  } else if (is_over && shared->outcome) {
    answer.result = (isolation_result){shared->outcome, shared->detail, shared->address};
    answer.memory = shared->memory;
  } else if (is_over) {
    const int status = shared->wait_status;
    answer.result = WIFSIGNALED(status) ? (isolation_result){ISOLATION_SIGNALLED, WTERMSIG(status), 0}
                                        : (isolation_result){ISOLATION_EXITED, WEXITSTATUS(status), 0};
  }
  return answer;
}

int32_t isolation_protections(const isolation_server *server) { return server->shared->protections; }
