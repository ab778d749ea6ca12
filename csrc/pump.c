#define _GNU_SOURCE
#include "pump.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* After so many -EAGAIN or -EINTR in one request it is read by a plain, blocking pread. */
#define RETRIES_MAX 8

/* A claim is at most this many requests, so that the end of a job is shared out, and its turn does not last long. */
#define CLAIM_MAX 16

/* While other jobs wait, a thread goes on to the next after so long: a small job waits no longer for a large one than
   for a disk.  By time, as a request may take a microsecond or, decoded, milliseconds. */
#define TURN_NS 2000000

/* Decoding starts when this many reads are there: few enough that their bytes are still in the cache. */
#define REAP_MAX 16

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --------------------------------------------------------------------------------------------------- life of a pump */

/* Files in use cannot be closed, so all workers together must not use more than may be open. */
static uint32_t hold_share(const struct ringio_options *options, uint32_t most)
{
    uint32_t share = options->open_files / (options->worker_count ? options->worker_count : 1);
    return share < 1 ? 1 : share < most ? share : most;
}

struct pump *pump_new(uint32_t kind, const struct ringio_options *options, struct file_cache *files,
                      struct memory_limit *limit)
{
    struct pump *pump = aligned_alloc(64, (sizeof *pump + 63) / 64 * 64);
    if (!pump)
        return NULL;
    memset(pump, 0, sizeof *pump);
    pump->files = files;
    pump->round = 1;
    pump->queue_depth = kind ? options->queue_depth : 1;
    if (kind)
        pump->backend = backend_new(kind, options);
    pump->memory = backend_new(RINGIO_BACKEND_MEMORY, options);
    pump->slab_limit = limit;
    pump->slab = slab_new(limit);
    pump->decoder = decoder_new();
    pump->works = calloc(pump->queue_depth, sizeof *pump->works);
    pump->hold_count = hold_share(options, pump->queue_depth + 1);
    pump->holds = calloc(pump->queue_depth + 1, sizeof *pump->holds);
    if ((kind && !pump->backend) || !pump->memory || !pump->slab || !pump->decoder || !pump->works || !pump->holds) {
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
    assert(pump->in_flight == 0 && !pump->held);
    if (pump->backend)
        pump->backend->ops->free(pump->backend);
    if (pump->memory)
        pump->memory->ops->free(pump->memory);
    if (pump->slab)
        slab_free(pump->slab);
    if (pump->decoder)
        decoder_free(pump->decoder);
    free(pump->works);
    free(pump->holds);
    free(pump);
}

/* ------------------------------------------------------------------------------------------------------------ files */

static void held_put(struct pump *pump, struct held_file *held)
{
    assert(held->users > 0);
    if (--held->users == 0) {
        if (held->file != &held->in_memory)
            file_put(pump->files, held->file);
        held->file = NULL;
    }
}

static void held_forget(struct pump *pump)
{
    if (pump->held)
        held_put(pump, pump->held);
    pump->held = NULL;
}

/* Sets pump->held to the file of the plan at 'index'.  Returns 0, -status, or 1 when as many files as may be open are
   in use by requests in flight. */
static int hold_file(struct pump *pump, struct ringio_job *job, uint32_t index)
{
    if (pump->held && pump->held_job == job && pump->held_index == index)
        return 0;
    held_forget(pump);
    struct held_file *held = pump->holds, *end = held + pump->hold_count;
    while (held < end && held->file)
        held++;
    if (held == end)
        return 1;
    const struct ringio_file *record = &job->plan.files[index];
    if (record->data) {
        held->in_memory = (struct file){.fd = -1, .data = (const uint8_t *)(uintptr_t)record->data};
        held->in_memory.identity.nbytes = record->nbytes;
        held->file = &held->in_memory;
    } else {
        struct ringio_identity room;
        const struct ringio_identity *expected = job_expects(job, index, &room);
        int status = file_get(pump->files, job->plan.paths + record->path_offset, expected, &held->file);
        if (status) {
            held->file = NULL;
            return status;
        }
        if (!expected && job_saw(job, index, &held->file->identity)) {
            file_put(pump->files, held->file);
            held->file = NULL;
            return -RINGIO_CHANGED;
        }
    }
    held->users = 1;
    held->checked_round = 0;
    pump->held = held;
    pump->held_job = job;
    pump->held_index = index;
    return 0;
}

/* Whether the file was written to since it was opened: then what was read of it may be of two versions.  All reads that
   came back in one round share one fstat(2). */
static int held_has_changed(struct pump *pump, struct held_file *held)
{
    if (held->checked_round != pump->round) {
        held->checked_round = pump->round;
        held->has_changed = file_has_changed(held->file);
    }
    return held->has_changed;
}

/* --------------------------------------------------------------------------------------------------------- failures */

static void fail_task(const struct work *work, uint64_t task, int status, struct ringio_failure *failure)
{
    failure->task = task;
    failure->request = work->request_index;
    failure->status = status;
    job_fail(work->job, failure);
}

static void fail_all(const struct work *work, int status, uint64_t got, uint64_t expected)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        struct ringio_failure failure = {.got = got, .expected = expected};
        fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

static const struct ringio_task *task_of(const struct work *work, uint32_t i)
{
    return &work->job->plan.tasks[work->request->first_task + i];
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

static struct work *work_take(struct pump *pump)
{
    struct work *work = pump->idle;
    pump->idle = work->next;
    return work;
}

/* The request is over: everything that it held is given back. */
static void work_give(struct pump *pump, struct work *work)
{
    slab_give(pump->slab, &work->buffers);
    if (work->held)
        held_put(pump, work->held);
    work->next = pump->idle;
    pump->idle = work;
    counter_add(&pump->counters.requests, 1);
    counter_add(&pump->counters.coalesced_requests, work->request->task_count > 1);
    atomic_fetch_add_explicit(&work->job->done_count, 1, memory_order_relaxed);
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
    if (!to_end && (request->task_count > 1 || plan->chains[task_of(work, 0)->chain].codec_count == 0))
        return 0;
    if (to_end && request->offset > file_nbytes) {
        fail_all(work, -RINGIO_EOF, file_nbytes, request->offset);
        return -RINGIO_EOF;
    }
    uint64_t most = 0;
    for (uint32_t i = 0; i < request->task_count; i++) {
        uint64_t task_most = plan->chains[task_of(work, i)->chain].encoded_nbytes_max;
        most = task_most > most ? task_most : most;
    }
    if (*want_nbytes <= most)
        return 0;
    fail_all(work, -RINGIO_TOO_LARGE, *want_nbytes, most);
    return -RINGIO_TOO_LARGE;
}

/* Scratch above the size that every slab has anyway. */
static uint64_t large_scratch_nbytes(const struct work *work)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_plan *plan = &work->job->plan;
        uint64_t decoded_nbytes = plan->chains[task_of(work, i)->chain].decoded_nbytes;
        if (decoded_nbytes <= SLAB_SMALL_NBYTES || decoded_nbytes == RINGIO_SAME_SIZE || decoded_nbytes <= most)
            continue;
        uint64_t nbytes = task_scratch_nbytes(plan, task_of(work, i));
        most = nbytes > most ? nbytes : most;
    }
    return most;
}

