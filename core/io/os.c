#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* SCHED_BATCH, pthread_setname_np */
#endif

#include "os.h"

#include "../tuning.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#ifdef __APPLE__
#include <mach/mach.h>
#endif

void fws_os_random(void *out, size_t size)
{
    while (getrandom(out, size, 0) < 0 && errno == EINTR)
        ;
}

void fws_os_entropy(uint8_t out[4])
{
    fws_os_random(out, 4);
}

void fws_os_init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void fws_os_name_thread(const char *name)
{
#ifdef __linux__
    char first[16] = {0};
    strncpy(first, name, sizeof first - 1);
    pthread_setname_np(pthread_self(), first);
#else
    (void)name;
#endif
}

void fws_os_do_not_preempt(void)
{
#if defined(SCHED_BATCH) && FWS_USE_SCHED_BATCH
    struct sched_param none = {0};
    sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK,
                       &none); /* without effect where the process may not do this */
#endif
}

fws_ns fws_os_processor_time(pthread_t thread)
{
#ifdef __APPLE__
    thread_basic_info_data_t info;
    mach_msg_type_number_t count = THREAD_BASIC_INFO_COUNT;
    if (thread_info(pthread_mach_thread_np(thread), THREAD_BASIC_INFO, (thread_info_t)&info,
                    &count) != KERN_SUCCESS)
        return 0;
    return (info.user_time.seconds + info.system_time.seconds) * FWS_NS_PER_S +
           (info.user_time.microseconds + info.system_time.microseconds) * (fws_ns)1000;
#else
    clockid_t clock;
    struct timespec used;
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0;
    return (fws_ns)used.tv_sec * FWS_NS_PER_S + used.tv_nsec;
#endif
}
