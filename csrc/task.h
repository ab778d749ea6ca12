/* task.h: one task, from encoded bytes to its places in the targets. */
#ifndef RINGIO_TASK_H
#define RINGIO_TASK_H

#include <stdatomic.h>
#include <stdint.h>

#include "codec.h"
#include "ringio.h"
#include "scatter.h"

/* What one thread has done.  Only that thread adds; others may read at any time. */
struct counters {
    _Atomic uint64_t requests;
    _Atomic uint64_t tasks;
    _Atomic uint64_t projections;
    _Atomic uint64_t bytes_read;
    _Atomic uint64_t bytes_asked;
    _Atomic uint64_t bytes_decoded;
    _Atomic uint64_t coalesced_requests;
    _Atomic uint64_t direct_requests;
    _Atomic uint64_t retries;
    _Atomic uint64_t inline_jobs;
    _Atomic uint64_t wait_ns;
    _Atomic uint64_t decode_ns;
    _Atomic uint64_t peak_in_flight;
};

/* One writer, so no locked instruction: a plain add that other threads read whole. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

/* task_check_plan() checks what a plan has few of: chains, layouts, targets, paths.  Requests, tasks and projections
   are checked when their turn comes.  Returns 0 or -RINGIO_BAD_PLAN. */
int task_check_plan(const struct ringio_plan *plan);

/* task_check() checks the indices of 'task'.  Returns 0, or -RINGIO_BAD_PLAN with failure->got saying what. */
int task_check(const struct ringio_plan *plan, const struct ringio_task *task, struct ringio_failure *failure);

/* The next six take a task that task_check() passed. */

/* task_place() gives where 'source_nbytes' of a task that needs no decoding land in one piece, or NULL: then they
   cannot be read straight into the target. */
uint8_t *task_place(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes);

/* task_walk() makes the walk of a task that needs no decoding and has one box, for 'source_nbytes' of it.  Returns its
   target, or NULL where the task is another, or reaches outside. */
uint8_t *task_walk(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes,
                   struct scatter_walk *walk);

/* task_scratch_nbytes() says how much room task_run() wants for decoding; 0 where it decodes into the target. */
uint64_t task_scratch_nbytes(const struct ringio_plan *plan, const struct ringio_task *task);

/* task_parts_nbytes() says how many of the 'source_nbytes' of a task its boxes need, more or less: all where its codecs
   cannot do without the others. */
uint64_t task_parts_nbytes(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes);

/* task_run() decodes 'source' and scatters it to every projection.  With 'parts', which may be NULL, not all of
   'source' has been read.  'scratch' holds task_scratch_nbytes().  Returns 0 or -status with 'failure' (step, got,
   expected) filled in. */
int task_run(const struct ringio_plan *plan, const struct ringio_task *task, struct span source, struct parts *parts,
             uint8_t *scratch, struct decoder *decoder, struct counters *counters, struct ringio_failure *failure);

/* task_fill() writes the fill value to every projection.  Returns 0 or -RINGIO_BAD_PLAN. */
int task_fill(const struct ringio_plan *plan, const struct ringio_task *task, struct counters *counters,
              struct ringio_failure *failure);

#endif
