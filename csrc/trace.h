/* trace.h: what each thread did and when, written down only while somebody wants to know.

   Each thread has a log of its own, so threads do not slow each other down, and while nothing is traced all that it
   costs is to look at one flag that nobody writes. */
#ifndef RINGIO_TRACE_H
#define RINGIO_TRACE_H

#include <stdatomic.h>
#include <stdint.h>

#include "clock.h"
#include "ringio.h"

/* Alone on its cache line. */
struct trace_flag {
    _Alignas(64) _Atomic uint32_t is_on;
};
extern struct trace_flag trace_flag;

static inline int trace_is_on(void)
{
    return (int)atomic_load_explicit(&trace_flag.is_on, memory_order_relaxed);
}

/* trace_span() notes a span of the calling thread; see struct ringio_event. */
void trace_span(uint32_t kind, uint64_t begin_ns, uint64_t end_ns, uint64_t nbytes, uint32_t count);

/* trace_begin() gives the time, or 0 when nothing is traced; trace_end() notes the span that began then, unless that
   was 0, and gives the time of its end. */
static inline uint64_t trace_begin(void)
{
    return trace_is_on() ? now_ns() : 0;
}

static inline uint64_t trace_end(uint32_t kind, uint64_t begin_ns, uint64_t nbytes, uint32_t count)
{
    if (begin_ns == 0)
        return 0;
    uint64_t end_ns = now_ns();
    trace_span(kind, begin_ns, end_ns, nbytes, count);
    return end_ns;
}

#endif
