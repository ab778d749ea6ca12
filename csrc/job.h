/* job.h: one plan being executed, and what went wrong in it. */
#ifndef RINGIO_JOB_H
#define RINGIO_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "bell.h"
#include "files.h"
#include "ringio.h"

/* The identity that a file had when the job first opened it: what all later reads of the job must find again. */
struct seen_file {
    _Atomic uint32_t state; /* 0 unknown, 1 being written, 2 known */
    struct ringio_identity identity;
};

struct ringio_job {
    struct ringio_reader *reader;
    uint64_t process; /* of the reader when the job began: a child after fork() does not run its parent's jobs */
    struct ringio_plan plan;
    struct seen_file *seen; /* per file; NULL where no file serves two requests */
    int looks_up_late;      /* files are looked up behind the read and not before it: file_get_known() */
    int opens_nothing;      /* only files that are open already can be read now: opening one may take waiting */

    _Alignas(64) _Atomic uint64_t cursor; /* the next request to be claimed; request_count and more: none is left */
    _Alignas(64) _Atomic uint64_t done_count; /* requests that are done */
    _Alignas(64) _Atomic int cancelled;       /* looked at for each request, and written but once */
    _Atomic int is_ahead; /* a thread looks up the files that are not open yet */

    /* Guarded by the reader's mutex: */
    uint32_t attached; /* threads that are running it */
    int listed;        /* in the reader's list of jobs that have requests left */
    int done;
    struct notice notice; /* to be sent when it is done */
    struct ringio_job *next, *previous;
    pthread_cond_t finished;

    pthread_mutex_t failures_mutex;
    struct ringio_failure *failures;
    uint64_t failure_count, failure_capacity;
    int failures_lost; /* there was no memory to note one */
};

/* job_init() makes a job of a plan with one request, in memory of the caller's; 'plan' is copied, not what it points
   to. */
void job_init(struct ringio_job *job, struct ringio_reader *reader, uint64_t process, const struct ringio_plan *plan);
void job_destroy(struct ringio_job *job);

/* job_new() makes one of any plan.  NULL: out of memory. */
struct ringio_job *job_new(struct ringio_reader *reader, uint64_t process, const struct ringio_plan *plan);
void job_free(struct ringio_job *job);

/* job_fail() notes a failed task.  Thread-safe. */
void job_fail(struct ringio_job *job, const struct ringio_failure *failure);

/* job_claim() takes up to 'count_max' requests: returns how many, from '*first' on. */
uint64_t job_claim(struct ringio_job *job, uint64_t count_max, uint64_t *first);

/* Requests that nobody has claimed. */
static inline uint64_t job_unclaimed(const struct ringio_job *job)
{
    uint64_t cursor = atomic_load_explicit(&job->cursor, memory_order_relaxed);
    return cursor < job->plan.request_count ? job->plan.request_count - cursor : 0;
}

/* job_expects() gives the identity that a file of the plan must have, or NULL while that is unknown. */
const struct ringio_identity *job_expects(struct ringio_job *job, uint32_t file, struct ringio_identity *room);

/* job_saw() tells the job which identity a file has.  Returns 0, or -RINGIO_CHANGED when it was another one before. */
int job_saw(struct ringio_job *job, uint32_t file, const struct ringio_identity *identity);

#endif
