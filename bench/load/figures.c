#include "figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Round trips are counted in buckets of 1/64 of a power of two, in ns: 1.6 % apart. */
#define SUB_BUCKETS 64
#define BUCKETS (64 * SUB_BUCKETS)

static uint64_t histogram[BUCKETS];
static uint64_t messages;

void fail(const char *what)
{
    fprintf(stderr, "loadgen: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUB_BUCKETS)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (power - 5) * SUB_BUCKETS + (unsigned)(ns >> (power - 6)) % SUB_BUCKETS;
}

void figures_count(uint64_t ns)
{
    messages++;
    histogram[bucket_of(ns)]++;
}

uint64_t figures_messages(void)
{
    return messages;
}

double figures_percentile_us(double part)
{
    uint64_t wanted = (uint64_t)((double)messages * part), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            if (i < SUB_BUCKETS)
                return i / 1e3;
            unsigned power = i / SUB_BUCKETS + 5;
            return (double)((uint64_t)(SUB_BUCKETS + i % SUB_BUCKETS) << (power - 6)) / 1e3;
        }
    }
    return 0;
}

double cpu_of(int pid)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        fail("the server is gone");
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

double own_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double memory_of(int pid)
{
    char name[64];
    long pages = 0;
    snprintf(name, sizeof name, "/proc/%d/statm", pid);
    FILE *file = fopen(name, "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        fail("cannot read the server's memory");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}
