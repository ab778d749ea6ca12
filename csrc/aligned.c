#include "aligned.h"

#include <assert.h>

void aligned_begin(struct slot *slot, const struct direct_mode *mode)
{
    const uint64_t mask = mode->block_nbytes - 1, end = slot->offset + slot->want_nbytes;
    assert(slot->got_nbytes == 0 && end <= INT64_MAX); /* no file is longer, so rounding up does not overflow */
    slot->block_nbytes = mode->block_nbytes;
    slot->direct_fd = mode->fd;
    slot->offset &= ~mask;
    slot->want_nbytes = ((end + mask) & ~mask) - slot->offset;
}

int aligned_advance(struct slot *slot, uint64_t end)
{
    if (slot->result <= 0)
        return 0;
    assert((uint64_t)slot->result <= slot->want_nbytes - slot->got_nbytes);
    slot->got_nbytes += (uint64_t)slot->result;
    return slot->offset + slot->got_nbytes < end && slot->got_nbytes % slot->block_nbytes == 0;
}

void aligned_end(struct slot *slot, uint64_t offset, uint64_t want_nbytes)
{
    const uint64_t lead_nbytes = offset - slot->offset;
    const uint64_t got_nbytes = slot->got_nbytes > lead_nbytes ? slot->got_nbytes - lead_nbytes : 0;
    slot->block_nbytes = 0;
    slot->offset = offset;
    slot->want_nbytes = want_nbytes;
    slot->got_nbytes = got_nbytes < want_nbytes ? got_nbytes : want_nbytes;
    slot->data += lead_nbytes;
    slot->bytes = slot->data;
}
