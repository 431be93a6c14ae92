/* Small pieces of memory. For each message that a callback answers, two are needed for the length
 * of a batch: more at once than malloc keeps ready for a thread, and then it takes its slow way. So
 * the threads of the crew keep some of their own.
 *
 * Threads: any; what one has made, another may give back.
 */
#ifndef FWS_ENGINE_SCRAP_H
#define FWS_ENGINE_SCRAP_H

#include <stddef.h>

#define FWS_SCRAP_SIZE 256u /* bytes; whatever is larger comes from malloc */

/* For a thread that works for many websockets; a sanitizer is to see each piece for itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FWS_SCRAPS_KEPT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FWS_SCRAPS_KEPT 0
#endif
#endif
#ifndef FWS_SCRAPS_KEPT
#define FWS_SCRAPS_KEPT 128
#endif

/* From now on the calling thread keeps what it gives back, up to `count` pieces; and until now. */
void fws_scraps_begin(unsigned count);
void fws_scraps_end(void);

/* NULL when there is no memory. */
void *fws_scrap_new(size_t size);
/* `size`: what it was made with. */
void fws_scrap_free(void *scrap, size_t size);

#endif
