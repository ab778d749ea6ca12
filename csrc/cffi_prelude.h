/* cffi_prelude.h: what the generated _core.c includes before its own code.  Not a .c file, so that csrc/ also compiles
   as one plain "cc csrc/*.c". */
#include "ringio.h"
