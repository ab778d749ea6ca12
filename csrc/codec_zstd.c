/* codec_zstd.c: one or more zstd frames, decoded in one pass straight into the target.

   In one pass there is no window buffer, so what a frame asks for as its window costs nothing and is not limited: a
   small chunk from a streaming encoder often claims 8 MiB.  Format: RFC 8878. */
#include <zstd.h>
#include <zstd_errors.h>

#include "codec_private.h"

#define FRAME_MAGIC 0xFD2FB528u
#define SKIPPABLE_MAGIC 0x184D2A50u /* and the 15 that follow */

static int from_zstd_error(size_t result, uint64_t declared_nbytes, uint64_t target_nbytes, struct codec_error *error)
{
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_dstSize_tooSmall:
        return codec_wrong_size(error, declared_nbytes > target_nbytes ? declared_nbytes : CODEC_MORE, target_nbytes);
    case ZSTD_error_checksum_wrong:
        error->got = error->expected = 0; /* zstd does not say */
        return -RINGIO_CHECKSUM;
    case ZSTD_error_srcSize_wrong:
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    case ZSTD_error_dictionary_wrong:
        return codec_unsupported(error, RINGIO_REASON_DICTIONARY);
    case ZSTD_error_frameParameter_windowTooLarge:
        return codec_unsupported(error, RINGIO_REASON_WINDOW);
    case ZSTD_error_memory_allocation:
        return codec_no_memory();
    case ZSTD_error_frameParameter_unsupported:
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    default:
        return codec_corrupt(error, RINGIO_REASON_DATA);
    }
}

/* Looks at every frame before anything is decoded: old formats, which zstd would take too, and dictionaries are
   refused.  '*declared_nbytes' is what the frames say they hold, 0 where one does not say. */
static int check_frames(struct span source, uint64_t *declared_nbytes, struct codec_error *error)
{
    int all_declare = 1;
    uint64_t declared = 0;
    for (size_t at = 0; at < source.nbytes;) {
        const uint8_t *frame = source.data + at;
        size_t rest_nbytes = source.nbytes - at;
        uint64_t otherwise = at > 0 ? RINGIO_REASON_TRAILING : RINGIO_REASON_HEADER;
        if (rest_nbytes < 5)
            return codec_corrupt(error, otherwise);
        uint32_t magic = read_u32_le(frame);
        if ((magic & ~15u) != SKIPPABLE_MAGIC) {
            if (magic != FRAME_MAGIC)
                return codec_corrupt(error, otherwise);
            if (frame[4] & 3)
                return codec_unsupported(error, RINGIO_REASON_DICTIONARY);
            unsigned long long content_nbytes = ZSTD_getFrameContentSize(frame, rest_nbytes);
            if (content_nbytes == ZSTD_CONTENTSIZE_ERROR)
                return codec_corrupt(error, RINGIO_REASON_HEADER);
            if (content_nbytes == ZSTD_CONTENTSIZE_UNKNOWN)
                all_declare = 0;
            else if (__builtin_add_overflow(declared, content_nbytes, &declared))
                return codec_corrupt(error, RINGIO_REASON_HEADER);
        }
        size_t frame_nbytes = ZSTD_findFrameCompressedSize(frame, rest_nbytes);
        if (ZSTD_isError(frame_nbytes))
            return from_zstd_error(frame_nbytes, 0, 0, error);
        at += frame_nbytes;
    }
    *declared_nbytes = all_declare ? declared : 0;
    return 0;
}

int codec_zstd_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                      size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    uint64_t declared_nbytes = 0;
    int status = source.nbytes == 0 ? codec_corrupt(error, RINGIO_REASON_HEADER)
                                    : check_frames(source, &declared_nbytes, error);
    if (status != 0)
        return status;
    if (declared_nbytes > target_nbytes)
        return codec_wrong_size(error, declared_nbytes, target_nbytes);
    ZSTD_DCtx *context = decoder_zstd(decoder);
    if (context == NULL)
        return codec_no_memory();
    size_t nbytes = ZSTD_decompressDCtx(context, target, target_nbytes, source.data, source.nbytes);
    if (ZSTD_isError(nbytes))
        return from_zstd_error(nbytes, declared_nbytes, target_nbytes, error);
    *decoded = (struct span){target, nbytes};
    return codec_check_size(codec, error, nbytes);
}
