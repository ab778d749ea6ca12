#define _GNU_SOURCE
#include "job.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Whether a file may serve two requests: exact where requests stand in the order of their files, as coalescing leaves
   them. */
static int serves_twice(const struct ringio_plan *plan)
{
    int64_t last = -1;
    for (uint64_t i = 0; i < plan->request_count; i++) {
        uint32_t file = plan->requests[i].file;
        if (file >= plan->file_count)
            continue; /* nothing to read, or a bad plan */
        if (file <= last)
            return 1;
        last = file;
    }
    return 0;
}

void job_init(struct ringio_job *job, struct ringio_reader *reader, uint64_t process, const struct ringio_plan *plan)
{
    memset(job, 0, sizeof *job);
    job->reader = reader;
    job->process = process;
    job->plan = *plan;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&job->finished, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&job->failures_mutex, NULL);
}

void job_destroy(struct ringio_job *job)
{
    pthread_cond_destroy(&job->finished);
    pthread_mutex_destroy(&job->failures_mutex);
    free(job->failures);
    free(job->seen);
}

struct ringio_job *job_new(struct ringio_reader *reader, uint64_t process, const struct ringio_plan *plan)
{
    struct ringio_job *job = aligned_alloc(_Alignof(struct ringio_job), sizeof *job);
    if (!job)
        return NULL;
    job_init(job, reader, process, plan);
    if (serves_twice(plan)) {
        job->seen = calloc(plan->file_count, sizeof *job->seen);
        if (!job->seen) {
            job_free(job);
            return NULL;
        }
    }
    return job;
}

void job_free(struct ringio_job *job)
{
    job_destroy(job);
    free(job);
}

/* --------------------------------------------------------------------------------------------------------- failures */

void job_fail(struct ringio_job *job, const struct ringio_failure *failure)
{
    pthread_mutex_lock(&job->failures_mutex);
    if (job->failure_count == job->failure_capacity) {
        uint64_t capacity = job->failure_capacity ? job->failure_capacity * 2 : 16;
        struct ringio_failure *more = realloc(job->failures, capacity * sizeof *more);
        if (more) {
            job->failures = more;
            job->failure_capacity = capacity;
        }
    }
    if (job->failure_count < job->failure_capacity)
        job->failures[job->failure_count++] = *failure;
    else
        job->failures_lost = 1;
    pthread_mutex_unlock(&job->failures_mutex);
}

static int by_task(const void *a, const void *b)
{
    const struct ringio_failure *left = a, *right = b;
    return (left->task > right->task) - (left->task < right->task);
}

const struct ringio_failure *ringio_job_failures(struct ringio_job *job, uint64_t *count)
{
    *count = job->failures_lost ? UINT64_MAX : job->failure_count;
    if (job->failures_lost)
        return NULL;
    if (job->failure_count)
        qsort(job->failures, job->failure_count, sizeof *job->failures, by_task);
    return job->failures;
}

/* --------------------------------------------------------------------------------------------------------- requests */

uint64_t job_claim(struct ringio_job *job, uint64_t count_max, uint64_t *first)
{
    uint64_t request_count = job->plan.request_count;
    *first = atomic_fetch_add_explicit(&job->cursor, count_max, memory_order_relaxed);
    if (*first >= request_count)
        return 0;
    return count_max < request_count - *first ? count_max : request_count - *first;
}

uint64_t ringio_job_progress(const struct ringio_job *job)
{
    return atomic_load_explicit(&job->done_count, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------------------------------ files */

const struct ringio_identity *job_expects(struct ringio_job *job, uint32_t file, struct ringio_identity *room)
{
    const struct ringio_file *record = &job->plan.files[file];
    if (record->inode) {
        *room = (struct ringio_identity){record->device, record->inode, record->nbytes, record->mtime_ns, 0, 0};
        return room;
    }
    if (job->seen && atomic_load_explicit(&job->seen[file].state, memory_order_acquire) == 2) {
        *room = job->seen[file].identity;
        return room;
    }
    return NULL;
}

int job_saw(struct ringio_job *job, uint32_t file, const struct ringio_identity *identity)
{
    if (!job->seen)
        return 0;
    struct seen_file *seen = &job->seen[file];
    uint32_t unknown = 0;
    if (atomic_compare_exchange_strong(&seen->state, &unknown, 1)) {
        seen->identity = *identity;
        atomic_store_explicit(&seen->state, 2, memory_order_release);
        return 0;
    }
    while (atomic_load_explicit(&seen->state, memory_order_acquire) != 2)
        sched_yield(); /* for the length of one copy */
    return identity_equal(&seen->identity, identity) ? 0 : -RINGIO_CHANGED;
}
