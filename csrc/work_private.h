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

#endif
