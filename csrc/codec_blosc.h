/* codec_blosc.h: the header of a blosc chunk, read and checked.

   Formats: README_CHUNK_FORMAT.rst of c-blosc (1) and c-blosc2. */
#ifndef RINGIO_CODEC_BLOSC_H
#define RINGIO_CODEC_BLOSC_H

#include "codec_private.h"

#define BLOSC1_LAST_VERSION 2 /* of the format: later ones are blosc2 */
#define BLOSC_FILTER_COUNT 6

/* Byte 2 of the header, beside the inner codec. */
#define FLAG_SHUFFLE 0x01
#define FLAG_STORED 0x02
#define FLAG_BITSHUFFLE 0x04
#define FLAG_EXTENDED (FLAG_SHUFFLE | FLAG_BITSHUFFLE) /* both: the header is that of blosc2 */
#define FLAG_DELTA 0x08
#define FLAG_NOT_SPLIT 0x10
/* Byte 30. */
#define FLAG_VARIABLE_BLOCKS 0x01
/* Byte 31, beside the kind of special value. */
#define FLAG_DICTIONARY 0x01
#define FLAG_LAZY 0x08
#define FLAG_INSTRUMENTED 0x80

enum inner_codec { INNER_BLOSCLZ, INNER_LZ4, INNER_SNAPPY, INNER_ZLIB, INNER_ZSTD };
enum special { SPECIAL_NONE, SPECIAL_ZEROS, SPECIAL_NAN, SPECIAL_VALUE, SPECIAL_UNINITIALISED };

struct blosc_chunk {
    struct span source;
    struct parts *parts; /* not NULL: not all of 'source' has been read */
    size_t header_nbytes;
    size_t nbytes; /* decoded */
    size_t block_nbytes;
    size_t block_count;
    size_t blocks_start; /* no block begins before */
    uint32_t itemsize;
    uint32_t version;
    uint32_t flags;  /* byte 2 */
    uint32_t flags2; /* byte 31, 0 for blosc1 */
    uint32_t codec;
    uint8_t filters[BLOSC_FILTER_COUNT]; /* those that have work to do, in the order of encoding */
    uint8_t filter_itemsizes[BLOSC_FILTER_COUNT];
    uint32_t filter_count;
    struct span dictionary;
};

/* blosc_read_header() reads the header of chunk->source into the rest of 'chunk'.  Returns 0 or -status. */
int blosc_read_header(struct blosc_chunk *chunk, struct codec_error *error);

/* blosc_read_tables() does the same for what only chunks with blocks have: the table of their starts, and perhaps a
   dictionary. */
int blosc_read_tables(struct blosc_chunk *chunk, struct codec_error *error);

/* blosc_need() has 'nbytes' of the source read, from byte 'at' on, where they are not there yet: all that is looked at
   behind the first CODEC_PARTS_HEAD_NBYTES is asked for before.  They lie in the source.  Returns 0 or -status. */
static inline int blosc_need(const struct blosc_chunk *chunk, size_t at, size_t nbytes)
{
    return chunk->parts == NULL ? 0 : parts_need(chunk->parts, at, at + nbytes);
}

/* What a chunk without blocks consists of: enum special. */
static inline uint32_t blosc_special(const struct blosc_chunk *chunk)
{
    return chunk->flags2 >> 4 & 7;
}

#endif
