/* Goal: a box of one chunk is found and read by the calling thread; a file written to, replaced or removed since
   is noticed, whichever way it was found.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "ringio.h"

#define LENGTH 8 /* of a chunk, in elements of one byte */
#define CHUNK_COUNT 4

static char path[64], other_path[64];
static const uint8_t fill_value = 7;

static void write_file(const char *to, int first)
{
    uint8_t bytes[LENGTH * CHUNK_COUNT];
    for (int i = 0; i < LENGTH * CHUNK_COUNT; i++)
        bytes[i] = (uint8_t)(first + i);
    FILE *file = fopen(to, "wb");
    CHECK(file && fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fclose(file) == 0);
}

static struct ringio_identity identity_of(const char *of)
{
    struct ringio_identity identity;
    uint64_t start = 0;
    ringio_stat(of, &start, 1, &identity);
    return identity;
}

/* Boxes of every other element of two. */
static struct ringio_chunk *chunk_new(struct ringio_grid *grid)
{
    struct ringio_chunk *chunk = make_array(1, sizeof *chunk);
    *grid = (struct ringio_grid){.dim_count = 1, .level_count = 2, .chunk_shape = {LENGTH}, .chunk_strides = {1}};
    grid->level_factors[0] = 2; /* two chunks in a shard */
    grid->level_factors[RINGIO_MAX_DIMS] = 1;
    grid->id_strides[0] = 2;
    grid->id_strides[RINGIO_MAX_DIMS] = 1;
    chunk->grid = grid;
    chunk->counts[0] = 2;
    chunk->steps[0] = 2;
    chunk->request.task_count = 1;
    chunk->request.flags = RINGIO_REQUEST_MISSING_FILLS;
    chunk->task.projection_count = 1;
    chunk->layout = (struct ringio_layout){.itemsize = 1};
    chunk->layout.source_strides[0] = 2;
    chunk->layout.target_strides[0] = 1;
    chunk->chain = (struct ringio_chain){LENGTH, LENGTH, 0, 0};
    chunk->plan = (struct ringio_plan){
        .files = &chunk->file, .file_count = 1, .requests = &chunk->request, .request_count = 1,
        .tasks = &chunk->task, .task_count = 1, .projections = &chunk->projection, .projection_count = 1,
        .counts = chunk->counts, .dim_count = 1, .chains = &chunk->chain, .chain_count = 1,
        .layouts = &chunk->layout, .layout_count = 1, .fill_values = &fill_value, .fill_values_nbytes = 1,
        .targets = &chunk->target, .target_count = 1,
    };
    return chunk;
}

/* Reads the box at 'start'.  Returns its first element, -1 where there is something to say. */
static int read_box(struct ringio_reader *reader, struct ringio_chunk *chunk, const struct ringio_identity *identity,
                    int64_t start)
{
    uint8_t target[2] = {0};
    int64_t id = ringio_chunk_find(chunk, &start);
    CHECK(id >= 0);
    int done = ringio_chunk_read(reader, chunk, path, (const uint8_t *)identity, (uint64_t)id * LENGTH, LENGTH, target,
                                 sizeof target);
    if (done == 0) { /* not in the page cache, or this filesystem cannot say */
        struct ringio_job *job;
        uint64_t failure_count;
        CHECK(ringio_execute(reader, &chunk->plan, -1, &job) == 1);
        ringio_job_failures(job, &failure_count);
        ringio_job_free(job);
        done = failure_count ? -1 : 1;
    }
    if (done < 0)
        return -1;
    CHECK(target[1] == target[0] + (target[0] == fill_value ? 0 : 2));
    return target[0];
}

static void test_find(void)
{
    struct ringio_grid grid;
    struct ringio_chunk *chunk = chunk_new(&grid);
    for (int64_t start = 0; start < LENGTH * CHUNK_COUNT - 2; start++) {
        int fits = start % LENGTH + 2 < LENGTH;
        CHECK(ringio_chunk_find(chunk, &start) == (fits ? start / LENGTH : -1));
        CHECK(!fits || (chunk->first == start % LENGTH && chunk->outer[0] == start / LENGTH / 2));
    }
    chunk->counts[0] = chunk->steps[0] = INT64_MAX / 2;
    CHECK(ringio_chunk_find(chunk, &(int64_t){0}) == -1);
    free(chunk);
}

static void test_changes(struct ringio_reader *reader)
{
    struct ringio_grid grid;
    struct ringio_chunk *chunk = chunk_new(&grid);
    for (int round = 0; round < 20; round++) {
        int first = 20 + round;
        write_file(round % 2 ? other_path : path, first);
        if (round % 2)
            CHECK(rename(other_path, path) == 0);
        struct ringio_identity identity = identity_of(path);
        CHECK(read_box(reader, chunk, &identity, 9) == first + 9);
        CHECK(read_box(reader, chunk, NULL, 17) == first + 17);
        usleep(15000); /* the clock of files is that coarse */
        write_file(path, first + 1);
        CHECK(read_box(reader, chunk, &identity, 9) == -1);
        int got = read_box(reader, chunk, NULL, 9);
        CHECK(got == -1 || got == first + 1 + 9);
        uint8_t target[2] = {0};
        CHECK(ringio_chunk_read(reader, chunk, path, (const uint8_t *)&identity, RINGIO_MISSING, 0, target, 2) < 0);
        identity = identity_of(path);
        CHECK(ringio_chunk_read(reader, chunk, path, (const uint8_t *)&identity, RINGIO_MISSING, 0, target, 2) == 1);
        CHECK(target[0] == fill_value && target[1] == fill_value);
        CHECK(unlink(path) == 0);
        for (int known = 0; known < 2; known++) {
            got = read_box(reader, chunk, known ? &identity : NULL, 9);
            CHECK(got == -1 || got == fill_value);
        }
        usleep(15000);
    }
    free(chunk);
}

static void *read_on(void *reader)
{
    struct ringio_grid grid;
    struct ringio_chunk *chunk = chunk_new(&grid);
    for (int round = 0; round < 2000; round++) {
        int64_t start = round % CHUNK_COUNT * LENGTH + 1;
        int got = read_box(reader, chunk, NULL, start);
        CHECK(got == -1 || (got - start) % 100 == 0); /* of one version of the file */
    }
    free(chunk);
    return NULL;
}

/* Threads read while files take each other's place. */
static void test_threads(struct ringio_reader *reader)
{
    pthread_t threads[4];
    write_file(path, 100);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, read_on, reader) == 0);
    for (int round = 0; round < 200; round++) {
        write_file(other_path, round % 2 * 100);
        CHECK(rename(other_path, path) == 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    unlink(path);
}

int main(void)
{
    snprintf(path, sizeof path, "ringio-chunk-%d", (int)getpid());
    snprintf(other_path, sizeof other_path, "ringio-chunk-%d-other", (int)getpid());
    test_find();
    const uint32_t backends[] = {RINGIO_BACKEND_THREADS, RINGIO_BACKEND_MEMORY};
    for (int i = 0; i < 2; i++) {
        struct ringio_options options = {
            .backend = backends[i], .worker_count = 2, .queue_depth = 8, .open_files = 16,
            .memory_limit_bytes = 64 << 20,
        };
        struct ringio_reader *reader = ringio_reader_new(&options);
        CHECK(reader);
        test_changes(reader);
        test_threads(reader);
        ringio_reader_free(reader);
    }
    return 0;
}
