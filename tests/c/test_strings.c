/* Goal: items of any length come out as they are, whatever of them is wanted; sources that are cut off or no UTF-8 end
   with a status, and nothing outside of the buffers is touched.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "ringio.h"

#define PAGE_NBYTES ((size_t)65536)
#define ITEM_COUNT_MAX 40
#define ITEM_NBYTES 16
#define NBYTES_MAX 40

/* In place of NumPy: an item is its length and whether it was packed; the texts are kept apart. */
static uint8_t packed[ITEM_COUNT_MAX][NBYTES_MAX];
static uint8_t *first_item;
static int lock_count, pack_count, packs_left;

static void *acquire(const void *dtype)
{
    CHECK(dtype == &lock_count && lock_count++ == 0);
    return &lock_count;
}

static void release(void *allocator)
{
    CHECK(allocator == &lock_count && --lock_count == 0);
}

static int pack(void *allocator, void *item, const char *text, size_t nbytes)
{
    CHECK(allocator == &lock_count && lock_count == 1 && nbytes <= NBYTES_MAX);
    size_t number = (size_t)((uint8_t *)item - first_item) / ITEM_NBYTES;
    CHECK(number < ITEM_COUNT_MAX);
    if (packs_left-- == 0)
        return -1;
    memcpy(packed[number], text, nbytes);
    memset(item, 0, ITEM_NBYTES);
    ((uint8_t *)item)[0] = (uint8_t)nbytes;
    ((uint8_t *)item)[ITEM_NBYTES - 1] = 0xff;
    pack_count++;
    return 0;
}

