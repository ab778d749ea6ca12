#define _GNU_SOURCE
#include "pump.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "trace.h"

/* A claim is at most this many requests, so that the end of a job is shared out, and its turn does not last long. */
#define CLAIM_MAX 16

/* So many for each thread, the last requests of a job are claimed one at a time, and by threads that have nothing in
   flight. */
#define LAST_REQUESTS 4

/* While other jobs wait, a thread goes on to the next after so long: a small job waits no longer for a large one than
   for a disk.  By time, as a request may take a microsecond or, decoded, milliseconds. */
#define TURN_NS 2000000

/* Decoding starts when this many reads are there: few enough that their bytes are still in the cache. */
#define REAP_MAX 16

/* Of reads past the page cache, none of which completes at once: a disk of 3 GB/s is busy with so much for 5 ms. */
#define WINDOW_NBYTES_DIRECT ((uint64_t)16 << 20)

/* --------------------------------------------------------------------------------------------------- life of a pump */

struct pump *pump_new(uint32_t kind, const struct ringio_options *options, struct file_cache *files,
                      struct memory_limit *limit)
{
    struct pump *pump = aligned_alloc(64, (sizeof *pump + 63) / 64 * 64);
    if (!pump)
        return NULL;
    memset(pump, 0, sizeof *pump);
    pump->queue_depth = kind ? options->queue_depth : 1;
    pump->direct = options->direct;
    if (kind)
        pump->backend = backend_new(kind, options);
    /* One direct read at a time is slower than the page cache, which reads ahead. */
    if (pump->backend && pump->backend->direct_count < 2 && pump->direct == RINGIO_DIRECT_AUTO)
        pump->direct = RINGIO_DIRECT_OFF;
    pump->memory = backend_new(RINGIO_BACKEND_MEMORY, options);
    pump->slab_limit = limit;
    pump->slab = slab_new(limit);
    pump->decoder = decoder_new();
    pump->works = calloc(pump->queue_depth, sizeof *pump->works);
    pump->trash = malloc(VECTORS_TRASH_NBYTES);
    int status = held_init(&pump->held, files, options, pump->queue_depth);
    if (status || (kind && !pump->backend) || !pump->memory || !pump->slab || !pump->decoder || !pump->works ||
        !pump->trash) {
        pump_free(pump);
        return NULL;
    }
    for (uint32_t i = pump->queue_depth; i-- > 0;) {
        pump->works[i].slot.index = i;
        pump->works[i].next = pump->idle;
        pump->idle = &pump->works[i];
    }
    return pump;
}

void pump_free(struct pump *pump)
{
    assert(pump->in_flight == 0);
    if (pump->backend)
        pump->backend->ops->free(pump->backend);
    if (pump->memory)
        pump->memory->ops->free(pump->memory);
    if (pump->slab && !pump->has_lost)
        slab_free(pump->slab);
    if (pump->decoder)
        decoder_free(pump->decoder);
    for (uint32_t i = 0; pump->works && i < pump->queue_depth; i++)
        vectors_free(&pump->works[i].vectors);
    free(pump->works);
    if (!pump->has_lost)
        free(pump->trash);
    held_destroy(&pump->held);
    free(pump);
}

/* --------------------------------------------------------------------------------------------------------- the pump */

/* Bytes in memory: there is nothing to wait for, whatever the backend does on the way. */
static void run_in_memory(struct pump *pump, struct work *work)
{
    if (work->slot.want_nbytes == 0) {
        work_run(pump, work, 0);
        return;
    }
    struct slot *completed;
    do {
        pump->memory->ops->submit(pump->memory, &work->slot);
        while (pump->memory->ops->reap(pump->memory, &completed, 1, 1) == 0)
            ;
    } while (work_complete(pump, work));
}

/* Starts one request.  Returns 0, or -EAGAIN when there is no room for it now. */
static int start(struct pump *pump, struct ringio_job *job, uint64_t request_index)
{
    struct work *work = work_take(pump);
    int status = work_begin(pump, work, job, request_index);
    if (status == -EAGAIN) {
        work_drop(pump, work);
        return status;
    }
    if (status == 1 && work->slot.file->data) {
        run_in_memory(pump, work);
    } else if (status == 1 && work->slot.want_nbytes == 0) {
        work_run(pump, work, 0);
    } else if (status == 1) {
        work->counted_nbytes = work_nbytes(work);
        pump->was_direct = work->slot.block_nbytes > 0;
        pump->in_flight++;
        pump->in_flight_nbytes += work->counted_nbytes;
        counter_add(&pump->counters.direct_requests, (uint64_t)pump->was_direct);
        pump->backend->ops->submit(pump->backend, &work->slot);
        return 0;
    }
    work_give(pump, work);
    return 0;
}

