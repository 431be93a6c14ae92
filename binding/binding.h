/* What the files of the binding share: the module's state, and the objects behind its types.
 *
 * Only this folder uses the GIL. The core knows nothing of Python, so no lock of the core is ever
 * held while a thread waits for the GIL, and taking one with the GIL held cannot deadlock. A call
 * that may wait releases the GIL first.
 *
 * Threads: every function is called with the GIL held, unless it says otherwise. The GIL protects
 * the objects.
 */
#ifndef FWS_BINDING_H
#define FWS_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h> /* T_PYSSIZET: its new name came with Python 3.12 */

#include "budget.h"
#include "gate.h"

#include "../core/fws.h"

/* The interned names of the methods that users of the module override; see hooks.c. */
typedef struct {
    PyObject *answer_handshake;
    PyObject *closed_error;
    PyObject *load_json;
    PyObject *callback_failed;
    PyObject *callbacks_ended;
    PyObject *unit_ended;
    PyObject *value_returned;
} fws_hooks;

typedef struct {
    PyTypeObject *engine_type;
    PyTypeObject *base_websocket_type;
    PyTypeObject *websocket_type;
    PyTypeObject *iterator_type;
    PyTypeObject *protocol_type;
    PyTypeObject *notifier_type;
    PyTypeObject *quota_type;
    PyTypeObject *admission_type;
    PyTypeObject *loan_type;
    PyTypeObject *descriptor_type;
    PyTypeObject *route_type;
    fws_hooks hooks;
    PyInterpreterState *interpreter;
    fws_gate gate;           /* see waiting.c */
    fws_gate callbacks_gate; /* see callbacks.c */
} fws_module_state;

typedef struct fws_conversion fws_conversion;
typedef struct fws_route_object fws_route_object;

typedef struct {
    PyObject_HEAD fws_module_state *state;
    fws_websocket *core; /* NULL until the handshake is answered */
    PyObject *context;   /* the contextvars.Context of its callbacks; NULL: that of the thread */
    PyObject
        *on_message; /* of a class view: the function that is called for a message, with `receiver`,
                        the self of a bound method, or NULL; None: an event loop calls _next() */
    PyObject *receiver;
    PyObject *engine; /* a reference, because `core` must not outlive its engine */
    PyObject *wait;   /* wait() of Engine.attach(), by which a greenlet waits; NULL: it has none */
    unsigned long thread;   /* the thread to whose event loop `wait` belongs */
    bool callbacks_started; /* _start_callbacks() has been called */
    bool in_unit;           /* _begin_unit() has been called by the callback that runs */
    bool has_yielded; /* it has let its event loop run, because its budget was spent; see waiting.c
                       */
    PyObject *callbacks; /* of a class view: what the hooks get as `callbacks`, until
                            _callbacks_ended(); else NULL */
    PyObject *id;        /* a str and a dict for the application; NULL until they are used */
    PyObject *data;
    PyObject *user;          /* set by the application; NULL: it is None */
    fws_route_object *route; /* where it is counted; NULL: with all that have none */
    fws_conversion
        *conversion; /* a large message that is not converted to an object yet; may be NULL */
    PyObject *weak_references;
} fws_websocket_object;

typedef struct {
    PyObject_HEAD fws_notifier *core;
} fws_notifier_object;

typedef struct {
    PyObject_HEAD fws_module_state *state;
    fws_engine *core;
} fws_engine_object;

struct fws_route_object {
    PyObject_HEAD fws_engine_object *engine; /* a reference, because it owns `tally` */
    fws_tally *tally;
    PyObject *rule, *endpoint; /* str */
};

extern struct PyModuleDef fws_module;

/* module.c: the state of the module that defines `type` or one of its bases. */
fws_module_state *fws_module_state_of(PyTypeObject *type);

/* engine_type.c, base_websocket_type.c, websocket_type.c, iterator_type.c, protocol_type.c,
 * notifier_type.c, quota_type.c, loan_type.c, descriptor_type.c, route_type.c */
extern PyType_Spec fws_engine_spec;
extern PyType_Spec fws_base_websocket_spec;
extern PyType_Spec fws_websocket_spec;
extern PyType_Spec fws_iterator_spec;
extern PyType_Spec fws_protocol_spec;
extern PyType_Spec fws_notifier_spec;
extern PyType_Spec fws_quota_spec;
extern PyType_Spec fws_admission_spec;
extern PyType_Spec fws_loan_spec;
extern PyType_Spec fws_descriptor_spec;
extern PyType_Spec fws_route_spec;

