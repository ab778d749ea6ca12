/* strings.c: text of any length, from the bytes of a chunk into the items of numpy's StringDType. */
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

int64_t ringio_unpack_strings(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint8_t *items,
                              const void *dtype, const struct ringio_string_api *api, uint64_t *done_ret)
{
    pack_string pack = (pack_string)(uintptr_t)api->pack;
    void *allocator = ((acquire_allocator)(uintptr_t)api->acquire)(dtype);
    int64_t status = 0;
    uint64_t at = 0, done = 0;
    for (; done < count && status == 0; done += status == 0) {
        uint32_t nbytes;
        if (source_nbytes - at < LENGTH_NBYTES) {
            status = -EPROTO;
            break;
        }
        memcpy(&nbytes, source + at, LENGTH_NBYTES);
        at += LENGTH_NBYTES;
        if (nbytes > source_nbytes - at)
            status = -EPROTO;
        else if (!is_utf8(source + at, nbytes))
            status = -EILSEQ;
        else if (pack(allocator, items + ITEM_NBYTES * done, (const char *)source + at, nbytes) != 0)
            status = -ENOMEM;
        else
            at += nbytes;
    }
    ((release_allocator)(uintptr_t)api->release)(allocator);
    *done_ret = done;
    return status;
}