/* Finds room for the bytes: their place in the target, nothing for those in memory, or buffers.  Returns 0, -EAGAIN
   when other requests have to finish first, or -status. */
static int work_prepare(struct pump *pump, struct work *work, uint64_t want_nbytes)
{
    const struct ringio_plan *plan = &work->job->plan;
    const struct ringio_request *request = work->request;
    const struct ringio_task *first = task_of(work, 0);
    work->placed = 0;
    work->slot.data = NULL;
    if (request->task_count == 1 && first->source_offset == 0 &&
        (request->nbytes == want_nbytes || request->nbytes == RINGIO_TO_END) &&
        (first->source_nbytes == want_nbytes || first->source_nbytes == RINGIO_TO_END))
        work->slot.data = task_place(plan, first, want_nbytes);
    work->buffers = (struct slab_buffers){0};
    if (work->slot.data) {
        work->placed = 1;
        return 0;
    }
    if (!work->held->file->data)
        work->buffers.source_nbytes = want_nbytes;
    work->buffers.scratch_nbytes = large_scratch_nbytes(work);
    uint64_t needed = work->buffers.source_nbytes + work->buffers.scratch_nbytes;
    int status = slab_take(pump->slab, &work->buffers);
    work->slot.data = work->buffers.source;
    if (status == -RINGIO_NO_MEMORY)
        fail_all(work, status, needed, slab_limit(slab_memory_limit(pump->slab)));
    else if (status && status != -EAGAIN)
        fail_all(work, status, 0, 0);
    return status;
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

/* Begins a request.  Returns 1 when its slot wants to be submitted, 0 when it is over already, -EAGAIN when there is no
   room for it now (nothing has changed then). */
static int work_begin(struct pump *pump, struct work *work, struct ringio_job *job, uint64_t request_index)
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
        fail_all(work, -RINGIO_BAD_PLAN, (uint64_t)broken, 0);
        return 0;
    }
    if (request->task_count == 0)
        return 0;
    if (request->file == RINGIO_NO_FILE) {
        fill_all(pump, work);
        return 0;
    }
    int status = hold_file(pump, job, request->file);
    if (status == -ENOENT && (request->flags & RINGIO_REQUEST_MISSING_FILLS)) {
        fill_all(pump, work);
        return 0;
    }
    if (status == 1)
        return -EAGAIN;
    if (status) {
        fail_all(work, status, 0, 0);
        return 0;
    }
    work->held = pump->held;
    work->held->users++;
    uint64_t want_nbytes;
    if (work_measure(work, &want_nbytes))
        return 0;
    status = work_prepare(pump, work, want_nbytes);
    if (status == -EAGAIN) {
        held_put(pump, work->held);
        return -EAGAIN;
    }
    if (status)
        return 0;
    work->slot.file = work->held->file;
    work->slot.offset = request->offset;
    work->slot.want_nbytes = want_nbytes;
    work->slot.got_nbytes = 0;
    work->slot.bytes = work->slot.data;
    return 1;
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
    *source = (struct span){nbytes ? work->slot.bytes + task->source_offset : NULL, nbytes};
    return 0;
}

