/* Row changes to items, for the other parts. */
#ifndef COMMITLOG_SHAPER_H
#define COMMITLOG_SHAPER_H

#include "native.h"
#include "text.h"

/* Add the item of a change to `out`. Returns 0; 2 where nothing that is published changed; 1 where this is no Shaper or the
 * change is not plain, `out` being as it was; -1 with an exception set. */
int shaper_add(PyObject *shaper, PyObject *data, unsigned long long shape, text *out);

#endif
