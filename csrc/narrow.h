/* narrow.h: of a chunk that is stored as it is, the bytes that are wanted lie between the first and the last of them;
   the others need not be read. */
#ifndef RINGIO_NARROW_H
#define RINGIO_NARROW_H

#include "ringio.h"

/* narrow_chunks() narrows the extents of a draft's chunks to what its boxes want, where its chain has no codec and each
   chunk has the size that it should have.  The plan gets a chain that takes any size.  Chunks that are files are only
   narrowed with 'also_files', and then the requests have to have RINGIO_REQUEST_PART_OF_FILE: 1 is returned. */
int narrow_chunks(struct ringio_draft *draft, int also_files);

/* narrow_undo() lets extents be whole chunks again, which projections refer to, and puts the plan's chain back.  It
   does nothing where nothing was narrowed. */
void narrow_undo(struct ringio_draft *draft);

#endif
