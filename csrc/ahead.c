#define _GNU_SOURCE
#include "ahead.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "files.h"
#include "thread.h"

#define THREADS_MAX 32
#define STACK_NBYTES ((size_t)256 << 10)
#define CLAIM_COUNT 16

/* A cached file is opened in 2 us, and no disk answers within 50.  One inode block holds 16 files, so where all is cold
   one open in 16 waits; a thread that lost its core looks the same, but that is one in a thousand. */
#define SLOW_NS 50000
#define SLOW_SCORE 64
#define SCORE_ENOUGH 160

/* What is looked up lies in the kernel's caches, some 1.5 KiB a file: not for all of a million at once. */
#define DISTANCE_MAX 8192
#define PAUSE_NS 4000000 /* 8,192 files take longer than that */

struct look_ahead {
    struct ringio_job *job;
    _Atomic uint64_t cursor; /* the next request whose file is looked up */
    _Atomic int stop;
    uint32_t thread_count;
    pthread_t threads[THREADS_MAX];
};

static void look_up(const struct ringio_plan *plan, uint64_t request)
{
    uint32_t file = plan->requests[request].file;
    struct ringio_identity ignored;
    if (file < plan->file_count && !plan->files[file].data)
        identity_of_path(plan->paths + plan->files[file].path_offset, &ignored);
}

/* Where the workers are. */
static uint64_t job_position(const struct ringio_job *job)
{
    return job->plan.request_count - job_unclaimed(job);
}

static void *look_ahead_main(void *argument)
{
    struct look_ahead *looks = argument;
    const struct ringio_plan *plan = &looks->job->plan;
    while (!atomic_load_explicit(&looks->stop, memory_order_relaxed)) {
        uint64_t first = atomic_fetch_add_explicit(&looks->cursor, CLAIM_COUNT, memory_order_relaxed);
        if (first >= plan->request_count)
            break;
        while (first > job_position(looks->job) + DISTANCE_MAX &&
               !atomic_load_explicit(&looks->stop, memory_order_relaxed))
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        for (uint64_t i = first; i < first + CLAIM_COUNT && i < plan->request_count; i++)
            if (i >= job_position(looks->job) && !atomic_load_explicit(&looks->stop, memory_order_relaxed))
                look_up(plan, i);
    }
    return NULL;
}

void ahead_start(struct ahead *ahead, struct ringio_job *job, uint32_t thread_count)
{
    struct look_ahead *looks = ahead->looks ? NULL : calloc(1, sizeof *looks);
    if (!looks)
        return;
    looks->job = job;
    atomic_store_explicit(&looks->cursor, job_position(job), memory_order_relaxed);
    if (thread_count > THREADS_MAX)
        thread_count = THREADS_MAX;
    while (looks->thread_count < thread_count && thread_start(&looks->threads[looks->thread_count], "ringio-ahead",
                                                              STACK_NBYTES, look_ahead_main, looks) == 0)
        looks->thread_count++;
    ahead->looks = looks;
}

void ahead_note(struct ahead *ahead, struct ringio_job *job, uint64_t nanoseconds)
{
    ahead->was_slow = nanoseconds >= SLOW_NS;
    if (!ahead->was_slow) {
        ahead->score -= ahead->score > 0;
        return;
    }
    ahead->score += SLOW_SCORE;
    if (ahead->score < SCORE_ENOUGH)
        return;
    ahead->score = 0;
    if (job_unclaimed(job) >= AHEAD_FILES_MIN && !atomic_exchange_explicit(&job->is_ahead, 1, memory_order_relaxed))
        ahead_start(ahead, job, THREADS_MAX);
}

void ahead_stop(struct ahead *ahead)
{
    struct look_ahead *looks = ahead->looks;
    if (!looks)
        return;
    atomic_store_explicit(&looks->stop, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < looks->thread_count; i++)
        pthread_join(looks->threads[i], NULL);
    atomic_store_explicit(&looks->job->is_ahead, 0, memory_order_relaxed); /* its next turn may need it again */
    free(looks);
    ahead->looks = NULL;
}
