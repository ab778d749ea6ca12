/* sort.h: stable radix sort of 64-bit keys that carry an index. */
#ifndef RINGIO_SORT_H
#define RINGIO_SORT_H

#include <stddef.h>
#include <stdint.h>

struct sort_entry {
    uint64_t key;
    uint64_t index;
};

/* sort_alloc() gives room for 'count' entries and for sorting them, or NULL; free() releases it. */
struct sort_entry *sort_alloc(size_t count);

/* sort_by_key() sorts the first 'count' entries of what sort_alloc(count) gave, and returns where the result lies: in
   the first or the second half of that room. */
struct sort_entry *sort_by_key(struct sort_entry *room, size_t count);

/* The same for entries that lie at 'entries', one of the two halves of 'room', each of 'capacity'. */
struct sort_entry *sort_by_key_from(struct sort_entry *room, size_t capacity, struct sort_entry *entries, size_t count);

#endif
