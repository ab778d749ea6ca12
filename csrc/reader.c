#define _GNU_SOURCE
#include "reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A plan of so few requests and bytes is done sooner by the caller than a thread is woken (20 to 50 us).  Decoding 1
   MiB takes 0.3 to 1 ms: more than that would keep an event loop waiting, and is better shared out. */
#define INLINE_REQUESTS_MAX 8
#define INLINE_NBYTES_MAX ((uint64_t)256 << 10)
#define INLINE_DECODED_NBYTES_MAX ((uint64_t)1 << 20)
#define INLINE_PUMPS_MAX 64u

/* Two regions: with a smaller share a slab may wait for the others (slab.h). */
#define INLINE_SHARE_NBYTES_MIN ((uint64_t)4 << 20)

/* ---------------------------------------------------------------------------------------------- jobs, mutex is held */

static void list_append(struct ringio_reader *reader, struct ringio_job *job)
{
    job->previous = reader->last_job;
    job->next = NULL;
    *(reader->last_job ? &reader->last_job->next : &reader->first_job) = job;
    reader->last_job = job;
    job->listed = 1;
    atomic_fetch_add_explicit(&reader->listed_count, 1, memory_order_relaxed);
}

static void list_remove(struct ringio_reader *reader, struct ringio_job *job)
{
    if (!job->listed)
        return;
    *(job->previous ? &job->previous->next : &reader->first_job) = job->next;
    *(job->next ? &job->next->previous : &reader->last_job) = job->previous;
    job->listed = 0;
    atomic_fetch_sub_explicit(&reader->listed_count, 1, memory_order_relaxed);
}

/* Makes a job done of which nothing is left.  Returns what is to be sent once the mutex is given back: whoever holds
   the job may free it from then on, so nothing of it is looked at again. */
static struct notice job_settle(struct ringio_reader *reader, struct ringio_job *job)
{
    const struct notice nothing = {0};
    if (job_unclaimed(job))
        return nothing;
    list_remove(reader, job);
    if (job->attached || job->done)
        return nothing;
    job->done = 1;
    reader->running_count--;
    pthread_cond_broadcast(&job->finished);
    if (reader->running_count == 0)
        pthread_cond_broadcast(&reader->rest);
    return job->notice;
}

/* Nobody claims more of 'job'. */
static struct notice cancel(struct ringio_reader *reader, struct ringio_job *job)
{
    atomic_store_explicit(&job->cancelled, 1, memory_order_relaxed);
    atomic_store_explicit(&job->cursor, job->plan.request_count, memory_order_relaxed);
    return job_settle(reader, job);
}

struct ringio_job *reader_next_job(struct ringio_reader *reader)
{
    struct ringio_job *job;
    while ((job = reader->first_job) && job_unclaimed(job) == 0) {
        assert(job->attached > 0); /* the one who leaves it last settles it */
        list_remove(reader, job);
    }
    if (!job)
        return NULL;
    if (job != reader->last_job) {
        list_remove(reader, job);
        list_append(reader, job);
    }
    job->attached++;
    return job;
}

void reader_leave_job(struct ringio_reader *reader, struct ringio_job *job)
{
    pthread_mutex_lock(&reader->mutex);
    assert(job->attached > 0);
    job->attached--;
    struct notice notice = job_settle(reader, job);
    pthread_mutex_unlock(&reader->mutex);
    notice_send(notice);
}

/* ------------------------------------------------------------------------------------------------- life of a reader */

