/* The message that a connection puts together: one that arrives in parts, or compressed.
 *
 * Decompression is done in pieces, since a few bytes may stand for hundreds of megabytes: after
 * FWS_INFLATE_PIECE bytes of output it stops, with what it has not read left to the caller. zlib
 * may have read all and still hold output back. Then the last byte counts as not read, so that
 * bytes are left exactly as long as there is more to do.
 *
 * No size here wraps: a message never has more than FWS_ASSEMBLY_MAX bytes, whatever the limits of
 * the connection say.
 *
 * Threads: as fws_connection. fws_assembly_inflate uses only the fields that connection.h lists for
 * it, and no lock is needed while nobody else does.
 */
#ifndef FWS_PROTOCOL_ASSEMBLY_H
#define FWS_PROTOCOL_ASSEMBLY_H

#include "connection.h"

#define FWS_ASSEMBLY_MAX ((uint64_t)(SIZE_MAX / 2)) /* more than malloc gives */

/* What max_message_size allows, at most FWS_ASSEMBLY_MAX. */
uint64_t fws_assembly_limit(const fws_connection *connection);

/* Gives up what there is of it. */
void fws_assembly_drop(fws_connection *connection);

/* Appends a part that is not compressed; false when there is no memory. The whole has been checked
 * against the limit. */
bool fws_assembly_append(fws_connection *connection, const uint8_t *data, size_t length);

/* Takes `length` bytes of the payload of the current frame, which is compressed, from *cursor on;
 * unmasks, decompresses and checks them, and moves *cursor. It sets connection->more when it
 * stopped before the end, and connection->problem when something is wrong. */
void fws_assembly_inflate(fws_connection *connection, uint8_t **cursor, size_t length);

/* The last frame is complete (RFC 7692 section 7.2.2). Sets connection->problem when the message is
 * not. */
void fws_assembly_end_inflating(fws_connection *connection);

#endif
