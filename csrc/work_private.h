/* work_private.h: what the files of one request share among themselves. */
#ifndef RINGIO_WORK_PRIVATE_H
#define RINGIO_WORK_PRIVATE_H

#include <stdint.h>

#include "work.h"

static inline const struct ringio_task *task_of(const struct work *work, uint32_t i)
{
    return &work->job->plan.tasks[work->request->first_task + i];
}

/* work_prepare() decides how a request of work->want_nbytes is read, and finds room for its bytes: their places in the
   target, nothing for those in memory, or buffers.  Returns 0, -EAGAIN when other requests have to finish first, or
   -status after having failed the tasks. */
int work_prepare(struct pump *pump, struct work *work);

/* work_run_task() runs one task; with 'parts' not all of its bytes have to be there. */
int work_run_task(struct pump *pump, const struct work *work, const struct ringio_task *task, struct span source,
                  struct parts *parts, struct counters *counters, struct ringio_failure *failure);

/* work_takes_parts() says whether to read a request in parts, of which it is known how much it wants, and that it goes
   through a buffer.  work_begin_parts() aims its slot at the first of them, and work_end_parts() at all of it, none of
   which is there then. */
int work_takes_parts(const struct pump *pump, const struct work *work);
void work_begin_parts(struct work *work);
void work_end_parts(struct work *work);

/* work_run_parts() runs the tasks of such a request when what its slot is aimed at has been read.  Returns 1 when the
   slot has to be submitted for more, 0 when the request is over, and nothing went wrong. */
int work_run_parts(struct pump *pump, struct work *work);

#endif
