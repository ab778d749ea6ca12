/* planning_api.h: the part of what C and Python share that makes plans; see ringio_api.h, which goes before.

   None of these functions needs a reader. */

/* --------------------------------------------------------------------------------------------- planning: pure maths */

/* A regular grid of chunks, perhaps several levels of it (a shard's inner chunks).  An innermost chunk has one id: the
   sum over levels and dimensions of (its coordinate on that level) x (that level's id stride).  Ids of one outer
   chunk are consecutive. */
struct ringio_grid {
    uint32_t dim_count;
    uint32_t level_count;       /* 1: no shards */
    int64_t chunk_shape[32];    /* elements of an innermost chunk along each dimension */
    int64_t chunk_strides[32];  /* bytes between neighbours in a decoded innermost chunk */
    int64_t level_factors[256]; /* [level * 32 + dimension], level 0 outermost: innermost chunks per its chunk */
    uint64_t id_strides[256];   /* [level * 32 + dimension] */
};

/* Boxes to be read: box i has 'counts' elements along each dimension, 'steps' apart, from 'starts'. Arrays are
   (box, dimension); a row stride of 0 makes all boxes share one row. */
struct ringio_boxes {
    uint64_t box_count;
    const int64_t *starts;
    const int64_t *counts;
    const int64_t *steps; /* all positive */
    uint64_t counts_row_stride; /* in elements: 0 or dim_count */
    uint64_t steps_row_stride;
    const int64_t *target_offsets; /* per box: where its first element goes; NULL: one behind the other */
    int64_t target_offset;         /* then that of the first */
    int64_t target_stride;         /* and bytes from one to the next */
    const uint64_t *layouts;       /* per box: index of its layout, or NULL: layout 0 */
};

/* ringio_plan_count() gives how many (box, innermost chunk) pairs there are, or -EOVERFLOW. Boxes must be normalised:
   inside the array, counts and steps as described. */
int64_t ringio_plan_count(const struct ringio_grid *grid, const struct ringio_boxes *boxes);

/* ringio_plan_intersect() writes the pairs, ordered by chunk id: 'ids', 'projections' and 'counts' (pair, dimension)
   hold 'pair_count' (from ringio_plan_count()) each, so do 'chunk_ids' and 'first_pairs', of which the first N are set:
   the distinct ids, ascending, and the first pair of each.  Returns N or -ENOMEM. */
int64_t ringio_plan_intersect(const struct ringio_grid *grid, const struct ringio_boxes *boxes,
                              const struct ringio_layout *layouts, uint64_t pair_count,
                              struct ringio_projection *projections, int64_t *counts,
                              uint64_t *chunk_ids, uint64_t *first_pairs);

/* ringio_plan_points() is the same for single elements: point i is at 'coordinates[dim][i]', inside the array, and goes
   to target_offset + i * layout->target_strides[0].  Points that lie source_strides[0] behind each other in their
   chunk, and follow each other, are one pair of several; its dimension is the only one.  All that is written to holds
   'point_count', 'first_pairs' one more: the last one set is how many pairs there are. */
int64_t ringio_plan_points(const struct ringio_grid *grid, uint64_t point_count, const int64_t *const *coordinates,
                           const struct ringio_layout *layout, int64_t target_offset,
                           struct ringio_projection *projections, int64_t *counts, uint64_t *chunk_ids,
                           uint64_t *first_pairs);

/* ringio_plan_segments() splits ascending 'ids' where id / ids_per_segment changes: writes the quotients and the index
   of the first id of each ('count' + 1 places each; the last first is 'count').  Returns how many segments. */
uint64_t ringio_plan_segments(const uint64_t *ids, uint64_t count, uint64_t ids_per_segment, uint64_t *segments,
                              uint64_t *firsts);

/* ringio_plan_locate() looks up chunks in shard indexes.  Segment s covers ids[firsts[s] .. firsts[s + 1]); its index
   is the array of (offset, nbytes) pairs at address 'indexes[s]' (0: the whole shard is missing), taken at
   id % ids_per_segment / ids_per_entry; its shard lies at bases[s] .. bases[s] + sizes[s] of its file.  Writes offset
   (from the start of the file; RINGIO_MISSING for a missing chunk) and nbytes of each id.  An entry that reaches
   outside its shard or into [index_starts[s], index_ends[s]) (relative to the shard) gets nbytes RINGIO_MISSING and the
   raw offset.  Returns how many of those there were. */