/* descriptor_type.c: of a Descriptor object. Take gives the number to the caller, who owns it from
 * then on; -1 when it has none. Put back undoes that. */
int fws_descriptor_take(PyObject *descriptor);
void fws_descriptor_put_back(PyObject *descriptor, int fd);
extern PyMethodDef fws_descriptor_functions[];

/* signals.c */
extern PyMethodDef fws_signal_functions[];

/* engine_attach.c */
extern const char fws_engine_attach_doc[];
PyObject *fws_engine_object_attach(PyObject *object, PyObject *args, PyObject *kwargs);

/* engine_channels.c */
extern const char fws_engine_subscribe_doc[], fws_engine_unsubscribe_doc[];
extern const char fws_engine_channels_doc[], fws_engine_publish_doc[];
PyObject *fws_engine_object_subscribe(PyObject *object, PyObject *args);
PyObject *fws_engine_object_unsubscribe(PyObject *object, PyObject *args);
PyObject *fws_engine_object_channels(PyObject *object, PyObject *value);
PyObject *fws_engine_object_publish(PyObject *object, PyObject *const *args, Py_ssize_t count);
/* The websocket that `value` is, or NULL with a TypeError that calls it `name`. */
fws_websocket_object *fws_engine_object_websocket(fws_engine_object *self, PyObject *value,
                                                  const char *name);

/* websocket_attributes.c */
extern PyGetSetDef fws_websocket_attributes[];

/* websocket_type.c: sends a ping and waits for the pong. */
extern const char fws_websocket_ping_doc[];
PyObject *fws_websocket_object_wait_for_pong(PyObject *object, PyObject *args, PyObject *kwargs);

/* base_websocket_type.c: answers the handshake unless that has happened; false with an exception
 * set. */
bool fws_websocket_object_open(fws_websocket_object *self);
/* Sets the exception that a status stands for. */
void fws_websocket_object_raise(fws_websocket_object *self, fws_status status);

/* hooks.c: the methods of a websocket that a Python class overrides. */

bool fws_hooks_init(fws_hooks *hooks); /* false with an exception set */
void fws_hooks_clear(fws_hooks *hooks);

/* False with an exception set. */
bool fws_hook_answer_handshake(fws_websocket_object *self);
/* Sets the exception that stands for a closed connection. */
void fws_hook_raise_closed(fws_websocket_object *self, int code, PyObject *reason);
PyObject *fws_hook_load_json(fws_websocket_object *self, PyObject *data);
/* An exception that is raised in these four is reported to sys.unraisablehook(). */
void fws_hook_callback_failed(fws_websocket_object *self, PyObject *error);
void fws_hook_callbacks_ended(fws_websocket_object *self, int code, PyObject *reason);
void fws_hook_unit_ended(fws_websocket_object *self);
void fws_hook_value_returned(fws_websocket_object *self, PyObject *value);

/* For the table of methods. */
extern const char fws_hook_answer_handshake_doc[], fws_hook_closed_error_doc[],
    fws_hook_load_json_doc[], fws_hook_callback_failed_doc[], fws_hook_callbacks_ended_doc[],
    fws_hook_unit_ended_doc[], fws_hook_value_returned_doc[];
PyObject *fws_hook_default_answer_handshake(PyObject *self, PyObject *none);
PyObject *fws_hook_default_closed_error(PyObject *self, PyObject *args);
PyObject *fws_hook_default_load_json(PyObject *self, PyObject *data);
PyObject *fws_hook_default_callback_failed(PyObject *self, PyObject *args);
PyObject *fws_hook_default_callbacks_ended(PyObject *self, PyObject *args);
PyObject *fws_hook_default_unit_ended(PyObject *self, PyObject *callbacks);
PyObject *fws_hook_default_value_returned(PyObject *self, PyObject *args);

/* callbacks.c: class views. */

fws_callbacks fws_callbacks_of(fws_module_state *state);
/* To be called before attaching; false with an exception set. The core then owns one reference
 * to the websocket object. */
bool fws_websocket_object_set_callbacks(fws_websocket_object *self, PyObject *on_message,
                                        PyObject *callbacks);
