"""Middleware that the application had before ours, so that it is inside of it. It may change the path,
as one that takes a prefix off does, and then the route of a handshake is known only behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

from .matching import UrlMatching

__all__ = ("Arrived", "InnerMiddleware")

#: Where the WSGI environment carries the question.
QUESTION_KEY = "flask_websockets.question"

WSGIApp = Callable[..., Iterable[bytes]]


class Arrived(BaseException):
    """A handshake has come to Flask, and is for a route of ours. Not an Exception, so that middleware
    lets it pass.

    :ivar place: where the view of that route runs.
    """

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class Question:
    """Which place does Flask find for this handshake?

    :ivar is_open: False once the call has returned: middleware that calls the application only when
        its answer is read gets what it would get without us.
    """

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = True


class InnerMiddleware:
    """What stands between our middleware and Flask.

    :param app: the application.
    :param wsgi_app: what our middleware is put around.
    :param routes: of the application.
    """

    def __init__(self, app: Flask, wsgi_app: WSGIApp, routes: UrlMatching) -> None:
        self._is_there = getattr(wsgi_app, "__func__", None) is not Flask.wsgi_app
        if self._is_there:
            answer_questions(app, routes)

    def call(self, wsgi_app: WSGIApp, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Call the application with a handshake that has none of our URLs.

        :returns: its answer.
        :raises Arrived: when the handshake has one of them behind this middleware. Then the application
            has done nothing yet, and is to be called again.
        """
        if not self._is_there:
            return wsgi_app(environ, start_response)
        question = Question()
        try:
            # A copy, as it will be changed.
            return wsgi_app({**environ, QUESTION_KEY: question}, start_response)
        finally:
            question.is_open = False


def answer_questions(app: Flask, routes: UrlMatching) -> None:
    """Where Flask begins with a request, before there is a context and before any function of the
    application is called."""
    request_context = app.request_context

    def answering(environ: dict[str, Any]) -> Any:
        question: Question | None = environ.get(QUESTION_KEY)
        if question is not None and question.is_open:
            place = routes.place(environ)
            if place is not None:
                raise Arrived(place)
        return request_context(environ)

    app.request_context = answering  # type: ignore[method-assign]
