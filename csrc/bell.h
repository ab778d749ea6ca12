/* bell.h: how a job says that it is done to somebody who waits for many things at once.

   A bell is a queue of tokens, and for event loops a file descriptor that is readable while there are any.  It is used
   by its owner and by the jobs that will ring it; whoever lets go of it last closes the descriptor.  So nothing is ever
   written to a number that belongs to another file by then. */
#ifndef RINGIO_BELL_H
#define RINGIO_BELL_H

#include <stdint.h>

#include "ringio.h"

/* What is left to be said when the locks are given back: a job is done, and this is whom it concerns. */
struct notice {
    struct ringio_bell *bell; /* NULL: nobody */
    uint64_t token;
};

/* notice_send() rings the bell of a notice.  No lock may be held. */
static inline void notice_send(struct notice notice)
{
    if (notice.bell)
        ringio_bell_ring(notice.bell, notice.token);
}

#endif
