/* ringio.h: what C code includes to use the core.  The declarations live in the headers below, which cffi reads too. */
#ifndef RINGIO_H
#define RINGIO_H

#include <stdint.h>

#include "ringio_api.h"

#include "planning_api.h"
#include "trace_api.h"

#endif
