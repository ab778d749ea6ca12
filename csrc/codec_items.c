/* codec_items.c: codecs that compute with items: sums (delta), conversions (astype, quantize, cast_value), scales
   (fixedscaleoffset, scale_offset).  The results are those of numpy, bit for bit: integers wrap around, floats are
   computed in the type that numpy takes for it.

   Blocks of items are loaded as 64-bit integers, floats or doubles, computed with, and stored, which is exact: each
   integer type fits into 64 bits, and one conversion from there rounds as one from the type itself does. */
#include "codec_private.h"
#include "sums.h"

#define BLOCK_COUNT 256
#define PLANES_BLOCK_NBYTES 4096

/* A float is not promised to be converted to an integer that cannot hold it in any certain way: no codec here does. */
enum family { INTEGER, FLOAT, DOUBLE };

struct block {
    size_t count;
    int is_unsigned; /* of integers: to tell which doubles they are */
    union {
        uint64_t integers[BLOCK_COUNT]; /* with the sign in all higher bits */
        float floats[BLOCK_COUNT];
        double doubles[BLOCK_COUNT];
    } items;
};

struct item_type {
    uint32_t code; /* RINGIO_TYPE_... without RINGIO_TYPE_BIG */
    int is_swapped;
    size_t nbytes;
    enum family family;
};

/* Returns 0 for a type that there is not. */
static int describe(uint32_t code, struct item_type *type)
{
    static const uint8_t nbytes[] = {
        [RINGIO_TYPE_BOOL] = 1, [RINGIO_TYPE_I8] = 1,  [RINGIO_TYPE_I16] = 2, [RINGIO_TYPE_I32] = 4,
        [RINGIO_TYPE_I64] = 8,  [RINGIO_TYPE_U8] = 1,  [RINGIO_TYPE_U16] = 2, [RINGIO_TYPE_U32] = 4,
        [RINGIO_TYPE_U64] = 8,  [RINGIO_TYPE_F32] = 4, [RINGIO_TYPE_F64] = 8,
    };
    uint32_t plain = code & ~(uint32_t)RINGIO_TYPE_BIG;
    if (plain == 0 || plain >= sizeof nbytes)
        return 0;
    type->code = plain;
    type->is_swapped = (code & RINGIO_TYPE_BIG) != 0;
    type->nbytes = nbytes[plain];
    type->family = plain == RINGIO_TYPE_F32 ? FLOAT : plain == RINGIO_TYPE_F64 ? DOUBLE : INTEGER;
    return 1;
}

/* ------------------------------------------------------------------------------------------------ loads and stores */

static uint8_t swap_1(uint8_t value)
{
    return value;
}

static uint16_t swap_2(uint16_t value)
{
    return __builtin_bswap16(value);
}

static uint32_t swap_4(uint32_t value)
{
    return __builtin_bswap32(value);
}

static uint64_t swap_8(uint64_t value)
{
    return __builtin_bswap64(value);
}

/* The bytes of item i as an unsigned integer of 8 * 'size' bits. */
#define LOAD_BITS(type, size)                                                                                          \
    type bits;                                                                                                         \
    memcpy(&bits, bytes + i * sizeof bits, sizeof bits);                                                               \
    if (is_swapped)                                                                                                    \
    bits = swap_##size(bits)

#define LOAD_LOOP(type, size, signed_type)                                                                             \
    for (size_t i = 0; i < count; i++) {                                                                               \
        LOAD_BITS(type, size);                                                                                         \
        integers[i] = (uint64_t)(signed_type)bits;                                                                     \
    }                                                                                                                  \
    break

static void load_integers(const struct item_type *type, const uint8_t *bytes, size_t count, uint64_t *integers)
{
    int is_swapped = type->is_swapped;
    switch (type->code) {
    case RINGIO_TYPE_BOOL:
    case RINGIO_TYPE_U8: LOAD_LOOP(uint8_t, 1, uint8_t);
    case RINGIO_TYPE_U16: LOAD_LOOP(uint16_t, 2, uint16_t);
    case RINGIO_TYPE_U32: LOAD_LOOP(uint32_t, 4, uint32_t);
    case RINGIO_TYPE_I8: LOAD_LOOP(uint8_t, 1, int8_t);
    case RINGIO_TYPE_I16: LOAD_LOOP(uint16_t, 2, int16_t);
    case RINGIO_TYPE_I32: LOAD_LOOP(uint32_t, 4, int32_t);
    default: LOAD_LOOP(uint64_t, 8, uint64_t);
    }
}

