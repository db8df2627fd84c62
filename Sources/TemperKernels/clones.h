// A function compiled for each instruction set, the best one chosen when the library is loaded.
#ifndef TEMPER_CLONES_H
#define TEMPER_CLONES_H

#if defined(__x86_64__)
#define TEMPER_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TEMPER_CLONES
#endif

// Iterations are independent: pointers are either disjoint or the same.
#define TEMPER_VECTORISED _Pragma("clang loop vectorize(assume_safety)")

#endif