uint64_t ringio_plan_locate(const uint64_t *ids, uint64_t segment_count, const uint64_t *firsts,
                            uint64_t ids_per_segment, uint64_t ids_per_entry, const uint64_t *indexes,
                            const uint64_t *bases, const uint64_t *sizes, const uint64_t *index_starts,
                            const uint64_t *index_ends, uint64_t *offsets, uint64_t *nbytes);

/* Chunks, or plain ranges, to be fetched: parallel arrays of 'count'. */
struct ringio_pieces {
    uint64_t count;
    const uint32_t *files;
    const uint64_t *offsets; /* RINGIO_MISSING: fill */
    const uint64_t *nbytes;  /* RINGIO_TO_END: the whole of the file, a request of its own */
    const uint64_t *first_projections;  /* count + 1: piece i has projections [i] .. [i + 1]) */
    const uint32_t *chains;  /* or NULL: chain 0 */
    uint64_t max_gap_bytes;
    uint64_t max_request_bytes; /* a longer piece is a request of its own */
    uint32_t request_flags;
    uint32_t reserved;
};

/* ringio_plan_coalesce() sorts pieces by file and offset, merges near ones into requests, and writes 'tasks' (count of
   them), which piece each task is ('task_pieces') and at most 'count' requests.  Missing pieces become tasks of fill
   requests at the end.  Returns how many requests, or -ENOMEM. */
int64_t ringio_plan_coalesce(const struct ringio_pieces *pieces, struct ringio_request *requests,
                             struct ringio_task *tasks, uint64_t *task_pieces);

/* ringio_plan_outside() gives the first of 'count' rows of 'dim_count' numbers in which one is negative or above its
   limit; 'count': there is none. */
uint64_t ringio_plan_outside(const int64_t *rows, uint64_t count, uint32_t dim_count, const int64_t *limits);

/* ------------------------------------------------------------------------------------------ the plan of many boxes */

/* A plan being drawn from boxes, in memory that the next one uses again.  Who has made it sets in 'plan' what is the
   same for all (chains, codecs, fill values) and the targets; the rest is set by the functions below.  None is
   thread-safe. */
struct ringio_draft {
    struct ringio_plan plan;
    uint64_t chunk_count; /* innermost chunks that the boxes touch */
    uint64_t *chunk_ids;  /* theirs, ascending */
    uint64_t *first_projections; /* chunk i has projections [i] .. [i + 1]) */
    uint64_t shard_count; /* outermost chunks that these lie in, each a file */
    uint64_t *shards;     /* their numbers, ascending */
    uint64_t *first_chunks; /* shard i has chunks [i] .. [i + 1]) */
    uint64_t ids_per_shard;
    uint32_t *chunk_files;
    uint64_t *offsets;    /* of each chunk in its file; RINGIO_MISSING: there is none */
    uint64_t *nbytes;
    uint64_t *skipped;     /* bytes before the first that is wanted of each chunk, where nothing but that is read */
    uint64_t *task_chunks; /* which chunk each task is */
    struct ringio_file *files;
    struct ringio_request *requests;
    struct ringio_task *tasks;
    struct ringio_projection *projections;
    int64_t *counts;
    void *memory;          /* that all these lie in */
    uint64_t memory_nbytes;
    char *names;           /* those of files that were named here */
    uint64_t names_nbytes;
    const struct ringio_chain *whole_chain; /* of whole chunks, while the plan has 'part_chain'; else NULL */
    struct ringio_chain part_chain;
    int parts_of_files; /* meanwhile: whether the chunks are files */
};

/* A shard's index, and what the file was that it was read from; the (offset, nbytes) pairs follow. */
struct ringio_index {
    struct ringio_identity identity;
    uint64_t padding[3];
};

/* What is known of the shards of a draft, in their order. */
struct ringio_shard_files {
    const char *paths; /* each ended by a NUL */
    uint64_t paths_nbytes;
    const uint64_t *indexes; /* addresses of struct ringio_index, each with ids_per_shard pairs behind it; 0: there is
                                no such file */
    uint64_t index_nbytes;   /* that each takes in its file */
    int index_is_first;      /* it stands at the beginning of the file; else at the end */
};

/* Returns NULL when there is no memory. */
struct ringio_draft *ringio_draft_new(void);
void ringio_draft_free(struct ringio_draft *draft);

/* ringio_draft_cut() begins a draft: it cuts boxes at the borders of chunks.  'layouts' must outlive the draft's plan.
   Returns how many chunks they touch, -EINVAL for a negative start or count, a step below 1 or a layout that is not
   there, or -ENOMEM. */
