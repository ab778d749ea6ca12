/* Goal: drafts of random boxes name every chunk once, give each the place that its index says, and merge what lies side
   by side; all in blocks of exactly the size that is needed first, then in the same one.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "ringio.h"

#define CHUNK 3
#define PER_SHARD 8
#define SHARDS 5
#define LENGTH (CHUNK * PER_SHARD * SHARDS)
#define NBYTES 10 /* of an encoded chunk */

static char folder[] = "/tmp/ringio-draft-XXXXXX";
static char paths[SHARDS][64];
static struct { struct ringio_index head; uint64_t entries[PER_SHARD * 2]; } indexes[SHARDS];

static int is_missing(uint64_t id)
{
    return id % 7 == 3 || id / PER_SHARD == 2;
}

static void make_shards(void)
{
    CHECK(mkdtemp(folder));
    for (uint64_t shard = 0; shard < SHARDS; shard++) {
        snprintf(paths[shard], sizeof paths[shard], "%s/%d", folder, (int)shard);
        FILE *file = fopen(paths[shard], "wb");
        CHECK(file && ftruncate(fileno(file), NBYTES * PER_SHARD + sizeof indexes[0].entries) == 0);
        fclose(file);
        uint64_t start = 0;
        ringio_stat(paths[shard], &start, 1, &indexes[shard].head.identity);
        for (uint64_t entry = 0; entry < PER_SHARD; entry++) {
            int missing = is_missing(shard * PER_SHARD + entry);
            indexes[shard].entries[entry * 2] = missing ? RINGIO_MISSING : (PER_SHARD - 1 - entry) * NBYTES;
            indexes[shard].entries[entry * 2 + 1] = missing ? RINGIO_MISSING : NBYTES;
        }
    }
}

static int find(struct ringio_draft *draft, char **names)
{
    uint64_t *addresses = make_array(draft->shard_count, sizeof *addresses);
    uint64_t nbytes = 0;
    free(*names);
    *names = make_array(SHARDS, sizeof paths[0]);
    for (uint64_t i = 0; i < draft->shard_count; i++) {
        addresses[i] = (uint64_t)(uintptr_t)&indexes[draft->shards[i]];
        strcpy(*names + nbytes, paths[draft->shards[i]]);
        nbytes += strlen(paths[draft->shards[i]]) + 1;
    }
    struct ringio_shard_files known = {*names, nbytes, addresses, sizeof indexes[0].entries, 0};
    int found = ringio_draft_find(draft, &known);
    free(addresses);
    return found;
}

static void check_plan(const struct ringio_draft *draft)
{
    const struct ringio_plan *plan = &draft->plan;
    uint64_t task_count = 0;
    CHECK(plan->task_count == draft->chunk_count);
    for (uint64_t i = 0; i < plan->request_count; i++) {
        const struct ringio_request *request = &plan->requests[i];
        for (uint64_t task = request->first_task; task < (uint64_t)request->first_task + request->task_count; task++) {
            uint64_t id = draft->chunk_ids[draft->task_chunks[task]];
            CHECK(is_missing(id) == (request->file == RINGIO_NO_FILE));
            if (request->file != RINGIO_NO_FILE) {
                CHECK(draft->shards[request->file] == id / PER_SHARD);
                CHECK(request->offset + plan->tasks[task].source_offset == (PER_SHARD - 1 - id % PER_SHARD) * NBYTES);
                CHECK(strcmp(plan->paths + plan->files[request->file].path_offset, paths[id / PER_SHARD]) == 0);
            }
            task_count++;
        }
    }
    CHECK(task_count == plan->task_count);
}

static void test_boxes(struct ringio_draft *draft, const struct ringio_grid *grid, uint64_t *seed)
{
    char *names = NULL;
    for (int round = 0; round < 300; round++) {
        uint64_t count = random_below(seed, 6), wanted[SHARDS * PER_SHARD] = {0}, distinct = 0;
        int64_t *starts = make_array(count, sizeof *starts), length = 1 + (int64_t)random_below(seed, 20), step = 1;
        for (uint64_t i = 0; i < count; i++) {
            starts[i] = (int64_t)random_below(seed, (uint64_t)(LENGTH - length + 1));
            for (int64_t k = 0; k < length; k++)
                wanted[(starts[i] + k) / CHUNK]++;
        }
        for (uint64_t id = 0; id < SHARDS * PER_SHARD; id++)
            distinct += wanted[id] > 0;
        struct ringio_layout layout = {.itemsize = 1, .source_strides = {1}, .target_strides = {1}};
        struct ringio_boxes boxes = {.box_count = count, .starts = starts, .counts = &length, .steps = &step,
                                     .target_stride = length};
        CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 1, PER_SHARD) == (int64_t)distinct);
        uint64_t elements = 0;
        for (uint64_t i = 0; i < draft->chunk_count; i++) {
            CHECK(wanted[draft->chunk_ids[i]] && (i == 0 || draft->chunk_ids[i] > draft->chunk_ids[i - 1]));
            for (uint64_t pair = draft->first_projections[i]; pair < draft->first_projections[i + 1]; pair++)
                elements += (uint64_t)draft->plan.counts[pair];
        }
        CHECK(elements == count * (uint64_t)length);
        CHECK(find(draft, &names));
        CHECK(ringio_draft_finish(draft, 0, 1000, 0) == 0);
        check_plan(draft);
        free(starts);
    }
    free(names);
}

