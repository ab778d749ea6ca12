/* codec.c: the decoder, and the chain that runs the codecs one after the other. */
#include "codec.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>

#include "codec_private.h"

/* Scratch above this is given back after each chain: as much as the second-level cache of a core holds stays warm, and
   a worker that met one huge chunk does not keep its size for ever. */
#define SCRATCH_KEEP_NBYTES ((size_t)4 << 20)

static codec_decode_fn *const decode_fns[] = {
    [RINGIO_CODEC_BLOSC] = codec_blosc_decode,     [RINGIO_CODEC_ZSTD] = codec_zstd_decode,
    [RINGIO_CODEC_LZ4] = codec_lz4_decode,         [RINGIO_CODEC_GZIP] = codec_deflate_decode,
    [RINGIO_CODEC_ZLIB] = codec_deflate_decode,    [RINGIO_CODEC_CRC32C] = codec_crc32c_decode,
    [RINGIO_CODEC_SHUFFLE] = codec_shuffle_decode, [RINGIO_CODEC_SWAP] = codec_swap_decode,
    [RINGIO_CODEC_SWAP_FIELD] = codec_swap_field_decode,
    [RINGIO_CODEC_CRC32] = codec_checksum_decode,  [RINGIO_CODEC_ADLER32] = codec_checksum_decode,
    [RINGIO_CODEC_FLETCHER32] = codec_checksum_decode,
    [RINGIO_CODEC_PACKBITS] = codec_packbits_decode,
    [RINGIO_CODEC_SUM] = codec_items_decode,       [RINGIO_CODEC_CAST] = codec_items_decode,
    [RINGIO_CODEC_SCALE] = codec_items_decode,     [RINGIO_CODEC_RESCALE] = codec_items_decode,
};

uint8_t *scratch_take(struct scratch *scratch, size_t nbytes)
{
    if (nbytes > scratch->nbytes) {
        free(scratch->data);
        scratch->data = malloc(nbytes);
        scratch->nbytes = scratch->data != NULL ? nbytes : 0;
    } else if (scratch->data == NULL) {
        scratch->data = malloc(1); /* for 0 bytes: a pointer that is not NULL */
    }
    return scratch->data;
}

static void scratch_trim(struct scratch *scratch)
{
    if (scratch->nbytes > SCRATCH_KEEP_NBYTES) {
        free(scratch->data);
        *scratch = (struct scratch){0};
    }
}

struct decoder *decoder_new(void)
{
    codec_shuffle_prepare();
    return calloc(1, sizeof(struct decoder));
}

void decoder_free(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    ZSTD_freeDCtx(decoder->zstd);
    libdeflate_free_decompressor(decoder->deflate);
    for (int i = 0; i < 2; i++) {
        free(decoder->steps[i].data);
        free(decoder->blocks[i].data);
    }
    free(decoder);
}

size_t decoder_scratch_nbytes(const struct decoder *decoder)
{
    return decoder->steps[0].nbytes + decoder->steps[1].nbytes + decoder->blocks[0].nbytes + decoder->blocks[1].nbytes;
}

/* Threads that are none of a reader's call ringio_decode() over and over: their decoders are kept in between, with
   contexts and scratch, which else would be made for each chunk.  No lock, which fork() could leave locked. */
#define SPARE_COUNT 8
static _Atomic(struct decoder *) spares[SPARE_COUNT];

static struct decoder *take_spare(void)
{
    for (int i = 0; i < SPARE_COUNT; i++) {
        struct decoder *decoder = atomic_exchange_explicit(&spares[i], NULL, memory_order_acquire);
        if (decoder != NULL)
            return decoder;
    }
    return decoder_new();
}

