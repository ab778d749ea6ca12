/* batch.h: batches of random ranges of three files, for tests that run plans. */
#ifndef RINGIO_TESTS_BATCH_H
#define RINGIO_TESTS_BATCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "ringio.h"

#define FILE_COUNT 3
#define FILE_NBYTES ((uint64_t)3 << 20)

static char paths[FILE_COUNT][64];
static uint8_t *contents[FILE_COUNT];

static inline void make_files(void)
{
    uint64_t state = 1;
    for (int i = 0; i < FILE_COUNT; i++) {
        snprintf(paths[i], sizeof paths[i], "ringio-test-%d-%d", (int)getpid(), i);
        contents[i] = malloc(FILE_NBYTES);
        CHECK(contents[i]);
        for (uint64_t j = 0; j < FILE_NBYTES / 8; j++) {
            uint64_t value = random_next(&state);
            memcpy(contents[i] + j * 8, &value, 8);
        }
        FILE *file = fopen(paths[i], "wb");
        CHECK(file && fwrite(contents[i], 1, FILE_NBYTES, file) == FILE_NBYTES && fclose(file) == 0);
    }
}

/* A batch of random ranges, back to back in one target. */
struct batch {
    uint64_t range_count;
    uint32_t *files;
    uint64_t *offsets, *nbytes, *first_projections, *task_pieces;
    struct ringio_projection *projections;
    int64_t *counts;
    struct ringio_request *requests;
    struct ringio_task *tasks;
    uint8_t *target;
    uint64_t target_nbytes;
    char path_blob[FILE_COUNT * 64 + 16];
    struct ringio_file file_records[FILE_COUNT];
    struct ringio_layout layout;
    struct ringio_chain chain;
    struct ringio_target target_record;
    struct ringio_plan plan;
};

static inline struct batch *batch_new(uint64_t seed, uint64_t range_count, uint64_t nbytes_max)
{
    struct batch *batch = make_array(1, sizeof *batch);
    batch->range_count = range_count;
    batch->files = make_array(range_count, sizeof *batch->files);
    batch->offsets = make_array(range_count, sizeof *batch->offsets);
    batch->nbytes = make_array(range_count, sizeof *batch->nbytes);
    batch->first_projections = make_array(range_count + 1, sizeof *batch->first_projections);
    batch->task_pieces = make_array(range_count, sizeof *batch->task_pieces);
    batch->projections = make_array(range_count, sizeof *batch->projections);
    batch->counts = make_array(range_count, sizeof *batch->counts);
    batch->requests = make_array(range_count, sizeof *batch->requests);
    batch->tasks = make_array(range_count, sizeof *batch->tasks);
    for (uint64_t i = 0; i < range_count; i++) {
        batch->files[i] = (uint32_t)(random_next(&seed) % FILE_COUNT);
        batch->nbytes[i] = random_next(&seed) % (nbytes_max + 1);
        batch->offsets[i] = random_next(&seed) % (FILE_NBYTES - batch->nbytes[i] + 1);
        batch->projections[i] = (struct ringio_projection){0, (int64_t)batch->target_nbytes, 0};
        batch->counts[i] = (int64_t)batch->nbytes[i];
        batch->first_projections[i + 1] = i + 1;
        batch->target_nbytes += batch->nbytes[i];
    }
    batch->target = make_array(batch->target_nbytes, 1);
    batch->target_record = (struct ringio_target){(uintptr_t)batch->target, batch->target_nbytes};
    uint64_t blob_nbytes = 0;
    for (int i = 0; i < FILE_COUNT; i++) {
        batch->file_records[i].path_offset = blob_nbytes;
        size_t path_nbytes = strlen(paths[i]) + 1;
        memcpy(batch->path_blob + blob_nbytes, paths[i], path_nbytes);
        blob_nbytes += path_nbytes;
    }
    batch->layout = (struct ringio_layout){.itemsize = 1, .fill_offset = RINGIO_NO_FILL};
    batch->layout.source_strides[0] = batch->layout.target_strides[0] = 1;
    batch->chain = (struct ringio_chain){RINGIO_SAME_SIZE, RINGIO_SAME_SIZE, 0, 0};
    struct ringio_pieces pieces = {.count = range_count,
                                   .files = batch->files,
                                   .offsets = batch->offsets,
                                   .nbytes = batch->nbytes,
                                   .first_projections = batch->first_projections,
                                   .max_gap_bytes = 4096,
                                   .max_request_bytes = 256 << 10};
    int64_t request_count = ringio_plan_coalesce(&pieces, batch->requests, batch->tasks, batch->task_pieces);
    CHECK(request_count >= 0);
    batch->plan = (struct ringio_plan){
        .paths = batch->path_blob,
        .paths_nbytes = blob_nbytes,
        .files = batch->file_records,
        .file_count = FILE_COUNT,
        .requests = batch->requests,
        .request_count = (uint64_t)request_count,
        .tasks = batch->tasks,
        .task_count = range_count,
        .projections = batch->projections,
        .projection_count = range_count,
        .counts = batch->counts,
        .dim_count = 1,
        .chains = &batch->chain,
        .chain_count = 1,
        .layouts = &batch->layout,
        .layout_count = 1,
        .targets = &batch->target_record,
        .target_count = 1,
    };
    return batch;
}

static inline void batch_free(struct batch *batch)
{
    free(batch->files);
    free(batch->offsets);
    free(batch->nbytes);
    free(batch->first_projections);
    free(batch->task_pieces);
    free(batch->projections);
    free(batch->counts);
    free(batch->requests);
    free(batch->tasks);
    free(batch->target);
    free(batch);
}

/* Every range that did not fail has the right bytes. */
static inline void batch_check(const struct batch *batch, const uint8_t *failed)
{
    for (uint64_t i = 0; i < batch->range_count; i++)
        if (!failed || !failed[i])
            CHECK(memcmp(batch->target + batch->projections[i].target_offset,
                         contents[batch->files[i]] + batch->offsets[i], batch->nbytes[i]) == 0);
}

static inline struct ringio_options make_options(uint32_t backend)
{
    return (struct ringio_options){.backend = backend,
                                   .worker_count = 3,
                                   .queue_depth = 32,
                                   .open_files = 8,
                                   .memory_limit_bytes = (uint64_t)64 << 20};
}

static inline struct ringio_reader *make_reader(const struct ringio_options *options)
{
    struct ringio_reader *reader = ringio_reader_new(options);
    CHECK(reader);
    return ringio_reader_backend(reader) ? reader : (ringio_reader_free(reader), NULL);
}

static inline void remove_files(void)
{
    for (int i = 0; i < FILE_COUNT; i++) {
        unlink(paths[i]);
        free(contents[i]);
    }
}

#endif
