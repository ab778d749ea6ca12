#include "narrow.h"

#include "scatter.h"

/* What the boxes want of chunk 'chunk'; all of it where that cannot be told. */
static void wanted_bytes(const struct ringio_draft *draft, uint64_t chunk, uint64_t chunk_nbytes, uint64_t *first,
                         uint64_t *end)
{
    const struct ringio_plan *plan = &draft->plan;
    *first = chunk_nbytes;
    *end = 0;
    for (uint64_t i = draft->first_projections[chunk]; i < draft->first_projections[chunk + 1]; i++) {
        size_t low, behind;
        const struct ringio_layout *layout = &plan->layouts[draft->projections[i].layout];
        if (!scatter_source_span(&draft->projections[i], layout, draft->counts + i * plan->dim_count,
                                 (uint32_t)plan->dim_count, &low, &behind) ||
            behind > chunk_nbytes) {
            *first = 0;
            *end = chunk_nbytes;
            return;
        }
        *first = low < *first ? low : *first;
        *end = behind > *end ? behind : *end;
    }
}

/* Whether each chunk that is there has as many bytes as it decodes to, or is the whole of a file.  Sets '*are_files'
   where there are some of those. */
static int sizes_are_good(const struct ringio_draft *draft, uint64_t chunk_nbytes, int *are_files)
{
    *are_files = 0;
    for (uint64_t i = 0; i < draft->chunk_count; i++) {
        if (draft->offsets[i] == RINGIO_MISSING)
            continue;
        if (draft->nbytes[i] == RINGIO_TO_END && draft->offsets[i] == 0)
            *are_files = 1;
        else if (draft->nbytes[i] != chunk_nbytes)
            return 0;
    }
    return 1;
}

int narrow_chunks(struct ringio_draft *draft, int also_files)
{
    struct ringio_plan *plan = &draft->plan;
    int are_files;
    if (plan->chain_count != 1 || plan->chains[0].codec_count || plan->chains[0].decoded_nbytes == RINGIO_SAME_SIZE)
        return 0;
    uint64_t chunk_nbytes = plan->chains[0].decoded_nbytes;
    if (!sizes_are_good(draft, chunk_nbytes, &are_files) || (are_files && !also_files))
        return 0;
    for (uint64_t i = 0; i < draft->chunk_count; i++) {
        uint64_t first, end;
        wanted_bytes(draft, i, chunk_nbytes, &first, &end);
        draft->skipped[i] = 0;
        if (draft->offsets[i] == RINGIO_MISSING || first >= end)
            continue;
        draft->skipped[i] = first;
        draft->offsets[i] += first;
        draft->nbytes[i] = end - first;
        for (uint64_t k = draft->first_projections[i]; k < draft->first_projections[i + 1]; k++)
            draft->projections[k].source_offset -= (int64_t)first;
    }
    draft->parts_of_files = are_files;
    draft->whole_chain = plan->chains;
    draft->part_chain = (struct ringio_chain){RINGIO_SAME_SIZE, chunk_nbytes, 0, 0};
    plan->chains = &draft->part_chain;
    return are_files;
}

void narrow_undo(struct ringio_draft *draft)
{
    if (!draft->whole_chain)
        return;
    uint64_t whole_nbytes = draft->parts_of_files ? RINGIO_TO_END : draft->whole_chain->decoded_nbytes;
    for (uint64_t i = 0; i < draft->chunk_count; i++) {
        if (draft->offsets[i] == RINGIO_MISSING)
            continue;
        draft->offsets[i] -= draft->skipped[i];
        draft->nbytes[i] = whole_nbytes;
        for (uint64_t k = draft->first_projections[i]; k < draft->first_projections[i + 1]; k++)
            draft->projections[k].source_offset += (int64_t)draft->skipped[i];
        draft->skipped[i] = 0;
    }
    draft->plan.chains = draft->whole_chain;
    draft->whole_chain = NULL;
}