static void keep_spare(struct decoder *decoder)
{
    for (int i = 0; i < SPARE_COUNT; i++) {
        struct decoder *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&spares[i], &none, decoder, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    decoder_free(decoder);
}

struct ZSTD_DCtx_s *decoder_zstd(struct decoder *decoder)
{
    if (decoder->zstd == NULL)
        decoder->zstd = ZSTD_createDCtx();
    return decoder->zstd;
}

struct libdeflate_decompressor *decoder_deflate(struct decoder *decoder)
{
    if (decoder->deflate == NULL)
        decoder->deflate = libdeflate_alloc_decompressor();
    return decoder->deflate;
}

int codec_corrupt(struct codec_error *error, uint64_t reason)
{
    error->got = reason;
    return -RINGIO_CORRUPT;
}

int codec_unsupported(struct codec_error *error, uint64_t reason)
{
    error->got = reason;
    return -RINGIO_UNSUPPORTED;
}

int codec_no_memory(void)
{
    return -ENOMEM;
}

int codec_wrong_size(struct codec_error *error, uint64_t got, uint64_t expected)
{
    error->got = got;
    error->expected = expected;
    return -RINGIO_WRONG_SIZE;
}

int codec_check_size(const struct ringio_codec *codec, struct codec_error *error, uint64_t nbytes)
{
    int fits = codec->flags & RINGIO_CODEC_AT_MOST ? nbytes <= codec->decoded_nbytes : nbytes == codec->decoded_nbytes;
    return fits ? 0 : codec_wrong_size(error, nbytes, codec->decoded_nbytes);
}

static int works_in_place(const struct ringio_codec *codec)
{
    return codec->kind == RINGIO_CODEC_SWAP || codec->kind == RINGIO_CODEC_SWAP_FIELD || codec_items_in_place(codec);
}

/* A step may write into the target if all that is left to do there can be done in place. */
static int writes_target(const struct ringio_codec *codecs, uint32_t step, uint32_t step_count)
{
    for (uint32_t i = step + 1; i < step_count; i++) {
        if (!works_in_place(&codecs[i]))
            return 0;
    }
    return 1;
}

/* What a step has to give right where 'wanted' is wanted in the end, and all steps behind it work in place: whole items
   of theirs, and for sums all items before. */
static struct interval wanted_of(const struct ringio_codec *codecs, uint32_t step, uint32_t step_count,
                                 struct interval wanted)
{
    for (uint32_t i = step_count - 1; i > step; i--) {
        if (codecs[i].kind == RINGIO_CODEC_RESCALE)
            return (struct interval){0, SIZE_MAX}; /* looks at every item whether it makes sense */
        int computes = codecs[i].kind >= RINGIO_CODEC_SUM;
        size_t itemsize = computes || codecs[i].itemsize == 0 ? 8 : codecs[i].itemsize; /* 8 is of no type too small */
        size_t missing = wanted.end % itemsize ? itemsize - wanted.end % itemsize : 0;
        wanted.first = codecs[i].kind == RINGIO_CODEC_SUM ? 0 : wanted.first - wanted.first % itemsize;
        wanted.end = wanted.end < SIZE_MAX - missing ? wanted.end + missing : SIZE_MAX;
    }
    return wanted;
}

static int holds(const struct scratch *scratch, const uint8_t *at)
{
    uintptr_t from = (uintptr_t)scratch->data;
    return from != 0 && (uintptr_t)at >= from && (uintptr_t)at <= from + scratch->nbytes;
}

static int bad_chain(struct codec_error *error)
{
    error->got = RINGIO_PLAN_CHAIN;
    return -RINGIO_BAD_PLAN;
}

/* Whether nobody knows how many bytes a chain gives: no more than its decoded_nbytes, then. */
static int is_open(const struct ringio_codec *codecs, uint32_t step_count)
{
    return (codecs[step_count - 1].flags & RINGIO_CODEC_AT_MOST) != 0;
}

/* Whether all scratch stays where it is when the chain ends, and with it the planes that lie there: those of a stored
   stream, or of the last shuffle's source, lie in what an earlier step wrote. */
static int keeps_scratch(const struct decoder *decoder)
{
    for (int i = 0; i < 2; i++)
        if (decoder->steps[i].nbytes > SCRATCH_KEEP_NBYTES || decoder->blocks[i].nbytes > SCRATCH_KEEP_NBYTES)
            return 0;
    return 1;
}

/* Of how many bytes elements may be left apart by a step: as the chain's caller or the next step takes them.  The next
   one must not write to scratch, where they may lie. */
static uint32_t planes_taken(const struct decoder *decoder, const struct ringio_codec *codecs, uint32_t step,
                             uint32_t step_count, uint32_t plane_count)
{
    if (step + 1 == step_count)
        return keeps_scratch(decoder) ? plane_count : 0;
    return writes_target(codecs, step + 1, step_count) ? codec_items_takes_planes(&codecs[step + 1]) : 0;
}

/* Runs step 'step'; on success '*data' goes from what it is given to what it gives. */
static int run_step(struct decoder *decoder, const struct ringio_codec *codecs, uint32_t step, uint32_t step_count,
                    uint8_t *target, size_t target_nbytes, struct interval wanted, uint32_t plane_count,
                    struct span *data, struct codec_error *error)
{
    const struct ringio_codec *codec = &codecs[step];
    if (codec->kind == 0 || codec->kind >= sizeof decode_fns / sizeof *decode_fns)
        return bad_chain(error);
    uint8_t *output = target;
    int is_last_writer = writes_target(codecs, step, step_count);
    decoder->wanted = is_last_writer ? wanted_of(codecs, step, step_count, wanted)
                                     : (struct interval){0, SIZE_MAX}; /* the next step needs it all */
    decoder->source_planes = decoder->planes;
    decoder->planes.count = planes_taken(decoder, codecs, step, step_count, plane_count);
    if (is_last_writer) {
        if (codec->decoded_nbytes != target_nbytes ||
            (codec->flags & RINGIO_CODEC_AT_MOST && !is_open(codecs, step_count)))
            return bad_chain(error);
    } else if (decode_fns[codec->kind] == codec_crc32c_decode || decode_fns[codec->kind] == codec_checksum_decode) {
        output = NULL; /* only looks */
    } else {
        int data_is_in_first = holds(&decoder->steps[0], data->data);
        struct scratch *scratch = &decoder->steps[data_is_in_first];
        if (codec->decoded_nbytes > SIZE_MAX || (output = scratch_take(scratch, (size_t)codec->decoded_nbytes)) == NULL)
            return codec_no_memory();
    }
    struct span decoded = {0};
    int status = decode_fns[codec->kind](decoder, codec, *data, output, (size_t)codec->decoded_nbytes, &decoded, error);
    if (decoded.data != NULL)
        decoder->planes.count = 0;
    *data = decoded;
    return status;
}

int codec_takes_parts(const struct ringio_chain *chain, const struct ringio_codec *codecs)
{
    return chain->codec_count > 0 && codecs[chain->first_codec].kind == RINGIO_CODEC_BLOSC &&
           writes_target(codecs + chain->first_codec, 0, chain->codec_count);
}

int codec_decode_chain(struct decoder *decoder, const struct ringio_chain *chain, const struct ringio_codec *codecs,
                       struct span source, struct parts *parts, uint8_t *target, size_t target_nbytes,
                       struct interval wanted, struct span *decoded, struct planes *planes, struct codec_error *error)
{
    /* The last step may take this much scratch for them, of which only so much is kept. */
    uint32_t plane_count = planes != NULL && target_nbytes <= SCRATCH_KEEP_NBYTES ? planes->count : 0;
    if (planes != NULL)
        planes->count = 0;
    *error = (struct codec_error){.step = UINT32_MAX};
    if (source.nbytes > chain->encoded_nbytes_max) {
        error->got = source.nbytes;
        error->expected = chain->encoded_nbytes_max;
        return -RINGIO_TOO_LARGE;
    }
    if (chain->codec_count == 0) {
        *decoded = source;
        return chain->decoded_nbytes == RINGIO_SAME_SIZE || source.nbytes == chain->decoded_nbytes
                   ? 0
                   : codec_wrong_size(error, source.nbytes, chain->decoded_nbytes);
    }
    if (chain->decoded_nbytes != target_nbytes)
        return bad_chain(error);
    struct span data = source;
    int status = 0;
    decoder->planes.count = 0;
    for (uint32_t i = 0; i < chain->codec_count && status == 0; i++) {
        error->step = i;
        decoder->parts = i == 0 ? parts : NULL;
        status = run_step(decoder, codecs + chain->first_codec, i, chain->codec_count, target, target_nbytes, wanted,
                          plane_count, &data, error);
    }
    int is_exact = !is_open(codecs + chain->first_codec, chain->codec_count);
    if (status == 0 && (data.nbytes > target_nbytes || (is_exact && data.nbytes != target_nbytes)))
        status = codec_wrong_size(error, data.nbytes, target_nbytes);
    if (status == 0 && decoder->planes.count > 0) {
        *planes = decoder->planes;
        *decoded = data;
    } else if (status == 0) {
        /* A last step that only looked may have left the bytes in scratch, which is not ours to hand out. */
        uintptr_t at = (uintptr_t)data.data, from = (uintptr_t)source.data;
        if (data.data != target && (at < from || at > from + source.nbytes)) {
            if (data.nbytes > 0)
                memcpy(target, data.data, data.nbytes);
            data.data = target;
        }
        *decoded = data;
    }
    for (int i = 0; i < 2; i++) {
        scratch_trim(&decoder->steps[i]);
        scratch_trim(&decoder->blocks[i]);
    }
    return status;
}

int ringio_decode(const struct ringio_chain *chain, const struct ringio_codec *codecs, const uint8_t *source,
                  uint64_t source_nbytes, uint8_t *target, uint64_t target_nbytes, struct ringio_failure *failure)
{
    struct codec_error error = {.step = UINT32_MAX};
    int same_size = chain->decoded_nbytes == RINGIO_SAME_SIZE;
    uint64_t decoded_nbytes = same_size ? source_nbytes : chain->decoded_nbytes;
    struct span decoded = {0};
    struct span data = {source, (size_t)source_nbytes};
    int status = 0;
    if (decoded_nbytes > target_nbytes) {
        error.got = RINGIO_PLAN_TARGET_BOX;
        status = -RINGIO_BAD_PLAN;
    } else {
        struct decoder *decoder = take_spare();
        status = decoder == NULL ? codec_no_memory()
                                 : codec_decode_chain(decoder, chain, codecs, data, NULL, target,
                                                      (size_t)decoded_nbytes, (struct interval){0, SIZE_MAX}, &decoded,
                                                      NULL, &error);
        if (status == 0 && decoded.data != target && decoded.nbytes > 0)
            memcpy(target, decoded.data, decoded.nbytes);
        if (decoder != NULL)
            keep_spare(decoder);
    }
    if (failure != NULL) {
        *failure = (struct ringio_failure){.status = status,
                                           .step = error.step,
                                           .got = status == 0 ? decoded.nbytes : error.got,
                                           .expected = error.expected};
    }
    return status;
}
