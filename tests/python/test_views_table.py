"""Where the tests of docs/views.md are: for each row of its table, and each kind of view, those that
fail when the cell is not true; and for each heading below the table, those of its sentences. What has
no test here, and what is named here and is no test, is an error.

``views.test_x`` is the function ``test_x`` of test_views.py, in python/, servers/ or soak/.
"""

from __future__ import annotations

import ast
import functools

import pytest
from conftest import ROOT

KINDS = ("function", "class", "async")

#: By the row, and then by the kind of view; "every": tests that are parametrized with all three.
ROWS: dict[str, dict[str, str]] = {
    "runs in": {
        "every": "views_rows.test_runs_in",
        "function": """greenlets.test_a_function_view_is_a_greenlet_of_its_own
            views_rows.test_until_the_handshake_is_answered_the_request_waits_in_the_server_s_thread""",
        "class": "class_views.test_messages_come_in_order_and_never_two_at_once",
        "async": """async_views.test_a_thousand_at_once_in_one_thread
            views_rows.test_until_the_handshake_is_answered_the_request_waits_in_the_server_s_thread""",
    },
    "URL converters and `before_request` run": {
        "every": """views_rows.test_url_converters_and_before_request_run
            matching.test_converters_may_use_what_they_may_use_on_a_page""",
    },
    "while it waits it takes": {
        "every": "idle.test_what_a_websocket_takes_while_it_waits",
        "class": "class_views.test_no_thread_for_each",
        "async": "async_views.test_a_thousand_at_once_in_one_thread",
    },
    "context variables": {
        "every": """views_rows.test_context_variables_are_in_a_copy
            views.test_context_variables_are_those_of_the_call_and_leak_nowhere""",
        "class": "class_views.test_a_context_variable_lives_as_long_as_the_websocket",
        "async": "async_ends.test_context_variables_are_those_of_the_request",
    },
    "`request`, `session`, `current_app`": {
        "every": """views_rows.test_request_session_current_app
            contexts.test_another_request_within_a_handler""",
        "class": "class_views.test_each_callback_is_a_unit_of_work",
    },
    "`g`": {
        "every": "views_rows.test_g contexts.test_an_application_of_a_class_of_its_own",
        "class": """class_views.test_each_callback_is_a_unit_of_work
            contexts.test_what_a_thread_leaves_in_g_is_not_in_the_next_call""",
    },
    "session saved, `after_request` run": {
        "every": """views.test_session_and_after_request_go_with_the_101
            views_ends.test_a_session_with_a_store_is_read_once""",
    },
    "`teardown_request`, `teardown_appcontext`": {
        "every": """thread_bound.test_a_lock_that_a_thread_must_release_itself
            views.test_thread_bound_objects_in_g contexts.test_an_application_context_within_a_handler
            views_rows.test_g""",
        "class": """class_views.test_each_callback_is_a_unit_of_work
            thread_bound.test_a_lock_in_each_unit_of_work""",
        "async": "async_ends.test_teardown_runs_in_the_thread_of_the_handler",
    },
    "database connections held while idle": {
        "every": """views_rows.test_database_connections_held_while_idle
            thread_bound.test_idle_websockets_and_a_pool_of_connections""",
    },
    "the peer leaves": {
        "function": """messages.test_what_arrived_before_the_close_is_received_first
            views_ends.test_each_iterator_ends_after_all_that_had_arrived""",
        "class": """class_views.test_messages_before_a_close_are_given_out
            class_views.test_a_peer_that_vanishes class_views.test_open_message_close""",
        "async": """views_ends.test_receive_and_send_of_a_coroutine_when_the_peer_has_left
            views_ends.test_each_iterator_ends_after_all_that_had_arrived
            async_ends.test_what_arrived_is_given_out_however_long_that_takes
            async_ends.test_one_that_is_at_something_else_when_its_peer_leaves_ends""",
    },
    "`ws.close()`": {
        "every": """views_ends.test_after_a_close_the_return_changes_nothing
            slow_peers.test_after_an_own_close_nothing_is_given_out""",
        "class": "class_views.test_own_close",
        "async": "async_ends.test_its_own_close_cancels_it_neither_then_nor_later",
    },
    "return": {
        "function": "getting_started.test_an_empty_route_connects_then_closes_with_1000",
        "class": """class_views.test_open_message_close
            class_views.test_on_message_is_all_that_a_view_needs""",
        "async": "async_views.test_the_handler_decides",
    },
    "any other exception": {
        "every": """views.test_no_exception_ends_more_than_its_websocket
            reports.test_the_close_of_another_websocket_is_an_error_of_the_handler""",
        "class": """class_views.test_an_exception_is_logged_once_and_closes_with_1011
            views_ends.test_on_close_follows_what_a_method_has_raised""",
        "async": """async_failures.test_whatever_a_handler_raises_is_logged_once_and_ends_it_alone
            async_failures.test_what_a_task_of_its_raises_is_logged_once_and_ends_nothing""",
    },
    "a value returned after the handshake was answered": {
        "every": """returned.test_a_value_that_nobody_gets_is_logged
            returned.test_in_debug_mode_it_is_an_error""",
        "class": "returned.test_what_on_message_returns_is_logged_once",
    },
    "`InvalidMessage`: what the peer has sent is no JSON, say": {
        "every": "invalid_messages.test_an_invalid_message_closes_with_1007_and_fills_no_log",
        "class": "views_ends.test_on_close_follows_what_a_method_has_raised",
    },
    "`ConnectionClosed`, of this websocket": {
        "every": """views.test_a_group_of_nothing_but_connection_closed_is_silent
            reports.test_the_usual_end_is_no_error_for_teardown_functions""",
        "function": "extension.test_connection_closed_may_escape_in_silence",
        "class": "class_views.test_a_peer_that_is_gone_is_no_exception",
        "async": "async_failures.test_a_peer_that_leaves_is_no_exception",
    },
    "the server stops": {
        "every": """views_ends.test_the_server_stops_and_what_was_begun_is_finished
            records.test_one_connection_gives_one_record""",
        "function": "extension.test_a_shutdown_waits_for_handlers_but_not_for_ever",
        "class": """class_views.test_the_server_stops
            shutdown.test_what_has_not_ended_at_the_end_is_logged""",
        "async": """views_ends.test_the_second_half_of_the_time_is_for_finally_blocks
            views_ends.test_what_knows_of_the_end_is_not_cancelled_at_half_of_the_time
            async_ends.test_the_server_stops_and_what_cleans_up_runs_to_its_end""",
    },
}

