#define _GNU_SOURCE
#include "work_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "aligned.h"

/* After so many -EAGAIN or -EINTR in one request it is read by a plain, blocking pread. */
#define RETRIES_MAX 8

/* --------------------------------------------------------------------------------------------------------- failures */

static void fail_task(const struct work *work, uint64_t task, int status, struct ringio_failure *failure)
{
    failure->task = task;
    failure->request = work->request_index;
    failure->status = status;
    job_fail(work->job, failure);
}

void work_fail(const struct work *work, int status, uint64_t got, uint64_t expected)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        struct ringio_failure failure = {.got = got, .expected = expected};
        fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

static void fill_all(struct pump *pump, const struct work *work)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        struct ringio_failure failure = {0};
        int status = task_fill(&work->job->plan, task, &pump->counters, &failure);
        if (status)
            fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

/* ------------------------------------------------------------------------------------------------- a request begins */

struct work *work_take(struct pump *pump)
{
    struct work *work = pump->idle;
    pump->idle = work->next;
    return work;
}

void work_drop(struct pump *pump, struct work *work)
{
    work->next = pump->idle;
    pump->idle = work;
}

void work_give(struct pump *pump, struct work *work)
{
    slab_give(pump->slab, &work->buffers);
    if (work->held)
        held_put(&pump->held, work->held);
    work_drop(pump, work);
    counter_add(&pump->counters.requests, 1);
    counter_add(&pump->counters.coalesced_requests, work->request->task_count > 1);
    pump->done_count++;
}

/* How many bytes the request can have: a file that ends early is found out here, before anything is allocated.  Returns
   0 or -status after having failed the tasks. */
static int work_measure(struct work *work, uint64_t *want_nbytes)
{
    const struct ringio_request *request = work->request;
    const struct ringio_plan *plan = &work->job->plan;
    uint64_t file_nbytes = work->held->file->identity.nbytes;
    uint64_t there = request->offset < file_nbytes ? file_nbytes - request->offset : 0;
    *want_nbytes = request->nbytes < there ? request->nbytes : there;
    int to_end = request->nbytes == RINGIO_TO_END;
    uint64_t whole_nbytes = plan->chains[task_of(work, 0)->chain].encoded_nbytes_max;
    if (request->flags & RINGIO_REQUEST_PART_OF_FILE && file_nbytes != whole_nbytes) {
        work_fail(work, -RINGIO_WRONG_SIZE, file_nbytes, whole_nbytes);
        return -RINGIO_WRONG_SIZE;
    }
    if (!to_end && (request->task_count > 1 || plan->chains[task_of(work, 0)->chain].codec_count == 0))
        return 0;
    if (to_end && request->offset > file_nbytes) {
        work_fail(work, -RINGIO_EOF, file_nbytes, request->offset);
        return -RINGIO_EOF;
    }
    uint64_t most = 0;
    for (uint32_t i = 0; i < request->task_count; i++) {
        uint64_t task_most = plan->chains[task_of(work, i)->chain].encoded_nbytes_max;
        most = task_most > most ? task_most : most;
    }
    if (*want_nbytes <= most)
        return 0;
    work_fail(work, -RINGIO_TOO_LARGE, *want_nbytes, most);
    return -RINGIO_TOO_LARGE;
}

static int check_tasks(const struct work *work)
{
    const struct ringio_plan *plan = &work->job->plan;
    const struct ringio_request *request = work->request;
    if (request->first_task > plan->task_count || request->task_count > plan->task_count - request->first_task)
        return RINGIO_PLAN_TASK;
    if (request->file != RINGIO_NO_FILE && request->file >= plan->file_count)
        return RINGIO_PLAN_FILE;
    for (uint32_t i = 0; i < request->task_count; i++) {
        struct ringio_failure failure;
        if (task_check(plan, task_of(work, i), &failure))
            return (int)failure.got;
    }
    return 0;
}

int work_begin(struct pump *pump, struct work *work, struct ringio_job *job, uint64_t request_index)
{
    const struct ringio_request *request = &job->plan.requests[request_index];
    work->job = job;
    work->request = request;
    work->request_index = request_index;
    work->held = NULL;
    work->retries = 0;
    work->buffers = (struct slab_buffers){0};
    int broken = check_tasks(work);
    if (broken == RINGIO_PLAN_TASK) {
        struct ringio_failure failure = {.got = RINGIO_PLAN_TASK};
        fail_task(work, request->first_task, -RINGIO_BAD_PLAN, &failure);
        return 0;
    }
    if (broken) {
        work_fail(work, -RINGIO_BAD_PLAN, (uint64_t)broken, 0);
        return 0;
    }
    if (request->task_count == 0)
        return 0;
    if (request->file == RINGIO_NO_FILE) {
        fill_all(pump, work);
        return 0;
    }
    int status = held_get(&pump->held, job, request->file);
    if (status == -ENOENT && (request->flags & RINGIO_REQUEST_MISSING_FILLS)) {
        fill_all(pump, work);
        return 0;
    }
    if (status == 1)
        return -EAGAIN;
    if (status) {
        work_fail(work, status, 0, 0);
        return 0;
    }
    work->held = pump->held.current;
    work->held->users++;
    if (work_measure(work, &work->want_nbytes))
        return 0;
    status = work_prepare(pump, work);
    if (status == -EAGAIN) {
        held_put(&pump->held, work->held);
        return -EAGAIN;
    }
    if (status)
        return 0;
    work->slot.bytes = work->slot.data;
    return 1;
}

