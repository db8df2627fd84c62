#define _GNU_SOURCE
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "TemperIsolation.h"

uint64_t limits_address_space(void) {
  char text[64];
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const ssize_t length = file < 0 ? 0 : read(file, text, sizeof text);
  if (file >= 0) close(file);
  uint64_t pages = 0;
  for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; ++i) pages = pages * 10 + (uint64_t)(text[i] - '0');
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void limit(int what, rlim_t value) {
  struct rlimit bound;
  if (getrlimit(what, &bound)) return;
  if (bound.rlim_max == RLIM_INFINITY || bound.rlim_max > value) bound.rlim_max = value;
  bound.rlim_cur = bound.rlim_max;
  setrlimit(what, &bound);
}

// ---- Landlock: no file may be written, made, moved or removed, and no TCP port used. The numbers are the kernel's.

static int32_t impose_landlock(void) {
  enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, VERSION = 1 };
  const long version = syscall(CREATE_RULESET, 0, 0, VERSION);
  if (version < 1) return 0;
  // Execute and write (bits 0 and 1), then all that changes directories (4 to 12); later versions add moving between
  // directories (13), truncating (14) and devices' controls (15). Reading stays.
  uint64_t files = 0x1ff3;
  if (version >= 2) files |= 1 << 13;
  if (version >= 3) files |= 1 << 14;
  const struct {
    uint64_t files, network;
  } rules = {files, version >= 4 ? 3 : 0};
  const long set = syscall(CREATE_RULESET, &rules, version >= 4 ? sizeof rules : sizeof rules.files, 0);
  if (set < 0) return 0;
  const long status = syscall(RESTRICT_SELF, (int)set, 0);
  close((int)set);
  if (status) return 0;
  return version >= 4 ? ISOLATION_LANDLOCK | ISOLATION_LANDLOCK_NETWORK : ISOLATION_LANDLOCK;
}

// ---- seccomp: system calls that reach beyond the process give EPERM

#define CALLS(X)                                                                                                      \
  X(socket) X(socketpair) X(connect) X(bind) X(listen) X(accept) X(accept4) X(sendto) X(sendmsg) X(sendmmsg)          \
  X(execve) X(execveat) X(ptrace) X(process_vm_readv) X(process_vm_writev) X(kill) X(tkill) X(rt_sigqueueinfo)        \
  X(rt_tgsigqueueinfo) X(pidfd_send_signal) X(pidfd_getfd) X(renameat) X(renameat2) X(unlinkat) X(mkdirat) X(linkat)  \
  X(symlinkat) X(mknodat) X(fchmod) X(fchmodat) X(fchown) X(fchownat) X(truncate) X(setxattr) X(lsetxattr)            \
  X(fsetxattr) X(removexattr) X(lremovexattr) X(fremovexattr) X(utimensat) X(mount) X(umount2) X(chroot)              \
  X(pivot_root) X(unshare) X(setns) X(bpf) X(perf_event_open) X(init_module) X(finit_module) X(delete_module)         \
  X(keyctl) X(add_key) X(request_key) X(io_uring_setup) X(io_uring_enter) X(io_uring_register) X(setrlimit)           \
  X(open_by_handle_at) X(userfaultfd) X(setpriority) X(reboot) X(swapon) X(swapoff) X(settimeofday) X(clock_settime)  \
  X(sethostname) X(setpgid) X(setsid) X(shmget) X(msgget) X(semget) X(mq_open) X(quotactl) X(acct) X(kexec_load)

#ifdef __x86_64__
#define OLD_CALLS(X)                                                                                             \
  X(fork) X(vfork) X(creat) X(rename) X(unlink) X(rmdir) X(mkdir) X(link) X(symlink) X(mknod) X(chmod) X(chown)  \
  X(lchown) X(utime) X(utimes) X(futimesat)
enum { ARCHITECTURE = AUDIT_ARCH_X86_64 };
#else
#define OLD_CALLS(X)
enum { ARCHITECTURE = AUDIT_ARCH_AARCH64 };
#endif

#define REFUSE(code) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (code))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
// If the number is not that of the call, go on behind the next `count` instructions.
#define UNLESS(number, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, count)

static int32_t impose_seccomp(void) {
  const uint32_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
  const struct sock_filter filter[] = {
      LOAD(arch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
      REFUSE(EPERM),
      LOAD(nr),
      // Other numbers for the same calls (x32).
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
      REFUSE(EPERM),
#define DENY(name) UNLESS(SYS_##name, 1), REFUSE(EPERM),
      CALLS(DENY) OLD_CALLS(DENY)
#undef DENY
      // What is newer and cannot be looked into: callers fall back to the older one.
      UNLESS(SYS_clone3, 1), REFUSE(ENOSYS),
      UNLESS(437 /* openat2 */, 1), REFUSE(ENOSYS),
#ifdef __x86_64__
      UNLESS(SYS_open, 4), LOAD(args[1]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, writing, 0, 1), REFUSE(EACCES), ALLOW,
#endif
      UNLESS(SYS_openat, 4), LOAD(args[2]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, writing, 0, 1), REFUSE(EACCES), ALLOW,
      // Threads, no processes.
      UNLESS(SYS_clone, 4), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0), REFUSE(EPERM), ALLOW,
      // Signals to itself: abort and raise.
      UNLESS(SYS_tgkill, 4), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0),
      REFUSE(EPERM), ALLOW,
      // Limits may be read.
      UNLESS(SYS_prlimit64, 6), LOAD(args[2]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]) + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), REFUSE(EPERM), ALLOW,
      ALLOW,
  };
  const struct sock_fprog program = {sizeof filter / sizeof *filter, (struct sock_filter *)filter};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? ISOLATION_SECCOMP : 0;
}

int32_t limits_impose(uint64_t memory) {
  signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit then gives an error
  limit(RLIMIT_CORE, 0), limit(RLIMIT_FSIZE, 0), limit(RLIMIT_NOFILE, 256);
  limit(RLIMIT_AS, (rlim_t)(limits_address_space() + memory));
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 0;
  const int32_t landlock = impose_landlock();
  return landlock | impose_seccomp();
}
