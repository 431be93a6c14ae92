#include "inbox.h"

#include "../tuning.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define OWN_BLOCK UINT32_MAX

/* In a block, at a multiple of ALIGNMENT, followed by the bytes or by a fws_message. */
typedef struct {
    uint32_t length; /* OWN_BLOCK: a fws_message follows, whose data is malloc'd */
    uint8_t opcode;
} entry;

#define ALIGNMENT sizeof(void *)

/* The longest message of fws_inbox_push_copy, and all other bytes that a block may have, fit
 * into 32 bits. */
#define COPIED_MAX (OWN_BLOCK / 2)
_Static_assert(COPIED_MAX + sizeof(entry) + ALIGNMENT + FWS_AHEAD_MAX + FWS_AHEAD_MAX / 4 <
                   UINT32_MAX,
               "the size of a block does not fit");

struct fws_inbox_block {
    fws_inbox_block *next;
    atomic_uint_least32_t left; /* how many entries are not freed; exact once the block is sealed */
    uint32_t entries;
    uint32_t borrowed; /* of them, how many fws_inbox_next has given out */
    uint32_t start;    /* place of the first entry that is not popped */
    uint32_t end;      /* place behind the last entry */
    uint32_t capacity;
    bool sealed;
    _Alignas(void *) uint8_t bytes[];
};

static size_t round_up(size_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Nothing is added to the block any more, so that its messages may be popped and freed. */
static void seal(fws_inbox_block *block)
{
    if (block->sealed)
        return;
    block->sealed = true;
    atomic_init(&block->left, block->entries);
}

static void release(fws_inbox_block *block, uint32_t entries)
{
    /* If all remaining entries are the caller's, a plain load says so, without a locked
     * instruction. */
    if (atomic_load_explicit(&block->left, memory_order_acquire) == entries ||
        atomic_fetch_sub_explicit(&block->left, entries, memory_order_acq_rel) == entries)
        free(block);
}

void fws_message_free(fws_message *message)
{
    if (message->block != NULL)
        release(message->block, 1);
    else if (!message->borrowed)
        free(message->data);
    message->data = NULL;
    message->block = NULL;
}

void fws_inbox_init(fws_inbox *inbox)
{
    *inbox = (fws_inbox){0};
}

void fws_inbox_clear(fws_inbox *inbox)
{
    fws_message message;
    while (fws_inbox_next(inbox, &message))
        fws_message_free(&message);
}

/* Room for an entry with so many bytes behind it; NULL when there is no memory. */
static entry *add(fws_inbox *inbox, size_t size, size_t more)
{
    size_t whole = round_up(sizeof(entry) + size);
    fws_inbox_block *last = inbox->last;
    if (last == NULL || last->sealed || last->capacity - last->end < whole) {
        /* The following messages have frame headers, which are a little smaller than entries. */
        size_t room = more < FWS_AHEAD_MAX ? more + more / 4 : FWS_AHEAD_MAX;
        fws_inbox_block *block = malloc(sizeof *block + whole + room);
        if (block == NULL)
            return NULL;
        *block = (fws_inbox_block){.capacity = (uint32_t)(whole + room)};
        if (last != NULL) {
            seal(last);
            last->next = block;
        } else {
            inbox->first = block;
        }
        inbox->last = last = block;
    }
    entry *new = (void *)(last->bytes + last->end);
    last->end += (uint32_t)whole;
    last->entries++;
    return new;
}

bool fws_inbox_push_copy(fws_inbox *inbox, uint8_t opcode, const void *data, size_t length,
                         size_t more)
{
    if (length >= COPIED_MAX)
        return false; /* cannot happen: a message that is copied was received whole into one buffer
                       */
    entry *new = add(inbox, length, more);
    if (new == NULL)
        return false;
    *new = (entry){.length = (uint32_t)length, .opcode = opcode};
    if (length > 0)
        memcpy(new + 1, data, length);
    inbox->count++;
    inbox->pushed++;
    inbox->bytes += length;
    return true;
}

bool fws_inbox_push(fws_inbox *inbox, const fws_message *message)
{
    entry *new = add(inbox, sizeof *message, 0);
    if (new == NULL)
        return false;
    *new = (entry){.length = OWN_BLOCK, .opcode = message->opcode};
    fws_message *kept = (void *)(new + 1);
    *kept = *message;
    kept->block = NULL;
    inbox->count++;
    inbox->pushed++;
    inbox->bytes += message->length;
    return true;
}

/* Reads the first entry of the first block, which has one. The caller takes over its ownership. */
static void read_first(fws_inbox *inbox, fws_message *message)
{
    fws_inbox_block *block = inbox->first;
    entry *first = (void *)(block->bytes + block->start);
    seal(block);
    if (first->length == OWN_BLOCK) {
        *message = *(fws_message *)(void *)(first + 1);
        block->start += (uint32_t)round_up(sizeof *first + sizeof *message);
    } else {
        *message = (fws_message){.opcode = first->opcode,
                                 .length = first->length,
                                 .data = first->length > 0 ? (uint8_t *)(first + 1) : NULL,
                                 .borrowed = true};
        block->start += (uint32_t)round_up(sizeof *first + first->length);
    }
    inbox->count--;
    inbox->bytes -= message->length;
}

static void unlink_first(fws_inbox *inbox)
{
    inbox->first = inbox->first->next;
    if (inbox->first == NULL)
        inbox->last = NULL;
}

bool fws_inbox_pop(fws_inbox *inbox, fws_message *message)
{
    fws_inbox_block *block = inbox->first;
    if (block == NULL)
        return false;
    read_first(inbox, message);
    if (block->start == block->end)
        unlink_first(inbox);
    if (message->borrowed)
        message->block = block;
    else
        release(block, 1);
    message->borrowed = false;
    return true;
}

bool fws_inbox_next(fws_inbox *inbox, fws_message *message)
{
    fws_inbox_block *block = inbox->first;
    if (block != NULL && block->start == block->end) {
        unlink_first(inbox);
        release(block, block->borrowed);
        block = inbox->first;
    }
    if (block == NULL)
        return false;
    read_first(inbox, message);
    block->borrowed++;
    return true;
}

void fws_inbox_take(fws_inbox *inbox, fws_inbox *taken)
{
    *taken = *inbox;
    *inbox = (fws_inbox){.pushed = taken->pushed};
}

void fws_inbox_prepend(fws_inbox *inbox, fws_inbox *rest)
{
    if (rest->count == 0) {
        fws_inbox_clear(rest);
        return;
    }
    if (inbox->first != NULL) {
        rest->last->next = inbox->first;
        seal(rest->last);
        rest->last = inbox->last;
        rest->count += inbox->count;
        rest->bytes += inbox->bytes;
    }
    rest->pushed = inbox->pushed;
    *inbox = *rest;
    fws_inbox_init(rest);
}
