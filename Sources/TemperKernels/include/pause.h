// A hint to the processor that the thread is waiting in a loop.
#ifndef TEMPER_PAUSE_H
#define TEMPER_PAUSE_H

static inline void temper_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#endif