static void load(const struct item_type *type, const uint8_t *bytes, size_t count, struct block *block)
{
    int is_swapped = type->is_swapped;
    block->count = count;
    block->is_unsigned = type->code == RINGIO_TYPE_U64;
    if (type->family == INTEGER) {
        load_integers(type, bytes, count, block->items.integers);
    } else if (type->family == FLOAT) {
        for (size_t i = 0; i < count; i++) {
            LOAD_BITS(uint32_t, 4);
            memcpy(&block->items.floats[i], &bits, sizeof bits);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            LOAD_BITS(uint64_t, 8);
            memcpy(&block->items.doubles[i], &bits, sizeof bits);
        }
    }
}

#define STORE_LOOP(type, size, value)                                                                                  \
    for (size_t i = 0; i < block->count; i++) {                                                                        \
        type bits = (type)(value);                                                                                     \
        if (is_swapped)                                                                                                \
            bits = swap_##size(bits);                                                                                  \
        memcpy(bytes + i * sizeof bits, &bits, sizeof bits);                                                           \
    }                                                                                                                  \
    break

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The block is of the family of 'type', or of integers. */
static void store(const struct item_type *type, const struct block *block, uint8_t *bytes)
{
    int is_swapped = type->is_swapped;
    switch (type->code) {
    case RINGIO_TYPE_F32: STORE_LOOP(uint32_t, 4, float_bits(block->items.floats[i]));
    case RINGIO_TYPE_F64: STORE_LOOP(uint64_t, 8, double_bits(block->items.doubles[i]));
    case RINGIO_TYPE_BOOL: STORE_LOOP(uint8_t, 1, block->items.integers[i] != 0);
    case RINGIO_TYPE_I8:
    case RINGIO_TYPE_U8: STORE_LOOP(uint8_t, 1, block->items.integers[i]);
    case RINGIO_TYPE_I16:
    case RINGIO_TYPE_U16: STORE_LOOP(uint16_t, 2, block->items.integers[i]);
    case RINGIO_TYPE_I32:
    case RINGIO_TYPE_U32: STORE_LOOP(uint32_t, 4, block->items.integers[i]);
    default: STORE_LOOP(uint64_t, 8, block->items.integers[i]);
    }
}

/* ------------------------------------------------------------------------------------------------------ conversions */

#define CONVERT(to, from, type)                                                                                        \
    for (size_t i = 0; i < count; i++)                                                                                 \
    target->items.to[i] = (type)source->items.from[i]

#define CONVERT_INTEGERS(to, type)                                                                                     \
    for (size_t i = 0; i < count; i++)                                                                                 \
    target->items.to[i] = source->is_unsigned ? (type)source->items.integers[i]                                        \
                                              : (type)(int64_t)source->items.integers[i]

/* Converts to another family; from floats to INTEGER gives whether they are not 0, which is what a bool is. */
static void convert(const struct block *source, enum family from, enum family to, struct block *target)
{
    size_t count = source->count;
    target->count = count;
    target->is_unsigned = 0;
    if (from == INTEGER && to == FLOAT) {
        CONVERT_INTEGERS(floats, float);
    } else if (from == INTEGER) {
        CONVERT_INTEGERS(doubles, double);
    } else if (from == FLOAT && to == DOUBLE) {
        CONVERT(doubles, floats, double);
    } else if (from == DOUBLE && to == FLOAT) {
        CONVERT(floats, doubles, float);
    } else {
        for (size_t i = 0; i < count; i++)
            target->items.integers[i] = from == FLOAT ? source->items.floats[i] != 0 : source->items.doubles[i] != 0;
    }
}

/* ------------------------------------------------------------------------------------------------- what is computed */

struct sums {
    uint64_t integer;
    float single;
    double twice;
};

/* 'sums' is in no loop, since the compiler must take it for one of the items, and store it each time. */
static void add_up(struct block *block, enum family family, struct sums *sums)
{
    size_t count = block->count;
    struct sums sum = *sums;
    if (family == INTEGER) {
        for (size_t i = 0; i < count; i++)
            block->items.integers[i] = sum.integer += block->items.integers[i];
    } else if (family == FLOAT) {
        for (size_t i = 0; i < count; i++)
            block->items.floats[i] = sum.single += block->items.floats[i];
    } else {
        for (size_t i = 0; i < count; i++)
            block->items.doubles[i] = sum.twice += block->items.doubles[i];
    }
    *sums = sum;
}

static void scale_floats(struct block *block, float scale, float offset)
{
    for (size_t i = 0; i < block->count; i++)
        block->items.floats[i] = block->items.floats[i] / scale + offset;
}

static void scale_doubles(struct block *block, double scale, double offset)
{
    for (size_t i = 0; i < block->count; i++)
        block->items.doubles[i] = block->items.doubles[i] / scale + offset;
}

