/* work.h: one request of one thread: its file, its buffers, its read, its tasks. */
#ifndef RINGIO_WORK_H
#define RINGIO_WORK_H

#include <stdint.h>

#include "backend.h"
#include "codec.h"
#include "held.h"
#include "job.h"
#include "slab.h"
#include "task.h"
#include "vectors.h"

/* A slot and the request that is in flight in it. */
struct work {
    struct slot slot; /* first, so that a slot is its work */
    struct ringio_job *job;
    const struct ringio_request *request;
    uint64_t request_index;
    struct held_file *held;
    struct slab_buffers buffers;
    uint64_t want_nbytes;     /* of the request; its slot may want more, to read whole blocks */
    uint64_t counted_nbytes;  /* what it counts for in pump->in_flight_nbytes */
    uint32_t retries;
    int placed; /* the bytes go straight into the target, or into several, by 'vectors' */
    struct vectors vectors;
    int in_parts;            /* only the bytes that the codec of its chunks asks for are read: work_parts.c */
    struct parts parts;      /* of the chunk whose turn it is */
    uint64_t parts_offset;   /* where that begins */
    struct interval missing; /* what its codec asked for last */
    uint64_t parts_nbytes;   /* read at its request */
    uint32_t misses;         /* how often it was not there */
    struct work *next; /* in the list of idle ones */
};

struct pump {
    struct held_files held;
    struct backend *backend; /* NULL: the pump of a calling thread, which only takes what is there without waiting */
    struct backend *memory;
    struct slab *slab;
    struct memory_limit *slab_limit;
    int has_lost; /* completions that the kernel dropped */
    struct decoder *decoder;
    uint8_t *trash; /* for vectors */
    struct counters counters;
    uint32_t queue_depth;
    uint32_t direct; /* RINGIO_DIRECT_... */
    int was_direct;  /* the request that was submitted last is read past the page cache */
    struct work *works; /* queue_depth of them */
    struct work *idle;
    uint32_t done_count; /* requests of the current job that it does not know to be done */
    uint32_t in_flight;
    uint64_t in_flight_nbytes;
    uint64_t round_ns; /* when the last completions were done with */
};

/* How much memory a request is read to. */
static inline uint64_t work_nbytes(const struct work *work)
{
    return work->in_parts ? work->want_nbytes : work->slot.want_nbytes;
}

/* work_take() gives an idle work; there must be one.  work_drop() takes one back that came to nothing, work_give()
   one whose request is over: everything that it held is given back. */
struct work *work_take(struct pump *pump);
void work_drop(struct pump *pump, struct work *work);
void work_give(struct pump *pump, struct work *work);

/* work_begin() begins a request: checks it, opens its file, finds room for its bytes.  Returns 1 when its slot wants to
   be submitted, 0 when it is over already, -EAGAIN when there is no room for it now (nothing has changed then). */
int work_begin(struct pump *pump, struct work *work, struct ringio_job *job, uint64_t request_index);

/* work_abandon() undoes a work_begin() that returned 1. */
void work_abandon(struct pump *pump, struct work *work);

/* work_complete() looks at a completion and runs the tasks when all bytes are there.  Returns 1 when the slot has to be
   submitted again, 0 when the request is over. */
int work_complete(struct pump *pump, struct work *work);

/* work_run() runs the tasks of a request whose first 'got_nbytes' have been read. */
void work_run(struct pump *pump, struct work *work, uint64_t got_nbytes);

/* work_fail() notes the same failure for all tasks. */
void work_fail(const struct work *work, int status, uint64_t got, uint64_t expected);

#endif