static uint8_t *make_guarded(void)
{
    uint8_t *pages = mmap(NULL, 2 * PAGE_NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK(mprotect(pages + PAGE_NBYTES, PAGE_NBYTES, PROT_NONE) == 0);
    return pages + PAGE_NBYTES;
}

struct sample {
    uint32_t nbytes[ITEM_COUNT_MAX];
    uint8_t text[ITEM_COUNT_MAX][NBYTES_MAX];
    uint64_t count, source_nbytes;
    uint8_t *source; /* ends where its page does */
};

static struct sample make_sample(uint64_t *state, uint8_t *source_end)
{
    struct sample sample = {.count = random_below(state, ITEM_COUNT_MAX + 1)};
    for (uint64_t i = 0; i < sample.count; i++) {
        sample.nbytes[i] = (uint32_t)random_below(state, random_below(state, 2) ? 8 : NBYTES_MAX + 1);
        for (uint32_t k = 0; k < sample.nbytes[i]; k++)
            sample.text[i][k] = (uint8_t)random_below(state, 128);
        if (sample.nbytes[i] >= 2 && random_below(state, 4) == 0)
            memcpy(&sample.text[i][sample.nbytes[i] - 2], "\xc3\xa9", 2);
        sample.source_nbytes += 4 + sample.nbytes[i];
    }
    uint8_t *at = sample.source = source_end - sample.source_nbytes;
    for (uint64_t i = 0; i < sample.count; i++) {
        memcpy(at, &sample.nbytes[i], 4);
        memcpy(at + 4, sample.text[i], sample.nbytes[i]);
        at += 4 + sample.nbytes[i];
    }
    return sample;
}

static struct ringio_string_api make_api(int has_short)
{
    struct ringio_string_api api = {(uint64_t)(uintptr_t)acquire, (uint64_t)(uintptr_t)release,
                                    (uint64_t)(uintptr_t)pack, has_short ? 16 : 0, {0}};
    for (uint8_t i = 0; i < 16; i++)
        api.last_bytes[i] = 0x60 | i;
    return api;
}

static int64_t unpack(const struct sample *sample, uint64_t first, uint64_t wanted, const struct ringio_string_api *api,
                      uint64_t *done)
{
    return ringio_unpack_strings(sample->source, sample->source_nbytes, sample->count, first, wanted, first_item,
                                 &lock_count, api, done);
}

static void check_item(const struct sample *sample, uint64_t number, const uint8_t *item, uint8_t *text)
{
    if (item[ITEM_NBYTES - 1] == 0xff) {
        CHECK(item[0] == sample->nbytes[number]);
        CHECK(memcmp(text, sample->text[number], item[0]) == 0);
        return;
    }
    uint8_t expected[ITEM_NBYTES] = {0};
    CHECK(sample->nbytes[number] < ITEM_NBYTES);
    memcpy(expected, sample->text[number], sample->nbytes[number]);
    expected[ITEM_NBYTES - 1] = (uint8_t)(0x60 | sample->nbytes[number]);
    CHECK(memcmp(item, expected, ITEM_NBYTES) == 0);
}

/* Any part of a sample, into new items and into those that hold something; NumPy writes only what it must. */
static void test_strings(uint64_t *state, const struct sample *sample, uint8_t *items_end)
{
    uint64_t first = random_below(state, sample->count + 1);
    uint64_t wanted = random_below(state, sample->count - first + 1);
    struct ringio_string_api api = make_api(random_below(state, 4) != 0);
    int is_new = random_below(state, 4) != 0;
    first_item = items_end - ITEM_NBYTES * wanted;
    memset(first_item, is_new ? 0 : 0xa5, ITEM_NBYTES * wanted);
    uint64_t done = 99;
    pack_count = 0;
    packs_left = -1;
    CHECK(unpack(sample, first, wanted, &api, &done) == 0 && done == sample->count && lock_count == 0);
    int expected_count = 0;
    for (uint64_t i = 0; i < wanted; i++) {
        check_item(sample, first + i, first_item + ITEM_NBYTES * i, packed[i]);
        expected_count += !is_new || sample->nbytes[first + i] >= api.short_count;
    }
    CHECK(pack_count == expected_count);
    memset(first_item, 0xa5, ITEM_NBYTES * wanted);
    packs_left = 0;
    CHECK(unpack(sample, first, wanted, &api, &done) == (wanted ? -ENOMEM : 0) && lock_count == 0);
}

/* A sample that is cut off, and one with a byte that is in no UTF-8. */
static void test_damage(uint64_t *state, const struct sample *sample, uint8_t *items_end)
{
    if (sample->count == 0)
        return;
    struct ringio_string_api api = make_api(1);
    first_item = items_end - ITEM_NBYTES * sample->count;
    memset(first_item, 0, ITEM_NBYTES * sample->count);
    packs_left = -1;
    uint64_t done, ends[ITEM_COUNT_MAX];
    struct sample cut = *sample;
    uint64_t lost_nbytes = 1 + random_below(state, sample->source_nbytes);
    memmove(sample->source + lost_nbytes, sample->source, sample->source_nbytes - lost_nbytes);
    cut.source += lost_nbytes;
    cut.source_nbytes -= lost_nbytes;
    CHECK(unpack(&cut, 0, cut.count, &api, &done) == -EPROTO && done < cut.count);
    CHECK(ringio_find_items(cut.source, cut.source_nbytes, cut.count, ends, &done) == -EPROTO && done < cut.count);
    memmove(sample->source, cut.source, cut.source_nbytes);
}

static void test_utf8(const struct sample *sample, uint8_t *items_end)
{
    struct ringio_string_api api = make_api(1);
    uint64_t done, at = 0;
    for (uint64_t i = 0; i < sample->count; at += 4 + sample->nbytes[i++]) {
        if (sample->nbytes[i] == 0)
            continue;
        first_item = items_end - ITEM_NBYTES * sample->count;
        memset(first_item, 0, ITEM_NBYTES * sample->count);
        uint8_t *last = sample->source + at + 4 + sample->nbytes[i] - 1, kept = *last;
        *last = 0xff;
        CHECK(unpack(sample, 0, sample->count, &api, &done) == -EILSEQ && done == i);
        CHECK(unpack(sample, i + 1, 0, &api, &done) == 0 && done == sample->count);
        *last = kept;
    }
}

static void test_expanded(const struct sample *sample, uint8_t *items_end)
{
    uint64_t ends[ITEM_COUNT_MAX], done;
    CHECK(ringio_find_items(sample->source, sample->source_nbytes, sample->count, ends, &done) == 0);
    CHECK(done == sample->count);
    uint32_t width = 1;
    for (uint64_t i = 0; i < sample->count; i++)
        width = sample->nbytes[i] > width ? sample->nbytes[i] : width;
    uint8_t *target = items_end - width * sample->count;
    memset(target, 0xa5, width * sample->count);
    ringio_expand_items(sample->source, ends, sample->count, width, target);
    for (uint64_t i = 0; i < sample->count; i++) {
        uint8_t expected[NBYTES_MAX] = {0};
        memcpy(expected, sample->text[i], sample->nbytes[i]);
        CHECK(memcmp(target + width * i, expected, width) == 0);
    }
}

int main(void)
{
    uint64_t state = 7;
    uint8_t *source_end = make_guarded(), *items_end = make_guarded();
    for (int round = 0; round < 20000; round++) {
        struct sample sample = make_sample(&state, source_end);
        test_strings(&state, &sample, items_end);
        test_utf8(&sample, items_end);
        test_expanded(&sample, items_end);
        test_damage(&state, &sample, items_end);
    }
    return 0;
}
