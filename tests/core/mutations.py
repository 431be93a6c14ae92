"""Take back what keeps a promise, one piece at a time, and show that a test notices.

    python tests/core/mutations.py [NAME ...]

Each mutation changes a copy of the sources below build/mutations, builds one test program with
AddressSanitizer, and runs it: it must fail. Before that the program must pass as it is. Exits with 1
when a mutation is not noticed, or does not apply any more.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "mutations" / "built"
SOURCES = ROOT / "build" / "mutations" / "sources"
TIMEOUT = 120  # seconds: a test program that hangs has noticed, too


@dataclass(frozen=True)
class Mutation:
    """``old`` becomes ``new`` in a file, and the test program ``test_...`` fails."""

    promise: str  # the invariant of docs/architecture.md, or the promise, that it breaks
    file: str
    old: str
    new: str
    test: str


MUTATIONS = {
    "nobody-watches": Mutation(
        "1: while a callback runs, somebody watches",
        "core/engine/batch.c",
        "fws_crew_may_enter_callbacks(engine) &&\n           fws_watch_appoint(engine);",
        "fws_crew_may_enter_callbacks(engine);",
        "watch",
    ),
    "watch-dismissed-in-batch": Mutation(
        "1: and until the batch is over",
        "core/engine/batch.c",
        "crew->in_batch = true;",
        "crew->in_batch = true;\n        fws_watch_dismiss(engine);",
        "watch",
    ),
    "overtaken-forgets-the-list": Mutation(
        "1: what is overtaken is written as it was queued",
        "core/engine/crew.c",
        "fws_websocket_on_overtaken(overtaken);",
        "fws_websocket_on_flush(overtaken);",
        "watch",
    ),
    "first-come": Mutation(
        "1: nor in the queue of those that run apart",
        "core/engine/apart.c",
        "(!fast || apart->fast_was_taken) && may_take_others(engine, apart)",
        "may_take_others(engine, apart)",
        "apart",
    ),
    "places-for-anybody": Mutation(
        "1: callbacks that wait for long, however many, leave the leader a thread that watches",
        "core/engine/apart.c",
        "uint32_t kept = crew->limit / FWS_KEPT;",
        "uint32_t kept = 0;",
        "apart",
    ),
    "each-is-overtaken": Mutation(
        "1: nor behind hundreds that have all become slow",
        "core/engine/apart.c",
        "return overtaken_lately(route, now) < FWS_OVERTAKEN_MOST;",
        "return overtaken_lately(route, now) < UINT32_MAX;",
        "apart",
    ),
    "nobody-is-trusted": Mutation(
        "1: who is fast does not wait in a row with those that are not",
        "core/engine/apart.c",
        "(websocket->fast < FWS_TRUSTED ||",
        "(websocket->fast < FWS_PROVEN ||",
        "watch",
    ),
    "not-held-back": Mutation(
        "2: a class view's send never costs a thread because its peer does not read",
        "core/websocket/callbacks.c",
        "return atomic_load_explicit(&websocket->held_back, memory_order_relaxed);",
        "(void)websocket;\n    return false;",
        "held_back",
    ),
    "attach-after-stop": Mutation(
        "3: stop is final",
        "core/engine/engine.c",
        "if (engine->life != FWS_ENGINE_NEW) {",
        "if (engine->life == FWS_ENGINE_STOPPING) {",
        "stop",
    ),
    "deposed-goes-on": Mutation(
        "3: who comes back from a callback later touches nothing of the engine's",
        "core/engine/batch.c",
        "    if (engine->crew.term != term)\n        return false;\n    fws_apart_note_speed",
        "    (void)term;\n    fws_apart_note_speed",
        "stop",
    ),
    "seen-before-complete": Mutation(
        "4: a websocket is complete before it can be seen",
        "core/engine/engine.c",
        "    fws_websocket_lock(websocket); /* a thread that finds it waits until it is attached */\n"
        "    if (prepare(websocket, attachment) && enlist(engine, websocket)) {\n",
        "    if (enlist(engine, websocket) && prepare(websocket, attachment)) {\n"
        "        fws_websocket_lock(websocket);\n",
        "stop",
    ),
    "exclude-of-another-engine": Mutation(
        "5: exclude of a websocket of another engine is harmless",
        "core/channels/publish.c",
        "        if (excluded[i]->work == work)\n",
        "",
        "channels",
    ),
    "lock-not-made-anew": Mutation(
        "5: after a fork every lock is made anew",
        "core/engine/fork.c",
        "    fws_websocket_init_lock(websocket);\n",
        "",
        "fork",
    ),
    "table-lock-not-made-anew": Mutation(
        "5: also the table's",
        "core/engine/fork.c",
        "    fws_table_after_fork(&engine->table);\n",
        "",
        "fork",
    ),
    "refused-thread-not-noted": Mutation(
        "6: when a thread cannot be had, it is tried again after a while, and counted",
        "core/engine/crew.c",
        "        note_refused_thread(engine, &crew->hire_at);\n",
        "",
        "refusal",
    ),
    "refused-callbacks-not-noted": Mutation(
        "6: when callbacks cannot be entered, likewise",
        "core/engine/batch.c",
        "        fws_crew_note_refusal(engine);\n",
        "",
        "refusal",
    ),
    "clock-alone": Mutation(
        "a peer that takes bytes is alive",
        "core/websocket/progress.c",
        "return *behind ? websocket->progress.noticed_at > since : was_behind;",
        "(void)since;\n    (void)was_behind;\n    return false;",
        "progress",
    ),
    "own-messages-make-slow": Mutation(
        "a slow consumer is one whose published backlog is over the limit",
        "core/websocket/send.c",
        "outbox->published.count == 0 || outbox->published_bytes + size <= limit;",
        "outbox->bytes + size <= limit;",
        "slow_consumers",
    ),
    "timers-in-one-turn": Mutation(
        "a turn is bounded, however many timers are due",
        "core/engine/turn.c",
        "if (fws_clock_now() - now >= FWS_SLICE)",
        "if (false)",
        "turn",
    ),
    "delivered-late": Mutation(
        "what was published before a send, a close or an unsubscribe comes before it",
        "core/websocket/internal.h",
        "return websocket->subscriber != NULL && fws_backlog_concerns(websocket->subscriber);",
        "(void)websocket;\n    return false;",
        "channels",
    ),
}


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def copy_sources() -> None:
    """Only what has changed is written, so that only that is compiled again."""
    for folder in ("core", "binding", "fuzz", "tests/core"):
        for source in (ROOT / folder).rglob("*"):
            copy = SOURCES / source.relative_to(ROOT)
            if source.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
            elif not copy.exists() or copy.read_bytes() != source.read_bytes():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(source.read_bytes())
    for name in ("meson.build", "meson_options.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, SOURCES / name)


def set_up() -> None:
    copy_sources()
    if (BUILD / "build.ninja").exists():
        return
    options = ["-Dpython=disabled", "-Dtests=enabled", "-Doptimization=1", "-Db_lundef=false"]
    options += ["-Db_sanitize=address,undefined"]
    done = run(["meson", "setup", str(BUILD), str(SOURCES), *options])
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)


def passes(test: str) -> bool:
    """Build and run a test program."""
    target = f"tests/core/test_{test}"
    done = run(["meson", "compile", "-C", str(BUILD), f"test_{test}"])
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    environment = {**os.environ, "ASAN_OPTIONS": "abort_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1"}
    try:
        return run([str(BUILD / target)], env=environment, timeout=TIMEOUT).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def is_noticed(mutation: Mutation) -> bool:
    path = SOURCES / mutation.file
    original = path.read_text()
    if original.count(mutation.old) != 1:
        print(f"    does not apply to {mutation.file}")
        return False
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        return not passes(mutation.test)
    finally:
        path.write_text(original)


def main() -> int:
    names = sys.argv[1:] or list(MUTATIONS)
    set_up()
    for test in sorted({MUTATIONS[name].test for name in names}):
        if not passes(test):
            sys.exit(f"test_{test} fails without any mutation")
    missed = 0
    for name in names:
        mutation = MUTATIONS[name]
        begun = time.monotonic()
        noticed = is_noticed(mutation)
        missed += not noticed
        verdict = f"test_{mutation.test} notices" if noticed else "NOT NOTICED"
        print(
            f"{name:28} {verdict} ({time.monotonic() - begun:.0f} s)    {mutation.promise}", flush=True
        )
    print(f"{len(names) - missed} noticed, {missed} not")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
