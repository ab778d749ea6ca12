/* codec_blosc.c: a blosc1 or blosc2 chunk: header, table of block starts, blocks.

   The container is read here, and only the pieces of it go to other libraries: shuffles to c-blosc2, streams to LZ4,
   zstd and libdeflate.  c-blosc2's own blosc2_decompress_ctx() is not called: with BLOSC_NTHREADS in the environment it
   starts threads, which do not survive fork(); a chunk can leave filter settings behind for the next one; and it cannot
   read all blosc1 chunks from before the "not split" flag.  The whole list: docs/decisions/0001-c-libraries.md.

   codec_blosc.h has the header. */
#include <blosc2.h>
#include <libdeflate.h>
#include <lz4.h>
#include <zstd.h>

#include "codec_blosc.h"

#define ZSTD_MAGIC 0xFD2FB528u

/* ---------------------------------------------------------------------------------------------- chunks of one value */

static int fill_special(const struct blosc_chunk *chunk, uint8_t *target, struct codec_error *error)
{
    static const uint8_t nan4[4] = {0, 0, 0xc0, 0x7f}, nan8[8] = {0, 0, 0, 0, 0, 0, 0xf8, 0x7f};
    const uint8_t *value = NULL;
    size_t itemsize = chunk->itemsize;
    switch (blosc_special(chunk)) {
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

/* ---------------------------------------------------------------------------------------------------------- a block */

/* A block's streams, as they are read. */
struct streams {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t decode_zstd(struct decoder *decoder, const struct blosc_chunk *chunk, struct span stream, uint8_t *target,
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

/* Of a stream of 'stream_nbytes' the first 'nbytes'. */
static size_t decode_lz4(const struct blosc_chunk *chunk, struct span stream, uint8_t *target, size_t nbytes,
                         size_t stream_nbytes)
{
    const char *source = (const char *)stream.data;
    if (nbytes < stream_nbytes) {
        int part = LZ4_decompress_safe_partial(source, (char *)target, (int)stream.nbytes, (int)nbytes, (int)nbytes);
        return part < 0 ? 0 : (size_t)part;
    }
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

/* Decodes the first 'nbytes' of a compressed stream of 'stream_nbytes'; 0 unless it gives exactly that. */
static int decode_stream(struct decoder *decoder, const struct blosc_chunk *chunk, struct span stream, uint8_t *target,
                         size_t nbytes, size_t stream_nbytes)
{
    switch (chunk->codec) {
    case INNER_BLOSCLZ:
        return blosclz_decode(stream, target, nbytes) == nbytes;
    case INNER_LZ4:
        return decode_lz4(chunk, stream, target, nbytes, stream_nbytes) == nbytes;
    case INNER_ZLIB:
        return decode_zlib(decoder, stream, target, nbytes) == nbytes;
    default:
        return decode_zstd(decoder, chunk, stream, target, nbytes) == nbytes;
    }
}

/* Reads the first 'nbytes' of the next stream of a block, which holds 'stream_nbytes': an int32 size, then so many
   bytes.  A size of 'stream_nbytes' is stored bytes; in blosc2, 0 is zeros, and a negative one that byte, negated,
   repeated, behind a token.  '*decoded' is where they are then: 'target', or, stored, where they are. */
static int read_stream(struct decoder *decoder, const struct blosc_chunk *chunk, struct streams *streams,
                       uint8_t *target, size_t nbytes, size_t stream_nbytes, const uint8_t **decoded,
                       struct codec_error *error)
{
    *decoded = target;
    if (streams->end - streams->at < 4)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    uint32_t size = read_u32_le(streams->at);
    streams->at += 4;
    size_t rest_nbytes = (size_t)(streams->end - streams->at);
    if (chunk->version > BLOSC1_LAST_VERSION && size == 0) {
        memset(target, 0, nbytes);
        return 0;
    }
    if (chunk->version > BLOSC1_LAST_VERSION && size > INT32_MAX) {
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
    if (size == stream_nbytes)
        *decoded = stream.data;
    else if (size > stream_nbytes || !decode_stream(decoder, chunk, stream, target, nbytes, stream_nbytes))
        return codec_corrupt(error, RINGIO_REASON_DATA);
    return 0;
}

/* A split block has one stream for each byte of an element, which fits a shuffle.  A short last block is never split.
   Chunks from before c-blosc 1.12 lack the flag that says so: there, blocks were split within these limits. */
static size_t stream_count(const struct blosc_chunk *chunk, size_t nbytes)
{
    if (chunk->flags & FLAG_NOT_SPLIT || nbytes != chunk->block_nbytes)
        return 1;
    if (chunk->version <= BLOSC1_LAST_VERSION && (chunk->itemsize > 16 || nbytes / chunk->itemsize < 128))
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

/* Returns 0 or -errno: c-blosc2 takes memory for it. */
static int undo_bitshuffle(const struct blosc_chunk *chunk, size_t itemsize, const uint8_t *source, uint8_t *target,
                           size_t nbytes)
{
    size_t count = nbytes / itemsize;
    if (count >= 8 && (chunk->version > BLOSC1_LAST_VERSION || count % 8 == 0))
        return blosc2_bitunshuffle((int32_t)itemsize, (int32_t)nbytes, source, target) < 0 ? codec_no_memory() : 0;
    memcpy(target, source, nbytes); /* was left as it is */
    return 0;
}

/* Where the output of the filter before filters[i], in decoding order, goes: the last writes to 'target', the others to
   scratch in turns.  Delta works in place there. */
static uint8_t *filter_target(struct decoder *decoder, const struct blosc_chunk *chunk, uint32_t i, uint8_t *target)
{
    uint32_t writers_left = i - (i > 0 && chunk->filters[0] == BLOSC_DELTA);
    return writers_left == 0 ? target : scratch_take(&decoder->blocks[writers_left % 2], chunk->block_nbytes);
}

/* Whether the first bytes of a block can be had without the others: LZ4 can stop anywhere, and planes of a byte shuffle
   that are streams of their own, all cut after the same element, are a smaller shuffle. */
static int can_stop_early(const struct blosc_chunk *chunk, size_t count)
{
    if (chunk->codec != INNER_LZ4 || chunk->dictionary.data != NULL)
        return 0;
    if (count == 1)
        return chunk->filter_count == 0;
    return chunk->filter_count == 1 && chunk->filters[0] == BLOSC_SHUFFLE && chunk->filter_itemsizes[0] == count;
}

/* How many of the 'stream_nbytes' of each of 'count' streams are needed for the block's first 'end' bytes. */
static size_t stream_prefix_nbytes(const struct blosc_chunk *chunk, size_t count, size_t stream_nbytes, size_t end)
{
    size_t prefix_nbytes = ((end + count - 1) / count + 63) & ~(size_t)63; /* whole vectors for the shuffle */
    return can_stop_early(chunk, count) && prefix_nbytes < stream_nbytes / 2 ? prefix_nbytes : stream_nbytes;
}

/* A block, and how it is read. */
struct block {
    size_t nbytes;
    size_t stream_count;
    size_t stream_nbytes;
    size_t prefix_nbytes; /* of each stream that is decoded */
    struct streams streams;
};

/* Finds block number 'index', of which the first 'end' bytes are wanted. */
static int find_block(const struct blosc_chunk *chunk, size_t index, size_t end, struct block *block,
                      struct codec_error *error)
{
    size_t start = index * chunk->block_nbytes;
    size_t nbytes = chunk->nbytes - start < chunk->block_nbytes ? chunk->nbytes - start : chunk->block_nbytes;
    uint32_t source_start = read_u32_le(chunk->source.data + chunk->header_nbytes + 4 * index);
    if (source_start < chunk->blocks_start || source_start >= chunk->source.nbytes)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    block->nbytes = nbytes;
    block->stream_count = stream_count(chunk, nbytes);
    if (nbytes % block->stream_count != 0)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    block->stream_nbytes = nbytes / block->stream_count;
    block->prefix_nbytes =
        stream_prefix_nbytes(chunk, block->stream_count, block->stream_nbytes, end < nbytes ? end : nbytes);
    block->streams =
        (struct streams){chunk->source.data + source_start, chunk->source.data + chunk->source.nbytes};
    return 0;
}

/* Whether a block consists of the byte planes of its elements, and nothing else was done to it. */
static int has_planes(const struct blosc_chunk *chunk, const struct block *block)
{
    size_t itemsize = chunk->filter_itemsizes[0];
    return chunk->filter_count == 1 && chunk->filters[0] == BLOSC_SHUFFLE && planes_can_join(itemsize) &&
           block->nbytes % itemsize == 0 && (block->stream_count == 1 || block->stream_count == itemsize);
}

/* Reads the byte planes of a block: each a stream of its own, or all in one. */
static int read_planes(struct decoder *decoder, const struct blosc_chunk *chunk, struct block *block,
                       struct planes *planes, struct codec_error *error)
{
    uint8_t *room = scratch_take(&decoder->blocks[0], chunk->block_nbytes);
    if (room == NULL)
        return codec_no_memory();
    planes->count = chunk->filter_itemsizes[0];
    int status = 0;
    for (size_t i = 0; i < block->stream_count && status == 0; i++)
        status = read_stream(decoder, chunk, &block->streams, room + i * block->prefix_nbytes, block->prefix_nbytes,
                             block->stream_nbytes, &planes->at[i], error);
    for (size_t i = 1; i < planes->count && block->stream_count == 1; i++)
        planes->at[i] = planes->at[0] + i * (block->nbytes / planes->count);
    return status;
}

/* Undoes the filters of a block: 'data' is what the streams gave, 'target' the block's place. */
static int undo_filters(struct decoder *decoder, const struct blosc_chunk *chunk, const uint8_t *data,
                        uint8_t *chunk_target, uint8_t *target, size_t nbytes)
{
    for (uint32_t i = chunk->filter_count; i-- > 0;) {
        if (chunk->filters[i] == BLOSC_DELTA) {
            undo_delta(chunk->filter_itemsizes[i], chunk_target, target, nbytes);
            continue;
        }
        uint8_t *output = filter_target(decoder, chunk, i, target);
        if (output == NULL)
            return codec_no_memory();
        int status = 0;
        if (chunk->filters[i] == BLOSC_SHUFFLE)
            codec_unshuffle(chunk->filter_itemsizes[i], data, output, nbytes);
        else
            status = undo_bitshuffle(chunk, chunk->filter_itemsizes[i], data, output, nbytes);
        if (status != 0)
            return status;
        data = output;
    }
    return 0;
}

/* Decodes the first 'end' bytes of a block, or more. */
static int decode_block(struct decoder *decoder, const struct blosc_chunk *chunk, size_t index, size_t end,
                        uint8_t *chunk_target, struct codec_error *error)
{
    struct block block;
    int status = find_block(chunk, index, end, &block, error);
    if (status != 0)
        return status;
    uint8_t *target = chunk_target + index * chunk->block_nbytes;
    if (has_planes(chunk, &block)) {
        struct planes planes;
        status = read_planes(decoder, chunk, &block, &planes, error);
        if (status == 0)
            planes_join(&planes, 0, block.prefix_nbytes * block.stream_count / planes.count, target);
        return status;
    }
    uint8_t *data = filter_target(decoder, chunk, chunk->filter_count, target);
    if (data == NULL)
        return codec_no_memory();
    for (size_t i = 0; i < block.stream_count; i++) {
        uint8_t *place = data + i * block.prefix_nbytes;
        const uint8_t *decoded;
        status = read_stream(decoder, chunk, &block.streams, place, block.prefix_nbytes, block.stream_nbytes, &decoded,
                             error);
        if (status != 0)
            return status;
        if (decoded != place)
            memcpy(place, decoded, block.prefix_nbytes);
    }
    return undo_filters(decoder, chunk, data, chunk_target, target, block.prefix_nbytes * block.stream_count);
}

/* Gives the chunk's planes away as they are, where that is welcome.  Returns 0, -status, or 1 where they are not. */
static int give_planes(struct decoder *decoder, const struct blosc_chunk *chunk, size_t end, struct codec_error *error)
{
    if (decoder->planes.count == 0 || chunk->block_count != 1)
        return 1;
    struct block block;
    int status = find_block(chunk, 0, end, &block, error);
    if (status != 0)
        return status;
    if (!has_planes(chunk, &block) || chunk->filter_itemsizes[0] != decoder->planes.count)
        return 1;
    return read_planes(decoder, chunk, &block, &decoder->planes, error);
}

int codec_blosc_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                       size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)target_nbytes;
    struct blosc_chunk chunk = {.source = source};
    int status = blosc_read_header(&chunk, error);
    if (status == 0)
        status = codec_check_size(codec, error, chunk.nbytes);
    if (status != 0)
        return status;
    *decoded = (struct span){target, chunk.nbytes};
    if (blosc_special(&chunk) != SPECIAL_NONE)
        return fill_special(&chunk, target, error);
    if (chunk.flags & FLAG_STORED) {
        decoded->data = source.data + chunk.header_nbytes; /* nothing to be done, so nothing is copied */
        return chunk.nbytes == source.nbytes - chunk.header_nbytes ? 0 : codec_corrupt(error, RINGIO_REASON_HEADER);
    }
    status = blosc_read_tables(&chunk, error);
    struct interval wanted = decoder->wanted;
    if (chunk.filter_count > 0 && chunk.filters[0] == BLOSC_DELTA)
        wanted = (struct interval){0, SIZE_MAX}; /* each block refers to the first */
    if (status == 0 && wanted.first < wanted.end) {
        status = give_planes(decoder, &chunk, wanted.end, error);
        if (status <= 0) {
            decoded->data = NULL;
            return status;
        }
        status = 0;
    }
    for (size_t i = 0; i < chunk.block_count && status == 0; i++) {
        size_t start = i * chunk.block_nbytes;
        if (start < wanted.end && start + chunk.block_nbytes > wanted.first)
            status = decode_block(decoder, &chunk, i, wanted.end - start, target, error);
    }
    return status;
}
