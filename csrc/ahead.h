/* ahead.h: the files of a job are looked up before their turn, by threads of their own, where opening them has to wait.

   open(2) of a file whose directory entry and inode are not cached waits for the disk, and a worker that waits submits
   no reads.  32 threads that only look up the paths wait in its place: when the worker comes to a file, it is known. */
#ifndef RINGIO_AHEAD_H
#define RINGIO_AHEAD_H

#include <stdint.h>

#include "job.h"

/* For jobs of fewer files it is not worth asking. */
#define AHEAD_FILES_MIN 64

/* How one thread fares with opening files. */
struct ahead {
    uint32_t score;           /* grows with each open that had to wait */
    struct look_ahead *looks; /* NULL: nothing is looked up */
    int was_slow;             /* the last open had to wait; whoever acts on that sets it to 0 */
};

/* ahead_note() learns that opening a file of 'job' took 'nanoseconds'.  When many waited it starts to look up the rest,
   if no other thread does that for this job. */
void ahead_note(struct ahead *ahead, struct ringio_job *job, uint64_t nanoseconds);

/* ahead_start() starts at once, with so many threads or fewer. */
void ahead_start(struct ahead *ahead, struct ringio_job *job, uint32_t thread_count);

/* ahead_stop() ends what was started; the job's plan may go away then. */
void ahead_stop(struct ahead *ahead);

#endif
