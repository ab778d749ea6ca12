/* strings.c: items of any length, from the bytes of a chunk into what numpy has: strings, or Python objects. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ringio.h"

#define ITEM_NBYTES 16 /* of a StringDType item: sizeof(npy_packed_static_string); it holds texts of less */
#define LENGTH_NBYTES 4
#define BRIEF_NBYTES 32 /* a text of up to so many is copied with what follows, which takes no call */
/* Of a block: in the source a text has 4 bytes of length in front, there 8 at most, if it is longer than 255 bytes; and
   a text that is none may be written behind the last one. */
#define BLOCK_NBYTES_MAX(source_nbytes) ((source_nbytes) + (source_nbytes) / 64 + 1 + BRIEF_NBYTES)
#define HIGH_BITS 0x8080808080808080u

/* As NumPy's headers have them; they need no Python. */
typedef void *(*acquire_allocator)(const void *dtype);
typedef void (*release_allocator)(void *allocator);
typedef int (*pack_string)(void *allocator, void *item, const char *text, size_t nbytes);
/* As Python's headers have them. */
typedef void *(*make_object)(const char *data, ptrdiff_t nbytes);
typedef void (*release_object)(void *object);

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

static uint64_t read_word(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
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

/* The bytes from 'at' on, 8 at most, with zeros behind. */
static uint64_t rest_of(const uint8_t *text, uint64_t nbytes, uint64_t at)
{
    uint64_t word = 0, rest_nbytes = nbytes - at;
    if (rest_nbytes >= sizeof word)
        return read_word(text + at);
    if (nbytes >= sizeof word)
        return read_word(text + nbytes - sizeof word) >> 8 * (sizeof word - rest_nbytes);
    memcpy(&word, text + at, rest_nbytes);
    return word;
}

/* Whether there is nothing but ASCII, as in most texts, of 8 bytes or more. */
static int is_ascii(const uint8_t *text, uint64_t nbytes)
{
    uint64_t any = read_word(text + nbytes - 8);
    for (uint64_t at = 0; at < nbytes - 8; at += 8)
        any |= read_word(text + at);
    return (any & HIGH_BITS) == 0;
}

static int is_utf8(const uint8_t *text, uint64_t nbytes)
{
    if (nbytes > BRIEF_NBYTES && is_ascii(text, nbytes))
        return 1;
    for (uint64_t at = 0; at < nbytes;) {
        uint64_t high = rest_of(text, nbytes, at) & HIGH_BITS;
        if (high == 0) { /* ASCII */
            at += sizeof high;
            continue;
        }
        at += (uint64_t)__builtin_ctzll(high) / 8;
        uint64_t length = character_nbytes(text + at, nbytes - at);
        if (length == 0)
            return 0;
        at += length;
    }
    return 1;
}

typedef int8_t signed_bytes __attribute__((vector_size(16)));

/* Whether 'nbytes' > 0 of text are ASCII and characters of two bytes, as most European texts are: every byte from 0xc2
   to 0xdf has one from 0x80 to 0xbf behind it, which are nowhere else.  BRIEF_NBYTES can be read, and the byte in
   front, which is 0.  Bytes are compared as signed numbers, in one instruction.  There is no branch until the end. */
static int is_in_pairs(const uint8_t *text, uint64_t nbytes)
{
    signed_bytes places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, bad = {0};
    for (uint64_t at = 0; at < BRIEF_NBYTES; at += sizeof bad) {
        signed_bytes bytes, before;
        memcpy(&bytes, text + at, sizeof bytes);
        memcpy(&before, text + at - 1, sizeof before);
        signed_bytes is_second = bytes < -64, is_first = (bytes > -63) & (bytes < -32);
        signed_bytes is_behind_first = (before > -63) & (before < -32);
        bad |= ((is_second ^ is_behind_first) | ((bytes < 0) ^ (is_second | is_first))) & (places < (int8_t)nbytes);
        places += (int8_t)sizeof bad;
    }
    uint64_t halves[2];
    memcpy(halves, &bad, sizeof bad);
    return (halves[0] | halves[1]) == 0 && text[nbytes - 1] < 0xc0;
}

/* The block that longer texts go to, as NumPy has them in its memory, each with its length in front. */
struct block {
    uint8_t *bytes;
    uint64_t nbytes;
};

/* Writes the item of a text that goes to the block's end, behind its length; items count from the block's start. */
static void write_place(const struct ringio_string_api *api, const struct block *block, uint64_t nbytes, uint8_t *item)
{
    int is_medium = nbytes <= api->medium_max;
    uint64_t at = block->nbytes + (is_medium ? 1 : sizeof at);
    memcpy(item, &at, sizeof at);
    memcpy(item + sizeof at, &nbytes, sizeof nbytes);
    item[ITEM_NBYTES - 1] = is_medium ? api->medium_last_byte : api->long_last_byte;
}

/* Any text, as item, and in the block where it is too long for that; 0 where it is not UTF-8. */
static int write_text(const struct walk *walk, const struct ringio_string_api *api, struct block *block, uint8_t *item)
{
    const uint8_t *text = walk->source + walk->at;
    uint64_t nbytes = walk->nbytes;
    if (nbytes < ITEM_NBYTES) {
        memset(item, 0, ITEM_NBYTES);
        memcpy(item, text, nbytes);
        item[ITEM_NBYTES - 1] = api->last_bytes[nbytes];
    } else {
        write_place(api, block, nbytes, item);
        uint64_t length_nbytes = nbytes <= api->medium_max ? 1 : sizeof nbytes;
        memcpy(block->bytes + block->nbytes, &nbytes, length_nbytes);
        memcpy(block->bytes + block->nbytes + length_nbytes, text, nbytes);
        block->nbytes += length_nbytes + nbytes;
    }
    return is_utf8(text, nbytes);
}

/* The same for texts of up to BRIEF_NBYTES, with as many bytes behind their start that can be read.  There is no branch
   that goes by the length, which nobody could foresee. */
static int write_brief(const struct walk *walk, const struct ringio_string_api *api, struct block *block, uint8_t *item)
{
    const uint8_t *text = walk->source + walk->at;
    uint64_t nbytes = walk->nbytes, first = read_word(text), second = read_word(text + 8);
    int is_long = nbytes >= ITEM_NBYTES;
    uint64_t kept = ((uint64_t)1 << (nbytes % 8 * 8)) - 1;
    uint64_t low = first & (nbytes < 8 ? kept : UINT64_MAX), high = nbytes < 8 ? 0 : second & kept;
    const uint8_t *last = text + (is_long ? nbytes - ITEM_NBYTES : 0);
    uint64_t any = is_long ? first | second | read_word(last) | read_word(last + 8) : low | high;
    uint64_t last_byte = is_long ? api->medium_last_byte : api->last_bytes[nbytes % ITEM_NBYTES];
    low = is_long ? block->nbytes + 1 : low;
    high = (is_long ? nbytes : high) | last_byte << 56;
    memcpy(item, &low, sizeof low);
    memcpy(item + sizeof low, &high, sizeof high);
    block->bytes[block->nbytes] = (uint8_t)nbytes;
    memcpy(block->bytes + block->nbytes + 1, text, BRIEF_NBYTES);
    block->nbytes += is_long ? nbytes + 1 : 0;
    return (any & HIGH_BITS) == 0 || is_in_pairs(text, nbytes) || is_utf8(text, nbytes);
}

/* Lets NumPy pack a block as one text, which is one copy, the only thing that threads have to wait for; and moves the
   items to where it lies then.  NumPy's memory looks as if it had packed each text by itself. */
static int pack_block(const struct block *block, uint64_t count, uint8_t *items, const void *dtype,
                      const struct ringio_string_api *api)
{
    uint8_t whole[ITEM_NBYTES] = {0};
    void *allocator = ((acquire_allocator)(uintptr_t)api->acquire)(dtype);
    int failed = ((pack_string)(uintptr_t)api->pack)(allocator, whole, (const char *)block->bytes, block->nbytes);
    ((release_allocator)(uintptr_t)api->release)(allocator);
    if (failed)
        return -ENOMEM;
    uint64_t base = read_word(whole);
    uint8_t medium = api->medium_last_byte, longest = api->long_last_byte;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *item = items + ITEM_NBYTES * i, last_byte = item[ITEM_NBYTES - 1];
        uint64_t is_long = (last_byte == medium) | (last_byte == longest); /* no branch: nobody could foresee it */
        uint64_t at = read_word(item) + (base & -is_long);
        memcpy(item, &at, sizeof at);
    }
    return 0;
}