struct ringio_reader *ringio_reader_new(const struct ringio_options *options)
{
    struct ringio_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    reader->options = *options;
    if (reader->options.worker_count == 0)
        reader->options.worker_count = 1;
    if (reader->options.queue_depth == 0)
        reader->options.queue_depth = 1;
    if (reader->options.direct && reader->options.open_files > 1)
        reader->options.open_files /= 2; /* a file may be open twice */
    uint32_t worker_count = reader->options.worker_count;
    reader->workers = calloc(worker_count, sizeof *reader->workers);
    reader->inline_pumps = calloc(worker_count, sizeof *reader->inline_pumps);
    if (!reader->workers || !reader->inline_pumps) {
        free(reader->workers);
        free(reader->inline_pumps);
        free(reader);
        return NULL;
    }
    static const struct ringio_faults no_faults;
    reader->faulty = memcmp(&options->faults, &no_faults, sizeof no_faults) != 0;
    backend_choose(options, &reader->choice);
    file_cache_init(&reader->files, reader->options.open_files, reader->choice.kind == RINGIO_BACKEND_MEMORY);
    memory_limit_init(&reader->limit, options->memory_limit_bytes, worker_count * 2);
    pthread_mutex_init(&reader->mutex, NULL);
    pthread_cond_init(&reader->work, NULL);
    pthread_cond_init(&reader->rest, NULL);
    fork_register(reader);
    return reader;
}

uint32_t ringio_reader_backend(const struct ringio_reader *reader)
{
    return reader->choice.kind;
}

const char *ringio_reader_reason(const struct ringio_reader *reader)
{
    return reader->choice.reason;
}

void ringio_reader_free(struct ringio_reader *reader)
{
    fork_unregister(reader);
    pthread_mutex_lock(&reader->mutex);
    while (reader->first_job) {
        struct notice notice = cancel(reader, reader->first_job);
        pthread_mutex_unlock(&reader->mutex);
        notice_send(notice);
        pthread_mutex_lock(&reader->mutex);
    }
    while (reader->running_count)
        pthread_cond_wait(&reader->rest, &reader->mutex);
    reader->stopping = 1;
    pthread_cond_broadcast(&reader->work);
    pthread_mutex_unlock(&reader->mutex);
    workers_join(reader);
    for (uint32_t i = 0; i < reader->inline_count; i++)
        pump_free(reader->inline_pumps[i]);
    file_cache_destroy(&reader->files);
    memory_limit_destroy(&reader->limit);
    pthread_cond_destroy(&reader->work);
    pthread_cond_destroy(&reader->rest);
    pthread_mutex_destroy(&reader->mutex);
    free(reader->workers);
    free(reader->inline_pumps);
    free(reader);
}

uint32_t ringio_reader_ringless(struct ringio_reader *reader)
{
    uint32_t count = 0;
    if (reader->choice.kind != RINGIO_BACKEND_URING)
        return 0;
    pthread_mutex_lock(&reader->mutex);
    for (uint32_t i = 0; i < reader->started_count; i++) {
        const struct pump *pump = atomic_load_explicit(&reader->workers[i].pump, memory_order_acquire);
        count += pump && !atomic_load_explicit(&pump->backend->has_ring, memory_order_relaxed);
    }
    pthread_mutex_unlock(&reader->mutex);
    return count;
}

/* ------------------------------------------------------------------------------------------------------- statistics */

static void add_counters(struct ringio_statistics *sum, const struct pump *pump)
{
    const struct counters *counters = &pump->counters;
#define ADD(field) sum->field += atomic_load_explicit(&counters->field, memory_order_relaxed)
    ADD(requests);
    ADD(tasks);
    ADD(projections);
    ADD(bytes_read);
    ADD(bytes_asked);
    ADD(bytes_decoded);
    ADD(coalesced_requests);
    ADD(direct_requests);
    ADD(retries);
    ADD(inline_jobs);
    ADD(wait_ns);
    ADD(decode_ns);
#undef ADD
    uint64_t peak = atomic_load_explicit(&counters->peak_in_flight, memory_order_relaxed);
    sum->peak_in_flight = peak > sum->peak_in_flight ? peak : sum->peak_in_flight;
}

