/* codec_packbits.c: numcodecs' packed bools: a byte that says how many bits of the last one are padding, then bits, the
   highest first. */
#include "codec_private.h"

int codec_packbits_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                          uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target_nbytes;
    if (source.nbytes == 0)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    size_t packed_nbytes = source.nbytes - 1;
    const uint8_t *packed = source.data + 1;
    size_t padding = source.data[0];
    if (padding > 8 * packed_nbytes)
        return codec_corrupt(error, RINGIO_REASON_HEADER);
    size_t count = 8 * packed_nbytes - padding;
    int status = codec_check_size(codec, error, count);
    if (status != 0)
        return status;
    size_t whole = count / 8;
    for (size_t i = 0; i < whole; i++)
        for (int bit = 0; bit < 8; bit++)
            target[8 * i + (size_t)bit] = packed[i] >> (7 - bit) & 1;
    for (size_t i = 8 * whole; i < count; i++)
        target[i] = packed[whole] >> (7 - i % 8) & 1;
    *decoded = (struct span){target, count};
    return 0;
}