/* Which texts are wanted, and where they go. */
struct wish {
    uint64_t count;
    uint64_t first;
    uint64_t wanted;
    uint8_t *items;
};

/* Items that hold nothing yet: short texts are written to them, the others to a block. */
static int64_t unpack_new(struct walk walk, const struct wish *wish, const void *dtype,
                          const struct ringio_string_api *api, uint64_t *done_ret)
{
    struct block block = {malloc(BLOCK_NBYTES_MAX(walk.source_nbytes)), 0};
    int64_t status = block.bytes == NULL ? -ENOMEM : 0;
    for (uint64_t i = 0; i < wish->count && status == 0; i++) {
        *done_ret = i;
        if (!walk_next(&walk)) {
            status = -EPROTO;
        } else if (i >= wish->first && i - wish->first < wish->wanted) {
            uint8_t *item = wish->items + ITEM_NBYTES * (i - wish->first);
            int is_brief = walk.nbytes <= BRIEF_NBYTES && walk.source_nbytes - walk.at >= BRIEF_NBYTES;
            status = (is_brief ? write_brief : write_text)(&walk, api, &block, item) ? 0 : -EILSEQ;
        }
    }
    if (status == 0 && block.nbytes > 0)
        status = pack_block(&block, wish->wanted, wish->items, dtype, api);
    free(block.bytes);
    if (status == 0)
        *done_ret = wish->count;
    else
        memset(wish->items, 0, ITEM_NBYTES * wish->wanted); /* they name what is not there */
    return status;
}

