/* What an update's oplog entry makes of a document: cdc/tail/oplog/diff.py, compiled. */
#ifndef COMMITLOG_BSON_UPDATE_H
#define COMMITLOG_BSON_UPDATE_H

#include "bson.h"

/* Add the document after an update. Returns 0; 1 where it is not plain, as where its _id is not first; -1 where there is no memory. */
int bson_update(text *out, bson_span before, bson_span update);

#endif
