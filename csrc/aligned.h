/* aligned.h: a slot that is read past the page cache: whole blocks around what is wanted. */
#ifndef RINGIO_ALIGNED_H
#define RINGIO_ALIGNED_H

#include <stdint.h>

#include "backend.h"

/* aligned_begin() takes a slot that wants 'want_nbytes' from 'offset', inside its file, and nothing read yet, and makes
   it want the blocks that these bytes lie in, of mode->block_nbytes each.  Its data is set afterwards. */
void aligned_begin(struct slot *slot, const struct direct_mode *mode);

/* aligned_advance() takes note of slot->result, of a read of which the bytes up to 'end' of the file are wanted.
   Returns 1 when the slot can be submitted again as it is.  A read that stops inside a block has come to the end of
   the file, and none may go on there. */
int aligned_advance(struct slot *slot, uint64_t end);

/* aligned_end() makes the slot one that wants 'want_nbytes' from 'offset' through the page cache, and keeps what of it
   has been read. */
void aligned_end(struct slot *slot, uint64_t offset, uint64_t want_nbytes);

#endif
