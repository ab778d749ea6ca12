/* Goal: a bell rings once for each job, whoever finishes it and however; its descriptor is readable while there are
   tokens, and is open until the last ring; without one it is waited for.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "check.h"
#include "ringio.h"

static struct ringio_bell *make_bell(int has_fd)
{
    int status;
    struct ringio_bell *bell = ringio_bell_new(has_fd, &status);
    CHECK(bell && status == 0 && (ringio_bell_fd(bell) >= 0) == has_fd);
    return bell;
}

static int has_rung(struct ringio_bell *bell, int wait_ms)
{
    struct pollfd poller = {.fd = ringio_bell_fd(bell), .events = POLLIN};
    return poller.fd < 0 ? ringio_bell_wait(bell, wait_ms) : poll(&poller, 1, wait_ms) == 1;
}

/* Waits until 'count' tokens below 'limit' have come, and notes each in 'seen'. */
static void listen_for(struct ringio_bell *bell, uint64_t count, uint8_t *seen, uint64_t limit)
{
    while (count) {
        uint64_t tokens[7];
        CHECK(has_rung(bell, 20000));
        uint64_t some = ringio_bell_tokens(bell, tokens, 7);
        CHECK(some <= count);
        for (uint64_t i = 0; i < some; i++) {
            CHECK(tokens[i] < limit && !seen[tokens[i]]);
            seen[tokens[i]] = 1;
        }
        ringio_bell_forget(bell, some);
        count -= some;
    }
}

static void test_queue(int has_fd)
{
    struct ringio_bell *bell = make_bell(has_fd);
    uint64_t tokens[4];
    CHECK(!has_rung(bell, 0) && ringio_bell_tokens(bell, tokens, 4) == 0);
    for (uint64_t i = 0; i < 3; i++)
        CHECK(ringio_bell_expect(bell) == 0);
    for (uint64_t i = 0; i < 3; i++)
        ringio_bell_ring(bell, 10 + i);
    CHECK(has_rung(bell, 0) && ringio_bell_tokens(bell, tokens, 2) == 2 && tokens[0] == 10 && tokens[1] == 11);
    CHECK(ringio_bell_tokens(bell, tokens, 4) == 3); /* none is lost until it is dropped */
    ringio_bell_forget(bell, 2);
    CHECK(has_rung(bell, 0) && ringio_bell_tokens(bell, tokens, 4) == 1 && tokens[0] == 12);
    ringio_bell_forget(bell, 1);
    CHECK(!has_rung(bell, 0));
    ringio_bell_forget(bell, 0);
    ringio_bell_free(bell);
}

/* The counter of an eventfd can be full: the ring neither waits nor is lost. */
static void test_full(void)
{
    struct ringio_bell *bell = make_bell(1);
    const uint64_t most = UINT64_MAX - 1;
    uint64_t token;
    if (write(ringio_bell_fd(bell), &most, sizeof most) == (ssize_t)sizeof most) { /* that end of a pipe cannot be */
        CHECK(ringio_bell_expect(bell) == 0);
        ringio_bell_ring(bell, 5);
        CHECK(has_rung(bell, 0) && ringio_bell_tokens(bell, &token, 1) == 1 && token == 5);
        ringio_bell_forget(bell, 1);
        CHECK(!has_rung(bell, 0));
    }
    ringio_bell_free(bell);
}

/* The descriptor outlives its owner, so that its number is nobody else's when the last ring comes. */
static void test_owner_leaves(void)
{
    struct ringio_bell *bell = make_bell(1);
    int fd = ringio_bell_fd(bell);
    CHECK(ringio_bell_expect(bell) == 0 && ringio_bell_expect(bell) == 0);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_NONBLOCK));
    ringio_bell_free(bell);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    ringio_bell_ring(bell, 1);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    ringio_bell_ring(bell, 2);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

#define RINGER_COUNT 4
#define RING_COUNT 5000

struct ringer {
    struct ringio_bell *bell;
    uint64_t first;
};

static void *ringer_main(void *argument)
{
    const struct ringer *ringer = argument;
    for (uint64_t i = 0; i < RING_COUNT; i++) {
        CHECK(ringio_bell_expect(ringer->bell) == 0);
        ringio_bell_ring(ringer->bell, ringer->first + i);
    }
    return NULL;
}

/* Threads that ring while another listens: each token comes once, and none is left waiting with a silent bell. */
static void test_ringers(int has_fd)
{
    struct ringio_bell *bell = make_bell(has_fd);
    pthread_t threads[RINGER_COUNT];
    struct ringer ringers[RINGER_COUNT];
    uint8_t *seen = make_array((uint64_t)RINGER_COUNT * RING_COUNT, 1);
    for (uint64_t i = 0; i < RINGER_COUNT; i++) {
        ringers[i] = (struct ringer){bell, i * RING_COUNT};
        CHECK(pthread_create(&threads[i], NULL, ringer_main, &ringers[i]) == 0);
    }
    listen_for(bell, (uint64_t)RINGER_COUNT * RING_COUNT, seen, (uint64_t)RINGER_COUNT * RING_COUNT);
    for (int i = 0; i < RINGER_COUNT; i++)
        pthread_join(threads[i], NULL);
    ringio_bell_free(bell);
    free(seen);
}

/* ------------------------------------------------------------------------------------------------------------- jobs */

#define JOB_COUNT 12

static void check_job(struct ringio_job *job, const struct batch *batch)
{
    uint64_t failure_count;
    CHECK(ringio_job_wait(job, 0) == 1);
    ringio_job_failures(job, &failure_count);
    CHECK(failure_count == 0 && ringio_job_progress(job) == batch->plan.request_count);
    batch_check(batch, NULL);
}

