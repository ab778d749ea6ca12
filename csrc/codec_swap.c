/* codec_swap.c: reverses the bytes of each element; in place where source and target are the same. */
#include "codec_private.h"

/* One loop for each size that has an instruction.  memcpy(), because neither side need be aligned. */
#define SWAP_LOOP(type, swap)                                                                                          \
    for (size_t i = 0; i < nbytes; i += sizeof(type)) {                                                                \
        type value;                                                                                                    \
        memcpy(&value, source.data + i, sizeof value);                                                                 \
        value = swap(value);                                                                                           \
        memcpy(target + i, &value, sizeof value);                                                                      \
    }

static void swap_any(size_t itemsize, const uint8_t *source, uint8_t *target, size_t nbytes)
{
    for (size_t i = 0; i < nbytes; i += itemsize) {
        for (size_t low = 0, high = itemsize - 1; low <= high && high < itemsize; low++, high--) {
            uint8_t value = source[i + low];
            target[i + low] = source[i + high];
            target[i + high] = value;
        }
    }
}

int codec_swap_field_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                            uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target_nbytes;
    int status = codec_check_size(codec, error, source.nbytes);
    if (status != 0)
        return status;
    uint64_t itemsize = codec->itemsize, width = codec->offset & UINT32_MAX, times = codec->offset >> 32;
    if (itemsize == 0 || source.nbytes % itemsize != 0 || width == 0 || codec->scale > itemsize ||
        width * times > itemsize - codec->scale)
        return codec_corrupt(error, RINGIO_REASON_ITEMSIZE);
    *decoded = (struct span){target, source.nbytes};
    if (target != source.data && source.nbytes > 0)
        memcpy(target, source.data, source.nbytes);
    for (size_t i = codec->scale; i < source.nbytes; i += itemsize)
        swap_any(width, target + i, target + i, width * times);
    return 0;
}

int codec_swap_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                      size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target_nbytes;
    size_t nbytes = source.nbytes;
    int status = codec_check_size(codec, error, nbytes);
    if (status != 0)
        return status;
    if (codec->itemsize == 0 || nbytes % codec->itemsize != 0)
        return codec_corrupt(error, RINGIO_REASON_ITEMSIZE);
    *decoded = (struct span){target, nbytes};
    switch (codec->itemsize) {
    case 2:
        SWAP_LOOP(uint16_t, __builtin_bswap16)
        break;
    case 4:
        SWAP_LOOP(uint32_t, __builtin_bswap32)
        break;
    case 8:
        SWAP_LOOP(uint64_t, __builtin_bswap64)
        break;
    default:
        swap_any(codec->itemsize, source.data, target, nbytes);
    }
    return 0;
}
