/* clock.h: the time since some moment, which nobody sets. */
#ifndef RINGIO_CLOCK_H
#define RINGIO_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, which Python's time.monotonic_ns() reads too.  A file that includes this defines _GNU_SOURCE. */
static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