void work_abandon(struct pump *pump, struct work *work)
{
    slab_give(pump->slab, &work->buffers);
    held_put(&pump->held, work->held);
    work->held = NULL;
}

/* --------------------------------------------------------------------------------------------------- a request ends */

/* Reads [offset, offset + nbytes) by blocking preads.  Returns how many bytes there were, or -errno. */
static int64_t read_plainly(const struct file *file, uint8_t *data, uint64_t offset, uint64_t nbytes)
{
    uint64_t got = 0;
    while (got < nbytes) {
        uint64_t piece = nbytes - got < BACKEND_PIECE_NBYTES ? nbytes - got : BACKEND_PIECE_NBYTES;
        ssize_t more = pread(file->fd, data + got, piece, (off_t)(offset + got));
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return -errno;
        if (more == 0)
            break;
        got += (uint64_t)more;
    }
    return (int64_t)got;
}

/* Finds the bytes of 'task' among the first 'got_nbytes' of its request.  Returns 0 or -status. */
static int source_of(const struct work *work, const struct ringio_task *task, uint64_t got_nbytes, struct span *source,
                     struct ringio_failure *failure)
{
    const struct ringio_request *request = work->request;
    uint64_t request_nbytes = request->nbytes == RINGIO_TO_END ? work->slot.want_nbytes : request->nbytes;
    uint64_t nbytes = task->source_nbytes;
    failure->got = RINGIO_PLAN_SOURCE;
    if (task->source_offset > request_nbytes)
        return -RINGIO_BAD_PLAN;
    if (nbytes == RINGIO_TO_END)
        nbytes = request_nbytes - task->source_offset;
    if (nbytes > request_nbytes - task->source_offset)
        return -RINGIO_BAD_PLAN;
    if (task->source_offset + nbytes > got_nbytes) {
        failure->got = work->held->file->identity.nbytes;
        failure->expected = request->offset + task->source_offset + nbytes;
        return -RINGIO_EOF;
    }
    *source = (struct span){nbytes && work->slot.bytes ? work->slot.bytes + task->source_offset : NULL, nbytes};
    return 0;
}

int work_run_task(struct pump *pump, const struct work *work, const struct ringio_task *task, struct span source,
                  struct parts *parts, struct counters *counters, struct ringio_failure *failure)
{
    uint8_t *scratch = work->buffers.scratch ? work->buffers.scratch : slab_small_scratch(pump->slab);
    if (!scratch)
        return -ENOMEM;
    return task_run(&work->job->plan, task, source, parts, scratch, pump->decoder, counters, failure);
}

void work_run(struct pump *pump, struct work *work, uint64_t got_nbytes)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        struct ringio_failure failure = {0};
        struct span source;
        int status = source_of(work, task, got_nbytes, &source, &failure);
        if (status == 0)
            status = work_run_task(pump, work, task, source, NULL, &pump->counters, &failure);
        if (status)
            fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

/* Reads the bytes of one task, and runs it.  Those that would have gone to several places go through the buffer that is
   always there. */
static int run_task_alone(struct pump *pump, struct work *work, const struct ringio_task *task,
                          struct ringio_failure *failure)
{
    const struct ringio_request *request = work->request;
    struct span source;
    int status = source_of(work, task, work->slot.vectors ? request->nbytes : work->slot.want_nbytes, &source, failure);
    if (status)
        return status;
    uint8_t *data = work->slot.vectors ? slab_small_scratch(pump->slab) : work->slot.data + task->source_offset;
    if (!data)
        return -ENOMEM;
    int64_t got = read_plainly(work->held->file, data, request->offset + task->source_offset, source.nbytes);
    pump->held.round++;
    if (got < 0)
        return (int)got;
    if ((uint64_t)got < source.nbytes || held_has_changed(&pump->held, work->held))
        return -RINGIO_CHANGED;
    counter_add(&pump->counters.bytes_read, (uint64_t)got);
    source.data = data;
    return work_run_task(pump, work, task, source, NULL, &pump->counters, failure);
}

/* A read of several pieces failed: each is tried alone, so that one bad sector costs one piece. */
static void run_tasks_alone(struct pump *pump, struct work *work)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        struct ringio_failure failure = {0};
        int status = run_task_alone(pump, work, task_of(work, i), &failure);
        if (status)
            fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

