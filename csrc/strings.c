/* strings.c: items of any length, from the bytes of a chunk into what numpy has: strings, or bytes of one length. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "ringio.h"

#define ITEM_NBYTES 16 /* of a StringDType item: sizeof(npy_packed_static_string) */
#define LENGTH_NBYTES 4
#define HIGH_BITS 0x8080808080808080u

/* As NumPy's headers have them; they need no Python. */
typedef void *(*acquire_allocator)(const void *dtype);
typedef void (*release_allocator)(void *allocator);
typedef int (*pack_string)(void *allocator, void *item, const char *text, size_t nbytes);

/* A walk along items that each have their length in front. */
struct walk {
    const uint8_t *source;
    uint64_t source_nbytes;
    uint64_t at; /* where the item begins */
    uint32_t nbytes;
};

/* On to the next item; 0 where the source ends before or in it. */
static int walk_next(struct walk *walk)
{
    uint64_t at = walk->at + walk->nbytes;
    if (walk->source_nbytes - at < LENGTH_NBYTES)
        return 0;
    memcpy(&walk->nbytes, walk->source + at, LENGTH_NBYTES);
    walk->at = at + LENGTH_NBYTES;
    return walk->nbytes <= walk->source_nbytes - walk->at;
}

static uint64_t ascii_nbytes(const uint8_t *text, uint64_t nbytes)
{
    uint64_t at = 0;
    for (uint64_t word; nbytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        if (word & HIGH_BITS)
            break;
    }
    while (at < nbytes && text[at] < 0x80)
        at++;
    return at;
}

/* How many bytes the character at 'text' has; 0 when it is none. Unicode 15, table 3-7. */
static uint64_t character_nbytes(const uint8_t *text, uint64_t nbytes)
{
    uint8_t first = text[0];
    if (first < 0x80)
        return 1;
    uint64_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || nbytes < length)
        return 0;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (uint64_t at = 2; at < length; at++) {
        if ((text[at] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

static int is_utf8(const uint8_t *text, uint64_t nbytes)
{
    uint64_t at = ascii_nbytes(text, nbytes);
    while (at < nbytes) {
        uint64_t length = character_nbytes(text + at, nbytes - at);
        if (length == 0)
            return 0;
        at += length;
    }
    return 1;
}

/* The text that the walk is at, as an item that holds it itself; 0 where it is not UTF-8. */
static int write_short(const struct walk *walk, const struct ringio_string_api *api, uint8_t *item)
{
    const uint8_t *text = walk->source + walk->at;
    uint64_t words[2] = {0, 0}, nbytes = walk->nbytes;
    if (walk->source_nbytes - walk->at >= ITEM_NBYTES) {
        memcpy(words, text, ITEM_NBYTES); /* always of one size, so that it takes no call */
        uint64_t kept = ((uint64_t)1 << (nbytes % 8 * 8)) - 1;
        words[0] &= nbytes < 8 ? kept : UINT64_MAX;
        words[1] &= nbytes < 8 ? 0 : kept;
    } else {
        memcpy(words, text, nbytes);
    }
    if (((words[0] | words[1]) & HIGH_BITS) && !is_utf8(text, nbytes))
        return 0;
    memcpy(item, words, ITEM_NBYTES);
    item[ITEM_NBYTES - 1] = api->last_bytes[nbytes];
    return 1;
}

static int is_new(const uint8_t *item)
{
    uint64_t words[2];
    memcpy(words, item, ITEM_NBYTES);
    return (words[0] | words[1]) == 0;
}

/* Lets NumPy pack 'count' items that a walk has found good, those of 'nbytes_min' bytes or more. */
static int pack_items(struct walk walk, uint64_t count, uint32_t nbytes_min, uint8_t *items, const void *dtype,
                      const struct ringio_string_api *api)
{
    pack_string pack = (pack_string)(uintptr_t)api->pack;
    void *allocator = ((acquire_allocator)(uintptr_t)api->acquire)(dtype);
    int failed = 0;
    for (uint64_t i = 0; i < count && !failed; i++) {
        walk_next(&walk);
        if (walk.nbytes >= nbytes_min)
            failed = pack(allocator, items + ITEM_NBYTES * i, (const char *)walk.source + walk.at, walk.nbytes) != 0;
    }
    ((release_allocator)(uintptr_t)api->release)(allocator);
    return failed ? -ENOMEM : 0;
}

int64_t ringio_unpack_strings(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t first,
                              uint64_t wanted, uint8_t *items, const void *dtype, const struct ringio_string_api *api,
                              uint64_t *done_ret)
{
    struct walk walk = {.source = source, .source_nbytes = source_nbytes}, start = walk;
    int is_used = 0, has_long = 0;
    for (uint64_t i = 0; i < count; i++) {
        *done_ret = i;
        if (i == first)
            start = walk;
        if (!walk_next(&walk))
            return -EPROTO;
        if (i < first || i - first >= wanted)
            continue;
        uint8_t *item = items + ITEM_NBYTES * (i - first);
        int is_good;
        if (walk.nbytes < api->short_count && is_new(item)) {
            is_good = write_short(&walk, api, item);
        } else {
            is_used |= walk.nbytes < api->short_count;
            has_long = 1;
            is_good = is_utf8(source + walk.at, walk.nbytes);
        }
        if (!is_good)
            return -EILSEQ;
    }
    *done_ret = count;
    /* The lock of the array's allocator is taken only now, and only where it is needed. */
    return has_long ? pack_items(start, wanted, is_used ? 0 : api->short_count, items, dtype, api) : 0;
}

int64_t ringio_find_items(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t *ends,
                          uint64_t *done_ret)
{
    struct walk walk = {.source = source, .source_nbytes = source_nbytes};
    for (uint64_t i = 0; i < count; i++) {
        *done_ret = i;
        if (!walk_next(&walk))
            return -EPROTO;
        ends[i] = walk.at + walk.nbytes;
    }
    *done_ret = count;
    return 0;
}

void ringio_expand_items(const uint8_t *source, const uint64_t *ends, uint64_t count, uint64_t width, uint8_t *target)
{
    uint64_t start = LENGTH_NBYTES;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t nbytes = ends[i] - start;
        uint8_t *item = target + width * i;
        memcpy(item, source + start, nbytes);
        memset(item + nbytes, 0, width - nbytes);
        start = ends[i] + LENGTH_NBYTES;
    }
}
