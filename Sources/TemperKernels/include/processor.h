// Where a thread runs.
#ifndef TEMPER_PROCESSOR_H
#define TEMPER_PROCESSOR_H

// A hint that the thread is waiting in a loop.
static inline void temper_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// The processor that the calling thread is on, or -1.
int temper_processor(void);

// Moves the calling thread to another processor than this, if it is on it and may run elsewhere. The kernel often wakes
// a thread where its waker runs; two threads then take turns for milliseconds until it notices.
void temper_leave_processor(int processor);

#endif
