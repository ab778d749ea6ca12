/* pump.h: the requests of one thread: start, reap, finish.  Nothing here waits but a backend, and nothing is locked but
   the table of open files. */
#ifndef RINGIO_PUMP_H
#define RINGIO_PUMP_H

#include <stdint.h>

#include "job.h"
#include "work.h"

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
