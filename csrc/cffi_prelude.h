/* cffi_prelude.h: what the generated _core.c includes before its own code.  Not a .c file, so that all the .c files of
   this folder together are the core. */
#include "ringio.h"
