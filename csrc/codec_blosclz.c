/* codec_blosclz.c: BloscLZ, the one inner codec of blosc that exists nowhere else.

   Ours, because the decoder of c-blosc2 trusts its input: the length of a match can be made to overflow, and then it
   writes outside its target (Blosc/c-blosc2 issue 801).

   A stream is a row of instructions.  The first byte of each, 'control':
     below 32   control + 1 literal bytes follow (the upper three bits of the very first control are no part of it)
     else       a match: the upper three bits are its length - 2, the lower five the high byte of its distance - 1.
                A length of 9 goes on in further bytes, up to and with the first that is not 255.  Then comes the low
                byte of the distance.  If all 13 bits are set, two bytes follow: how much farther, high byte first.
   The last instruction is always a literal. */
#include "codec_private.h"

#define LONGEST_SHORT_MATCH 9
#define FAR_DISTANCE 8191 /* 13 bits, all set */

/* A place in the stream. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* Reads one byte; 0 if there is none. */
static int next_byte(struct cursor *cursor, size_t *byte)
{
    if (cursor->at == cursor->end)
        return 0;
    *byte = *cursor->at++;
    return 1;
}

/* Reads what follows 'control' of a match; 0 if it is cut off or longer than 'limit'. */
static int read_match(struct cursor *cursor, size_t control, size_t limit, size_t *length, size_t *distance)
{
    size_t byte = 0;
    *length = (control >> 5) + 2;
    if (*length == LONGEST_SHORT_MATCH) {
        do {
            if (!next_byte(cursor, &byte))
                return 0;
            *length += byte;
            if (*length > limit) /* here, so that it cannot overflow */
                return 0;
        } while (byte == 255);
    }
    if (*length > limit || !next_byte(cursor, &byte))
        return 0;
    *distance = ((control & 31) << 8) + byte;
    if (*distance == FAR_DISTANCE) {
        size_t high = 0, low = 0;
        if (!next_byte(cursor, &high) || !next_byte(cursor, &low))
            return 0;
        *distance += (high << 8) + low;
    }
    *distance += 1;
    return 1;
}

/* Copies a match, whose source may overlap what it writes.  'room_nbytes' may be written. */
static void copy_match(uint8_t *target, size_t distance, size_t length, size_t room_nbytes)
{
    const uint8_t *source = target - distance;
    if (distance == 1) {
        memset(target, *source, length);
    } else if (distance >= 8 && room_nbytes >= length + 8) {
        for (size_t i = 0; i < length; i += 8)
            memcpy(target + i, source + i, 8);
    } else { /* what is there repeats every 'distance' bytes, so each round can copy twice as much */
        for (size_t done = 0; done < length;) {
            size_t nbytes = done + distance < length - done ? done + distance : length - done;
            memcpy(target + done, source, nbytes);
            done += nbytes;
        }
    }
}

size_t blosclz_decode(struct span source, uint8_t *target, size_t target_nbytes)
{
    struct cursor cursor = {source.data, source.data + source.nbytes};
    size_t written_nbytes = 0, control = 0;
    if (!next_byte(&cursor, &control))
        return 0;
    control &= 31;
    for (;;) {
        size_t room_nbytes = target_nbytes - written_nbytes;
        if (control >= 32) {
            size_t length = 0, distance = 0;
            if (!read_match(&cursor, control, room_nbytes, &length, &distance) || distance > written_nbytes)
                return 0;
            if (!next_byte(&cursor, &control))
                return 0;
            copy_match(target + written_nbytes, distance, length, room_nbytes);
            written_nbytes += length;
        } else {
            size_t length = control + 1;
            if (length > room_nbytes || length > (size_t)(cursor.end - cursor.at))
                return 0;
            memcpy(target + written_nbytes, cursor.at, length);
            cursor.at += length;
            written_nbytes += length;
            if (!next_byte(&cursor, &control))
                return written_nbytes;
        }
    }
}
