/* What the files of the binding share: the module's state and the objects behind its types.
 *
 * All of the GIL lives in this folder. The core knows nothing of Python, so its locks are never
 * held while the GIL is waited for, and taking one with the GIL held cannot deadlock. A call that
 * may wait releases the GIL first.
 */
#ifndef FWS_BINDING_H
#define FWS_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h> /* T_PYSSIZET: its new name came with Python 3.12 */

#include "../core/engine/engine.h"
#include "../core/engine/websocket.h"

typedef struct {
    PyTypeObject *engine_type;
    PyTypeObject *websocket_type;
    PyTypeObject *iterator_type;
    PyTypeObject *protocol_type;
    PyObject *connection_closed; /* flask_websockets.errors.ConnectionClosed */
    PyObject *open_name;         /* "_open", "_load_json": interned */
    PyObject *load_json_name;
    pthread_mutex_t gate; /* see fws_wait_for_gil */
} fws_module_state;

typedef struct {
    PyObject_HEAD fws_module_state *state;
    fws_websocket *core; /* NULL until the handshake is answered */
    PyObject *engine;    /* keeps the engine that `core` belongs to */
    PyObject *weak_references;
} fws_websocket_object;

extern struct PyModuleDef fws_module;

/* module.c: the state of the module that defines `type` or one of its bases. */
fws_module_state *fws_module_state_of(PyTypeObject *type);

/* module.c: PyEval_RestoreThread for a thread that has slept in the engine. Threads that wait for
 * the GIL itself wake every few milliseconds to ask for it; with hundreds of handlers that is all
 * the process would do. So at most one of ours waits for the GIL, and the others sleep at a gate
 * before it. Nobody waits at the gate with the GIL held. */
void fws_wait_for_gil(fws_module_state *state, PyThreadState *thread);

/* engine_type.c, websocket_type.c, iterator_type.c, protocol_type.c */
extern PyType_Spec fws_engine_spec;
extern PyType_Spec fws_websocket_spec;
extern PyType_Spec fws_iterator_spec;
extern PyType_Spec fws_protocol_spec;

/* websocket_attributes.c */
extern PyGetSetDef fws_websocket_attributes[];

/* websocket_type.c: receives one message with the GIL released while it waits. `timeout_ns` may be
 * FWS_FOREVER. FWS_OK, FWS_CLOSED or FWS_TIMEOUT; -1 with an exception set. */
int fws_websocket_object_receive(fws_websocket_object *self, fws_ns timeout_ns,
                                 fws_message *message);
/* Answers the handshake if that has not happened; false with an exception set. */
bool fws_websocket_object_open(fws_websocket_object *self);

/* message.c: a str or bytes object; frees message->data. */
PyObject *fws_message_object(fws_message *message);

/* handshake.c */
extern PyMethodDef fws_handshake_functions[];

/* iterator_type.c */
typedef enum {
    FWS_ITERATE_DATA,
    FWS_ITERATE_TEXT,
    FWS_ITERATE_BYTES,
    FWS_ITERATE_JSON
} fws_iterate;
PyObject *fws_iterator_new(fws_websocket_object *websocket, fws_iterate kind);

/* arguments.c */

/* Seconds as a Python number to nanoseconds; None gives FWS_FOREVER. False with TypeError or
 * ValueError that names the argument. */
bool fws_argument_seconds(PyObject *value, const char *name, fws_ns *ns);

/* The bytes of a str (as UTF-8) or of a bytes-like object. */
typedef struct {
    const void *data;
    size_t size;
    bool is_text;
    bool has_view;
    Py_buffer view;
} fws_payload;

bool fws_argument_payload(PyObject *value, const char *function, fws_payload *payload);
void fws_argument_release(fws_payload *payload);

/* Channel names: a str is one name. The names point into `owner`, which the caller drops. */
typedef struct {
    PyObject *owner;
    fws_channel_name *names;
    size_t count;
} fws_channels;

bool fws_argument_channels(PyObject *value, fws_channels *channels);

/* permessage-deflate parameters: a tuple (server_no_context_takeover, client_no_context_takeover,
 * server_max_window_bits, client_max_window_bits), and back. */
bool fws_argument_deflate(PyObject *value, fws_deflate_parameters *parameters);
PyObject *fws_argument_deflate_tuple(const fws_deflate_parameters *parameters);

void fws_argument_channels_release(fws_channels *channels);

#endif
