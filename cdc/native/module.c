/* commitlog.cdc.native._native: the worker's inner loops, compiled. Optional: native/__init__.py says what stands in for it. */

#include "native.h"
#include "sha256.h"

static PyObject *native_sha256(PyObject *module, PyObject *data) {
    (void)module;
    char *bytes;
    Py_ssize_t size;
    uint8_t digest[SHA256_BYTES];
    sha256 hash;
    if (PyBytes_AsStringAndSize(data, &bytes, &size)) return NULL;
    sha256_begin(&hash);
    sha256_take(&hash, bytes, (size_t)size);
    sha256_end(&hash, digest);
    return PyBytes_FromStringAndSize((const char *)digest, SHA256_BYTES);
}

static PyObject *native_choose(PyObject *module, PyObject *portable) {
    (void)module;
    int truth = PyObject_IsTrue(portable);
    return truth < 0 ? NULL : PyUnicode_FromString(sha256_choose(truth));
}

static PyMethodDef methods[] = {
    {"binlog_groups", native_binlog_groups, METH_VARARGS, "binlog_groups(buffer, at, room, behind, tables, mariadb, spill_bytes, transaction, out) -> (at, behind)"},
    {"oplog_entries", native_oplog_entries, METH_VARARGS, "oplog_entries(batch, at, collections, stamps, images, (span, holds_s, spill_bytes, room), transaction, out) -> (at, position, room)"},
    {"run", native_run, METH_VARARGS, "run(rule, seq, hash, position, transactions, start, salts) -> (taken, lines, seq, hash, position, rows, last)"},
    {"seal", (PyCFunction)(void (*)(void))native_seal, METH_FASTCALL, "the line of a record and its hash, of the values of log/chain.py's seal"},
    {"plain_record", native_plain_record, METH_O, "plain_record(line) -> (header bytes, body bytes, recorded, header, hash), or None"},
    {"sha256", native_sha256, METH_O, "sha256(data) -> digest"},
    {"choose", native_choose, METH_O, "choose(portable) -> which SHA-256 is used from now on"},
    {0},
};

static int add_type(PyObject *module, PyType_Spec *spec) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (!type) return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static int fill(PyObject *module) {
    sha256_choose(0);
    native_binlog_begin();
    return native_record_begin() || native_run_begin() || add_type(module, &shaper_spec) || add_type(module, &collector_spec) ||
                   add_type(module, &binlog_rows_spec)
               ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
