#include "parts.h"

#include <assert.h>

void parts_add(struct parts *parts, size_t first, size_t end)
{
    if (first <= parts->head_nbytes) {
        parts->head_nbytes = end > parts->head_nbytes ? end : parts->head_nbytes;
    } else if (first >= parts->more_first && first <= parts->more_end) {
        parts->more_end = end > parts->more_end ? end : parts->more_end;
    } else {
        parts->more_first = first;
        parts->more_end = end;
    }
}

int parts_need(struct parts *parts, size_t first, size_t end)
{
    assert(first <= end && end <= parts->nbytes);
    if (first == end || end <= parts->head_nbytes || (first >= parts->more_first && end <= parts->more_end))
        return 0;
    size_t from = first;
    if (first <= parts->head_nbytes)
        from = parts->head_nbytes;
    else if (first >= parts->more_first && first <= parts->more_end)
        from = parts->more_end;
    if (end - from < PARTS_READ_NBYTES_MIN)
        end = parts->nbytes - from < PARTS_READ_NBYTES_MIN ? parts->nbytes : from + PARTS_READ_NBYTES_MIN;
    int status = parts->read(parts, from, end);
    if (status == 0)
        parts_add(parts, from, end);
    return status;
}