/* There are no more callbacks: drops what they needed, and the core's reference. */
void fws_websocket_object_detach(fws_websocket_object *self);

/* waiting.c: no thread is inside a gate or asleep at one. */
void fws_init_gates(fws_module_state *state);
/* waiting.c: takes the GIL again after PyEval_SaveThread, by way of the gate. Called without the
 * GIL. */
void fws_restore_thread(fws_module_state *state, PyThreadState *thread);

/* waiting.c: the thread has just taken the GIL, for a batch of callbacks: it has a new budget,
 * see budget.h. */
void fws_renew_budget(void);

/* waiting.c: calls that let other threads, or greenlets, run while they wait. */

/* Receives one message. `timeout_ns` may be FWS_FOREVER. FWS_OK, FWS_CLOSED or FWS_TIMEOUT; -1 with
 * an exception set. */
int fws_websocket_object_receive(fws_websocket_object *self, fws_ns timeout_ns,
                                 fws_message *message);
/* Receives one message without waiting, for an event loop that watches the notifier. FWS_OK, or
 * FWS_WOULD_BLOCK: then the notifier will name the websocket, when there is a message, or at
 * once when the event loop is only to run others first. -1 with an exception set. */
int fws_websocket_object_next(fws_websocket_object *self, fws_message *message);
/* Converts the message, which it takes over, to an object. In an event loop a long conversion is
 * done in pieces: a greenlet switches away after each piece; without `wait` the function returns
 * after one piece, and the notifier will name the websocket again. True: *data is the object; or
 * NULL, with an exception set, or without one when it is not done yet. False: another greenlet
 * has taken the message meanwhile. */
bool fws_websocket_object_convert(fws_websocket_object *self, fws_message *message, bool wait,
                                  PyObject **data);
/* Continues a conversion that is not done, if there is one; as above. */
bool fws_websocket_object_continue(fws_websocket_object *self, bool wait, PyObject **data);
/* Sends one message; 0, or -1 with an exception set. */
int fws_websocket_object_send(fws_websocket_object *self, fws_opcode opcode, const void *data,
                              size_t size);
/* The same without waiting, as fws_websocket_object_next. If there is a loan, the bytes must be
 * kept until it is ended. */
int fws_websocket_object_offer(fws_websocket_object *self, fws_opcode opcode, const void *data,
                               size_t size, fws_loan **loan);
/* Sends a ping and waits for its pong; 0, or -1 with an exception set. */
int fws_websocket_object_ping(fws_websocket_object *self, const void *data, size_t size,
                              fws_ns deadline, fws_ns *round_trip);

/* statistics.c: a dict; NULL with an exception set. */
PyObject *fws_statistics(fws_engine *core);
PyObject *fws_statistics_of_tally(const fws_tally *tally);

/* conclusion.c */
extern const char fws_websocket_conclude_doc[], fws_websocket_note_callback_doc[];
PyObject *fws_websocket_object_conclude(PyObject *object, PyObject *none);
PyObject *fws_websocket_object_note_callback(PyObject *object, PyObject *begun);

/* message.c: a str or bytes object; frees message->data. */
PyObject *fws_message_object(fws_message *message);
/* The same in pieces, for a large one. */
bool fws_message_is_large(const fws_message *message);
/* Takes over the message; NULL with an exception set. */
fws_conversion *fws_conversion_new(fws_message *message);
void fws_conversion_free(fws_conversion *conversion);
/* Does another thread convert a piece at this moment, without the GIL? */
bool fws_conversion_is_busy(const fws_conversion *conversion);
/* Converts one piece more. True: it is done, and *result is the object, or NULL with an
 * exception set. */
bool fws_conversion_continue(fws_conversion *conversion, PyObject **result);

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

/* The arguments of a close. `reason` points into the str that it was read from. */
typedef struct {
    uint16_t code;
    const char *reason;
    size_t size;
} fws_close_argument;

/* The two arguments of every close method; `reason` may be NULL or None. False with TypeError or
 * ValueError: for a code that may not be sent, or a reason that fits no close frame. */
bool fws_argument_close(PyObject *code, PyObject *reason, fws_close_argument *close);

/* loan_type.c: takes over the loan and the payload. NULL when there is no memory: the loan is
 * ended. */
PyObject *fws_loan_object_new(fws_websocket_object *websocket, fws_loan *core, PyObject *data,
                              fws_payload *payload);

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