/* The kernel may still write to buffers whose completions it dropped: they are never used again, nor is any of their
   slab. */
static void lose(struct pump *pump, struct work *work)
{
    work_fail(work, -EIO, 0, 0);
    work->buffers = (struct slab_buffers){0};
    pump->has_lost = 1;
}

/* Goes on with new buffers, once nothing of the old ones is in use by others. */
static void replace_slab(struct pump *pump)
{
    struct slab *slab = slab_new(pump->slab_limit);
    uint8_t *trash = malloc(VECTORS_TRASH_NBYTES);
    if (slab && trash) {
        pump->slab = slab;
        pump->trash = trash;
        pump->has_lost = 0;
    } else {
        if (slab)
            slab_free(slab);
        free(trash);
    }
}

static int window_is_open(struct pump *pump)
{
    if (pump->has_lost && pump->in_flight == 0)
        replace_slab(pump);
    if (pump->has_lost)
        return 0;
    if (pump->in_flight == 0)
        return 1;
    uint32_t most = pump->was_direct ? pump->backend->direct_count : pump->backend->window_count;
    uint64_t most_nbytes = pump->was_direct ? WINDOW_NBYTES_DIRECT : pump->backend->window_nbytes;
    return pump->idle && pump->in_flight < most && pump->in_flight_nbytes < most_nbytes;
}

/* Tells the job what is done: not for each request, as all threads write to that one cache line. */
static void report(struct pump *pump, struct ringio_job *job)
{
    if (pump->done_count)
        atomic_fetch_add_explicit(&job->done_count, pump->done_count, memory_order_relaxed);
    pump->done_count = 0;
}

/* Notes a round: it began when the one before ended, and 'wait_ns' and 'reaped_ns' stand around its waiting.  What is
   counted is what was in flight, and what came back. */
static void trace_round(const struct pump *pump, uint64_t wait_ns, uint64_t reaped_ns, uint64_t end_ns,
                        uint64_t waiting_nbytes, uint32_t waiting_count, uint32_t count)
{
    trace_span(RINGIO_EVENT_SUBMIT, pump->round_ns, wait_ns, waiting_nbytes, waiting_count);
    trace_span(RINGIO_EVENT_WAIT, wait_ns, reaped_ns, waiting_nbytes, waiting_count);
    trace_span(RINGIO_EVENT_COMPLETE, reaped_ns, end_ns, pump->in_flight_nbytes, count);
}

/* Waits for reads, then decodes and scatters them. */
static void reap(struct pump *pump)
{
    uint64_t waiting_nbytes = pump->in_flight_nbytes;
    uint32_t waiting_count = pump->in_flight;
    struct slot *completed[REAP_MAX];
    uint64_t begin_ns = now_ns(), lost = pump->backend->lost;
    uint32_t count = pump->backend->ops->reap(pump->backend, completed, REAP_MAX, 1);
    uint64_t reaped_ns = now_ns();
    pump->held.round++;
    counter_add(&pump->counters.wait_ns, reaped_ns - begin_ns);
    if (pump->in_flight > atomic_load_explicit(&pump->counters.peak_in_flight, memory_order_relaxed))
        atomic_store_explicit(&pump->counters.peak_in_flight, pump->in_flight, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        struct work *work = (struct work *)completed[i];
        if (pump->backend->lost != lost && work->slot.result == -EIO) {
            lose(pump, work);
        } else if (work_complete(pump, work)) {
            pump->backend->ops->submit(pump->backend, &work->slot);
            continue;
        }
        pump->in_flight--;
        pump->in_flight_nbytes -= work->counted_nbytes;
        work_give(pump, work);
    }
    uint64_t end_ns = now_ns();
    counter_add(&pump->counters.decode_ns, end_ns - reaped_ns);
    if (trace_is_on())
        trace_round(pump, begin_ns, reaped_ns, end_ns, waiting_nbytes, waiting_count, count);
    pump->round_ns = end_ns;
}

/* Where files take long to open, reads that are queued begin now, not when the window is full. */
static void begin_reads(struct pump *pump)
{
    struct slot *none[1];
    pump->held.ahead.was_slow = 0;
    if (pump->in_flight)
        pump->backend->ops->reap(pump->backend, none, 0, 0);
}

static uint64_t claim_size(const struct ringio_job *job, uint32_t worker_count)
{
    uint64_t share = job_unclaimed(job) / (8 * (uint64_t)worker_count);
    return share < 1 ? 1 : share > CLAIM_MAX ? CLAIM_MAX : share;
}

