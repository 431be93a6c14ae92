/* A hash table that links its entries through themselves. It grows and shrinks by one or two
 * buckets at a time (linear hashing: Litwin, "Linear hashing: a new tool for file and table
 * addressing", 1980), so that no single operation moves more than a few entries, whatever the size.
 *
 * To insert cannot fail: without memory for further buckets the chains only become longer.
 *
 * Invariants: FWS_FEW <= buckets; when there is memory, count <= buckets + 1; after a
 * removal, buckets == FWS_FEW or buckets <= 8 * count + 8. So an empty table holds no
 * memory.
 *
 * Threads: no lock of its own; see who owns the table. Memory: the entries are the caller's.
 */
#ifndef FWS_MEMORY_HASH_H
#define FWS_MEMORY_HASH_H

#include "../tuning.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fws_hash_entry {
    struct fws_hash_entry *next;
    uint64_t hash; /* while it is in a table: constant */
} fws_hash_entry;

typedef struct {
    fws_hash_entry *first[FWS_FEW]; /* buckets that lie in the table */
    fws_hash_entry ***segments;     /* for the buckets after those */
    size_t segment_capacity;
    size_t buckets;
    size_t count; /* entries */
} fws_hash;

void fws_hash_init(fws_hash *hash);
/* Frees what the table itself has allocated; the entries are not touched. */
void fws_hash_clear(fws_hash *hash);

void fws_hash_insert(fws_hash *hash, fws_hash_entry *entry, uint64_t value);
/* The entry must be in the table. */
void fws_hash_remove(fws_hash *hash, fws_hash_entry *entry);

/* Prefetches what removing an entry needs: call with FWS_HASH_FETCH_BUCKET, later with
 * FWS_HASH_FETCH_ENTRY, and remove the entry some time after that. */
typedef enum { FWS_HASH_FETCH_BUCKET, FWS_HASH_FETCH_ENTRY } fws_hash_fetch_what;
void fws_hash_fetch(const fws_hash *hash, uint64_t value, fws_hash_fetch_what what);

/* The first entry with this hash, and the next with the same; NULL: there is none. */
fws_hash_entry *fws_hash_find(const fws_hash *hash, uint64_t value);
fws_hash_entry *fws_hash_find_next(const fws_hash_entry *entry);

/* Any entry, or NULL when the table is empty. It may look at every bucket, so it is for the end
 * of a table. */
fws_hash_entry *fws_hash_any(const fws_hash *hash);

#endif