/* Returns whether each item has a result in 'type'; quotients and offsets of 64 bits fit into 128. */
static int rescale(struct block *block, const struct item_type *type, uint64_t scale, uint64_t offset)
{
    __extension__ typedef __int128 wide;
    int is_unsigned = type->code >= RINGIO_TYPE_U8;
    unsigned bits = 8 * (unsigned)type->nbytes;
    wide least = is_unsigned ? 0 : -((wide)1 << (bits - 1));
    wide most = ((wide)1 << (is_unsigned ? bits : bits - 1)) - 1;
    /* The numbers are those of the type, so an unsigned one has no sign. */
    wide divisor = is_unsigned ? (wide)scale : (wide)(int64_t)scale;
    wide added = is_unsigned ? (wide)offset : (wide)(int64_t)offset;
    for (size_t i = 0; i < block->count; i++) {
        uint64_t item = block->items.integers[i];
        wide value = is_unsigned ? (wide)item : (wide)(int64_t)item;
        wide result = value / divisor + added;
        if (value % divisor != 0 || result < least || result > most)
            return 0;
        block->items.integers[i] = (uint64_t)result;
    }
    return 1;
}

static double as_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Computes with one block in 'work', which becomes one of the target's family.  Returns 0 if an item has no result. */
static int compute(const struct ringio_codec *codec, const struct item_type *from, const struct item_type *to,
                   struct block *work, struct sums *sums)
{
    struct block source;
    enum family family = from->family;
    if (codec->kind == RINGIO_CODEC_RESCALE)
        return rescale(work, from, codec->scale, codec->offset);
    if (codec->kind == RINGIO_CODEC_SCALE) {
        if (family == INTEGER) {
            source = *work;
            convert(&source, family, DOUBLE, work);
            family = DOUBLE;
        }
        if (family == FLOAT)
            scale_floats(work, (float)as_double(codec->scale), (float)as_double(codec->offset));
        else
            scale_doubles(work, as_double(codec->scale), as_double(codec->offset));
    }
    if (family != to->family) {
        source = *work;
        convert(&source, family, to->family, work);
    }
    if (codec->kind == RINGIO_CODEC_SUM)
        add_up(work, to->family, sums);
    return 1;
}

/* --------------------------------------------------------------------------------------- without a block in between */

#define SCALE_LOOP(from, to)                                                                                           \
    do {                                                                                                               \
        for (size_t i = 0; i < count; i++) {                                                                           \
            from item;                                                                                                 \
            memcpy(&item, source + i * sizeof item, sizeof item);                                                      \
            to scaled = (to)(item / scale + offset);                                                                   \
            memcpy(target + i * sizeof scaled, &scaled, sizeof scaled);                                                \
        }                                                                                                              \
        return 1;                                                                                                      \
    } while (0)

#define SCALE_FROM(from)                                                                                               \
    if (to->nbytes == sizeof(float))                                                                                   \
        SCALE_LOOP(from, float);                                                                                       \
    else                                                                                                               \
        SCALE_LOOP(from, double)

/* Scales integers that are packed floats in most archives.  Returns 0 for other types. */
static int scale_integers(const struct item_type *from, const struct item_type *to, double scale, double offset,
                          const uint8_t *restrict source, uint8_t *restrict target, size_t count)
{
    switch (from->code) {
    case RINGIO_TYPE_I8: SCALE_FROM(int8_t);
    case RINGIO_TYPE_U8: SCALE_FROM(uint8_t);
    case RINGIO_TYPE_I16: SCALE_FROM(int16_t);
    case RINGIO_TYPE_U16: SCALE_FROM(uint16_t);
    case RINGIO_TYPE_I32: SCALE_FROM(int32_t);
    default: return 0;
    }
}

static int is_plain_integer(const struct item_type *type)
{
    return type->family == INTEGER && !type->is_swapped;
}

static int adds_up_directly(const struct item_type *from, const struct item_type *to)
{
    return is_plain_integer(from) && is_plain_integer(to) && from->nbytes == to->nbytes && to->code != RINGIO_TYPE_BOOL;
}

/* What archives have most, in one loop; from and to items of this machine's byte order.  Returns 0 where that is not
   what is to be done. */
static int decode_directly(const struct ringio_codec *codec, const struct item_type *from, const struct item_type *to,
                           const uint8_t *source, uint8_t *target, size_t count)
{
    if (codec->kind == RINGIO_CODEC_SCALE && is_plain_integer(from) && !to->is_swapped)
        return scale_integers(from, to, as_double(codec->scale), as_double(codec->offset), source, target, count);
    if (codec->kind != RINGIO_CODEC_SUM || !adds_up_directly(from, to))
        return 0;
    sums_run(to->nbytes, source, target, count, 0);
    return 1;
}

