/* ringio.h: what C code includes to use the core.  The declarations live in ringio_api.h and trace_api.h,
   which cffi reads too. */
#ifndef RINGIO_H
#define RINGIO_H

#include <stdint.h>

#include "ringio_api.h"
#include "trace_api.h"

#endif