int64_t ringio_draft_cut(struct ringio_draft *draft, const struct ringio_grid *grid, const struct ringio_boxes *boxes,
                         const struct ringio_layout *layouts, uint64_t layout_count, uint64_t ids_per_shard);

/* ringio_draft_points() does the same for single elements; 'layout' is one. */
int64_t ringio_draft_points(struct ringio_draft *draft, const struct ringio_grid *grid, uint64_t point_count,
                            const int64_t *const *coordinates, const struct ringio_layout *layout,
                            int64_t target_offset, uint64_t ids_per_shard);

/* Then each chunk is given its place.  ringio_draft_find() looks them up in the indexes of their shards: the plan then
   demands that the files still are what these were read from.  A file of which nothing will be read, perhaps because
   there is none, is looked up here and now.  'known->paths' must outlive the plan.  Returns 1, or 0 when a file is
   another one, or an entry cannot be right: then somebody has to look closer.

   ringio_draft_name_files() is for chunks that are files of their own, which may be missing (ids_per_shard is 1):
   'prefix', then the coordinates that 'strides' take out of the id.  Returns 0 or -ENOMEM. */
int ringio_draft_find(struct ringio_draft *draft, const struct ringio_shard_files *known);
int ringio_draft_name_files(struct ringio_draft *draft, const char *prefix, char separator, const uint64_t *strides,
                            uint32_t dim_count);

/* ringio_draft_finish() merges near chunks into requests, as ringio_plan_coalesce() does, and completes the plan.
   It may be called again, with other numbers.  Returns 0 or as that. */
int ringio_draft_finish(struct ringio_draft *draft, uint64_t max_gap_bytes, uint64_t max_request_bytes,
                        uint32_t request_flags);

/* ringio_draft_widen() lets projections refer to whole chunks again: ringio_draft_finish() reads no more of a chunk
   without codecs than is wanted, and counts from there. */
void ringio_draft_widen(struct ringio_draft *draft);

/* -------------------------------------------------------------------------------------------- one box of one chunk */

/* A plan for one box of one chunk, with the records that it points to: made once, and filled in for each read. */
struct ringio_chunk {
    struct ringio_plan plan;
    struct ringio_file file;
    struct ringio_request request;
    struct ringio_task task;
    struct ringio_projection projection;
    struct ringio_layout layout;
    struct ringio_target target;
    struct ringio_chain chain;
    struct ringio_chain part_chain; /* the plan's instead, where not all of a chunk is read */
    const struct ringio_grid *grid;
    int64_t counts[32]; /* of the box */
    int64_t steps[32];  /* between its elements, all positive */
    int64_t outer[32];  /* where in the grid of outermost chunks ringio_chunk_find() has found it */
    int64_t first;      /* where in its chunk, in bytes */
};

/* ringio_chunk_find() gives the id of the innermost chunk that holds all of the box that begins at 'starts' (dim_count
   of them) and has the chunk's counts and steps; it must be inside the array and not empty.  Sets 'outer' and where in
   the chunk the box begins.  Returns -1 where there is more than one such chunk. */
int64_t ringio_chunk_find(struct ringio_chunk *chunk, const int64_t *starts);

/* ringio_chunk_read() fills in the rest: the chunk is the 'nbytes' from 'offset' on (RINGIO_MISSING: there is none, and
   the box is full of the fill value) of the file at 'path', which must be 'identity' (the bytes of a ringio_identity)
   where that is not NULL.  Then it reads, decodes and places the box on the calling thread, if that takes no waiting.
   'path' is kept as a pointer, the rest is copied.  Returns 1 when it is done; 0 when it has to be waited for, which
   ringio_execute() of the plan does; negative when something is wrong, which ringio_execute() of a plan with the words
   for it will say: nothing is known then, not even that the file is still the one that 'identity' says.

   Of a chunk without codecs only what lies between the first and the last byte of the box is read. */
int ringio_chunk_read(struct ringio_reader *reader, struct ringio_chunk *chunk, const char *path,
                      const uint8_t *identity, uint64_t offset, uint64_t nbytes, uint8_t *target,
                      uint64_t target_nbytes);

/* ringio_plan_order_paths() writes to 'order' the numbers of 'count' paths (as for ringio_stat()) in the order of their
   names, as far as the first 16 bytes behind what all have in common tell; equal ones stay as they come.  Returns 1,
   0 when that is how they stand already, or -ENOMEM. */
int ringio_plan_order_paths(const char *paths, const uint64_t *path_offsets, uint64_t count, uint64_t *order);
