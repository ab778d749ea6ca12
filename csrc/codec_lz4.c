/* codec_lz4.c: what numcodecs calls lz4: the decoded size as int32 LE, then one LZ4 block (not an LZ4 frame). */
#include <limits.h>
#include <lz4.h>

#include "codec_private.h"

#define HEADER_NBYTES 4

int codec_lz4_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                     size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target_nbytes;
    if (source.nbytes < HEADER_NBYTES || source.nbytes - HEADER_NBYTES > INT_MAX)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    uint32_t nbytes = read_u32_le(source.data);
    if (nbytes > INT_MAX)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    int status = codec_check_size(codec, error, nbytes);
    if (status != 0)
        return status;
    const char *block = (const char *)source.data + HEADER_NBYTES;
    int result = LZ4_decompress_safe(block, (char *)target, (int)(source.nbytes - HEADER_NBYTES), (int)nbytes);
    if (result < 0)
        return codec_corrupt(error, RINGIO_REASON_DATA);
    *decoded = (struct span){target, (size_t)result};
    return (uint32_t)result == nbytes ? 0 : codec_wrong_size(error, (uint64_t)result, nbytes);
}