static void test_refusals(struct ringio_draft *draft, const struct ringio_grid *grid)
{
    char *names = NULL;
    int64_t start = 0, length = 2, step = 1, bad = -1;
    struct ringio_layout layout = {.itemsize = 1, .source_strides = {1}, .target_strides = {1}};
    struct ringio_boxes boxes = {.box_count = 1, .starts = &start, .counts = &length, .steps = &step};
    CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 0, PER_SHARD) < 0);
    CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 1, 0) < 0);
    boxes.starts = &bad;
    CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 1, PER_SHARD) < 0);
    boxes.starts = &start;
    CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 1, PER_SHARD) == 1);
    uint64_t right = indexes[0].entries[0];
    const uint64_t wrong[] = {NBYTES * PER_SHARD - NBYTES + 1, UINT64_MAX - 5, UINT64_MAX};
    for (unsigned i = 0; i < 3; i++) {
        indexes[0].entries[0] = wrong[i];
        CHECK(!find(draft, &names));
    }
    indexes[0].entries[0] = right;
    CHECK(find(draft, &names));
    struct ringio_shard_files unended = {paths[0], 3, (uint64_t[]){(uint64_t)(uintptr_t)&indexes[0]}, 8, 0};
    CHECK(!ringio_draft_find(draft, &unended));
    free(names);
}

static void test_names(struct ringio_draft *draft, const struct ringio_grid *grid)
{
    int64_t start = CHUNK * 9, length = CHUNK * 2, step = 1;
    uint64_t strides[] = {4, 1};
    struct ringio_layout layout = {.itemsize = 1, .source_strides = {1}, .target_strides = {1}};
    struct ringio_boxes boxes = {.box_count = 1, .starts = &start, .counts = &length, .steps = &step};
    CHECK(ringio_draft_cut(draft, grid, &boxes, &layout, 1, 1) == 2);
    CHECK(ringio_draft_name_files(draft, "/a/c", '.', strides, 2) == 0);
    CHECK(ringio_draft_finish(draft, 0, 0, RINGIO_REQUEST_MISSING_FILLS) == 0);
    CHECK(draft->plan.paths_nbytes == 16 && memcmp(draft->plan.paths, "/a/c2.1\0/a/c2.2\0", 16) == 0);
    CHECK(draft->plan.request_count == 2 && draft->plan.files[1].path_offset == 8);
    CHECK(ringio_draft_name_files(draft, "x", '.', strides, 0) == 0);
    CHECK(draft->plan.paths_nbytes == 4 && memcmp(draft->plan.paths, "x\0x\0", 4) == 0);
}

static void test_outside(void)
{
    const int64_t rows[] = {0, 5, 3, 6, -1, 0}, limits[] = {3, 5};
    CHECK(ringio_plan_outside(rows, 3, 2, limits) == 1);
    CHECK(ringio_plan_outside(rows, 1, 2, limits) == 1);
    CHECK(ringio_plan_outside(rows + 4, 1, 2, limits) == 0);
}

int main(void)
{
    struct ringio_grid grid = {.dim_count = 1, .level_count = 2, .chunk_shape = {CHUNK}, .chunk_strides = {1}};
    grid.level_factors[0] = PER_SHARD;
    grid.level_factors[RINGIO_MAX_DIMS] = 1;
    grid.id_strides[0] = PER_SHARD;
    grid.id_strides[RINGIO_MAX_DIMS] = 1;
    uint64_t seed = 1;
    make_shards();
    struct ringio_draft *draft = ringio_draft_new();
    CHECK(draft);
    test_boxes(draft, &grid, &seed);
    test_refusals(draft, &grid);
    test_names(draft, &grid);
    test_outside();
    ringio_draft_free(draft);
    for (int shard = 0; shard < SHARDS; shard++)
        unlink(paths[shard]);
    rmdir(folder);
    return 0;
}
