/* The message that a connection assembles: one that arrives in parts, or compressed.
 *
 * Decompression is done in pieces, because a few bytes may stand for hundreds of megabytes: it
 * stops after FWS_PIECE bytes of output, and the caller keeps the input that was not read.
 * zlib may have read all of the input and still hold output back. In that case the last byte counts
 * as not read, so that the caller keeps at least one byte as long as there is more output.
 *
 * No size here overflows: a message never has more than FWS_ASSEMBLY_MAX bytes, whatever the limits
 * of the connection are.
 *
 * Threads: as fws_connection. fws_assembly_inflate uses only the fields that connection.h lists for
 * fws_connection_inflate, and needs no lock while no other thread uses those. Memory: the message
 * is the connection's until fws_connection_detach_message.
 */
#ifndef FWS_PROTOCOL_ASSEMBLY_H
#define FWS_PROTOCOL_ASSEMBLY_H

#include "connection.h"

#define FWS_ASSEMBLY_MAX ((uint64_t)(SIZE_MAX / 2)) /* more than malloc gives */

/* What max_message_size allows, at most FWS_ASSEMBLY_MAX. */
uint64_t fws_assembly_limit(const fws_connection *connection);

/* Frees what has been assembled. */
void fws_assembly_drop(fws_connection *connection);

/* Appends a part that is not compressed; false when there is no memory. The caller has checked
 * the size against the limit. */
bool fws_assembly_append(fws_connection *connection, const uint8_t *data, size_t length);

/* Unmasks, decompresses and checks `length` bytes of the payload of the current frame, which is
 * compressed, and moves *cursor behind what was read. Sets connection->more when it stopped
 * before the end, and connection->problem when something is wrong. */
void fws_assembly_inflate(fws_connection *connection, uint8_t **cursor, size_t length);

/* The last frame of a compressed message is complete (RFC 7692 section 7.2.2). Sets
 * connection->problem when the message is not. */
void fws_assembly_end_inflating(fws_connection *connection);

#endif