/* The backend could not: the rest is read here and now. */
static void work_read_rest(struct pump *pump, struct work *work)
{
    struct slot *slot = &work->slot;
    uint64_t rest = slot->want_nbytes - slot->got_nbytes, position = slot->offset + slot->got_nbytes;
    int64_t more = (int64_t)rest;
    if (slot->vectors)
        return; /* each task is read alone then */
    if (slot->file->data && slot->data)
        memcpy(slot->data + slot->got_nbytes, slot->file->data + position, rest);
    else if (slot->file->data)
        slot->bytes = slot->file->data + slot->offset;
    else
        more = read_plainly(slot->file, slot->data + slot->got_nbytes, position, rest);
    pump->held.round++;
    slot->result = more < 0 ? (int32_t)more : 0;
    slot->got_nbytes += more > 0 ? (uint64_t)more : 0;
    counter_add(&pump->counters.bytes_read, more > 0 ? (uint64_t)more : 0);
}

/* A read past the page cache came back.  Returns 1 when it goes on; else the slot is as after any other read, and there
   are all the bytes, or slot->result says why not. */
static int complete_direct(struct pump *pump, struct work *work)
{
    struct slot *slot = &work->slot;
    uint64_t offset = work->request->offset;
    counter_add(&pump->counters.bytes_read, slot->result > 0 ? (uint64_t)slot->result : 0);
    int goes_on = aligned_advance(slot, offset + work->want_nbytes);
    if (!goes_on)
        aligned_end(slot, offset, work->want_nbytes);
    if (slot->result == -EINVAL || slot->result == -EOPNOTSUPP)
        direct_refuse(&work->held->file->direct);
    /* What is missing behind a short read, or after a refusal, is read through the page cache. */
    int is_refused = slot->result >= 0 || slot->result == -EINVAL || slot->result == -EOPNOTSUPP ||
                     slot->result == -EAGAIN || slot->result == -EINTR || slot->result == -ENOMEM ||
                     slot->result == -ENOBUFS || slot->result == -EFAULT; /* memory that cannot be pinned */
    goes_on |= is_refused && slot->got_nbytes < slot->want_nbytes;
    counter_add(&pump->counters.retries, (uint64_t)goes_on);
    return goes_on;
}

/* Encoded bytes of all tasks; none has RINGIO_TO_END. */
static uint64_t tasks_nbytes(const struct work *work)
{
    uint64_t nbytes = 0;
    for (uint32_t i = 0; i < work->request->task_count; i++)
        nbytes += task_of(work, i)->source_nbytes;
    return nbytes;
}

int work_complete(struct pump *pump, struct work *work)
{
    struct slot *slot = &work->slot;
    int32_t result = slot->result;
    if (atomic_load_explicit(&work->job->cancelled, memory_order_relaxed))
        return 0;
    if (slot->block_nbytes) {
        if (complete_direct(pump, work))
            return 1;
    } else if (result > 0) {
        assert((uint64_t)result <= slot->want_nbytes - slot->got_nbytes);
        slot->got_nbytes += (uint64_t)result;
        if (slot->vectors)
            vectors_advance(slot->vectors, (uint64_t)result);
        counter_add(&pump->counters.bytes_read, (uint64_t)result);
        if (slot->got_nbytes < slot->want_nbytes) {
            counter_add(&pump->counters.retries, 1);
            return 1;
        }
    } else if (result == -EINTR || result == -EAGAIN) {
        counter_add(&pump->counters.retries, 1);
        if (++work->retries <= RETRIES_MAX)
            return 1;
        work_read_rest(pump, work);
    } else if (result == 0 || result == -ENOMEM || result == -EINVAL || result == -ENOBUFS || result == -EOPNOTSUPP) {
        counter_add(&pump->counters.retries, 1); /* zero bytes: a plain read confirms that this is the end */
        work_read_rest(pump, work);
    }
    int is_complete = slot->got_nbytes == slot->want_nbytes;
    if (work->in_parts && is_complete)
        return work_run_parts(pump, work);
    if (work->in_parts)
        work_end_parts(work);
    if (!is_complete && (slot->vectors || (slot->result < 0 && slot->data && work->request->task_count > 1)))
        run_tasks_alone(pump, work);
    else if (!is_complete && slot->result < 0)
        work_fail(work, slot->result, 0, 0);
    else if (held_has_changed(&pump->held, work->held))
        work_fail(work, -RINGIO_CHANGED, 0, 0);
    else if (!work->placed || !is_complete)
        work_run(pump, work, slot->got_nbytes);
    else {
        counter_add(&pump->counters.tasks, work->request->task_count);
        counter_add(&pump->counters.projections, work->request->task_count);
        uint64_t asked_nbytes = slot->want_nbytes;
        if (slot->vectors)
            asked_nbytes = tasks_nbytes(work);
        counter_add(&pump->counters.bytes_asked, asked_nbytes);
        counter_add(&pump->counters.bytes_decoded, asked_nbytes);
    }
    return 0;
}
