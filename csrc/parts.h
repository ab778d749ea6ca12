/* parts.h: a chunk of which the first bytes have been read, and the others are read when somebody wants them. */
#ifndef RINGIO_PARTS_H
#define RINGIO_PARTS_H

#include <stddef.h>

/* A system call takes as long as copying so much, and what comes next is often wanted, too. */
#define PARTS_READ_NBYTES_MIN 2048

struct parts {
    size_t nbytes;      /* of the whole chunk */
    size_t head_nbytes; /* the first ones, which are there */
    size_t more_first;  /* others that are there, up to 'more_end' */
    size_t more_end;
    int in_blocks; /* the codec asks for all that it needs at once; else for piece after piece */

    /* read() puts bytes 'first' up to 'end' where they belong.  Returns 0 or -status. */
    int (*read)(struct parts *parts, size_t first, size_t end);
};

/* parts_add() notes that bytes 'first' up to 'end' are there. */
void parts_add(struct parts *parts, size_t first, size_t end);

/* parts_need() has bytes 'first' up to 'end' of the chunk read where they are not there yet.  Returns 0 or what read()
   returned. */
int parts_need(struct parts *parts, size_t first, size_t end);

#endif
