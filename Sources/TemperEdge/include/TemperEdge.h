// The part of the C edge that Swift cannot say: thread-local memory.
#pragma once

// This thread's copy of its last error, a temper_error.
void *edge_thread_error(void);
