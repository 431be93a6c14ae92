#include "close.h"

#include "utf8.h"

bool fws_close_code_is_legal(uint16_t code)
{
    if (code >= 3000 && code <= 4999)
        return true; /* registered and private use, section 7.4.2 */
    if (code >= 1000 && code <= 1003)
        return true;
    return code >= 1007 && code <= 1014; /* 1004 to 1006 and 1015 are never sent */
}

size_t fws_close_fit_reason(const void *reason, size_t size)
{
    const uint8_t *bytes = reason;
    if (size <= FWS_CLOSE_REASON_MAX)
        return size;
    size = FWS_CLOSE_REASON_MAX;
    while (size > 0 && (bytes[size] & 0xC0) == 0x80)
        size--;
    return size;
}

fws_close_status fws_close_decode(const uint8_t *data, size_t length, uint16_t *code)
{
    if (length == 0) {
        *code = FWS_CLOSE_NO_STATUS;
        return FWS_CLOSE_OK;
    }
    if (length == 1)
        return FWS_CLOSE_ONE_BYTE;
    *code = (uint16_t)(data[0] << 8 | data[1]);
    if (!fws_close_code_is_legal(*code))
        return FWS_CLOSE_ILLEGAL_CODE;
    if (!fws_utf8_valid(data + 2, length - 2))
        return FWS_CLOSE_BAD_UTF8;
    return FWS_CLOSE_OK;
}
