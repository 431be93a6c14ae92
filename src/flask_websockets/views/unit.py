"""A unit of work: the application context of one callback of a class view, or of a coroutine."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import flask.globals
from flask import Flask, appcontext_popped, appcontext_pushed, appcontext_tearing_down
from flask.ctx import AppContext

from ..context import MERGED, keep_pushed, session_of, teardown
from ..interfaces import UnitWebSocket

if TYPE_CHECKING:
    from flask.ctx import RequestContext  # deprecated in later versions of Flask

__all__ = ("UnitOfWork", "needs_calls")

SIGNALS = (appcontext_pushed, appcontext_tearing_down, appcontext_popped)


def needs_calls(app: Flask) -> bool:
    """Must something be called around each unit of work? If not, a callback that does not touch ``g``
    costs nothing."""
    return (
        bool(app.teardown_appcontext_funcs)
        or getattr(app.do_teardown_appcontext, "__func__", None) is not Flask.do_teardown_appcontext
        or any(getattr(signal, "receivers", None) for signal in SIGNALS)
    )


class UnitOfWork(AppContext):
    """The application context of the callbacks of one websocket, one after the other, or of a
    coroutine. Each has a ``g`` of its own, which is made when it is touched; when it has returned the
    teardown functions run, in its thread, and ``g`` is dropped.

    It is the current application context in the context (of :mod:`contextvars`) that the callbacks run
    in, from :meth:`activate` on.

    :param ws: is told when ``g`` is made, so that it calls for the end of a unit that nobody else ends;
        None when somebody else does.
    """

    #: What the coroutine has returned may still use ``g``: a response that is streamed.
    keeps_g = False

    def __init__(self, app: Flask, ws: UnitWebSocket | None = None) -> None:
        self._ws = ws
        self._g: Any = None
        super().__init__(app)
        self._g = None  # the base class has made one

    @property
    def g(self) -> Any:
        if self._g is None:
            self._g = self.app.app_ctx_globals_class()
            if self._ws is not None:
                self._ws._begin_unit()
        return self._g

    @g.setter
    def g(self, value: Any) -> None:
        self._g = value

    def activate(self, handshake: RequestContext | None) -> None:
        """Make it the current application context of the context that this is called in.

        :param handshake: whose ``request`` and ``session`` stay the current ones; or None.
        """
        keep_pushed(self)
        if MERGED and handshake is not None:
            self._request = handshake.request
            self._session = session_of(handshake)
            self.url_adapter = handshake.url_adapter
            self._after_request_functions = handshake._after_request_functions
        elif handshake is not None:
            flask.globals._cv_request.set(handshake)
        flask.globals._cv_app.set(self)

    def copy(self) -> AppContext:
        """What :func:`flask.copy_current_request_context` gives to another thread: a context that ends
        when that leaves it. Called since Flask 3.2."""
        return AppContext(self.app, request=self._request, session=self._session)  # type: ignore[call-arg]

    def inherit(self, g: Any) -> None:
        """Begin with what another ``g`` holds, but for what belongs to its thread: what can be closed,
        as a database's connection or session, and names that begin with an underscore, as extensions
        give them. The teardown functions of the other end these.

        :param g: that of the request, when it is its turn.
        """
        mine = self.g
        for name, value in dict(getattr(g, "__dict__", {})).items():
            if not name.startswith("_") and not hasattr(value, "close"):
                setattr(mine, name, value)

    def begin(self) -> None:
        """A callback or coroutine begins; to be called if :func:`needs_calls`."""
        appcontext_pushed.send(self.app, _async_wrapper=self.app.ensure_sync)

    def end(self, error: BaseException | None) -> None:
        """It has returned; likewise. A teardown function that fails is logged.

        :param error: what it has raised, which the teardown functions are given.
        """
        try:
            try:
                teardown(self.app, self, error)
            finally:
                self.drop()
                appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)
        except BaseException as failure:
            self.app.logger.error("Exception in a teardown function", exc_info=failure)

    @property
    def is_awaited(self) -> bool:
        """Is a teardown function a coroutine function? In an event loop Flask could not call it."""
        return any(map(inspect.iscoroutinefunction, self.app.teardown_appcontext_funcs))

    async def end_awaiting(self, error: BaseException | None) -> None:
        """As :meth:`end`, in an event loop, for which coroutine functions are awaited."""
        for function in reversed(self.app.teardown_appcontext_funcs):
            try:
                result: Any = function(error)
                if inspect.isawaitable(result):
                    await result
            except BaseException as failure:
                self.app.logger.error("Exception in a teardown function", exc_info=failure)
        try:
            wrapper = self.app.ensure_sync
            appcontext_tearing_down.send(self.app, _async_wrapper=wrapper, exc=error)
            self.drop()
            appcontext_popped.send(self.app, _async_wrapper=wrapper)
        except BaseException as failure:
            self.app.logger.error("Exception in a teardown function", exc_info=failure)

    def drop(self) -> None:
        """It has returned, and nothing is to be called; or it is about to begin: a thread that an
        earlier one has left behind in its context may have made a ``g`` since."""
        if not self.keeps_g:
            self._g = None
