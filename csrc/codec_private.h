/* codec_private.h: what the files codec*.c share and nobody else sees. */
#ifndef RINGIO_CODEC_PRIVATE_H
#define RINGIO_CODEC_PRIVATE_H

#include <stdint.h>
#include <string.h>

#include "codec.h"

struct ZSTD_DCtx_s;
struct libdeflate_decompressor;

/* A buffer that grows and is kept. */
struct scratch {
    uint8_t *data;
    size_t nbytes;
};

struct decoder {
    struct ZSTD_DCtx_s *zstd;                /* made at first use */
    struct libdeflate_decompressor *deflate; /* made at first use */
    struct scratch steps[2];                 /* between the steps of a chain, in turns */
    struct interval wanted;                  /* of what the running step gives */
    struct parts *parts;                     /* not NULL: not all of the running step's source has been read */
    struct planes planes;                    /* of the running step: what it may give, then what it gave */
    struct planes source_planes;             /* what the running step is given in place of a source with data, if any */
    struct scratch blocks[2];                /* between the filters of a blosc block, in turns */
};

/* scratch_take() makes room for 'nbytes'; what was in it is lost.  NULL when out of memory. */
uint8_t *scratch_take(struct scratch *scratch, size_t nbytes);

/* The contexts of a decoder, made at first use; NULL when out of memory. */
struct ZSTD_DCtx_s *decoder_zstd(struct decoder *decoder);
struct libdeflate_decompressor *decoder_deflate(struct decoder *decoder);

/* The failures that a codec can report: each fills in 'error' and gives the status to return. */
int codec_corrupt(struct codec_error *error, uint64_t reason);
int codec_unsupported(struct codec_error *error, uint64_t reason);
int codec_no_memory(void);

/* A decoded size of CODEC_MORE says "more than expected", where a codec stops before it knows how many. */
#define CODEC_MORE UINT64_MAX
int codec_wrong_size(struct codec_error *error, uint64_t got, uint64_t expected);

/* codec_check_size() is 0 if 'codec' may give 'nbytes', else what codec_wrong_size() returns. */
int codec_check_size(const struct ringio_codec *codec, struct codec_error *error, uint64_t nbytes);

/* codec_checksum_verify() takes the checksum from one end of 'source' and compares; '*decoded' is the rest. */
#define CHECKSUM_NBYTES 4
typedef uint32_t checksum_fn(struct span data);
int codec_checksum_verify(const struct ringio_codec *codec, checksum_fn *checksum, struct span source,
                          struct span *decoded, struct codec_error *error);

/* blosclz_decode() decodes one BloscLZ stream.  Returns how many bytes it wrote, 0 for damaged input. */
size_t blosclz_decode(struct span source, uint8_t *target, size_t target_nbytes);

/* codec_items_in_place() says whether codec_items_decode() may have one place as its source and its target. */
int codec_items_in_place(const struct ringio_codec *codec);

/* codec_items_takes_planes() says of how many bytes elements are that codec_items_decode() takes as planes; 0: none. */
uint32_t codec_items_takes_planes(const struct ringio_codec *codec);

/* codec_shuffle_prepare() lets c-blosc2 find out what the processor can do, which it does at first use and without a
   lock.  To be called before any shuffle is undone. */
void codec_shuffle_prepare(void);

/* codec_unshuffle() undoes a byte shuffle over 'nbytes', which may end with a part of an element. */
void codec_unshuffle(size_t itemsize, const uint8_t *source, uint8_t *target, size_t nbytes);

static inline uint32_t read_u32_le(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

#endif
