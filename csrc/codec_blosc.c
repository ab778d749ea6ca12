/* codec_blosc.c: a blosc1 or blosc2 chunk: header, table of block starts, blocks.

   The container is read here, and only the pieces of it go to other libraries: shuffles to c-blosc2, streams to LZ4,
   zstd and libdeflate.  c-blosc2's own blosc2_decompress_ctx() is not called: with BLOSC_NTHREADS in the environment it
   starts threads, which do not survive fork(); a chunk that names a plugin makes it run a Python interpreter to find
   it; a chunk can leave filter settings behind for the next one; and it cannot read the blosc1 chunks from before the
   "not split" flag.  See docs/decisions/0001-c-libraries.md.

   Formats: README_CHUNK_FORMAT.rst of c-blosc (1) and c-blosc2. */
#include <blosc2.h>
#include <libdeflate.h>
#include <lz4.h>
#include <zstd.h>

#include "codec_private.h"

#define BLOSC1_HEADER_NBYTES 16
#define BLOSC2_HEADER_NBYTES 32
#define BLOSC1_VERSION 2      /* the last version of the format that is blosc1 */
#define BLOSC2_LAST_VERSION 6 /* which brought blocks of variable length, the flag VARIABLE_BLOCKS */
#define FILTER_COUNT 6
#define MAX_DICTIONARY_NBYTES (128 << 10)
#define ZSTD_MAGIC 0xFD2FB528u

/* Byte 2 of the header, beside the inner codec. */
#define FLAG_SHUFFLE 0x01
#define FLAG_STORED 0x02
#define FLAG_BITSHUFFLE 0x04
#define FLAG_EXTENDED (FLAG_SHUFFLE | FLAG_BITSHUFFLE) /* both: the header is that of blosc2 */
#define FLAG_DELTA 0x08
#define FLAG_NOT_SPLIT 0x10
/* Byte 30. */
#define VARIABLE_BLOCKS 0x01
/* Byte 31, beside the kind of special value. */
#define FLAG_DICTIONARY 0x01
#define FLAG_LAZY 0x08
#define FLAG_INSTRUMENTED 0x80

enum inner_codec { INNER_BLOSCLZ, INNER_LZ4, INNER_SNAPPY, INNER_ZLIB, INNER_ZSTD };
enum special { SPECIAL_NONE, SPECIAL_ZEROS, SPECIAL_NAN, SPECIAL_VALUE, SPECIAL_UNINITIALISED };

struct chunk {
    struct span source;
    size_t header_nbytes;
    size_t nbytes;
    size_t block_nbytes;
    size_t block_count;
    size_t blocks_start; /* no block begins before */
    uint32_t itemsize;
    uint32_t version;
    uint32_t flags;
    uint32_t flags2; /* byte 31 */
    uint32_t codec;
    uint8_t filters[FILTER_COUNT]; /* those that have work to do, in the order of encoding */
    uint8_t filter_itemsizes[FILTER_COUNT];
    uint32_t filter_count;
    struct span dictionary;
};

/* ------------------------------------------------------------------------------------------------------ the header */

static void add_filter(struct chunk *chunk, uint8_t filter, uint8_t itemsize)
{
    if (filter == BLOSC_NOFILTER || filter == BLOSC_TRUNC_PREC) /* the second loses bits and is not undone */
        return;
    if (filter == BLOSC_SHUFFLE && itemsize == 1)
        return;
    chunk->filters[chunk->filter_count] = filter;
    chunk->filter_itemsizes[chunk->filter_count++] = itemsize;
}

