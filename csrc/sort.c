#include "sort.h"

#include <stdlib.h>
#include <string.h>

/* 11 bits a pass: the 2048 counters (8 KiB) stay in L1, and 32-bit keys take three passes. */
#define DIGIT_BITS 11
#define DIGIT_COUNT (1u << DIGIT_BITS)

/* Below this, insertion beats clearing the counters. */
#define INSERTION_COUNT 48

struct sort_entry *sort_alloc(size_t count)
{
    return malloc((count ? count : 1) * 2 * sizeof(struct sort_entry));
}

static void insertion_sort(struct sort_entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct sort_entry entry = entries[i];
        size_t place = i;
        for (; place > 0 && entries[place - 1].key > entry.key; place--)
            entries[place] = entries[place - 1];
        entries[place] = entry;
    }
}

struct sort_entry *sort_by_key_from(struct sort_entry *room, size_t capacity, struct sort_entry *entries, size_t count)
{
    if (count < INSERTION_COUNT) {
        insertion_sort(entries, count);
        return entries;
    }
    struct sort_entry *spare = entries == room ? room + capacity : room;
    uint64_t differing = 0; /* a digit that is the same in all keys needs no pass */
    for (size_t i = 1; i < count; i++)
        differing |= entries[i].key ^ entries[0].key;
    for (unsigned shift = 0; shift < 64 && differing >> shift; shift += DIGIT_BITS) {
        if (!(differing >> shift & (DIGIT_COUNT - 1)))
            continue;
        size_t starts[DIGIT_COUNT] = {0};
        for (size_t i = 0; i < count; i++)
            starts[entries[i].key >> shift & (DIGIT_COUNT - 1)]++;
        size_t start = 0;
        for (size_t digit = 0; digit < DIGIT_COUNT; digit++) {
            size_t digit_count = starts[digit];
            starts[digit] = start;
            start += digit_count;
        }
        for (size_t i = 0; i < count; i++)
            spare[starts[entries[i].key >> shift & (DIGIT_COUNT - 1)]++] = entries[i];
        struct sort_entry *sorted = spare;
        spare = entries;
        entries = sorted;
    }
    return entries;
}

struct sort_entry *sort_by_key(struct sort_entry *room, size_t count)
{
    return sort_by_key_from(room, count, room, count);
}