/* Joins items of integers out of their planes and adds them up, some at a time that stay in the nearest cache. */
static void add_up_planes(const struct planes *planes, uint8_t *target, size_t count)
{
    size_t itemsize = planes->count, block_count = PLANES_BLOCK_NBYTES / itemsize;
    uint64_t sum = 0;
    for (size_t first = 0; first < count; first += block_count) {
        size_t item_count = count - first < block_count ? count - first : block_count;
        uint8_t *items = target + first * itemsize;
        planes_join(planes, first, item_count, items);
        sum = sums_run(itemsize, items, items, item_count, sum);
    }
}

/* ------------------------------------------------------------------------------------------------------- the codecs */

/* Whether the core can do this with these types; ringio.codecs asks for nothing else. */
static int can_compute(const struct ringio_codec *codec, const struct item_type *from, const struct item_type *to)
{
    switch (codec->kind) {
    case RINGIO_CODEC_RESCALE:
        return from->family == INTEGER && from->code == to->code && from->code != RINGIO_TYPE_BOOL && codec->scale != 0;
    case RINGIO_CODEC_SCALE:
        return to->family != INTEGER;
    default:
        return from->family == INTEGER || to->family != INTEGER || to->code == RINGIO_TYPE_BOOL;
    }
}

int codec_items_in_place(const struct ringio_codec *codec)
{
    struct item_type from, to;
    return codec->kind >= RINGIO_CODEC_SUM && codec->kind <= RINGIO_CODEC_RESCALE &&
           describe(codec->types & 0xffff, &from) && describe(codec->types >> 16, &to) && from.nbytes == to.nbytes &&
           !(codec->kind == RINGIO_CODEC_SCALE && from.family == INTEGER); /* scale_integers() */
}

uint32_t codec_items_takes_planes(const struct ringio_codec *codec)
{
    struct item_type from, to;
    if (codec->kind != RINGIO_CODEC_SUM || !describe(codec->types & 0xffff, &from) ||
        !describe(codec->types >> 16, &to))
        return 0;
    return adds_up_directly(&from, &to) && planes_can_join(to.nbytes) ? (uint32_t)to.nbytes : 0;
}

/* Leaves out items that nobody wants, as far as the others do not depend on them. */
static void narrow_down(const struct ringio_codec *codec, struct interval wanted, size_t from_nbytes, size_t to_nbytes,
                        const uint8_t **source, uint8_t **target, size_t *count)
{
    if (codec->kind == RINGIO_CODEC_RESCALE)
        return; /* each item is looked at whether it makes sense */
    size_t end = wanted.end / to_nbytes + (wanted.end % to_nbytes != 0);
    size_t first = codec->kind == RINGIO_CODEC_SUM ? 0 : wanted.first / to_nbytes;
    end = end < *count ? end : *count;
    first = first < end ? first : end;
    if (first > 0) /* of planes there is no source to add to, but sums start with the first */
        *source += first * from_nbytes;
    *target += first * to_nbytes;
    *count = end - first;
}

int codec_items_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                       size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)target_nbytes;
    struct item_type from, to;
    if (!describe(codec->types & 0xffff, &from) || !describe(codec->types >> 16, &to) ||
        !can_compute(codec, &from, &to))
        return codec_unsupported(error, RINGIO_REASON_NONE);
    if (source.nbytes % from.nbytes != 0)
        return codec_corrupt(error, RINGIO_REASON_ITEMSIZE);
    size_t left = source.nbytes / from.nbytes;
    size_t nbytes = left * to.nbytes;
    int status = codec_check_size(codec, error, nbytes);
    if (status != 0)
        return status;
    *decoded = (struct span){target, nbytes};
    narrow_down(codec, decoder->wanted, from.nbytes, to.nbytes, &source.data, &target, &left);
    if (decoder->source_planes.count > 0) {
        add_up_planes(&decoder->source_planes, target, left);
        return 0;
    }
    if (decode_directly(codec, &from, &to, source.data, target, left))
        return 0;
    struct sums sums = {0, -0.0f, -0.0}; /* so that a first item of -0.0 stays that */
    struct block work;
    while (left > 0) {
        size_t count = left < BLOCK_COUNT ? left : BLOCK_COUNT;
        load(&from, source.data, count, &work);
        if (!compute(codec, &from, &to, &work, &sums))
            return codec_corrupt(error, RINGIO_REASON_VALUE);
        store(&to, &work, target);
        source.data += count * from.nbytes;
        target += count * to.nbytes;
        left -= count;
    }
    return 0;
}
