/* held.h: the files that one thread has in use.  Requests come sorted by file, so the last one is kept for the next. */
#ifndef RINGIO_HELD_H
#define RINGIO_HELD_H

#include <stdint.h>

#include "ahead.h"
#include "files.h"
#include "job.h"

/* A file that this thread has pinned, and how many of its requests use it. */
struct held_file {
    struct file *file;
    uint32_t users;
    int looked_up_late; /* what is asked behind a read is whether its path still leads to it */
    struct file in_memory;  /* where 'file' points for bytes that the plan brought along */
    uint64_t checked_round; /* the round in which 'has_changed' was found out */
    int has_changed;
};

struct held_files {
    struct file_cache *cache;
    struct ahead ahead;
    struct held_file *places;
    uint32_t place_count;
    uint64_t round;            /* counts the times that reads came back: a file is checked once in each */
    struct held_file *current; /* that of the last request, NULL: none */
    struct ringio_job *current_job;
    uint32_t current_index;
};

/* held_init() makes room for the files of 'request_count' requests at a time, or for this thread's share of
   options->open_files where that is less.  Returns 0 or -ENOMEM. */
int held_init(struct held_files *held, struct file_cache *cache, const struct ringio_options *options,
              uint32_t request_count);
void held_destroy(struct held_files *held);

/* held_get() makes file number 'index' of the job's plan the current one.  Returns 0, -status, or 1 when as many files
   as may be open are in use by requests in flight, or the job opens nothing and the file is not open. */
int held_get(struct held_files *held, struct ringio_job *job, uint32_t index);

/* held_put() takes back one use of a file; held_forget() that of the current one. */
void held_put(struct held_files *held, struct held_file *file);
void held_forget(struct held_files *held);

/* held_rest() is for the end of a job's turn: nothing of the job is used any more. */
void held_rest(struct held_files *held);

/* held_abandon() is for a child after fork(): it closes what the cache does not know, and touches nothing else. */
void held_abandon(const struct held_files *held);

/* held_has_changed() says whether a file was written to since it was opened: then what was read of it may be of two
   versions.  All reads that came back in one round share one fstat(2), or stat(2) for a job that looks up late. */
int held_has_changed(struct held_files *held, struct held_file *file);

#endif
