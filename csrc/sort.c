#include "sort.h"

#include <stdlib.h>
#include <string.h>

/* At most 11 bits a pass: the 2048 counters (16 KiB) stay in L1, and 32-bit keys take three passes. */
#define DIGIT_BITS_MAX 11u
#define DIGIT_COUNT_MAX (1u << DIGIT_BITS_MAX)

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
    unsigned low = differing ? (unsigned)__builtin_ctzll(differing) : 0;
    unsigned bits = differing ? 64 - (unsigned)__builtin_clzll(differing) - low : 0;
    unsigned pass_count = (bits + DIGIT_BITS_MAX - 1) / DIGIT_BITS_MAX;
    unsigned digit_bits = pass_count ? (bits + pass_count - 1) / pass_count : 0; /* counters take time, too */
    uint64_t mask = ((uint64_t)1 << digit_bits) - 1;
    for (unsigned shift = low; shift < low + bits; shift += digit_bits) {
        if (!(differing >> shift & mask))
            continue;
        size_t starts[DIGIT_COUNT_MAX];
        memset(starts, 0, (mask + 1) * sizeof *starts);
        for (size_t i = 0; i < count; i++)
            starts[entries[i].key >> shift & mask]++;
        size_t start = 0;
        for (size_t digit = 0; digit <= mask; digit++) {
            size_t digit_count = starts[digit];
            starts[digit] = start;
            start += digit_count;
        }
        for (size_t i = 0; i < count; i++)
            spare[starts[entries[i].key >> shift & mask]++] = entries[i];
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