static int run_task(struct pump *pump, const struct work *work, const struct ringio_task *task, struct span source,
                    struct ringio_failure *failure)
{
    uint8_t *scratch = work->buffers.scratch ? work->buffers.scratch : slab_small_scratch(pump->slab);
    if (!scratch)
        return -ENOMEM;
    return task_run(&work->job->plan, task, source, scratch, pump->decoder, &pump->counters, failure);
}

/* Runs the tasks of a request whose first 'got_nbytes' have been read. */
static void run_tasks(struct pump *pump, struct work *work, uint64_t got_nbytes)
{
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        struct ringio_failure failure = {0};
        struct span source;
        int status = source_of(work, task, got_nbytes, &source, &failure);
        if (status == 0)
            status = run_task(pump, work, task, source, &failure);
        if (status)
            fail_task(work, (uint64_t)work->request->first_task + i, status, &failure);
    }
}

/* A read of several pieces failed: each is tried alone, so that one bad sector costs one piece. */
static void run_tasks_alone(struct pump *pump, struct work *work, int status)
{
    if (work->request->task_count == 1 || !work->slot.data || work->held->file->fd < 0) {
        fail_all(work, status, 0, 0);
        return;
    }
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_task *task = task_of(work, i);
        struct ringio_failure failure = {0};
        struct span source;
        int task_status = source_of(work, task, work->slot.want_nbytes, &source, &failure);
        if (task_status == 0) {
            uint8_t *data = work->slot.data + task->source_offset;
            int64_t got = read_plainly(work->held->file, data, work->slot.offset + task->source_offset, source.nbytes);
            pump->round++;
            if (got < 0)
                task_status = (int)got;
            else if ((uint64_t)got < source.nbytes || held_has_changed(pump, work->held))
                task_status = -RINGIO_CHANGED;
            else
                task_status = run_task(pump, work, task, source, &failure);
        }
        if (task_status)
            fail_task(work, (uint64_t)work->request->first_task + i, task_status, &failure);
    }
}

