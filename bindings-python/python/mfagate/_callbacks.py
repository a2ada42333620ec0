"""Runs what an app wrote, and reports what became of each call once.

Coroutine functions run on the event loop that the app's client or gate was made in; plain functions on
a bounded pool of daemon threads, so that one that hangs holds up neither the loop nor the program's
end. Whatever a call ends with that is no value is a failure to the core: denied, or down.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger("mfagate")


class Outcome(Protocol):
    """The native end of a call."""

    def returned(self, value: object) -> None: ...
    def failed(self, why: str) -> None: ...


def resolve(future: asyncio.Future[Any], is_ok: bool, value: Any) -> None:
    """Gives an asyncio future its result, on its loop, unless it was cancelled."""
    if future.done():
        return
    if is_ok:
        future.set_result(value)
    else:
        future.set_exception(value)


class Method:
    """A function of the app's, with what converts its arguments and its result."""

    __slots__ = ("after", "before", "function", "is_async")

    def __init__(
        self,
        function: Callable[..., Any],
        before: Callable[..., tuple[Any, ...]] = lambda *args: args,
        after: Callable[[Any], object] = lambda value: value,
    ) -> None:
        self.function = function
        self.before = before
        self.after = after
        call = getattr(function, "__call__", function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class Callbacks:
    """An object of the app's, method by method. The core calls :meth:`start` from a thread of its own."""

    def __init__(self, **methods: Method) -> None:
        self._methods = methods
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        #: What the last call that failed raised, for the exception that follows from it.
        self.error: BaseException | None = None

    def start(self, name: str, args: tuple[Any, ...], outcome: Outcome) -> _Call:
        """Begins a call and returns at once."""
        call = _Call(self, name, self._methods[name], args, outcome)
        if call.method.is_async:
            call.schedule(None)
        else:
            _POOL.submit(call)
        return call


class _Call:
    __slots__ = ("_args", "_cancelled", "_outcome", "_owner", "_task", "method", "name")

    def __init__(
        self, owner: Callbacks, name: str, method: Method, args: tuple[Any, ...], outcome: Outcome
    ) -> None:
        self._owner = owner
        self.name = name
        self.method = method
        self._args = args
        self._outcome = outcome
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """The core does not wait any more."""
        self._cancelled = True
        if self.method.is_async or self._task is not None:
            try:
                self._owner._loop.call_soon_threadsafe(self._cancel_task)
            except RuntimeError:
                pass  # The loop is closed, and the task with it.

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def run(self) -> None:
        """Runs a plain function, on a thread of the pool."""
        if self._cancelled:
            return
        try:
            context = self._owner._context.copy()
            result = context.run(self.method.function, *self.method.before(*self._args))
        except BaseException as error:
            self._fail(error)
            return
        if not inspect.isawaitable(result):
            self._finish(result)
            return
        try:
            self.schedule(result)
        except RuntimeError as error:  # The loop is closed.
            _drop(result)
            self._fail(error)

    def schedule(self, awaitable: Any) -> None:
        """Has a coroutine run on the app's loop."""
        self._owner._loop.call_soon_threadsafe(
            self._begin, awaitable, context=self._owner._context.copy()
        )

    def _begin(self, awaitable: Any) -> None:
        if self._cancelled:
            _drop(awaitable)
            return
        self._task = self._owner._loop.create_task(self._main(awaitable))
        # A task that is cancelled before its first step runs nothing of `_main`.
        self._task.add_done_callback(lambda _: self._outcome.failed("it was cancelled"))

    async def _main(self, awaitable: Any) -> None:
        try:
            if awaitable is None:
                awaitable = self.method.function(*self.method.before(*self._args))
            result = await awaitable
        except BaseException as error:
            self._fail(error)
            if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
                raise
            return
        self._finish(result)

    def _finish(self, result: object) -> None:
        try:
            self._outcome.returned(self.method.after(result))
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._owner.error = error
        # The type alone: an exception's text may repeat what was typed.
        kind = type(error).__name__
        if not self._cancelled:
            _log.warning("%s raised %s", self.name, kind)
        self._outcome.failed(f"it raised {kind}")


def _drop(awaitable: Any) -> None:
    """Closes a coroutine that will not run, which else would warn of it."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()


class _Pool:
    """At most so many daemon threads, started when there is work for them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, call: _Call) -> None:
        with self._lock:
            is_busy = self._idle <= self._calls.qsize()
            self._calls.put(call)
            if not is_busy or self._threads == self._size:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="mfagate-app", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            call = self._calls.get()
            with self._lock:
                self._idle -= 1
            call.run()
            del call


_POOL = _Pool(16)
