// What a process that runs foreign code may do.
#pragma once
#include <stdint.h>

// Takes from this process: more than `memory` bytes of further address space, core files, writing files, the network,
// other programs and processes. What the kernel has of it comes back as ISOLATION_SECCOMP and so on.
int32_t limits_impose(uint64_t memory);
// Address space of this process, in bytes; safe in a signal handler.
uint64_t limits_address_space(void);