/* The backend could not: the rest is read here and now. */
static void work_read_rest(struct pump *pump, struct work *work)
{
    struct slot *slot = &work->slot;
    uint64_t rest = slot->want_nbytes - slot->got_nbytes, position = slot->offset + slot->got_nbytes;
    int64_t more = (int64_t)rest;
    if (slot->file->data && slot->data)
        memcpy(slot->data + slot->got_nbytes, slot->file->data + position, rest);
    else if (slot->file->data)
        slot->bytes = slot->file->data + slot->offset;
    else
        more = read_plainly(slot->file, slot->data + slot->got_nbytes, position, rest);
    pump->round++;
    slot->result = more < 0 ? (int32_t)more : 0;
    slot->got_nbytes += more > 0 ? (uint64_t)more : 0;
    counter_add(&pump->counters.bytes_read, more > 0 ? (uint64_t)more : 0);
}

/* Looks at a completion.  Returns 1 when the slot has to be submitted again, 0 when the request is over. */
static int work_complete(struct pump *pump, struct work *work)
{
    struct slot *slot = &work->slot;
    int32_t result = slot->result;
    if (atomic_load_explicit(&work->job->cancelled, memory_order_relaxed))
        return 0;
    if (result > 0) {
        assert((uint64_t)result <= slot->want_nbytes - slot->got_nbytes);
        slot->got_nbytes += (uint64_t)result;
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
    if (slot->result < 0 && slot->got_nbytes < slot->want_nbytes)
        run_tasks_alone(pump, work, slot->result);
    else if (held_has_changed(pump, work->held))
        fail_all(work, -RINGIO_CHANGED, 0, 0);
    else if (!work->placed || slot->got_nbytes < slot->want_nbytes)
        run_tasks(pump, work, slot->got_nbytes);
    else {
        counter_add(&pump->counters.tasks, 1);
        counter_add(&pump->counters.projections, 1);
        counter_add(&pump->counters.bytes_asked, slot->want_nbytes);
        counter_add(&pump->counters.bytes_decoded, slot->want_nbytes);
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- the pump */

/* Bytes in memory: there is nothing to wait for, whatever the backend does on the way. */
static void run_in_memory(struct pump *pump, struct work *work)
{
    if (work->slot.want_nbytes == 0) {
        run_tasks(pump, work, 0);
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
        work->next = pump->idle;
        pump->idle = work;
        return status;
    }
    if (status == 1 && work->slot.file->data) {
        run_in_memory(pump, work);
    } else if (status == 1 && work->slot.want_nbytes == 0) {
        run_tasks(pump, work, 0);
    } else if (status == 1) {
        pump->in_flight++;
        pump->in_flight_nbytes += work->slot.want_nbytes;
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
    fail_all(work, -EIO, 0, 0);
    work->buffers = (struct slab_buffers){0};
    pump->has_lost = 1;
}

/* Goes on with a new slab, once nothing of the old one is in use by others. */
static void replace_slab(struct pump *pump)
{
    struct slab *slab = slab_new(pump->slab_limit);
    if (slab) {
        pump->slab = slab;
        pump->has_lost = 0;
    }
}

static int window_is_open(struct pump *pump)
{
    if (pump->has_lost && pump->in_flight == 0)
        replace_slab(pump);
    if (pump->has_lost)
        return 0;
    return pump->in_flight == 0 || (pump->idle && pump->in_flight < pump->backend->window_count &&
                                    pump->in_flight_nbytes < pump->backend->window_nbytes);
}

/* Waits for reads, then decodes and scatters them. */
static void reap(struct pump *pump)
{
    struct slot *completed[REAP_MAX];
    uint64_t begin_ns = now_ns(), lost = pump->backend->lost;
    uint32_t count = pump->backend->ops->reap(pump->backend, completed, REAP_MAX, 1);
    uint64_t reaped_ns = now_ns();
    pump->round++;
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
        pump->in_flight_nbytes -= work->slot.want_nbytes;
        work_give(pump, work);
    }
    counter_add(&pump->counters.decode_ns, now_ns() - reaped_ns);
}

static uint64_t claim_size(const struct ringio_job *job, uint32_t worker_count)
{
    uint64_t share = job_unclaimed(job) / (8 * (uint64_t)worker_count);
    return share < 1 ? 1 : share > CLAIM_MAX ? CLAIM_MAX : share;
}

void pump_run(struct pump *pump, struct ringio_job *job, const _Atomic uint32_t *job_count, uint32_t worker_count)
{
    uint64_t next = 0, end = 0, begin_ns = now_ns();
    for (;;) {
        while (window_is_open(pump)) {
            if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
                next = end;
            if (next == end) {
                if (atomic_load_explicit(job_count, memory_order_relaxed) > 1 && now_ns() - begin_ns > TURN_NS)
                    break;
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
        }
        if (pump->in_flight)
            reap(pump);
        else if (next == end)
            break;
    }
    held_forget(pump);
    slab_rest(pump->slab);
}

/* -------------------------------------------------------------------------------------------- on the calling thread */

/* Reads what is cached, and nothing else.  Returns 1 when it was all there. */
static int read_cached(struct pump *pump, struct work *work)
{
#ifdef RWF_NOWAIT
    struct slot *slot = &work->slot;
    struct iovec iov = {slot->data, slot->want_nbytes};
    if (!slot->file->nowait)
        return 0;
    slot->result = (int32_t)preadv2(slot->file->fd, &iov, 1, (off_t)slot->offset, RWF_NOWAIT);
    pump->round++;
    return slot->result >= 0 && (uint64_t)slot->result == slot->want_nbytes;
#else
    (void)pump;
    (void)work;
    return 0;
#endif
}

int pump_run_inline(struct pump *pump, struct ringio_job *job, uint64_t nbytes_max)
{
    int finished = 1;
    uint64_t nbytes = 0;
    for (uint64_t request = 0; finished && request < job->plan.request_count; request++) {
        struct work *work = work_take(pump);
        int status = work_begin(pump, work, job, request);
        nbytes += status == 1 ? work->slot.want_nbytes : 0;
        int waits = status == -EAGAIN || nbytes > nbytes_max;
        if (!waits && status == 1 && work->slot.file->data)
            run_in_memory(pump, work);
        else if (!waits && status == 1 && work->slot.want_nbytes == 0)
            run_tasks(pump, work, 0);
        else if (!waits && status == 1 && read_cached(pump, work))
            work_complete(pump, work);
        else
            waits |= status == 1;
        if (waits) {
            atomic_store_explicit(&job->cursor, request, memory_order_relaxed);
            finished = 0;
            if (status == 1) {
                slab_give(pump->slab, &work->buffers);
                held_put(pump, work->held);
            }
            work->next = pump->idle;
            pump->idle = work;
        } else {
            work_give(pump, work);
        }
    }
    held_forget(pump);
    slab_rest(pump->slab);
    if (finished)
        atomic_store_explicit(&job->cursor, job->plan.request_count, memory_order_relaxed);
    return finished;
}
