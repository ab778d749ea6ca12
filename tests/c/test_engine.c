/* Goal: plans of raw ranges give the bytes of the files: on every backend, with faults, from many threads at once,
   after fork(), cancelled halfway, and with files that end early.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch.h"
#include "check.h"
#include "ringio.h"

static void run_and_check(struct ringio_reader *reader, struct batch *batch)
{
    struct ringio_job *job;
    memset(batch->target, 0xee, batch->target_nbytes);
    int status = ringio_execute(reader, &batch->plan, -1, &job);
    CHECK(status == 1);
    uint64_t failure_count;
    ringio_job_failures(job, &failure_count);
    CHECK(failure_count == 0);
    CHECK(ringio_job_progress(job) == batch->plan.request_count);
    ringio_job_free(job);
    batch_check(batch, NULL);
}

static void test_batches(struct ringio_reader *reader)
{
    const uint64_t shapes[][2] = {{0, 0}, {1, 100}, {3, 5000}, {8, 100000}, {500, 3000}, {50, 700000}, {3, 3 << 20}};
    for (uint64_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct batch *batch = batch_new(i + 7, shapes[i][0], shapes[i][1]);
        run_and_check(reader, batch);
        run_and_check(reader, batch);
        batch_free(batch);
    }
}

static void *thread_main(void *argument)
{
    struct ringio_reader *reader = argument;
    for (uint64_t i = 0; i < 20; i++) {
        struct batch *batch = batch_new((uintptr_t)&i + i, 1 + i * i, 20000);
        run_and_check(reader, batch);
        batch_free(batch);
    }
    return NULL;
}

static void test_threads(struct ringio_reader *reader)
{
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        CHECK(pthread_create(&threads[i], NULL, thread_main, reader) == 0);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
}

static void test_cancel(struct ringio_reader *reader)
{
    for (uint64_t i = 0; i < 10; i++) {
        struct batch *batch = batch_new(i, 2000, 60000);
        struct ringio_job *job;
        CHECK(ringio_execute(reader, &batch->plan, 0, &job) >= 0);
        ringio_job_cancel(job);
        CHECK(ringio_job_wait(job, -1) == 1);
        ringio_job_free(job);
        batch_free(batch);
    }
}

/* Range 5 lies past the end, range 6 is of a file that does not exist: both fail, the others do not. */
static void test_failures(struct ringio_reader *reader)
{
    struct batch *batch = batch_new(3, 20, 1000);
    uint64_t task_of_piece[20];
    for (uint64_t i = 0; i < 20; i++)
        task_of_piece[batch->task_pieces[i]] = i;
    for (uint64_t i = 0; i < batch->plan.request_count; i++)
        if (batch->requests[i].first_task <= task_of_piece[5] &&
            task_of_piece[5] < (uint64_t)batch->requests[i].first_task + batch->requests[i].task_count)
            batch->requests[i].nbytes += FILE_NBYTES;
    batch->tasks[task_of_piece[5]].source_nbytes = FILE_NBYTES;
    struct ringio_job *job;
    CHECK(ringio_execute(reader, &batch->plan, -1, &job) == 1);
    uint64_t failure_count;
    const struct ringio_failure *failures = ringio_job_failures(job, &failure_count);
    CHECK(failure_count == 1 && failures[0].task == task_of_piece[5] && failures[0].status == -RINGIO_EOF);
    CHECK(failures[0].got == FILE_NBYTES);
    ringio_job_free(job);
    uint8_t failed[20] = {[5] = 1};
    batch_check(batch, failed);
    batch_free(batch);
}

static void test_bad_plans(struct ringio_reader *reader)
{
    uint64_t state = 9;
    for (int round = 0; round < 300; round++) {
        struct batch *batch = batch_new(11, 40, 5000);
        for (int i = 0; i < 4; i++) {
            uint8_t *records[] = {(uint8_t *)batch->requests, (uint8_t *)batch->tasks, (uint8_t *)batch->projections,
                                  (uint8_t *)batch->counts};
            uint64_t sizes[] = {batch->plan.request_count * sizeof *batch->requests, 40 * sizeof *batch->tasks,
                                40 * sizeof *batch->projections, 40 * sizeof *batch->counts};
            uint64_t which = random_next(&state) % 4;
            records[which][random_next(&state) % sizes[which]] = (uint8_t)random_next(&state);
        }
        struct ringio_job *job;
        if (ringio_execute(reader, &batch->plan, -1, &job) == 1)
            ringio_job_free(job);
        batch_free(batch);
    }
}

