/* The core of flask-websockets, as binding/ and bench/ see it: they include no other header of it.
 *
 * - protocol/: bytes in, events out; no sockets, no clock, no threads.
 * - fws_engine: the threads that read and write for many websockets, and their channels.
 * - fws_websocket: one connection.
 * - fws_notifier: tells an event loop which websockets have changed.
 *
 * fws_engine, fws_websocket and fws_notifier are opaque. Each header says which thread may call
 * what, which lock protects what, and who owns the memory.
 */
#ifndef FWS_H
#define FWS_H

#include "channels/publish.h"
#include "channels/table.h"
#include "engine/engine.h"
#include "io/clock.h"
#include "io/loop.h"
#include "io/os.h"
#include "io/transport.h"
#include "memory/pool.h"
#include "memory/prefetch.h"
#include "memory/temporary.h"
#include "protocol/close.h"
#include "protocol/connection.h"
#include "protocol/compression.h"
#include "protocol/deflate.h"
#include "protocol/frame.h"
#include "protocol/handshake.h"
#include "protocol/mask.h"
#include "protocol/negotiation.h"
#include "protocol/utf8.h"
#include "stats/counters.h"
#include "stats/histogram.h"
#include "stats/tally.h"
#include "tuning.h"
#include "websocket/config.h"
#include "websocket/inbox.h"
#include "websocket/notifier.h"
#include "websocket/websocket.h"

#endif
