/* The frame header on hostile bytes: it is decided at the same byte however many follow, and what
 * is accepted is exactly what we would write.
 *
 * Input: byte 0 says whether compression is agreed on; the rest is the stream.
 */
#include "fws.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written_again(const uint8_t *data, const fws_frame_header *header)
{
    uint8_t written[FWS_FRAME_HEADER_MAX];
    size_t size = fws_frame_encode(written, header->final, (fws_opcode)header->opcode,
                                   header->length, header->masked ? header->key : NULL);
    if (header->compressed)
        fws_frame_mark_compressed(written);
    if (size != header->size || memcmp(written, data, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool compression = data[0] & 1;
    data++;
    size--;
    fws_frame_status decided = FWS_FRAME_INCOMPLETE;
    for (size_t available = 0; available <= size && available < 2 * FWS_FRAME_HEADER_MAX;
         available++) {
        uint8_t *copy = malloc(
            available + 1); /* memory of its own, so that a sanitizer sees a read beyond its end */
        memcpy(copy, data, available);
        fws_frame_header header;
        fws_frame_status status =
            fws_frame_decode(available ? copy : copy + 1, available, compression, &header);
        if (decided != FWS_FRAME_INCOMPLETE && status != decided)
            abort();
        decided = status;
        if (status == FWS_FRAME_INCOMPLETE && available >= FWS_FRAME_HEADER_MAX)
            abort();
        if (status == FWS_FRAME_OK) {
            if (header.size > available || (header.compressed && !compression))
                abort();
            check_written_again(copy, &header);
        } else if (status != FWS_FRAME_INCOMPLETE && strlen(fws_frame_error(status)) == 0) {
            abort();
        }
        free(copy);
    }
    return 0;
}
