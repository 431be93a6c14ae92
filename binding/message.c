/* A received message as a Python object.
 *
 * A large one is moved piece by piece, from its end, and what has been moved is given back at once:
 * the message is never in memory twice. That takes a millisecond for each megabyte, so the GIL is
 * released meanwhile.
 */
#include "binding.h"

#include <string.h>

#define LARGE ((size_t)1 << 20) /* bytes; also the size of a piece */

/* What has been moved from the end is not needed any more. */
static void give_back(fws_message *message, size_t left)
{
    uint8_t *shrunk = left > 0 ? realloc(message->data, left) : NULL;
    if (shrunk)
        message->data = shrunk; /* a large one is malloc'd, not in a block of the inbox */
}

static PyObject *large_bytes(fws_message *message)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message->length);
    if (result == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(result);
    Py_BEGIN_ALLOW_THREADS; /* nobody else has seen it */
    for (size_t left = message->length; left > 0;) {
        size_t piece = left < LARGE ? left : LARGE;
        left -= piece;
        memcpy(to + left, message->data + left, piece);
        give_back(message, left);
    }
    Py_END_ALLOW_THREADS;
    return result;
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* How many characters, and the largest of them as far as str distinguishes it. */
static Py_ssize_t count_characters(const uint8_t *data, size_t length, Py_UCS4 *largest)
{
    size_t continuations = 0;
    uint8_t highest = 0;
    for (size_t i = 0; i < length; i++) {
        continuations += is_continuation(data[i]);
        highest = data[i] > highest ? data[i] : highest;
    }
    /* The lead byte tells the width: C2 and C3 begin U+0080 to U+00FF, F0 and above what needs
     * four bytes. */
    *largest = highest < 0x80 ? 0x7F : highest < 0xC4 ? 0xFF : highest < 0xF0 ? 0xFFFF : 0x10FFFF;
    return (Py_ssize_t)(length - continuations);
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

/* Into `to`, a str of this kind that has room for `place` characters. */
static void move_text(fws_message *message, int kind, bool ascii, void *to, Py_ssize_t place)
{
    for (size_t left = message->length; left > 0;) {
        size_t end = left, characters = 0;
        left = left < LARGE ? 0 : left - LARGE;
        while (is_continuation(message->data[left]))
            left--;
        for (size_t i = left; i < end; i++)
            characters += !is_continuation(message->data[i]);
        place -= (Py_ssize_t)characters;
        if (ascii) {
            memcpy((char *)to + place, message->data + left, end - left);
        } else {
            const uint8_t *from = message->data + left;
            for (size_t i = 0; i < characters; i++)
                PyUnicode_WRITE(kind, to, place + (Py_ssize_t)i, decode_character(&from));
        }
        give_back(message, left);
    }
}

static PyObject *large_text(fws_message *message)
{
    Py_UCS4 largest;
    Py_ssize_t characters;
    Py_BEGIN_ALLOW_THREADS;
    characters = count_characters(message->data, message->length, &largest);
    Py_END_ALLOW_THREADS;
    PyObject *result = PyUnicode_New(characters, largest);
    if (result == NULL)
        return NULL;
    int kind = (int)PyUnicode_KIND(result);
    void *to = PyUnicode_DATA(result);
    Py_BEGIN_ALLOW_THREADS; /* nobody else has seen it */
    move_text(message, kind, largest == 0x7F, to, characters);
    Py_END_ALLOW_THREADS;
    return result;
}

PyObject *fws_message_object(fws_message *message)
{
    PyObject *result;
    const char *data = (const char *)message->data;
    Py_ssize_t length = (Py_ssize_t)message->length;
    if (message->opcode == FWS_OPCODE_TEXT)
        result = message->length > LARGE ? large_text(message)
                                         : PyUnicode_DecodeUTF8(data, length, NULL);
    else
        result = message->length > LARGE ? large_bytes(message)
                                         : PyBytes_FromStringAndSize(data, length);
    fws_message_free(message);
    return result;
}
