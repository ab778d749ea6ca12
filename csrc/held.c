#define _GNU_SOURCE
#include "held.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "trace.h"

int held_init(struct held_files *held, struct file_cache *cache, const struct ringio_options *options,
              uint32_t request_count)
{
    /* Files in use cannot be closed, so all workers together must not use more than may be open. */
    uint32_t share = options->open_files / (options->worker_count ? options->worker_count : 1);
    uint32_t most = request_count + 1; /* each request may be of another file, and one is kept for the next */
    *held = (struct held_files){.cache = cache, .round = 1};
    held->place_count = share < 1 ? 1 : share < most ? share : most;
    held->places = calloc(held->place_count, sizeof *held->places);
    return held->places ? 0 : -ENOMEM;
}

void held_destroy(struct held_files *held)
{
    assert(!held->current);
    free(held->places);
}

void held_put(struct held_files *held, struct held_file *file)
{
    assert(file->users > 0);
    if (--file->users > 0)
        return;
    struct file *done = file->file;
    file->file = NULL; /* first, so that a child of fork() finds no file here that was freed */
    if (done != &file->in_memory)
        file_put(held->cache, done);
}

void held_forget(struct held_files *held)
{
    if (held->current)
        held_put(held, held->current);
    held->current = NULL;
}

void held_rest(struct held_files *held)
{
    held_forget(held);
    ahead_stop(&held->ahead);
}

/* How many files a job can come to use: a plan may name more than its requests want. */
static uint64_t used_file_count(const struct ringio_job *job)
{
    return job->plan.file_count < job->plan.request_count ? job->plan.file_count : job->plan.request_count;
}

/* Files that serve one request each, and are more than are kept open: none would be found again.  The memory backend
   keeps bytes, not descriptors. */
static int opens_once(const struct held_files *held, const struct ringio_job *job)
{
    return !job->seen && used_file_count(job) > held->cache->count_max && !held->cache->load;
}

/* Opens, or finds, what the plan calls file number 'index'. */
static int open_file(struct held_files *held, struct held_file *place, struct ringio_job *job, uint32_t index)
{
    const struct ringio_file *record = &job->plan.files[index];
    place->looked_up_late = 0;
    if (record->data) {
        place->in_memory = (struct file){.fd = -1, .data = (const uint8_t *)(uintptr_t)record->data};
        place->in_memory.identity.nbytes = record->nbytes;
        place->file = &place->in_memory;
        return 0;
    }
    struct ringio_identity room;
    const struct ringio_identity *expected = job_expects(job, index, &room);
    const char *path = job->plan.paths + record->path_offset;
    struct file *file;
    if (job->opens_nothing && !file_is_open(held->cache, path))
        return 1;
    int is_watched = used_file_count(job) >= AHEAD_FILES_MIN;
    uint64_t begin_ns = is_watched ? now_ns() : trace_begin();
    int status = job->looks_up_late     ? file_get_known(held->cache, path, expected, &file)
                 : opens_once(held, job) ? file_get_once(held->cache, path, expected, &file)
                                         : file_get(held->cache, path, expected, &file);
    if (is_watched)
        ahead_note(&held->ahead, job, now_ns() - begin_ns);
    if (trace_is_on())
        trace_end(RINGIO_EVENT_OPEN, begin_ns, 0, 1);
    if (status)
        return status;
    if (!expected && job_saw(job, index, &file->identity)) {
        file_put(held->cache, file);
        return -RINGIO_CHANGED;
    }
    place->file = file;
    place->looked_up_late = job->looks_up_late;
    return 0;
}

int held_get(struct held_files *held, struct ringio_job *job, uint32_t index)
{
    if (held->current && held->current_job == job && held->current_index == index)
        return 0;
    held_forget(held);
    struct held_file *place = held->places, *end = place + held->place_count;
    while (place < end && place->file)
        place++;
    if (place == end)
        return 1;
    int status = open_file(held, place, job, index);
    if (status)
        return status;
    place->users = 1;
    place->checked_round = 0;
    held->current = place;
    held->current_job = job;
    held->current_index = index;
    return 0;
}

void held_abandon(const struct held_files *held)
{
    for (uint32_t i = 0; i < held->place_count; i++) {
        const struct held_file *place = &held->places[i];
        if (place->file && place->file != &place->in_memory && !place->file->is_kept) {
            close(place->file->fd);
            direct_close(&place->file->direct);
        }
    }
}

int held_has_changed(struct held_files *held, struct held_file *file)
{
    if (file->checked_round != held->round) {
        file->checked_round = held->round;
        file->has_changed = file->looked_up_late ? file_is_elsewhere(held->cache, file->file)
                                                 : file_has_changed(file->file);
    }
    return file->has_changed;
}
