/* codec_blosc_header.c: reads the header of a blosc chunk; nothing in it is believed. */
#include <blosc2.h>

#include "codec_blosc.h"

#define BLOSC1_HEADER_NBYTES 16
#define BLOSC2_HEADER_NBYTES 32
#define BLOSC2_LAST_VERSION 6 /* which brought blocks of variable length */
#define MAX_DICTIONARY_NBYTES (128 << 10)

static void add_filter(struct blosc_chunk *chunk, uint8_t filter, uint8_t itemsize)
{
    if (filter == BLOSC_NOFILTER || filter == BLOSC_TRUNC_PREC) /* the second loses bits and is not undone */
        return;
    if (filter == BLOSC_SHUFFLE && itemsize == 1)
        return;
    chunk->filters[chunk->filter_count] = filter;
    chunk->filter_itemsizes[chunk->filter_count++] = itemsize;
}

static int read_filters(struct blosc_chunk *chunk, struct codec_error *error)
{
    uint8_t itemsize = (uint8_t)chunk->itemsize;
    if ((chunk->flags & FLAG_EXTENDED) != FLAG_EXTENDED) {
        add_filter(chunk, chunk->flags & FLAG_DELTA ? BLOSC_DELTA : BLOSC_NOFILTER, itemsize);
        add_filter(chunk, chunk->flags & FLAG_SHUFFLE ? BLOSC_SHUFFLE : BLOSC_NOFILTER, itemsize);
        add_filter(chunk, chunk->flags & FLAG_BITSHUFFLE ? BLOSC_BITSHUFFLE : BLOSC_NOFILTER, itemsize);
        return 0;
    }
    int count = chunk->version <= 3 ? 5 : BLOSC_FILTER_COUNT; /* 3, an alpha, left the last one unset */
    for (int i = 0; i < count; i++) {
        uint8_t filter = chunk->source.data[16 + i], meta = chunk->source.data[24 + i];
        if (filter > BLOSC_TRUNC_PREC)
            return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
        add_filter(chunk, filter, filter == BLOSC_SHUFFLE && meta != 0 ? meta : itemsize);
    }
    /* Delta refers to the decoded first block, so nothing can come behind it in decoding. */
    for (uint32_t i = 1; i < chunk->filter_count; i++) {
        if (chunk->filters[i] == BLOSC_DELTA)
            return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
    }
    return 0;
}

static int read_sizes(struct blosc_chunk *chunk, struct codec_error *error)
{
    const uint8_t *header = chunk->source.data;
    size_t encoded_nbytes = read_u32_le(header + 12);
    if (encoded_nbytes != chunk->source.nbytes)
        return codec_corrupt(error, encoded_nbytes > chunk->source.nbytes ? RINGIO_REASON_TRUNCATED
                                                                           : RINGIO_REASON_TRAILING);
    chunk->nbytes = read_u32_le(header + 4);
    chunk->block_nbytes = read_u32_le(header + 8);
    chunk->itemsize = header[3];
    if (chunk->nbytes > INT32_MAX || chunk->itemsize == 0 || (chunk->block_nbytes == 0 && chunk->nbytes > 0))
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    if (chunk->block_nbytes > chunk->nbytes)
        chunk->block_nbytes = chunk->nbytes;
    chunk->block_count = chunk->nbytes == 0 ? 0 : (chunk->nbytes - 1) / chunk->block_nbytes + 1;
    return 0;
}

int blosc_read_header(struct blosc_chunk *chunk, struct codec_error *error)
{
    const uint8_t *header = chunk->source.data;
    if (chunk->source.nbytes < BLOSC1_HEADER_NBYTES)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    chunk->version = header[0];
    chunk->flags = header[2];
    chunk->codec = header[2] >> 5;
    if (chunk->version == 0)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    int status = read_sizes(chunk, error); /* first, since they tell damage from a format that we do not know */
    if (status != 0)
        return status;
    if (chunk->version > BLOSC2_LAST_VERSION)
        return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
    chunk->header_nbytes = BLOSC1_HEADER_NBYTES;
    if ((chunk->flags & FLAG_EXTENDED) == FLAG_EXTENDED) {
        chunk->header_nbytes = BLOSC2_HEADER_NBYTES;
        if (chunk->source.nbytes < BLOSC2_HEADER_NBYTES || chunk->version <= BLOSC1_LAST_VERSION)
            return codec_corrupt(error, RINGIO_REASON_HEADER);
        chunk->flags2 = header[31];
        if (header[30] & FLAG_VARIABLE_BLOCKS || chunk->flags2 & FLAG_INSTRUMENTED)
            return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
        if (chunk->flags2 & FLAG_LAZY) /* its blocks are in another file */
            return codec_corrupt(error, RINGIO_REASON_HEADER);
    }
    return read_filters(chunk, error);
}

int blosc_read_tables(struct blosc_chunk *chunk, struct codec_error *error)
{
    if (chunk->codec == INNER_SNAPPY || chunk->codec > INNER_ZSTD)
        return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
    size_t rest_nbytes = chunk->source.nbytes - chunk->header_nbytes;
    if (chunk->block_count > rest_nbytes / 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    chunk->blocks_start = chunk->header_nbytes + 4 * chunk->block_count;
    if (chunk->parts != NULL)
        chunk->parts->in_blocks = chunk->block_count > 1;
    int status = blosc_need(chunk, 0, chunk->blocks_start);
    if (status != 0)
        return status;
    if (!(chunk->flags2 & FLAG_DICTIONARY))
        return 0;
    rest_nbytes -= 4 * chunk->block_count;
    if (rest_nbytes < 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    if ((status = blosc_need(chunk, chunk->blocks_start, 4)) != 0)
        return status;
    uint32_t nbytes = read_u32_le(chunk->source.data + chunk->blocks_start);
    if (nbytes == 0 || nbytes > MAX_DICTIONARY_NBYTES || nbytes > rest_nbytes - 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    if ((status = blosc_need(chunk, chunk->blocks_start + 4, nbytes)) != 0)
        return status;
    chunk->dictionary = (struct span){chunk->source.data + chunk->blocks_start + 4, nbytes};
    chunk->blocks_start += 4 + nbytes;
    return 0;
}