static void test_fork(struct ringio_reader *reader, int in_flight)
{
    struct batch *batch = batch_new(21, 3000, 30000);
    struct batch *other = batch_new(22, 300, 30000);
    struct ringio_job *job = NULL;
    if (in_flight)
        CHECK(ringio_execute(reader, &batch->plan, 0, &job) >= 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        run_and_check(reader, other);
        if (job) {
            CHECK(ringio_job_wait(job, -1) == -ECHILD);
            ringio_job_free(job);
        }
        ringio_reader_free(reader);
        _exit(0);
    }
    if (job) {
        CHECK(ringio_job_wait(job, -1) == 1);
        ringio_job_free(job);
        batch_check(batch, NULL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run_and_check(reader, other);
    batch_free(batch);
    batch_free(other);
}

/* More files than the process may have open: a worker that has its share in use waits for reads before it opens
   another. */
static void test_few_descriptors(uint32_t backend)
{
    enum { COUNT = 200 };
    struct ringio_options options = make_options(backend);
    options.open_files = 4;
    struct ringio_reader *reader = make_reader(&options);
    if (!reader)
        return;
    struct batch *batch = batch_new(1, COUNT, 1);
    struct ringio_file *files = make_array(COUNT, sizeof *files);
    char *path_blob = make_array(COUNT, 64);
    for (uint64_t i = 0; i < COUNT; i++) {
        files[i].path_offset = i * 64;
        snprintf(path_blob + i * 64, 64, "%.40s-%d", paths[0], (int)i);
        int fd = open(path_blob + i * 64, O_CREAT | O_WRONLY, 0600);
        CHECK(fd >= 0 && write(fd, contents[0] + i, 1) == 1 && close(fd) == 0);
        batch->requests[i] = (struct ringio_request){0, 1, (uint32_t)i, (uint32_t)i, 1, 0};
        batch->tasks[i] = (struct ringio_task){0, 1, i, 1, 0};
        batch->projections[i].target_offset = (int64_t)i;
        batch->counts[i] = 1;
    }
    free(batch->target);
    batch->target = make_array(COUNT, 1);
    batch->target_record = (struct ringio_target){(uintptr_t)batch->target, COUNT};
    batch->plan.files = files;
    batch->plan.file_count = COUNT;
    batch->plan.paths = path_blob;
    batch->plan.paths_nbytes = COUNT * 64;
    batch->plan.request_count = COUNT;
    struct rlimit before, few;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = (struct rlimit){24, before.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    struct ringio_job *job;
    CHECK(ringio_execute(reader, &batch->plan, -1, &job) == 1);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    uint64_t failure_count;
    ringio_job_failures(job, &failure_count);
    CHECK(failure_count == 0 && memcmp(batch->target, contents[0], COUNT) == 0);
    ringio_job_free(job);
    ringio_reader_free(reader);
    for (int i = 0; i < COUNT; i++)
        unlink(path_blob + i * 64);
    free(files);
    free(path_blob);
    batch_free(batch);
}

/* File 0 is overwritten in place while a job reads it.  The plan says which version it wants: each range is of that
   version, or failed with RINGIO_CHANGED. */
static void test_overwritten(struct ringio_reader *reader)
{
    uint8_t *other = make_array(FILE_NBYTES, 1);
    for (int round = 0; round < 10; round++) {
        struct batch *batch = batch_new((uint64_t)round, 4000, 3000);
        for (int i = 0; i < FILE_COUNT; i++) {
            struct ringio_identity identity;
            ringio_stat(batch->path_blob, &batch->file_records[i].path_offset, 1, &identity);
            batch->file_records[i].device = identity.device;
            batch->file_records[i].inode = identity.inode;
            batch->file_records[i].nbytes = identity.nbytes;
            batch->file_records[i].mtime_ns = identity.mtime_ns;
        }
        struct ringio_job *job;
        int fd = open(paths[0], O_WRONLY);
        CHECK(fd >= 0 && ringio_execute(reader, &batch->plan, round % 3, &job) >= 0);
        CHECK(pwrite(fd, other, FILE_NBYTES, 0) == (ssize_t)FILE_NBYTES);
        CHECK(ringio_job_wait(job, -1) == 1);
        uint64_t failure_count;
        const struct ringio_failure *failures = ringio_job_failures(job, &failure_count);
        uint8_t *failed = make_array(batch->range_count, 1);
        for (uint64_t i = 0; i < failure_count; i++) {
            CHECK(failures[i].status == -RINGIO_CHANGED);
            failed[batch->task_pieces[failures[i].task]] = 1;
        }
        batch_check(batch, failed);
        CHECK(pwrite(fd, contents[0], FILE_NBYTES, 0) == (ssize_t)FILE_NBYTES && close(fd) == 0);
        usleep(20000); /* longer than a tick of the clock that dates files */
        free(failed);
        ringio_job_free(job);
        batch_free(batch);
    }
    free(other);
}

/* A chunk that says to be larger than it can be is refused unread, and large chunks are no work for the caller. */
static void test_sizes(struct ringio_reader *reader)
{
    struct batch *batch = batch_new(3, 1, 1000);
    struct ringio_codec codec = {.kind = RINGIO_CODEC_ZSTD, .decoded_nbytes = 4096};
    batch->chain = (struct ringio_chain){4096, 5000, 0, 1};
    batch->plan.codecs = &codec;
    batch->plan.codec_count = 1;
    batch->requests[0] = (struct ringio_request){0, FILE_NBYTES, 0, 0, 1, 0};
    batch->tasks[0].source_nbytes = RINGIO_TO_END;
    struct ringio_statistics before, after;
    ringio_reader_statistics(reader, &before);
    struct ringio_job *job;
    CHECK(ringio_execute(reader, &batch->plan, -1, &job) == 1);
    uint64_t failure_count;
    const struct ringio_failure *failures = ringio_job_failures(job, &failure_count);
    CHECK(failure_count == 1 && failures[0].status == -RINGIO_TOO_LARGE && failures[0].expected == 5000);
    ringio_job_free(job);
    ringio_reader_statistics(reader, &after);
    CHECK(after.bytes_read == before.bytes_read);

    codec.decoded_nbytes = batch->chain.decoded_nbytes = batch->chain.encoded_nbytes_max = (uint64_t)8 << 20;
    batch->requests[0].nbytes = 1000;
    CHECK(ringio_execute(reader, &batch->plan, -1, &job) == 1);
    ringio_job_free(job);
    ringio_reader_statistics(reader, &before);
    CHECK(before.inline_jobs == after.inline_jobs);
    batch_free(batch);
}

/* Faults that a reader must overcome by itself. */
static void test_faults(uint32_t backend, uint32_t direct)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct ringio_options options = make_options(backend);
        options.direct = direct;
        options.faults = (struct ringio_faults){.seed = seed,
                                                .short_rate = 3,
                                                .zero_rate = 7,
                                                .eintr_rate = 5,
                                                .eagain_rate = 5,
                                                .late_rate = 4,
                                                .submit_rate = 6};
        struct ringio_reader *reader = make_reader(&options);
        if (!reader)
            return;
        test_batches(reader);
        ringio_reader_free(reader);
    }
}

/* Past the page cache, from many threads at once, which all want the same file opened so. */
static void test_direct(uint32_t backend)
{
    struct ringio_options options = make_options(backend);
    options.direct = RINGIO_DIRECT_ON;
    struct ringio_reader *reader = make_reader(&options);
    if (!reader)
        return;
    test_threads(reader);
    test_batches(reader);
    test_failures(reader);
    test_overwritten(reader);
    test_cancel(reader);
    if (!getenv("RINGIO_TEST_TSAN"))
        test_fork(reader, 1);
    struct ringio_statistics statistics;
    ringio_reader_statistics(reader, &statistics);
    printf("backend %u: %d of %d requests were direct\n", backend, (int)statistics.direct_requests,
           (int)statistics.requests);
    ringio_reader_free(reader);
}

int main(void)
{
    make_files();
    const uint32_t backends[] = {RINGIO_BACKEND_URING, RINGIO_BACKEND_THREADS, RINGIO_BACKEND_MEMORY};
    for (int i = 0; i < 3; i++) {
        struct ringio_options options = make_options(backends[i]);
        struct ringio_reader *reader = make_reader(&options);
        if (!reader) {
            printf("skipped: backend %u cannot be had here\n", backends[i]);
            continue;
        }
        printf("backend %u: %s\n", backends[i], ringio_reader_reason(reader));
        test_batches(reader);
        test_failures(reader);
        test_sizes(reader);
        test_few_descriptors(backends[i]);
        test_overwritten(reader);
        if (!getenv("RINGIO_TEST_TSAN")) /* a bad plan may send two tasks to one place: a race, as it should be */
            test_bad_plans(reader);
        test_threads(reader);
        test_cancel(reader);
        if (!getenv("RINGIO_TEST_TSAN")) { /* the thread sanitizer does not survive fork() */
            test_fork(reader, 0);
            test_fork(reader, 1);
        }
        struct ringio_statistics statistics;
        ringio_reader_statistics(reader, &statistics);
        CHECK(statistics.requests > 0 && statistics.bytes_read > 0);
        struct batch *batch = batch_new(1, 2000, 60000);
        struct ringio_job *job;
        CHECK(ringio_execute(reader, &batch->plan, 0, &job) >= 0);
        ringio_job_cancel(job);
        ringio_job_wait(job, -1);
        ringio_job_free(job);
        ringio_reader_free(reader);
        batch_free(batch);
        for (uint32_t direct = RINGIO_DIRECT_OFF; direct <= RINGIO_DIRECT_AUTO; direct++)
            test_faults(backends[i], direct);
        test_direct(backends[i]);
    }
    remove_files();
    return 0;
}
