/* Converts a received message to a Python object.
 *
 * A large one is moved piece by piece, from its end, and memory from which a piece was moved is
 * freed at once: so the message is never in memory twice. This takes a millisecond for each
 * megabyte, so the GIL is released meanwhile, and an event loop runs others after each piece
 * (waiting.c).
 */
#include "binding.h"

#include <string.h>

struct fws_conversion {
    fws_message message;
    PyObject *result; /* NULL: the characters are not counted yet */
    bool busy;        /* a thread converts a piece, without the GIL */
    size_t counted;   /* bytes of a text whose characters were counted, from its beginning */
    size_t continuations;
    uint8_t highest;
    Py_ssize_t place; /* of a text: where in `result` the next piece ends, in characters */
    size_t left;      /* bytes that are not moved yet */
};

/* Frees the memory of what has been moved from the end. */
static void free_moved(fws_message *message, size_t left)
{
    uint8_t *shrunk = left > 0 ? realloc(message->data, left) : NULL;
    if (shrunk)
        message->data = shrunk; /* a large one is malloc'd, not in a block of the inbox */
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Counts the characters, and finds the largest lead byte, which tells the width that str needs:
 * C2 and C3 begin U+0080 to U+00FF, F0 and above what needs four bytes. */
static void count_characters(fws_conversion *conversion)
{
    const uint8_t *data = conversion->message.data;
    size_t left = conversion->message.length - conversion->counted;
    size_t end = conversion->counted + (left < FWS_CONVERSION_PIECE ? left : FWS_CONVERSION_PIECE),
           continuations = 0;
    uint8_t highest = conversion->highest;
    for (size_t i = conversion->counted; i < end; i++) {
        continuations += is_continuation(data[i]);
        highest = data[i] > highest ? data[i] : highest;
    }
    conversion->continuations += continuations;
    conversion->highest = highest;
    conversion->counted = end;
}

static PyObject *new_result(fws_conversion *conversion)
{
    if (conversion->message.opcode != FWS_OPCODE_TEXT)
        return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)conversion->message.length);
    uint8_t highest = conversion->highest;
    Py_UCS4 largest = highest < 0x80   ? 0x7F
                      : highest < 0xC4 ? 0xFF
                      : highest < 0xF0 ? 0xFFFF
                                       : 0x10FFFF;
    conversion->place = (Py_ssize_t)(conversion->message.length - conversion->continuations);
    return PyUnicode_New(conversion->place, largest);
}

/* One character of text that is known to be valid. */
static Py_UCS4 decode_character(const uint8_t **data)
{
    const uint8_t *at = *data;
    unsigned more = at[0] < 0x80 ? 0 : at[0] < 0xE0 ? 1 : at[0] < 0xF0 ? 2 : 3;
    Py_UCS4 character = more == 0 ? at[0] : at[0] & (0x3Fu >> more);
    for (unsigned i = 1; i <= more; i++)
        character = character << 6 | (at[i] & 0x3Fu);
    *data = at + more + 1;
    return character;
}

/* Without the GIL: no other code has a reference to the result yet. */
static void move_text(fws_conversion *conversion, size_t from, size_t end)
{
    int kind = (int)PyUnicode_KIND(conversion->result);
    void *to = PyUnicode_DATA(conversion->result);
    const uint8_t *data = conversion->message.data + from;
    size_t characters = 0;
    for (size_t i = 0; i < end - from; i++)
        characters += !is_continuation(data[i]);
    conversion->place -= (Py_ssize_t)characters;
    if (conversion->highest < 0x80) {
        memcpy((char *)to + conversion->place, data, end - from);
        return;
    }
    for (size_t i = 0; i < characters; i++)
        PyUnicode_WRITE(kind, to, conversion->place + (Py_ssize_t)i, decode_character(&data));
}

/* Also without the GIL. */
static void move_piece(fws_conversion *conversion)
{
    const uint8_t *data = conversion->message.data;
    size_t end = conversion->left,
           from = end < FWS_CONVERSION_PIECE ? 0 : end - FWS_CONVERSION_PIECE;
    bool is_text = conversion->message.opcode == FWS_OPCODE_TEXT;
    while (is_text && is_continuation(data[from]))
        from--;
    if (is_text)
        move_text(conversion, from, end);
    else
        memcpy(PyBytes_AS_STRING(conversion->result) + from, data + from, end - from);
    conversion->left = from;
    free_moved(&conversion->message, from);
}

bool fws_message_is_large(const fws_message *message)
{
    return message->length > FWS_CONVERSION_PIECE;
}

fws_conversion *fws_conversion_new(fws_message *message)
{
    fws_conversion *conversion = PyMem_Calloc(1, sizeof *conversion);
    if (conversion == NULL) {
        fws_message_free(message);
        PyErr_NoMemory();
        return NULL;
    }
    conversion->message = *message;
    conversion->left = message->length;
    if (message->opcode != FWS_OPCODE_TEXT)
        conversion->counted = message->length;
    return conversion;
}

void fws_conversion_free(fws_conversion *conversion)
{
    if (conversion == NULL)
        return;
    fws_message_free(&conversion->message);
    Py_XDECREF(conversion->result);
    PyMem_Free(conversion);
}

bool fws_conversion_is_busy(const fws_conversion *conversion)
{
    return conversion->busy;
}

bool fws_conversion_continue(fws_conversion *conversion, PyObject **result)
{
    bool counted = conversion->counted == conversion->message.length;
    *result = NULL;
    if (counted && conversion->result == NULL &&
        (conversion->result = new_result(conversion)) == NULL)
        return true;
    conversion->busy = true;
    Py_BEGIN_ALLOW_THREADS;
    if (counted)
        move_piece(conversion);
    else
        count_characters(conversion);
    Py_END_ALLOW_THREADS;
    conversion->busy = false;
    if (!counted || conversion->left > 0)
        return false;
    *result = conversion->result;
    conversion->result = NULL;
    return true;
}

static PyObject *large_object(fws_message *message)
{
    PyObject *result = NULL;
    fws_conversion *conversion = fws_conversion_new(message);
    while (conversion != NULL && !fws_conversion_continue(conversion, &result))
        ;
    fws_conversion_free(conversion);
    return result;
}

PyObject *fws_message_object(fws_message *message)
{
    if (fws_message_is_large(message))
        return large_object(message);
    const char *data = (const char *)message->data;
    Py_ssize_t length = (Py_ssize_t)message->length;
    PyObject *result = message->opcode == FWS_OPCODE_TEXT ? PyUnicode_DecodeUTF8(data, length, NULL)
                                                          : PyBytes_FromStringAndSize(data, length);
    fws_message_free(message);
    return result;
}