#: By the heading.
SECTIONS: dict[str, str] = {
    "Until the handshake is answered": """
        views_ends.test_what_is_decided_before_the_answer_is_plain_http
        decorators.test_what_is_protected
        views.test_a_session_that_changes_too_late_is_not_saved_in_silence
        views_ends.test_a_session_with_a_store_is_read_once
        docs.test_the_examples_about_views
        docs.test_the_example_that_closes_what_is_open_at_a_logout""",
    "Context variables": "views.test_context_variables_are_those_of_the_call_and_leak_nowhere",
    "Database connections": """
        views_rows.test_database_connections_held_while_idle
        thread_bound.test_idle_websockets_and_a_pool_of_connections
        class_views.test_each_callback_is_a_unit_of_work
        views_ends.test_receivers_of_the_signals_around_application_contexts
        views_rows.test_g""",
    "What belongs to a thread": """
        thread_bound.test_peewee_connected_for_each_request
        thread_bound.test_peewee_says_that_the_connection_has_ended_with_the_handshake
        thread_bound.test_peewee_that_connects_by_itself_keeps_the_connection
        thread_bound.test_pony_with_a_session_for_each_request
        thread_bound.test_pony_says_that_the_session_has_ended_with_the_handshake
        thread_bound.test_a_registry_of_sessions
        thread_bound.test_coroutines_share_what_is_kept_for_their_thread
        thread_bound.test_a_lock_in_each_unit_of_work""",
    "The end": """
        docs.test_the_examples_about_views
        views_ends.test_after_a_close_the_return_changes_nothing
        slow_peers.test_after_an_own_close_nothing_is_given_out
        views_ends.test_the_server_stops_and_what_was_begun_is_finished""",
    "Async functions": """
        async_meetings.test_who_has_called_first_receives_first
        async_meetings.test_a_send_never_overtakes_one_that_waits
        async_meetings.test_each_message_is_received_once_and_sent_once
        async_ends.test_a_task_that_outlives_its_handler_goes_on
        docs.test_the_examples_about_views
        async_ends.test_what_it_saves_when_its_peer_leaves_is_not_cut_short
        async_ends.test_one_that_is_at_something_else_when_its_peer_leaves_ends
        async_ends.test_one_that_goes_on_after_it_was_cancelled_is_cancelled_again
        views_ends.test_the_second_half_of_the_time_is_for_finally_blocks
        async_blocking.test_a_view_that_blocks_is_named_once""",
    "Exceptions": """
        views.test_no_exception_ends_more_than_its_websocket
        async_failures.test_whatever_a_handler_raises_is_logged_once_and_ends_it_alone
        views.test_teardown_functions_are_given_what_the_handler_has_raised
        reports.test_the_close_of_another_websocket_is_an_error_of_the_handler""",
}

