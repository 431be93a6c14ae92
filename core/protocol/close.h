/* Close codes and the payload of a close frame, RFC 6455 sections 5.5.1 and 7.4.
 *
 * Nothing here allocates, waits or keeps state. Threads: any.
 */
#ifndef FWS_PROTOCOL_CLOSE_H
#define FWS_PROTOCOL_CLOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_CLOSE_REASON_MAX 123 /* a control frame's 125 bytes less the code */

enum {
    FWS_CLOSE_NORMAL = 1000,
    FWS_CLOSE_GOING_AWAY = 1001,
    FWS_CLOSE_PROTOCOL_ERROR = 1002,
    FWS_CLOSE_NO_STATUS = 1005, /* never on the wire: the peer's close frame was empty */
    FWS_CLOSE_ABNORMAL = 1006,  /* never on the wire: the connection was lost */
    FWS_CLOSE_INVALID_DATA = 1007,
    FWS_CLOSE_POLICY = 1008,
    FWS_CLOSE_TOO_BIG = 1009,
    FWS_CLOSE_INTERNAL_ERROR = 1011,
    FWS_CLOSE_TRY_AGAIN_LATER = 1013,
};

/* May this code stand in a close frame? Section 7.4.1 and the IANA registry (1012 to 1014). */
bool fws_close_code_is_legal(uint16_t code);

/* How many bytes of a reason fit into a close frame: at most FWS_CLOSE_REASON_MAX, and no part
 * of a character at the end. */
size_t fws_close_fit_reason(const void *reason, size_t size);

typedef enum {
    FWS_CLOSE_OK,
    FWS_CLOSE_ONE_BYTE,     /* a payload of one byte: 1002 */
    FWS_CLOSE_ILLEGAL_CODE, /* 1002 */
    FWS_CLOSE_BAD_UTF8,     /* in the reason: 1007 */
} fws_close_status;

/* Reads the payload of a close frame. An empty payload gives FWS_CLOSE_NO_STATUS as code. The
 * reason is data + 2, length - 2. */
fws_close_status fws_close_decode(const uint8_t *data, size_t length, uint16_t *code);

#endif
