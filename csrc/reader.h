/* reader.h: a reader's inside: its jobs, its workers, what they share. */
#ifndef RINGIO_READER_H
#define RINGIO_READER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "backend.h"
#include "files.h"
#include "job.h"
#include "pump.h"
#include "slab.h"

struct worker {
    struct ringio_reader *reader;
    pthread_t thread;
    struct pump *_Atomic pump; /* made by the thread itself, at its start */
};

struct ringio_reader {
    struct ringio_options options;
    struct backend_choice choice;
    int faulty; /* faults are injected: then no job runs on its caller, around them */
    struct file_cache files;
    struct memory_limit limit;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t work;   /* there are jobs for workers, or they are to stop */
    pthread_cond_t rest;   /* a job is done */
    struct ringio_job *first_job, *last_job; /* those with requests left, in the order of their turns */
    _Atomic uint32_t listed_count;           /* how many those are */
    uint32_t running_count;                  /* jobs that are not done */
    int stopping;
    uint64_t process; /* counts up in each child after fork() */
    struct worker *workers; /* options.worker_count of them */
    uint32_t started_count;
    struct pump **inline_pumps; /* for calling threads; options.worker_count places */
    uint32_t inline_count;      /* how many have been made */
    uint64_t inline_in_use;     /* bit set, so at most 64 */
    struct ringio_reader *next; /* in the list of all readers */
};

/* reader_next_job() is called with the mutex held: the job whose turn it is, attached, or NULL. */
struct ringio_job *reader_next_job(struct ringio_reader *reader);

/* reader_run_here() runs a job that is small enough on the calling thread, as far as that takes no waiting.  Returns 1
   when all of it is done. */
int reader_run_here(struct ringio_reader *reader, struct ringio_job *job);

/* reader_leave_job() takes the mutex and detaches the calling thread from 'job'. */
void reader_leave_job(struct ringio_reader *reader, struct ringio_job *job);

/* worker.c.  workers_start() starts the threads that do not run yet, with the mutex held.  Returns 0 when there is at
   least one, else -errno.  workers_join() waits for all to end once reader->stopping is set and 'work' was
   broadcast. */
int workers_start(struct ringio_reader *reader);
void workers_join(struct ringio_reader *reader);

/* fork.c.  The list of all readers, for pthread_atfork(3). */
void fork_register(struct ringio_reader *reader);
void fork_unregister(struct ringio_reader *reader);

#endif