PAGE = (ROOT / "docs" / "views.md").read_text()


#: What a test is parametrized with that is for all kinds of view: constants of several files.
FOR_EVERY_KIND = ("KINDS", "CONTEXTS", "TAKES")


@functools.cache
def functions_of(file: str) -> dict[str, ast.FunctionDef]:
    """The functions of a file of tests."""
    return {
        node.name: node
        for folder in ("python", "servers", "soak")
        if (path := ROOT / "tests" / folder / f"test_{file}.py").exists()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def the_test(name: str) -> ast.FunctionDef:
    """One that is named here, which has to be there."""
    file, _, function = name.partition(".")
    assert function.startswith("test_") and function in functions_of(file), f"{name} is no test"
    return functions_of(file)[function]


def is_for_every_kind(test: ast.FunctionDef) -> bool:
    """Is it parametrized so; or by a fixture of its file; or does it name them, in paths say?"""
    decorators = " ".join(map(ast.unparse, test.decorator_list))
    if any(name in decorators for name in FOR_EVERY_KIND):
        return True
    if not decorators and "kind" in [argument.arg for argument in test.args.args]:
        return True
    text = ast.unparse(test)
    return all(f"'{kind}'" in text or f"'/{kind}'" in text for kind in KINDS)


def test_each_row_of_the_table_is_here():
    table = PAGE.partition("\n\n| |")[2].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2:]] == list(ROWS)
    assert all(line.count(" | ") == len(KINDS) for line in table[2:])


def test_each_heading_is_here():
    headings = [line.removeprefix("## ") for line in PAGE.splitlines() if line.startswith("## ")]
    assert headings == list(SECTIONS)


@pytest.mark.parametrize("row", ROWS)
def test_each_cell_has_tests(row):
    cells = ROWS[row]
    assert set(cells) <= {"every", *KINDS}
    for kind in KINDS:
        assert cells.get("every") or cells.get(kind), f"{row}: nothing for {kind}"
    for name in " ".join(cells.values()).split():
        the_test(name)
    for name in cells.get("every", "").split():
        assert is_for_every_kind(the_test(name)), f"{name} is not for all kinds of view"


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_section_has_tests(heading):
    names = SECTIONS[heading].split()
    assert names
    for name in names:
        the_test(name)
