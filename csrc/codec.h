/* codec.h: one interface for all codecs, one file each (codec_*.c), and the chain that runs them.

   A decoder holds the contexts of the codecs that want one (zstd, deflate), the scratch between the steps of a chain
   and that between the filters of a blosc block.  It belongs to one thread at a time; contexts are made at first use
   and kept. */
#ifndef RINGIO_CODEC_H
#define RINGIO_CODEC_H

#include <stddef.h>

#include "parts.h"
#include "planes.h"
#include "ringio.h"

struct span {
    const uint8_t *data;
    size_t nbytes;
};

/* What a step was given to say about a failure; becomes part of a ringio_failure. */
struct codec_error {
    uint64_t got;
    uint64_t expected;
    uint32_t step;
};

/* Some bytes of a decoded chunk: from 'first' up to 'end'. */
struct interval {
    size_t first;
    size_t end;
};

struct decoder; /* codec.c */

/* decoder_new() gives NULL when out of memory. */
struct decoder *decoder_new(void);
void decoder_free(struct decoder *decoder);

/* Bytes of scratch that the decoder holds on to between chains: at most 16 MiB.  While it runs a chain it may hold as
   much as two intermediate results, and two blosc blocks, which are no larger than their chunk. */
size_t decoder_scratch_nbytes(const struct decoder *decoder);

/* codec_decode_chain() runs all steps of 'chain' over 'source'.  'target' is where the last step may write:
   'target_nbytes' (the chain's decoded size) of it.  On success '*decoded' is where the decoded bytes are: 'target',
   or, where no step had to write, a part of 'source' itself; its nbytes is exactly the chain's decoded size (the
   source's size for RINGIO_SAME_SIZE).  Of the decoded bytes only those in 'wanted' have to be right: blosc leaves
   out blocks, and ends of blocks, that nobody asked for.  Never reads outside 'source' nor writes outside 'target'.

   'planes' may be NULL.  Otherwise planes->count says of how many bytes elements may be left apart; where the last step
   is a byte shuffle of such elements the chunk is given in 'planes' only, and '*decoded' has no data but its size.
   They lie in 'source' and in the decoder, until it is used again.  Else planes->count is 0 on return.

   With 'parts', which may be NULL, not all of 'source' has been read: its first step has them read what it needs.  Only
   blosc can, as far as codec_takes_parts().

   Returns 0 or -status, with 'error' filled in; its step is UINT32_MAX where no codec is to blame. */
int codec_decode_chain(struct decoder *decoder, const struct ringio_chain *chain, const struct ringio_codec *codecs,
                       struct span source, struct parts *parts, uint8_t *target, size_t target_nbytes,
                       struct interval wanted, struct span *decoded, struct planes *planes, struct codec_error *error);

/* codec_takes_parts() says whether a chain can do with some bytes of its source where only some of the decoded ones are
   wanted.  CODEC_PARTS_HEAD_NBYTES of it have to be there. */
#define CODEC_PARTS_HEAD_NBYTES 512
int codec_takes_parts(const struct ringio_chain *chain, const struct ringio_codec *codecs);

/* One step.  Decodes 'source' into 'target', whose size is 'target_nbytes'; sets '*decoded' to what it wrote, or, for
   a codec that only looks (checksums), to the part of 'source' that stays.  Returns 0 or -status.  With
   RINGIO_CODEC_AT_MOST in codec->flags fewer bytes than target_nbytes are fine, otherwise the size is exact. */
typedef int codec_decode_fn(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                            uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error);

codec_decode_fn codec_blosc_decode, codec_zstd_decode, codec_lz4_decode, codec_deflate_decode, codec_crc32c_decode,
    codec_checksum_decode, codec_shuffle_decode, codec_swap_decode, codec_swap_field_decode, codec_packbits_decode,
    codec_items_decode;

#endif
