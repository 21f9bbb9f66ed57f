/* What the compiled part of the worker is made of. */
#ifndef COMMITLOG_NATIVE_H
#define COMMITLOG_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyType_Spec binlog_rows_spec, collector_spec, shaper_spec;

void native_binlog_begin(void);
int native_record_begin(void);
int native_run_begin(void);
PyObject *native_binlog_groups(PyObject *module, PyObject *arguments);
PyObject *native_oplog_entries(PyObject *module, PyObject *arguments);
PyObject *native_plain_record(PyObject *module, PyObject *line);
PyObject *native_run(PyObject *module, PyObject *arguments);
PyObject *native_seal(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
