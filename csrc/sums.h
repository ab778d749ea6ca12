/* sums.h: running sums of integers, which is what undoes differences. */
#ifndef RINGIO_SUMS_H
#define RINGIO_SUMS_H

#include <stddef.h>
#include <stdint.h>

/* sums_run() writes to each of 'count' places in 'target' the sum of 'sum' and of all integers of 'source' up to there;
   they have 1, 2, 4 or 8 bytes in this machine's order, lie anywhere, and wrap around.  'source' and 'target' may be
   the same.  Returns the last sum, to go on from. */
uint64_t sums_run(size_t itemsize, const uint8_t *source, uint8_t *target, size_t count, uint64_t sum);

#endif
