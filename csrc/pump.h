/* pump.h: the requests of one thread: start, reap, finish.  Nothing here waits but a backend, and nothing is locked but
   the table of open files. */
#ifndef RINGIO_PUMP_H
#define RINGIO_PUMP_H

#include <stdint.h>

#include "backend.h"
#include "codec.h"
#include "files.h"
#include "job.h"
#include "slab.h"
#include "task.h"

/* A file that this thread has pinned, and how many of its requests use it. */
struct held_file {
    struct file *file;
    uint32_t users;
    struct file in_memory; /* where 'file' points for bytes that the plan brought along */
    uint64_t checked_round; /* the round in which 'has_changed' was found out */
    int has_changed;
};

/* A slot and the request that is in flight in it. */
struct work {
    struct slot slot; /* first, so that a slot is its work */
    struct ringio_job *job;
    const struct ringio_request *request;
    uint64_t request_index;
    struct held_file *held;
    struct slab_buffers buffers;
    uint32_t retries;
    int placed; /* the bytes go straight into the target */
    struct work *next; /* in the list of idle ones */
};

struct pump {
    struct file_cache *files;
    struct backend *backend; /* NULL: the pump of a calling thread, which only takes what is there without waiting */
    struct backend *memory;
    struct slab *slab;
    struct memory_limit *slab_limit;
    int has_lost; /* completions that the kernel dropped */
    struct decoder *decoder;
    struct counters counters;
    uint32_t queue_depth;
    struct work *works; /* queue_depth of them */
    struct work *idle;
    uint32_t in_flight;
    uint64_t in_flight_nbytes;
    struct held_file *holds; /* queue_depth + 1: each request in flight may be of another file */
    uint32_t hold_count;     /* how many of them may be used: this thread's share of options->open_files */
    uint64_t round;          /* counts the times that reads came back: a file is checked once in each */
    struct held_file *held;  /* that of the last request, and of the next as a rule */
    struct ringio_job *held_job;
    uint32_t held_index;
};

/* pump_new() makes a pump; 'kind' is its backend (RINGIO_BACKEND_...), 0: none.  The thread that calls it is the one
   that uses it, if there is a backend.  Returns NULL when out of memory. */
struct pump *pump_new(uint32_t kind, const struct ringio_options *options, struct file_cache *files,
                      struct memory_limit *limit);
void pump_free(struct pump *pump);

/* pump_run() claims and runs requests of 'job' until none is left and returns with nothing in flight.  It also returns
   when its turn is over while '*job_count' says that other jobs wait. */
void pump_run(struct pump *pump, struct ringio_job *job, const _Atomic uint32_t *job_count, uint32_t worker_count);

/* pump_run_inline() runs the requests of a job that no other thread knows, without a backend.  Returns 1 when all are
   done; 0 when one would have to wait for a disk, or they come to more than 'nbytes_max': then the job's cursor stands
   there, and workers can go on. */
int pump_run_inline(struct pump *pump, struct ringio_job *job, uint64_t nbytes_max);

#endif