/* Whether to decode what is in flight before more is claimed: of what is cached, the last requests of a job are left to
   whoever is free first, so that all threads end together.  A disk is kept busy. */
static int leaves_rest(const struct pump *pump, const struct ringio_job *job, uint32_t worker_count)
{
    return pump->in_flight && !pump->was_direct && pump->backend->window_nbytes <= BACKEND_CACHED_NBYTES &&
           job_unclaimed(job) < LAST_REQUESTS * (uint64_t)worker_count;
}

void pump_run(struct pump *pump, struct ringio_job *job, const _Atomic uint32_t *job_count, uint32_t worker_count)
{
    uint64_t next = 0, end = 0, begin_ns = now_ns();
    pump->round_ns = begin_ns;
    for (;;) {
        while (window_is_open(pump)) {
            if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
                next = end;
            if (next == end) {
                if (atomic_load_explicit(job_count, memory_order_relaxed) > 1 && now_ns() - begin_ns > TURN_NS)
                    break;
                if (leaves_rest(pump, job, worker_count))
                    break;
                report(pump, job);
                end = job_claim(job, claim_size(job, worker_count), &next);
                if (end == 0) {
                    next = 0;
                    break;
                }
                end += next;
            }
            if (start(pump, job, next))
                break;
            next++;
            if (pump->held.ahead.was_slow)
                begin_reads(pump);
        }
        if (pump->in_flight && atomic_load_explicit(&job->cancelled, memory_order_relaxed))
            backend_cancel(pump->backend);
        if (pump->in_flight)
            reap(pump);
        else if (next == end)
            break;
        report(pump, job);
    }
    if (trace_is_on())
        trace_span(RINGIO_EVENT_SUBMIT, pump->round_ns, now_ns(), 0, 0); /* what needed no reading */
    report(pump, job);
    held_rest(&pump->held);
    slab_rest(pump->slab);
}

/* -------------------------------------------------------------------------------------------- on the calling thread */

/* Reads what is cached, and nothing else.  Returns 1 when it was all there. */
static int read_cached(struct pump *pump, struct work *work)
{
#ifdef RWF_NOWAIT
    struct slot *slot = &work->slot;
    struct iovec single = {slot->data, slot->want_nbytes};
    const struct iovec *places = slot->vectors ? slot->vectors->items : &single;
    int place_count = slot->vectors ? (int)slot->vectors->count : 1;
    if (!slot->file->nowait || slot->block_nbytes)
        return 0;
    uint64_t begin_ns = trace_begin();
    slot->result = (int32_t)preadv2(slot->file->fd, places, place_count, (off_t)slot->offset, RWF_NOWAIT);
    trace_end(RINGIO_EVENT_READ, begin_ns, slot->result > 0 ? (uint64_t)slot->result : 0, 1);
    pump->held.round++;
    return slot->result >= 0 && (uint64_t)slot->result == slot->want_nbytes;
#else
    (void)pump;
    (void)work;
    return 0;
#endif
}

/* An empty file, or the end of one: that it is still so is only certain where it was looked up before. */
static void run_without_bytes(struct pump *pump, struct work *work)
{
    if (work->job->looks_up_late && held_has_changed(&pump->held, work->held))
        work_fail(work, -RINGIO_CHANGED, 0, 0);
    else
        work_run(pump, work, 0);
}

int pump_run_inline(struct pump *pump, struct ringio_job *job, uint64_t nbytes_max)
{
    int finished = 1;
    uint64_t nbytes = 0, begin_ns = trace_begin();
    for (uint64_t request = 0; finished && request < job->plan.request_count; request++) {
        struct work *work = work_take(pump);
        int status = work_begin(pump, work, job, request);
        nbytes += status == 1 ? work_nbytes(work) : 0;
        int waits = status == -EAGAIN || nbytes > nbytes_max;
        if (!waits && status == 1 && work->slot.file->data)
            run_in_memory(pump, work);
        else if (!waits && status == 1 && work->slot.want_nbytes == 0)
            run_without_bytes(pump, work);
        else if (waits || status != 1 || !read_cached(pump, work) || work_complete(pump, work))
            waits |= status == 1;
        if (waits) {
            atomic_store_explicit(&job->cursor, request, memory_order_relaxed);
            finished = 0;
            if (status == 1)
                work_abandon(pump, work);
            work_drop(pump, work);
        } else {
            work_give(pump, work);
        }
    }
    report(pump, job);
    held_rest(&pump->held);
    slab_rest(pump->slab);
    if (finished)
        atomic_store_explicit(&job->cursor, job->plan.request_count, memory_order_relaxed);
    trace_end(RINGIO_EVENT_INLINE, begin_ns, nbytes, (uint32_t)job->plan.request_count);
    return finished;
}