static int read_filters(struct chunk *chunk, struct codec_error *error)
{
    uint8_t itemsize = (uint8_t)chunk->itemsize;
    if ((chunk->flags & FLAG_EXTENDED) != FLAG_EXTENDED) {
        add_filter(chunk, chunk->flags & FLAG_DELTA ? BLOSC_DELTA : BLOSC_NOFILTER, itemsize);
        add_filter(chunk, chunk->flags & FLAG_SHUFFLE ? BLOSC_SHUFFLE : BLOSC_NOFILTER, itemsize);
        add_filter(chunk, chunk->flags & FLAG_BITSHUFFLE ? BLOSC_BITSHUFFLE : BLOSC_NOFILTER, itemsize);
        return 0;
    }
    int count = chunk->version <= 3 ? 5 : FILTER_COUNT; /* 3, an alpha, left the last one unset */
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

static uint32_t special_kind(const struct chunk *chunk)
{
    return chunk->flags2 >> 4 & 7;
}

static int read_sizes(struct chunk *chunk, struct codec_error *error)
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

static int read_header(struct chunk *chunk, struct codec_error *error)
{
    const uint8_t *header = chunk->source.data;
    if (chunk->source.nbytes < BLOSC1_HEADER_NBYTES)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    chunk->version = header[0];
    chunk->flags = header[2];
    chunk->codec = header[2] >> 5;
    if (chunk->version == 0)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    if (chunk->version > BLOSC2_LAST_VERSION)
        return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
    int status = read_sizes(chunk, error);
    if (status != 0)
        return status;
    chunk->header_nbytes = BLOSC1_HEADER_NBYTES;
    if ((chunk->flags & FLAG_EXTENDED) == FLAG_EXTENDED) {
        chunk->header_nbytes = BLOSC2_HEADER_NBYTES;
        if (chunk->source.nbytes < BLOSC2_HEADER_NBYTES || chunk->version <= BLOSC1_VERSION)
            return codec_corrupt(error, RINGIO_REASON_HEADER);
        chunk->flags2 = header[31];
        if (header[30] & VARIABLE_BLOCKS || chunk->flags2 & FLAG_INSTRUMENTED)
            return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
        if (chunk->flags2 & FLAG_LAZY) /* its blocks are in another file */
            return codec_corrupt(error, RINGIO_REASON_HEADER);
    }
    return read_filters(chunk, error);
}

/* What only chunks with blocks have: the table of their starts, and perhaps a dictionary. */
static int read_tables(struct chunk *chunk, struct codec_error *error)
{
    if (chunk->codec == INNER_SNAPPY || chunk->codec > INNER_ZSTD)
        return codec_unsupported(error, RINGIO_REASON_INNER_CODEC);
    size_t rest_nbytes = chunk->source.nbytes - chunk->header_nbytes;
    if (chunk->block_count > rest_nbytes / 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    chunk->blocks_start = chunk->header_nbytes + 4 * chunk->block_count;
    if (!(chunk->flags2 & FLAG_DICTIONARY))
        return 0;
    rest_nbytes -= 4 * chunk->block_count;
    if (rest_nbytes < 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    uint32_t nbytes = read_u32_le(chunk->source.data + chunk->blocks_start);
    if (nbytes == 0 || nbytes > MAX_DICTIONARY_NBYTES || nbytes > rest_nbytes - 4)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    chunk->dictionary = (struct span){chunk->source.data + chunk->blocks_start + 4, nbytes};
    chunk->blocks_start += 4 + nbytes;
    return 0;
}

/* ------------------------------------------------------------------------------------------------- chunks of one value */

static int fill_special(const struct chunk *chunk, uint8_t *target, struct codec_error *error)
{
    static const uint8_t nan4[4] = {0, 0, 0xc0, 0x7f}, nan8[8] = {0, 0, 0, 0, 0, 0, 0xf8, 0x7f};
    const uint8_t *value = NULL;
    size_t itemsize = chunk->itemsize;
    switch (special_kind(chunk)) {
    case SPECIAL_ZEROS:
    case SPECIAL_UNINITIALISED: /* anything would do, except what was in the memory before */
        memset(target, 0, chunk->nbytes);
        return 0;
    case SPECIAL_NAN:
        value = itemsize == 4 ? nan4 : itemsize == 8 ? nan8 : NULL;
        break;
    case SPECIAL_VALUE: /* stands behind the header; it may be longer than the one byte for the item size can say */
        itemsize = chunk->source.nbytes - chunk->header_nbytes;
        value = chunk->source.data + chunk->header_nbytes;
        break;
    default:
        break;
    }
    if (value == NULL || itemsize == 0 || chunk->nbytes % itemsize != 0)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    for (size_t i = 0; i < chunk->nbytes; i += itemsize)
        memcpy(target + i, value, itemsize);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------ a block */

/* A block's streams, as they are read. */
struct streams {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t decode_zstd(struct decoder *decoder, const struct chunk *chunk, struct span stream, uint8_t *target,
                          size_t nbytes)
{
    ZSTD_DCtx *context = decoder_zstd(decoder);
    /* zstd itself would take the formats of its first years too, whose decoders nobody looks after. */
    if (context == NULL || stream.nbytes < 4 || read_u32_le(stream.data) != ZSTD_MAGIC)
        return 0;
    size_t result = chunk->dictionary.data != NULL
                        ? ZSTD_decompress_usingDict(context, target, nbytes, stream.data, stream.nbytes,
                                                    chunk->dictionary.data, chunk->dictionary.nbytes)
                        : ZSTD_decompressDCtx(context, target, nbytes, stream.data, stream.nbytes);
    return ZSTD_isError(result) ? 0 : result;
}

static size_t decode_lz4(const struct chunk *chunk, struct span stream, uint8_t *target, size_t nbytes)
{
    const char *source = (const char *)stream.data;
    int result = chunk->dictionary.data != NULL
                     ? LZ4_decompress_safe_usingDict(source, (char *)target, (int)stream.nbytes, (int)nbytes,
                                                     (const char *)chunk->dictionary.data,
                                                     (int)chunk->dictionary.nbytes)
                     : LZ4_decompress_safe(source, (char *)target, (int)stream.nbytes, (int)nbytes);
    return result < 0 ? 0 : (size_t)result;
}

static size_t decode_zlib(struct decoder *decoder, struct span stream, uint8_t *target, size_t nbytes)
{
    struct libdeflate_decompressor *context = decoder_deflate(decoder);
    size_t written_nbytes = 0;
    if (context == NULL || libdeflate_zlib_decompress(context, stream.data, stream.nbytes, target, nbytes,
                                                      &written_nbytes) != LIBDEFLATE_SUCCESS)
        return 0;
    return written_nbytes;
}

/* Decodes one compressed stream; 0 unless it gives exactly 'nbytes'. */
static int decode_stream(struct decoder *decoder, const struct chunk *chunk, struct span stream, uint8_t *target,
                         size_t nbytes)
{
    switch (chunk->codec) {
    case INNER_BLOSCLZ:
        return blosclz_decode(stream, target, nbytes) == nbytes;
    case INNER_LZ4:
        return decode_lz4(chunk, stream, target, nbytes) == nbytes;
    case INNER_ZLIB:
        return decode_zlib(decoder, stream, target, nbytes) == nbytes;
    default:
        return decode_zstd(decoder, chunk, stream, target, nbytes) == nbytes;
    }
}

/* Reads the next stream of a block, which holds 'nbytes', to 'target': an int32 size, then so many bytes.  A size of
   'nbytes' is stored bytes; in blosc2, 0 is zeros, and a negative one that byte, negated, repeated, behind a token. */
static int read_stream(struct decoder *decoder, const struct chunk *chunk, struct streams *streams, uint8_t *target,
                       size_t nbytes, struct codec_error *error)
{
    if (streams->end - streams->at < 4)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    uint32_t size = read_u32_le(streams->at);
    streams->at += 4;
    size_t rest_nbytes = (size_t)(streams->end - streams->at);
    if (chunk->version > BLOSC1_VERSION && size == 0) {
        memset(target, 0, nbytes);
        return 0;
    }
    if (chunk->version > BLOSC1_VERSION && size > INT32_MAX) {
        uint32_t value = -size; /* of the unsigned: the magnitude */
        if (rest_nbytes < 1 || value > 255 || !(*streams->at & 1))
            return codec_corrupt(error, RINGIO_REASON_DATA);
        streams->at++;
        memset(target, (int)value, nbytes);
        return 0;
    }
    if (size > rest_nbytes)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    struct span stream = {streams->at, size};
    streams->at += size;
    if (size == nbytes)
        memcpy(target, stream.data, nbytes);
    else if (size > nbytes || !decode_stream(decoder, chunk, stream, target, nbytes))
        return codec_corrupt(error, RINGIO_REASON_DATA);
    return 0;
}

/* A split block has one stream for each byte of an element, which fits a shuffle.  A short last block is never split.
   Chunks from before c-blosc 1.12 lack the flag that says so: there, blocks were split within these limits. */
static size_t stream_count(const struct chunk *chunk, size_t nbytes)
{
    if (chunk->flags & FLAG_NOT_SPLIT || nbytes != chunk->block_nbytes)
        return 1;
    if (chunk->version <= BLOSC1_VERSION && (chunk->itemsize > 16 || nbytes / chunk->itemsize < 128))
        return 1;
    return chunk->itemsize;
}

/* Undoes "each element XOR the one before" in the first block, "XOR the one of the first block" in the others. */
static void undo_delta(size_t itemsize, const uint8_t *first, uint8_t *block, size_t nbytes)
{
    size_t unit = itemsize == 2 || itemsize == 4 ? itemsize : itemsize % 8 == 0 ? 8 : 1;
    size_t whole_nbytes = nbytes - nbytes % unit;
    const uint8_t *reference = first == block ? first : first + unit;
    if (first != block) {
        for (size_t i = 0; i < unit && i < whole_nbytes; i++)
            block[i] ^= first[i];
    }
    for (size_t i = unit; i < whole_nbytes; i++)
        block[i] ^= reference[i - unit];
}

static void undo_bitshuffle(const struct chunk *chunk, size_t itemsize, const uint8_t *source, uint8_t *target,
                            size_t nbytes)
{
    size_t count = nbytes / itemsize;
    if (count < 8 || (chunk->version <= BLOSC1_VERSION && count % 8 != 0))
        memcpy(target, source, nbytes); /* was left as it is */
    else
        blosc2_bitunshuffle((int32_t)itemsize, (int32_t)nbytes, source, target);
}

/* Where the output of the filter before filters[i], in decoding order, goes: the last writes to 'target', the others to
   scratch in turns.  Delta works in place there. */
static uint8_t *filter_target(struct decoder *decoder, const struct chunk *chunk, uint32_t i, uint8_t *target)
{
    uint32_t writers_left = i - (i > 0 && chunk->filters[0] == BLOSC_DELTA);
    return writers_left == 0 ? target : scratch_take(&decoder->blocks[writers_left % 2], chunk->block_nbytes);
}

static int decode_block(struct decoder *decoder, const struct chunk *chunk, size_t index, uint8_t *chunk_target,
                        struct codec_error *error)
{
    size_t start = index * chunk->block_nbytes;
    size_t nbytes = chunk->nbytes - start < chunk->block_nbytes ? chunk->nbytes - start : chunk->block_nbytes;
    uint32_t source_start = read_u32_le(chunk->source.data + chunk->header_nbytes + 4 * index);
    if (source_start < chunk->blocks_start || source_start >= chunk->source.nbytes)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    size_t count = stream_count(chunk, nbytes);
    if (nbytes % count != 0)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    uint8_t *target = chunk_target + start;
    uint8_t *data = filter_target(decoder, chunk, chunk->filter_count, target);
    if (data == NULL)
        return codec_no_memory();
    struct streams streams = {chunk->source.data + source_start, chunk->source.data + chunk->source.nbytes};
    for (size_t i = 0; i < count; i++) {
        int status = read_stream(decoder, chunk, &streams, data + i * (nbytes / count), nbytes / count, error);
        if (status != 0)
            return status;
    }
    for (uint32_t i = chunk->filter_count; i-- > 0;) {
        if (chunk->filters[i] == BLOSC_DELTA) {
            undo_delta(chunk->filter_itemsizes[i], chunk_target, target, nbytes);
            continue;
        }
        uint8_t *output = filter_target(decoder, chunk, i, target);
        if (output == NULL)
            return codec_no_memory();
        if (chunk->filters[i] == BLOSC_SHUFFLE)
            codec_unshuffle(chunk->filter_itemsizes[i], data, output, nbytes);
        else
            undo_bitshuffle(chunk, chunk->filter_itemsizes[i], data, output, nbytes);
        data = output;
    }
    return 0;
}

int codec_blosc_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                       size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)target_nbytes;
    struct chunk chunk = {.source = source};
    int status = read_header(&chunk, error);
    if (status == 0)
        status = codec_check_size(codec, error, chunk.nbytes);
    if (status != 0)
        return status;
    *decoded = (struct span){target, chunk.nbytes};
    if (special_kind(&chunk) != SPECIAL_NONE)
        return fill_special(&chunk, target, error);
    if (chunk.flags & FLAG_STORED) {
        decoded->data = source.data + chunk.header_nbytes; /* nothing to be done, so nothing is copied */
        return chunk.nbytes == source.nbytes - chunk.header_nbytes ? 0 : codec_corrupt(error, RINGIO_REASON_HEADER);
    }
    status = read_tables(&chunk, error);
    for (size_t i = 0; i < chunk.block_count && status == 0; i++)
        status = decode_block(decoder, &chunk, i, target, error);
    return status;
}
