/* Goal: items of any length come out as they are, whatever of them is wanted; sources that are cut off or no UTF-8 end
   with a status, and nothing outside of the buffers is touched.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "ringio.h"

#define PAGE_NBYTES ((size_t)65536)
#define ITEM_COUNT_MAX 40
#define ITEM_NBYTES 16
#define NBYTES_MAX 300
#define MEDIUM_MAX 255
#define MEMORY_NBYTES (2 * ITEM_COUNT_MAX * (NBYTES_MAX + 8))

/* In place of NumPy: longer texts lie in 'memory', each with its length in front. */
static uint8_t memory[MEMORY_NBYTES];
static uint64_t memory_used;
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

static void write_item(uint8_t *item, uint64_t at, uint64_t nbytes)
{
    memcpy(item, &at, 8);
    memcpy(item + 8, &nbytes, 8);
    item[ITEM_NBYTES - 1] = nbytes <= MEDIUM_MAX ? 0x40 : 0x50;
}

static int pack(void *allocator, void *item, const char *text, size_t nbytes)
{
    CHECK(allocator == &lock_count && lock_count == 1);
    pack_count++;
    if (packs_left-- == 0)
        return -1;
    uint64_t length = nbytes, lead_nbytes = nbytes <= MEDIUM_MAX ? 1 : 8;
    CHECK(nbytes + lead_nbytes <= MEMORY_NBYTES - memory_used);
    memcpy(memory + memory_used, &length, lead_nbytes);
    memcpy(memory + memory_used + lead_nbytes, text, nbytes);
    write_item(item, memory_used + lead_nbytes, nbytes);
    memory_used += lead_nbytes + nbytes;
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
        static const uint64_t limits[] = {8, 8, 8, 8, 40, 40, 40, NBYTES_MAX + 1};
        sample.nbytes[i] = (uint32_t)random_below(state, limits[random_below(state, 8)]);
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

static struct ringio_string_api make_api(int is_known)
{
    struct ringio_string_api api = {.acquire = (uint64_t)(uintptr_t)acquire,
                                    .release = (uint64_t)(uintptr_t)release,
                                    .pack = (uint64_t)(uintptr_t)pack,
                                    .medium_max = is_known ? MEDIUM_MAX : 0,
                                    .medium_last_byte = 0x40,
                                    .long_last_byte = 0x50};
    for (uint8_t i = 0; i < 16; i++)
        api.last_bytes[i] = 0x60 | i;
    return api;
}

static int64_t unpack(const struct sample *sample, uint64_t first, uint64_t wanted, const struct ringio_string_api *api,
                      uint8_t *items, uint64_t *done)
{
    memory_used = 0;
    return ringio_unpack_strings(sample->source, sample->source_nbytes, sample->count, first, wanted, items,
                                 &lock_count, api, done);
}

/* The item is as it should be, and what it names is: the text, with its length in front. */
static void check_item(const struct sample *sample, uint64_t number, const uint8_t *item)
{
    uint64_t nbytes = sample->nbytes[number], at, length = 0;
    uint8_t expected[ITEM_NBYTES] = {0};
    if ((item[ITEM_NBYTES - 1] & 0x60) == 0x60) {
        CHECK(nbytes < ITEM_NBYTES);
        memcpy(expected, sample->text[number], nbytes);
        expected[ITEM_NBYTES - 1] = (uint8_t)(0x60 | nbytes);
        CHECK(memcmp(item, expected, ITEM_NBYTES) == 0);
        return;
    }
    memcpy(&at, item, 8);
    write_item(expected, at, nbytes);
    CHECK(memcmp(item, expected, ITEM_NBYTES) == 0);
    uint64_t lead_nbytes = nbytes <= MEDIUM_MAX ? 1 : 8;
    CHECK(at >= lead_nbytes && at <= memory_used && nbytes <= memory_used - at);
    memcpy(&length, memory + at - lead_nbytes, lead_nbytes);
    CHECK(length == nbytes && memcmp(memory + at, sample->text[number], nbytes) == 0);
}

/* Any part of a sample, into new items and into those that hold something; NumPy packs only what it must. */
static void test_strings(uint64_t *state, const struct sample *sample, uint8_t *items_end)
{
    uint64_t first = random_below(state, sample->count + 1);
    uint64_t wanted = random_below(state, sample->count - first + 1);
    struct ringio_string_api api = make_api(random_below(state, 4) != 0);
    int is_new = random_below(state, 4) != 0;
    uint8_t *items = items_end - ITEM_NBYTES * wanted;
    memset(items, is_new ? 0 : 0xa5, ITEM_NBYTES * wanted);
    uint64_t done = 99;
    pack_count = 0;
    packs_left = -1;
    CHECK(unpack(sample, first, wanted, &api, items, &done) == 0 && done == sample->count && lock_count == 0);
    int long_count = 0;
    for (uint64_t i = 0; i < wanted; i++) {
        check_item(sample, first + i, items + ITEM_NBYTES * i);
        long_count += sample->nbytes[first + i] >= ITEM_NBYTES;
    }
    int expected_count = is_new && api.medium_max ? long_count > 0 : (int)wanted; /* all as one, or each */
    CHECK(pack_count == expected_count);
    memset(items, is_new ? 0 : 0xa5, ITEM_NBYTES * wanted);
    packs_left = 0;
    CHECK(unpack(sample, first, wanted, &api, items, &done) == (expected_count ? -ENOMEM : 0) && lock_count == 0);
}

/* In place of Python's objects: one for each item, which knows how often it is held. */
struct object {
    int reference_count;
    uint32_t nbytes;
    const char *data;
};
static struct object made[ITEM_COUNT_MAX], before;
static int made_count, makes_left;

static void *make(const char *data, ptrdiff_t nbytes)
{
    if (makes_left-- == 0)
        return NULL;
    made[made_count] = (struct object){1, (uint32_t)nbytes, data};
    return &made[made_count++];
}

static void drop(void *object)
{
    if (object)
        ((struct object *)object)->reference_count--;
}

/* A sample that is cut off, and one with a byte that is in no UTF-8. */
static void test_damage(uint64_t *state, const struct sample *sample, uint8_t *items_end)
{
    if (sample->count == 0)
        return;
    struct ringio_string_api api = make_api(1);
    uint8_t *items = items_end - ITEM_NBYTES * sample->count;
    memset(items, 0, ITEM_NBYTES * sample->count);
    packs_left = -1;
    uint64_t done;
    struct sample cut = *sample;
    uint64_t lost_nbytes = 1 + random_below(state, sample->source_nbytes);
    memmove(sample->source + lost_nbytes, sample->source, sample->source_nbytes - lost_nbytes);
    cut.source += lost_nbytes;
    cut.source_nbytes -= lost_nbytes;
    CHECK(unpack(&cut, 0, cut.count, &api, items, &done) == -EPROTO && done < cut.count);
    struct ringio_object_api objects_api = {(uint64_t)(uintptr_t)make, (uint64_t)(uintptr_t)drop};
    void *objects[ITEM_COUNT_MAX] = {NULL};
    made_count = 0;
    makes_left = -1;
    CHECK(ringio_make_objects(cut.source, cut.source_nbytes, cut.count, 0, cut.count, objects, &objects_api, &done) ==
          -EPROTO);
    CHECK(done < cut.count && done == (uint64_t)made_count);
    memmove(sample->source, cut.source, cut.source_nbytes);
}

static void test_utf8(const struct sample *sample, uint8_t *items_end)
{
    struct ringio_string_api api = make_api(1);
    uint64_t done, at = 0;
    for (uint64_t i = 0; i < sample->count; at += 4 + sample->nbytes[i++]) {
        if (sample->nbytes[i] == 0)
            continue;
        uint8_t *items = items_end - ITEM_NBYTES * sample->count;
        memset(items, 0, ITEM_NBYTES * sample->count);
        uint8_t *last = sample->source + at + 4 + sample->nbytes[i] - 1, kept = *last;
        *last = 0xff;
        CHECK(unpack(sample, 0, sample->count, &api, items, &done) == -EILSEQ && done == i);
        CHECK(unpack(sample, i + 1, 0, &api, items, &done) == 0 && done == sample->count);
        *last = kept;
    }
}

/* Any two bytes in the midst of ASCII, or at the end of a text, are taken for what they are, whatever follows. */
static void test_pairs(uint8_t *source_end, uint8_t *items_end)
{
    static const uint32_t lengths[] = {2, 9, 31, 32, 33};
    struct ringio_string_api api = make_api(1);
    struct sample sample = {.count = 2};
    for (uint32_t i = 0; i < 5 * 65536; i++) {
        uint32_t nbytes = lengths[i / 65536], rest_nbytes = 40, at = i % nbytes, first = i & 255, second = i >> 8 & 255;
        sample.source_nbytes = 4 + nbytes + 4 + rest_nbytes;
        sample.source = source_end - sample.source_nbytes;
        memset(sample.source, 'a', sample.source_nbytes);
        memcpy(sample.source, &nbytes, 4);
        memcpy(sample.source + 4 + nbytes, &rest_nbytes, 4);
        sample.source[4 + at] = (uint8_t)first;
        int is_cut = at + 1 == nbytes;
        if (!is_cut)
            sample.source[4 + at + 1] = (uint8_t)second;
        int is_pair = first >= 0xc2 && first < 0xe0 && second >= 0x80 && second < 0xc0 && !is_cut;
        int is_good = is_pair || (first < 0x80 && (is_cut || second < 0x80));
        uint64_t done;
        memset(items_end - 2 * ITEM_NBYTES, 0, 2 * ITEM_NBYTES);
        int64_t status = unpack(&sample, 0, 2, &api, items_end - 2 * ITEM_NBYTES, &done);
        CHECK(status == (is_good ? 0 : -EILSEQ) && done == (is_good ? 2 : 0));
    }
}

static void test_objects(uint64_t *state, const struct sample *sample, uint8_t *items_end)
{
    struct ringio_object_api api = {(uint64_t)(uintptr_t)make, (uint64_t)(uintptr_t)drop};
    uint64_t first = random_below(state, sample->count + 1), done;
    uint64_t wanted = random_below(state, sample->count - first + 1);
    void **objects = (void **)(void *)(items_end - sizeof(void *) * wanted);
    int null_count = 0;
    for (uint64_t i = 0; i < wanted; i++) {
        objects[i] = random_below(state, 2) ? &before : NULL;
        null_count += objects[i] == NULL;
    }
    before.reference_count = (int)wanted;
    made_count = 0;
    makes_left = -1;
    CHECK(ringio_make_objects(sample->source, sample->source_nbytes, sample->count, first, wanted, objects, &api,
                              &done) == 0);
    CHECK(done == sample->count && (uint64_t)made_count == wanted && before.reference_count == null_count);
    for (uint64_t i = 0; i < wanted; i++) {
        CHECK(objects[i] == &made[i] && made[i].reference_count == 1 && made[i].nbytes == sample->nbytes[first + i]);
        CHECK(memcmp(made[i].data, sample->text[first + i], made[i].nbytes) == 0);
    }
    makes_left = 0;
    CHECK(ringio_make_objects(sample->source, sample->source_nbytes, sample->count, first, wanted, objects, &api,
                              &done) == (wanted ? -ECANCELED : 0));
    CHECK(done == (wanted ? first : sample->count));
}

int main(void)
{
    uint64_t state = 7;
    uint8_t *source_end = make_guarded(), *items_end = make_guarded();
    for (int round = 0; round < 20000; round++) {
        struct sample sample = make_sample(&state, source_end);
        test_strings(&state, &sample, items_end);
        test_utf8(&sample, items_end);
        test_objects(&state, &sample, items_end);
        test_damage(&state, &sample, items_end);
    }
    test_pairs(source_end, items_end);
    return 0;
}