void ringio_reader_statistics(struct ringio_reader *reader, struct ringio_statistics *statistics)
{
    memset(statistics, 0, sizeof *statistics);
    pthread_mutex_lock(&reader->mutex);
    for (uint32_t i = 0; i < reader->started_count; i++) {
        const struct pump *pump = atomic_load_explicit(&reader->workers[i].pump, memory_order_acquire);
        if (pump)
            add_counters(statistics, pump);
    }
    for (uint32_t i = 0; i < reader->inline_count; i++)
        add_counters(statistics, reader->inline_pumps[i]);
    pthread_mutex_unlock(&reader->mutex);
    statistics->opens = atomic_load_explicit(&reader->files.opens, memory_order_relaxed);
    statistics->stats_calls = atomic_load_explicit(&reader->files.stat_calls, memory_order_relaxed);
    statistics->peak_buffer_bytes = atomic_load_explicit(&reader->limit.peak_nbytes, memory_order_relaxed);
}

/* ----------------------------------------------------------------------------------------------- the calling thread */

/* Of the largest decoded chunk; 0 where chunks are as large as what is read. */
static uint64_t chunk_nbytes(const struct ringio_plan *plan)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < plan->chain_count; i++) {
        uint64_t nbytes = plan->chains[i].decoded_nbytes;
        most = nbytes != RINGIO_SAME_SIZE && nbytes > most ? nbytes : most;
    }
    return most;
}

static int is_tiny(const struct ringio_reader *reader, const struct ringio_plan *plan)
{
    if (plan->request_count > INLINE_REQUESTS_MAX || reader->faulty || reader->options.direct == RINGIO_DIRECT_ON)
        return 0;
    uint64_t nbytes = 0, task_count = 0;
    for (uint64_t i = 0; i < plan->request_count; i++) {
        const struct ringio_request *request = &plan->requests[i];
        if (request->nbytes > INLINE_NBYTES_MAX && request->nbytes != RINGIO_TO_END)
            return 0;
        nbytes += request->nbytes == RINGIO_TO_END ? 0 : request->nbytes; /* that is known when the file is open */
        task_count += request->task_count;
    }
    return nbytes <= INLINE_NBYTES_MAX && (!task_count || chunk_nbytes(plan) <= INLINE_DECODED_NBYTES_MAX / task_count);
}

/* Whether direct="auto" has come to nothing in the workers, whose backends cannot do it: then nobody need look at what
   is cached for its sake. */
static int has_given_up_direct(const struct ringio_reader *reader)
{
    const struct pump *first =
        reader->started_count ? atomic_load_explicit(&reader->workers[0].pump, memory_order_acquire) : NULL;
    return reader->options.direct == RINGIO_DIRECT_AUTO && first && first->direct == RINGIO_DIRECT_OFF;
}

static struct pump *inline_pump_take(struct ringio_reader *reader, uint32_t *place)
{
    uint32_t most = reader->options.worker_count < INLINE_PUMPS_MAX ? reader->options.worker_count : INLINE_PUMPS_MAX;
    struct pump *pump = NULL;
    pthread_mutex_lock(&reader->mutex);
    for (*place = 0; *place < most; ++*place)
        if (!(reader->inline_in_use >> *place & 1))
            break;
    if (*place < most && *place == reader->inline_count) {
        pump = pump_new(0, &reader->options, &reader->files, &reader->limit);
        if (pump)
            reader->inline_pumps[reader->inline_count++] = pump;
    } else if (*place < most) {
        pump = reader->inline_pumps[*place];
    }
    if (pump) {
        reader->inline_in_use |= (uint64_t)1 << *place;
        if (has_given_up_direct(reader))
            pump->direct = RINGIO_DIRECT_OFF;
    }
    pthread_mutex_unlock(&reader->mutex);
    return pump;
}

int reader_run_here(struct ringio_reader *reader, struct ringio_job *job)
{
    uint32_t place;
    if (!is_tiny(reader, &job->plan))
        return 0;
    struct pump *pump = inline_pump_take(reader, &place);
    if (!pump)
        return 0;
    int finished = pump_run_inline(pump, job, INLINE_NBYTES_MAX);
    counter_add(&pump->counters.inline_jobs, (uint64_t)finished);
    pthread_mutex_lock(&reader->mutex);
    reader->inline_in_use &= ~((uint64_t)1 << place);
    pthread_mutex_unlock(&reader->mutex);
    return finished;
}

