/* work_parts.c: a request for chunks of which little is wanted.  Its head is read as any request is; then the codec
   asks for what it needs, which is taken from the page cache at once.  What is not there is read as any request is,
   too, and the codec begins again. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "trace.h"
#include "work_private.h"

/* It pays to leave out so much: copying it would take as long as the system calls for several parts, or giving it as
   long as a disk takes to begin. */
#define CACHED_SAVING_NBYTES ((uint64_t)8 << 10)
#define DISK_SAVING_NBYTES ((uint64_t)512 << 10)

/* The codec has asked so often for what was not cached that all the rest is read. */
#define MISSES_MAX 2

static uint64_t source_nbytes_of(const struct work *work, const struct ringio_task *task)
{
    return task->source_nbytes == RINGIO_TO_END ? work->want_nbytes - task->source_offset : task->source_nbytes;
}

/* Whether the tasks lie in the bytes that the request wants, whatever the plan says. */
static int tasks_fit(const struct work *work)
{
    const struct ringio_request *request = work->request;
    if (request->nbytes != work->want_nbytes && request->nbytes != RINGIO_TO_END)
        return 0;
    for (uint32_t i = 0; i < request->task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        if (task->source_offset > work->want_nbytes ||
            source_nbytes_of(work, task) > work->want_nbytes - task->source_offset)
            return 0;
    }
    return 1;
}

int work_takes_parts(const struct pump *pump, const struct work *work)
{
    const struct file *file = work->held->file;
    uint32_t task_count = work->request->task_count;
    int is_cached = file->nowait && (!pump->backend || pump->backend->window_nbytes <= BACKEND_CACHED_NBYTES);
    uint64_t saving_nbytes = is_cached ? CACHED_SAVING_NBYTES * task_count : DISK_SAVING_NBYTES;
    if (work->want_nbytes <= saving_nbytes || file->data || (!is_cached && task_count > 1) || !tasks_fit(work))
        return 0;
    uint64_t needed_nbytes = 0;
    for (uint32_t i = 0; i < task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        uint64_t nbytes = source_nbytes_of(work, task);
        if (nbytes < CODEC_PARTS_HEAD_NBYTES)
            return 0;
        needed_nbytes += CODEC_PARTS_HEAD_NBYTES + task_parts_nbytes(&work->job->plan, task, nbytes);
    }
    return needed_nbytes + saving_nbytes <= work->want_nbytes;
}

/* Aims the slot at bytes of the request. */
static void aim_at(struct work *work, uint64_t first, uint64_t end)
{
    struct slot *slot = &work->slot;
    slot->offset = work->request->offset + first;
    slot->want_nbytes = end - first;
    slot->got_nbytes = 0;
    slot->data = work->buffers.source + first;
    slot->bytes = slot->data;
}

/* The parts' read(): from the page cache, and nowhere else. */
static int read_part(struct parts *parts, size_t first, size_t end)
{
    struct work *work = (struct work *)((char *)parts - offsetof(struct work, parts));
    work->missing = (struct interval){first, end};
#ifdef RWF_NOWAIT
    const struct file *file = work->held->file;
    if (!file->nowait)
        return -EAGAIN;
    uint64_t at = work->parts_offset + first;
    struct iovec place = {work->buffers.source + at, end - first};
    uint64_t begin_ns = trace_begin();
    ssize_t got = preadv2(file->fd, &place, 1, (off_t)(work->request->offset + at), RWF_NOWAIT);
    trace_end(RINGIO_EVENT_READ, begin_ns, got > 0 ? (uint64_t)got : 0, 1);
    if (got == (ssize_t)(end - first)) {
        work->parts_nbytes += end - first;
        return 0;
    }
#endif
    return -EAGAIN;
}

/* Begins with a task of which nothing is known to be there. */
static void begin_task(struct work *work, uint32_t i)
{
    const struct ringio_task *task = task_of(work, i);
    work->parts = (struct parts){.nbytes = source_nbytes_of(work, task), .read = read_part};
    work->parts_offset = task->source_offset;
}

void work_begin_parts(struct work *work)
{
    begin_task(work, 0);
    work->parts_nbytes = 0;
    work->misses = 0;
    aim_at(work, work->parts_offset, work->parts_offset + CODEC_PARTS_HEAD_NBYTES);
}

void work_end_parts(struct work *work)
{
    aim_at(work, 0, work->want_nbytes);
    work->in_parts = 0;
}

/* Whether it pays to read no more than what is missing, and does not go on piece by piece. */
static int can_read_missing(struct work *work)
{
    uint64_t nbytes = work->missing.end - work->missing.first;
    return work->request->task_count == 1 && work->parts.in_blocks &&
           nbytes + DISK_SAVING_NBYTES <= work->parts.nbytes && work->misses++ < MISSES_MAX;
}

static void add_counters(struct counters *counters, const struct counters *more)
{
    counter_add(&counters->tasks, more->tasks);
    counter_add(&counters->projections, more->projections);
    counter_add(&counters->bytes_asked, more->bytes_asked);
    counter_add(&counters->bytes_decoded, more->bytes_decoded);
}

/* How much of a chunk to read before its codec begins: all of it where that saves nothing. */
static uint64_t first_nbytes(const struct work *work, const struct ringio_task *task)
{
    uint64_t nbytes = work->parts.nbytes;
    if (work->request->task_count == 1)
        return CODEC_PARTS_HEAD_NBYTES;
    uint64_t saved_nbytes = nbytes - task_parts_nbytes(&work->job->plan, task, nbytes);
    return saved_nbytes < CACHED_SAVING_NBYTES ? nbytes : CODEC_PARTS_HEAD_NBYTES;
}

/* Runs all tasks.  Returns 0 or the -status of the first that went wrong. */
static int run_tasks(struct pump *pump, struct work *work, struct counters *counters)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        struct ringio_failure failure = {0};
        if (i > 0)
            begin_task(work, i);
        struct span source = {work->buffers.source + work->parts_offset, work->parts.nbytes};
        int status = parts_need(&work->parts, 0, first_nbytes(work, task_of(work, i)));
        if (status == 0)
            status = work_run_task(pump, work, task_of(work, i), source, &work->parts, counters, &failure);
        if (status)
            return status;
    }
    return 0;
}

int work_run_parts(struct pump *pump, struct work *work)
{
    uint64_t first = work->slot.offset - work->request->offset - work->parts_offset;
    parts_add(&work->parts, first, first + work->slot.want_nbytes);
    struct counters counters;
    memset(&counters, 0, sizeof counters);
    int status = run_tasks(pump, work, &counters);
    counter_add(&pump->counters.bytes_read, work->parts_nbytes);
    pump->held.round += work->parts_nbytes > 0; /* so that the file is looked at once more */
    work->parts_nbytes = 0;
    if (status == 0 && !held_has_changed(&pump->held, work->held)) {
        add_counters(&pump->counters, &counters);
        return 0;
    }
    counter_add(&pump->counters.retries, 1);
    if (status == -EAGAIN && can_read_missing(work))
        aim_at(work, work->parts_offset + work->missing.first, work->parts_offset + work->missing.end);
    else
        work_end_parts(work); /* whatever is wrong is found again then, and said */
    return 1;
}