/* Lets NumPy pack one text after the other, if all are good: it knows what the items held before. */
static int64_t unpack_each(struct walk walk, const struct wish *wish, const void *dtype,
                           const struct ringio_string_api *api, uint64_t *done_ret)
{
    struct walk start = walk;
    for (uint64_t i = 0; i < wish->count; i++) {
        *done_ret = i;
        if (i == wish->first)
            start = walk;
        if (!walk_next(&walk))
            return -EPROTO;
        if (i >= wish->first && i - wish->first < wish->wanted && !is_utf8(walk.source + walk.at, walk.nbytes))
            return -EILSEQ;
    }
    *done_ret = wish->count;
    pack_string pack = (pack_string)(uintptr_t)api->pack;
    void *allocator = ((acquire_allocator)(uintptr_t)api->acquire)(dtype);
    int failed = 0;
    for (uint64_t i = 0; i < wish->wanted && !failed; i++) {
        walk_next(&start);
        const char *text = (const char *)start.source + start.at;
        failed = pack(allocator, wish->items + ITEM_NBYTES * i, text, start.nbytes) != 0;
    }
    ((release_allocator)(uintptr_t)api->release)(allocator);
    return failed ? -ENOMEM : 0;
}

static int are_new(const uint8_t *items, uint64_t count)
{
    uint64_t any = 0;
    for (uint64_t at = 0; at < ITEM_NBYTES * count; at += sizeof any)
        any |= read_word(items + at);
    return any == 0;
}

int64_t ringio_unpack_strings(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t first,
                              uint64_t wanted, uint8_t *items, const void *dtype, const struct ringio_string_api *api,
                              uint64_t *done_ret)
{
    struct walk walk = {.source = source, .source_nbytes = source_nbytes};
    struct wish wish = {count, first, wanted, items};
    int knows_how = api->medium_max > 0 && are_new(items, wanted);
    return (knows_how ? unpack_new : unpack_each)(walk, &wish, dtype, api, done_ret);
}

int64_t ringio_make_objects(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t first,
                            uint64_t wanted, void **objects, const struct ringio_object_api *api, uint64_t *done_ret)
{
    struct walk walk = {.source = source, .source_nbytes = source_nbytes};
    make_object make = (make_object)(uintptr_t)api->make;
    release_object release = (release_object)(uintptr_t)api->release;
    for (uint64_t i = 0; i < count; i++) {
        *done_ret = i;
        if (!walk_next(&walk))
            return -EPROTO;
        if (i < first || i - first >= wanted)
            continue;
        void *object = make((const char *)source + walk.at, (ptrdiff_t)walk.nbytes), *before = objects[i - first];
        if (object == NULL)
            return -ECANCELED;
        objects[i - first] = object;
        release(before);
    }
    *done_ret = count;
    return 0;
}
