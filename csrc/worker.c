/* worker.c: the threads of a reader.  Each makes its own pump, and with it its own ring, and keeps it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "reader.h"
#include "thread.h"

/* zstd, blosc and the kernel's own needs stay far below this; the default of 8 MiB is address space for nothing. */
#define STACK_NBYTES ((size_t)1 << 20)

/* A worker that cannot make its pump is out of memory, and so is every request that it takes. */
static void refuse_job(struct ringio_job *job)
{
    uint64_t first;
    while (job_claim(job, 1, &first)) {
        const struct ringio_request *request = &job->plan.requests[first];
        for (uint32_t i = 0; i < request->task_count; i++) {
            struct ringio_failure failure = {
                .task = (uint64_t)request->first_task + i, .request = first, .status = -ENOMEM};
            job_fail(job, &failure);
        }
        atomic_fetch_add_explicit(&job->done_count, 1, memory_order_relaxed);
    }
}

static struct pump *make_pump(struct worker *worker)
{
    struct ringio_reader *reader = worker->reader;
    struct pump *pump = pump_new(reader->choice.kind, &reader->options, &reader->files, &reader->limit);
    atomic_store_explicit(&worker->pump, pump, memory_order_release);
    return pump;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct ringio_reader *reader = worker->reader;
    struct pump *pump = make_pump(worker);
    pthread_mutex_lock(&reader->mutex);
    for (;;) {
        struct ringio_job *job = reader_next_job(reader);
        if (!job && reader->stopping)
            break;
        if (!job) {
            pthread_cond_wait(&reader->work, &reader->mutex);
            continue;
        }
        pthread_mutex_unlock(&reader->mutex);
        if (!pump)
            pump = make_pump(worker); /* there may be memory by now */
        if (pump)
            pump_run(pump, job, &reader->listed_count, reader->options.worker_count);
        else
            refuse_job(job);
        reader_leave_job(reader, job);
        pthread_mutex_lock(&reader->mutex);
    }
    pthread_mutex_unlock(&reader->mutex);
    atomic_store_explicit(&worker->pump, NULL, memory_order_relaxed);
    if (pump)
        pump_free(pump); /* by the thread that made the ring */
    return NULL;
}

static int start_one(struct worker *worker, uint32_t index)
{
    char name[24];
    snprintf(name, sizeof name, "ringio-%u", index);
    return thread_start(&worker->thread, name, STACK_NBYTES, worker_main, worker);
}

int workers_start(struct ringio_reader *reader)
{
    int status = 0;
    while (status == 0 && reader->started_count < reader->options.worker_count) {
        struct worker *worker = &reader->workers[reader->started_count];
        worker->reader = reader;
        status = start_one(worker, reader->started_count);
        reader->started_count += status == 0;
    }
    return reader->started_count ? 0 : status;
}

void workers_join(struct ringio_reader *reader)
{
    for (; reader->started_count; reader->started_count--)
        pthread_join(reader->workers[reader->started_count - 1].thread, NULL);
}
