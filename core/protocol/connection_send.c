#include "connection.h"

#include "mask.h"

#include <string.h>

size_t fws_connection_encode_header(fws_connection *connection, uint8_t *out, bool final,
                                    fws_opcode opcode, uint64_t length, uint8_t key[4])
{
    if (connection->role == FWS_ROLE_SERVER)
        return fws_frame_encode(out, final, opcode, length, NULL);
    connection->entropy(key);
    return fws_frame_encode(out, final, opcode, length, key);
}

size_t fws_connection_encode_control(fws_connection *connection, uint8_t *out, fws_opcode opcode,
                                     const uint8_t *payload, size_t length)
{
    uint8_t key[4];
    if (length > FWS_FRAME_CONTROL_MAX)
        return 0;
    size_t size = fws_connection_encode_header(connection, out, true, opcode, length, key);
    if (length > 0)
        memcpy(out + size, payload, length);
    if (connection->role == FWS_ROLE_CLIENT)
        fws_mask_apply(out + size, length, key, 0);
    return size + length;
}

size_t fws_connection_close(fws_connection *connection, uint8_t *out, uint16_t code,
                            const char *reason, size_t reason_size)
{
    if (connection->close_sent)
        return 0;
    connection->close_sent = true;
    if (code == FWS_CLOSE_NO_STATUS)
        return fws_connection_encode_control(connection, out, FWS_OPCODE_CLOSE, NULL, 0);
    reason_size = fws_close_fit_reason(reason, reason_size);
    uint8_t payload[FWS_FRAME_CONTROL_MAX];
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    if (reason_size > 0)
        memcpy(payload + 2, reason, reason_size);
    return fws_connection_encode_control(connection, out, FWS_OPCODE_CLOSE, payload,
                                         2 + reason_size);
}
