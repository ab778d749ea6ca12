/* codec_deflate.c: gzip members (RFC 1952) or one zlib stream (RFC 1950).  The header says which it is, so that either
   is taken under either name, as TensorStore does.  Checksums and sizes in the trailers are checked by libdeflate.

   Zero bytes behind the end are padding, as for Python's gzip module; anything else there is refused. */
#include <libdeflate.h>

#include "codec_private.h"

static int from_result(enum libdeflate_result result, size_t target_nbytes, struct codec_error *error)
{
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE)
        return codec_wrong_size(error, CODEC_MORE, target_nbytes);
    return codec_corrupt(error, RINGIO_REASON_DATA);
}

static int is_gzip(struct span source)
{
    return source.nbytes >= 2 && source.data[0] == 0x1f && source.data[1] == 0x8b;
}

static int is_zlib(struct span source)
{
    return source.nbytes >= 2 && (source.data[0] & 0x0f) == 8 && (source.data[0] << 8 | source.data[1]) % 31 == 0;
}

static struct span skip_zeros(struct span source)
{
    while (source.nbytes > 0 && *source.data == 0) {
        source.data++;
        source.nbytes--;
    }
    return source;
}

/* Decodes all members, one behind the other; '*nbytes' is how much they are together. */
static int decode_gzip(struct libdeflate_decompressor *context, struct span *source, uint8_t *target,
                       size_t target_nbytes, size_t *nbytes, struct codec_error *error)
{
    *nbytes = 0;
    do {
        size_t source_used = 0, member_nbytes = 0;
        enum libdeflate_result result =
            libdeflate_gzip_decompress_ex(context, source->data, source->nbytes, target + *nbytes,
                                          target_nbytes - *nbytes, &source_used, &member_nbytes);
        if (result != LIBDEFLATE_SUCCESS)
            return from_result(result, target_nbytes, error);
        *nbytes += member_nbytes;
        *source = skip_zeros((struct span){source->data + source_used, source->nbytes - source_used});
    } while (is_gzip(*source));
    return 0;
}

static int decode_zlib(struct libdeflate_decompressor *context, struct span *source, uint8_t *target,
                       size_t target_nbytes, size_t *nbytes, struct codec_error *error)
{
    if (source->data[1] & 0x20)
        return codec_unsupported(error, RINGIO_REASON_DICTIONARY);
    size_t source_used = 0;
    enum libdeflate_result result = libdeflate_zlib_decompress_ex(context, source->data, source->nbytes, target,
                                                                  target_nbytes, &source_used, nbytes);
    *source = skip_zeros((struct span){source->data + source_used, source->nbytes - source_used});
    return result == LIBDEFLATE_SUCCESS ? 0 : from_result(result, target_nbytes, error);
}

int codec_deflate_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                         uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    int gzip = is_gzip(source);
    if (!gzip && !is_zlib(source))
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    struct libdeflate_decompressor *context = decoder_deflate(decoder);
    if (context == NULL)
        return codec_no_memory();
    size_t nbytes = 0;
    int status = (gzip ? decode_gzip : decode_zlib)(context, &source, target, target_nbytes, &nbytes, error);
    if (status != 0)
        return status;
    if (source.nbytes > 0)
        return codec_corrupt(error, RINGIO_REASON_TRAILING);
    *decoded = (struct span){target, nbytes};
    return codec_check_size(codec, error, nbytes);
}