/* -------------------------------------------------------------------------------------------------- the public face */

/* Gives the job to the workers.  Returns 0 or -errno. */
static int publish(struct ringio_reader *reader, struct ringio_job *job)
{
    pthread_mutex_lock(&reader->mutex);
    int status = workers_start(reader);
    if (status == 0) {
        uint64_t wanted = job_unclaimed(job);
        reader->running_count++;
        list_append(reader, job);
        if (wanted >= reader->started_count)
            pthread_cond_broadcast(&reader->work);
        else
            while (wanted--)
                pthread_cond_signal(&reader->work);
    }
    pthread_mutex_unlock(&reader->mutex);
    return status;
}

/* Makes a job of a plan.  Returns 0 or -errno. */
static int make_job(struct ringio_reader *reader, const struct ringio_plan *plan, struct ringio_job **job)
{
    *job = NULL;
    if (reader->choice.kind == 0)
        return -ENODEV;
    int status = task_check_plan(plan);
    if (status)
        return status;
    *job = job_new(reader, reader->process, plan);
    return *job ? 0 : -ENOMEM;
}

int ringio_execute(struct ringio_reader *reader, const struct ringio_plan *plan, int wait_ms, struct ringio_job **job)
{
    int status = make_job(reader, plan, job);
    if (status)
        return status;
    if (plan->request_count == 0 || reader_run_here(reader, *job)) {
        (*job)->done = 1;
        return 1;
    }
    status = publish(reader, *job);
    if (status) {
        job_free(*job);
        *job = NULL;
        return status;
    }
    return ringio_job_wait(*job, wait_ms);
}

/* The same, as far as that takes no waiting: not for a file to be opened, nor for memory, which others may hold where
   there is little. */
static int run_at_once(struct ringio_reader *reader, struct ringio_job *job)
{
    if (reader->limit.share_nbytes < INLINE_SHARE_NBYTES_MIN)
        return 0;
    job->opens_nothing = 1;
    int finished = reader_run_here(reader, job);
    job->opens_nothing = 0;
    return finished;
}

int ringio_start(struct ringio_reader *reader, const struct ringio_plan *plan, struct ringio_bell *bell,
                 uint64_t token, struct ringio_job **job)
{
    int status = make_job(reader, plan, job);
    if (status)
        return status;
    if (plan->request_count == 0 || run_at_once(reader, *job)) {
        (*job)->done = 1;
        return 1;
    }
    status = ringio_bell_expect(bell);
    if (status == 0) {
        (*job)->notice = (struct notice){bell, token};
        status = publish(reader, *job);
        if (status)
            ringio_bell_ring(bell, token); /* it may ring for nothing, but not be waited for in vain */
    }
    if (status) {
        job_free(*job);
        *job = NULL;
    }
    return status;
}

int ringio_job_wait(struct ringio_job *job, int wait_ms)
{
    struct ringio_reader *reader = job->reader;
    if (job->process != reader->process)
        return -ECHILD;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (wait_ms > 0) {
        until.tv_sec += wait_ms / 1000;
        until.tv_nsec += wait_ms % 1000 * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
    }
    pthread_mutex_lock(&reader->mutex);
    int late = wait_ms == 0;
    while (!job->done && !late) {
        if (wait_ms < 0)
            pthread_cond_wait(&job->finished, &reader->mutex);
        else
            late = pthread_cond_timedwait(&job->finished, &reader->mutex, &until) == ETIMEDOUT;
    }
    int done = job->done;
    pthread_mutex_unlock(&reader->mutex);
    return done;
}

void ringio_job_cancel(struct ringio_job *job)
{
    struct ringio_reader *reader = job->reader;
    if (job->process != reader->process)
        return;
    pthread_mutex_lock(&reader->mutex);
    struct notice notice = cancel(reader, job);
    pthread_mutex_unlock(&reader->mutex);
    notice_send(notice);
}

void ringio_job_free(struct ringio_job *job)
{
    if (job->process == job->reader->process) /* else threads of the parent stand in it, as far as the child can tell */
        job_free(job);
}