/* Jobs of all sizes, a third of them cancelled, all with one bell. */
static void run_jobs(struct ringio_reader *reader, uint64_t seed)
{
    struct ringio_bell *bell = make_bell(seed % 2);
    struct batch *batches[JOB_COUNT];
    struct ringio_job *jobs[JOB_COUNT];
    uint8_t seen[JOB_COUNT] = {0};
    uint64_t running_count = 0;
    for (uint64_t i = 0; i < JOB_COUNT; i++) {
        batches[i] = batch_new(seed + i, 1 + i * i * 7, 20000);
        int status = ringio_start(reader, &batches[i]->plan, bell, i, &jobs[i]);
        CHECK(status >= 0);
        running_count += status == 0;
        if (i % 3 == 1)
            ringio_job_cancel(jobs[i]);
    }
    listen_for(bell, running_count, seen, JOB_COUNT);
    ringio_bell_free(bell);
    for (uint64_t i = 0; i < JOB_COUNT; i++) {
        if (i % 3 == 1)
            CHECK(ringio_job_wait(jobs[i], 0) == 1);
        else
            check_job(jobs[i], batches[i]);
        ringio_job_free(jobs[i]);
        batch_free(batches[i]);
    }
}

static void *jobs_main(void *argument)
{
    for (uint64_t i = 0; i < 6; i++)
        run_jobs(argument, (uintptr_t)&i + i);
    return NULL;
}

static void test_jobs(struct ringio_reader *reader)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, jobs_main, reader) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* A small job is run at once where its file is open already, and only there; then nothing rings. */
static void test_at_once(uint32_t backend)
{
    struct ringio_options options = make_options(backend);
    struct ringio_reader *reader = make_reader(&options);
    if (!reader)
        return;
    struct ringio_bell *bell = make_bell(1);
    struct batch *batch = batch_new(3, 1, 1000);
    struct ringio_job *job;
    uint8_t seen[8] = {0};
    CHECK(ringio_start(reader, &batch->plan, bell, 7, &job) == 0);
    listen_for(bell, 1, seen, 8);
    check_job(job, batch);
    ringio_job_free(job);
    memset(batch->target, 0xee, batch->target_nbytes);
    int status = ringio_start(reader, &batch->plan, bell, 6, &job);
    CHECK(status >= 0); /* 0: a filesystem that cannot say whether bytes are cached */
    if (status == 0)
        listen_for(bell, 1, seen, 8);
    check_job(job, batch);
    ringio_job_free(job);
    CHECK(!has_rung(bell, 0));
    batch->plan.dim_count = RINGIO_MAX_DIMS + 1;
    CHECK(ringio_start(reader, &batch->plan, bell, 5, &job) < 0 && job == NULL);
    batch->plan.dim_count = 1;
    batch->plan.request_count = 0;
    CHECK(ringio_start(reader, &batch->plan, bell, 5, &job) == 1);
    ringio_job_free(job);
    ringio_bell_free(bell);
    ringio_reader_free(reader);
    batch_free(batch);
}

/* The bell's owner goes first, or the reader with jobs that still run. */
static void test_ends(uint32_t backend)
{
    for (int reader_first = 0; reader_first < 2; reader_first++) {
        struct ringio_options options = make_options(backend);
        struct ringio_reader *reader = make_reader(&options);
        if (!reader)
            return;
        struct ringio_bell *bell = make_bell(1);
        int fd = ringio_bell_fd(bell);
        struct batch *batches[4];
        struct ringio_job *jobs[4];
        uint8_t seen[4] = {0};
        for (uint64_t i = 0; i < 4; i++) {
            batches[i] = batch_new(i, 500, 60000);
            CHECK(ringio_start(reader, &batches[i]->plan, bell, i, &jobs[i]) == 0);
        }
        if (reader_first) {
            for (int i = 0; i < 4; i++)
                ringio_job_cancel(jobs[i]);
            for (int i = 0; i < 4; i++) {
                CHECK(ringio_job_wait(jobs[i], -1) == 1);
                ringio_job_free(jobs[i]);
            }
            ringio_reader_free(reader);
            listen_for(bell, 4, seen, 4);
            ringio_bell_free(bell);
        } else {
            ringio_bell_free(bell);
            for (int i = 0; i < 4; i++) {
                CHECK(ringio_job_wait(jobs[i], -1) == 1);
                ringio_job_free(jobs[i]);
            }
            ringio_reader_free(reader); /* joins the workers: the last of them has rung */
        }
        CHECK(fcntl(fd, F_GETFD) == -1);
        for (int i = 0; i < 4; i++)
            batch_free(batches[i]);
    }
}

int main(void)
{
    for (int has_fd = 0; has_fd < 2; has_fd++) {
        test_queue(has_fd);
        test_ringers(has_fd);
    }
    test_full();
    test_owner_leaves();
    make_files();
    const uint32_t backends[] = {RINGIO_BACKEND_URING, RINGIO_BACKEND_THREADS, RINGIO_BACKEND_MEMORY};
    for (int i = 0; i < 3; i++) {
        struct ringio_options options = make_options(backends[i]);
        struct ringio_reader *reader = make_reader(&options);
        if (!reader) {
            printf("skipped: backend %u cannot be had here\n", backends[i]);
            continue;
        }
        test_jobs(reader);
        ringio_reader_free(reader);
        test_at_once(backends[i]);
        test_ends(backends[i]);
    }
    remove_files();
    return 0;
}
