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
    int status = 0;
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
        status = blosc_need(chunk, chunk->header_nbytes, itemsize);
        break;
    default:
        break;
    }
    if (status != 0)
        return status;
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

/* A block, and how it is read. */
struct block {
    size_t nbytes;
    size_t stream_count;
    size_t stream_nbytes;
    size_t prefix_nbytes;   /* of each stream that is decoded */
    struct interval wanted; /* of each stream */
    struct streams streams;
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

/* Of a stream of 'stream_nbytes' the first 'nbytes', or all of it; there is room for that.  LZ4 copies the match within
   which it stops byte by byte, so it should not stop where they are long. */
static size_t decode_lz4(const struct blosc_chunk *chunk, struct span stream, uint8_t *target, size_t nbytes,
                         size_t stream_nbytes)
{
    const char *source = (const char *)stream.data;
    int has_long_matches = stream.nbytes < stream_nbytes / 32;
    if (nbytes < stream_nbytes / 2 || (nbytes < stream_nbytes && !has_long_matches)) {
        int part = LZ4_decompress_safe_partial(source, (char *)target, (int)stream.nbytes, (int)nbytes, (int)nbytes);
        return part < 0 ? 0 : (size_t)part;
    }
    int result = chunk->dictionary.data != NULL
                     ? LZ4_decompress_safe_usingDict(source, (char *)target, (int)stream.nbytes, (int)stream_nbytes,
                                                     (const char *)chunk->dictionary.data,
                                                     (int)chunk->dictionary.nbytes)
                     : LZ4_decompress_safe(source, (char *)target, (int)stream.nbytes, (int)stream_nbytes);
    return result == (int)stream_nbytes ? nbytes : 0;
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

/* Has 'nbytes' of the streams read, from 'at' on. */
static int need_stream(const struct blosc_chunk *chunk, const uint8_t *at, size_t nbytes)
{
    return blosc_need(chunk, (size_t)(at - chunk->source.data), nbytes);
}

/* Reads the first block->prefix_nbytes of the block's next stream: an int32 size, then so many bytes.  A size of
   block->stream_nbytes is stored bytes; in blosc2, 0 is zeros, and a negative one that byte, negated, repeated, behind
   a token.  '*decoded' is where they are then: 'target', or, stored, where they are, of use in block->wanted. */
static int read_stream(struct decoder *decoder, const struct blosc_chunk *chunk, struct block *block, uint8_t *target,
                       const uint8_t **decoded, struct codec_error *error)
{
    struct streams *streams = &block->streams;
    size_t nbytes = block->prefix_nbytes, stream_nbytes = block->stream_nbytes;
    *decoded = target;
    if (streams->end - streams->at < 4)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    int status = need_stream(chunk, streams->at, 4);
    if (status != 0)
        return status;
    uint32_t size = read_u32_le(streams->at);
    streams->at += 4;
    size_t rest_nbytes = (size_t)(streams->end - streams->at);
    if (chunk->version > BLOSC1_LAST_VERSION && size == 0) {
        memset(target, 0, nbytes);
        return 0;
    }
    if (chunk->version > BLOSC1_LAST_VERSION && size > INT32_MAX) {
        uint32_t value = -size; /* of the unsigned: the magnitude */
        if (rest_nbytes >= 1 && (status = need_stream(chunk, streams->at, 1)) != 0)
            return status;
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
    if (size == stream_nbytes) {
        *decoded = stream.data;
        return need_stream(chunk, stream.data + block->wanted.first, block->wanted.end - block->wanted.first);
    }
    if (size > stream_nbytes)
        return codec_corrupt(error, RINGIO_REASON_DATA);
    if ((status = need_stream(chunk, stream.data, size)) != 0)
        return status;
    return decode_stream(decoder, chunk, stream, target, nbytes, stream_nbytes)
               ? 0
               : codec_corrupt(error, RINGIO_REASON_DATA);
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

/* What is needed of each stream of a block for its bytes in 'wanted'.  Planes of a byte shuffle that are streams of
   their own, all cut after the same element, are a smaller shuffle. */
static struct interval wanted_of_streams(const struct blosc_chunk *chunk, const struct block *block,
                                         struct interval wanted)
{
    size_t count = block->stream_count;
    int are_planes =
        chunk->filter_count == 1 && chunk->filters[0] == BLOSC_SHUFFLE && chunk->filter_itemsizes[0] == count;
    if (count > 1 ? !are_planes : chunk->filter_count > 0)
        return (struct interval){0, block->stream_nbytes};
    size_t first = wanted.first / count & ~(size_t)63; /* whole vectors for the shuffle */
    size_t end = ((wanted.end + count - 1) / count + 63) & ~(size_t)63;
    return (struct interval){first, end < block->stream_nbytes ? end : block->stream_nbytes};
}

/* Finds block number 'index'.  'wanted' is what is wanted of the chunk, and some of it is in the block. */
static int find_block(const struct blosc_chunk *chunk, size_t index, struct interval wanted, struct block *block,
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
    struct interval inside = {wanted.first > start ? wanted.first - start : 0,
                              wanted.end - start < nbytes ? wanted.end - start : nbytes};
    block->wanted = wanted_of_streams(chunk, block, inside);
    int can_stop_early = chunk->codec == INNER_LZ4 && chunk->dictionary.data == NULL;
    block->prefix_nbytes = can_stop_early ? block->wanted.end : block->stream_nbytes;
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
        status = read_stream(decoder, chunk, block, room + i * block->prefix_nbytes, &planes->at[i], error);
    for (size_t i = 1; i < planes->count && block->stream_count == 1; i++)
        planes->at[i] = planes->at[0] + i * (block->nbytes / planes->count);
    return status;
}

/* Joins what is wanted of a block's planes: all of it, where they are one stream. */
static void join_wanted(const struct block *block, const struct planes *planes, uint8_t *target)
{
    size_t first = block->wanted.first * block->stream_count / planes->count;
    size_t end = block->wanted.end * block->stream_count / planes->count;
    planes_join(planes, first, end - first, target + first * planes->count);
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

/* Decodes a block, or what is in 'wanted' of it, and perhaps more. */
static int decode_block(struct decoder *decoder, const struct blosc_chunk *chunk, size_t index, struct interval wanted,
                        uint8_t *chunk_target, struct codec_error *error)
{
    struct block block;
    int status = find_block(chunk, index, wanted, &block, error);
    if (status != 0)
        return status;
    uint8_t *target = chunk_target + index * chunk->block_nbytes;
    if (has_planes(chunk, &block)) {
        struct planes planes;
        status = read_planes(decoder, chunk, &block, &planes, error);
        if (status == 0)
            join_wanted(&block, &planes, target);
        return status;
    }
    uint8_t *data = filter_target(decoder, chunk, chunk->filter_count, target);
    if (data == NULL)
        return codec_no_memory();
    for (size_t i = 0; i < block.stream_count; i++) {
        uint8_t *place = data + i * block.prefix_nbytes;
        const uint8_t *decoded;
        status = read_stream(decoder, chunk, &block, place, &decoded, error);
        if (status != 0)
            return status;
        if (decoded != place)
            memcpy(place + block.wanted.first, decoded + block.wanted.first, block.wanted.end - block.wanted.first);
    }
    return undo_filters(decoder, chunk, data, chunk_target, target, block.prefix_nbytes * block.stream_count);
}

/* Gives the chunk's planes away as they are, where that is welcome.  Returns 0, -status, or 1 where they are not. */
static int give_planes(struct decoder *decoder, const struct blosc_chunk *chunk, struct interval wanted,
                       struct codec_error *error)
{
    if (decoder->planes.count == 0 || chunk->block_count != 1)
        return 1;
    struct block block;
    int status = find_block(chunk, 0, wanted, &block, error);
    if (status != 0)
        return status;
    if (!has_planes(chunk, &block) || chunk->filter_itemsizes[0] != decoder->planes.count)
        return 1;
    return read_planes(decoder, chunk, &block, &decoder->planes, error);
}

/* Has everything read that the blocks in 'wanted' can need, where there are several: at once, as each could come from a
   disk. */
static int need_blocks(const struct blosc_chunk *chunk, struct interval wanted, struct codec_error *error)
{
    if (chunk->parts == NULL || chunk->block_count < 2)
        return 0;
    const uint8_t *starts = chunk->source.data + chunk->header_nbytes;
    size_t from = chunk->source.nbytes, last = 0, end = chunk->source.nbytes;
    for (size_t i = wanted.first / chunk->block_nbytes; i < chunk->block_count; i++) {
        if (i * chunk->block_nbytes >= wanted.end)
            break;
        uint32_t start = read_u32_le(starts + 4 * i);
        if (start < chunk->blocks_start || start >= chunk->source.nbytes)
            return codec_corrupt(error, RINGIO_REASON_HEADER);
        from = start < from ? start : from;
        last = start > last ? start : last;
    }
    for (size_t i = 0; i < chunk->block_count; i++) { /* threads may have written them in any order */
        uint32_t start = read_u32_le(starts + 4 * i);
        end = start > last && start < end ? start : end;
    }
    return blosc_need(chunk, from, end - from);
}

int codec_blosc_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                       size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)target_nbytes;
    struct blosc_chunk chunk = {.source = source, .parts = decoder->parts};
    int status = blosc_read_header(&chunk, error);
    if (status == 0)
        status = codec_check_size(codec, error, chunk.nbytes);
    if (status != 0)
        return status;
    *decoded = (struct span){target, chunk.nbytes};
    struct interval wanted = {decoder->wanted.first,
                              decoder->wanted.end < chunk.nbytes ? decoder->wanted.end : chunk.nbytes};
    int wants_some = wanted.first < wanted.end;
    if (blosc_special(&chunk) != SPECIAL_NONE)
        return fill_special(&chunk, target, error);
    if (chunk.flags & FLAG_STORED) {
        decoded->data = source.data + chunk.header_nbytes; /* nothing to be done, so nothing is copied */
        if (chunk.nbytes != source.nbytes - chunk.header_nbytes)
            return codec_corrupt(error, RINGIO_REASON_HEADER);
        return wants_some ? blosc_need(&chunk, chunk.header_nbytes + wanted.first, wanted.end - wanted.first) : 0;
    }
    status = blosc_read_tables(&chunk, error);
    if (chunk.filter_count > 0 && chunk.filters[0] == BLOSC_DELTA)
        wanted = (struct interval){0, chunk.nbytes}; /* each block refers to the first */
    if (status == 0 && wants_some)
        status = need_blocks(&chunk, wanted, error);
    if (status == 0 && wants_some) {
        status = give_planes(decoder, &chunk, wanted, error);
        if (status <= 0) {
            decoded->data = NULL;
            return status;
        }
        status = 0;
    }
    for (size_t i = 0; i < chunk.block_count && status == 0 && wants_some; i++) {
        size_t start = i * chunk.block_nbytes;
        if (start < wanted.end && start + chunk.block_nbytes > wanted.first)
            status = decode_block(decoder, &chunk, i, wanted, target, error);
    }
    return status;
}
