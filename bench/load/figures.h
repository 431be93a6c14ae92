/* What is measured: round trips, CPU time, memory. Used by one thread. */
#ifndef FWS_BENCH_FIGURES_H
#define FWS_BENCH_FIGURES_H

#include <stdint.h>

/* Prints what went wrong, with errno if that is set, and ends the program. */
_Noreturn void fail(const char *what);

uint64_t now_ns(void);

/* Counts one message, whose round trip took `ns`. */
void figures_count(uint64_t ns);
uint64_t figures_messages(void);
/* The time that `part` (0 to 1) of the messages did not exceed, in microseconds. */
double figures_percentile_us(double part);

/* CPU time of a process, all of its threads, and of this one; in seconds. */
double cpu_of(int pid);
double own_cpu(void);
/* Resident memory of a process, in bytes. */
double memory_of(int pid);

#endif
