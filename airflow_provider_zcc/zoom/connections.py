"""HTTP connections that are kept open, and that can be cut off while a thread waits for an answer on them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: Seconds between two attempts to cut off who is too late.
_MOMENT = 0.05

_lock = threading.RLock()
_connections: WeakSet[_Cuttable] = WeakSet()


def session(connections: int = 1) -> requests.Session:
    """Make a session that follows no redirect, and whose connections can be cut off.

    :param connections: how many to keep open, one for each thread that will ask.
    """
    made = _Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(pool_connections=1, pool_maxsize=connections))
    return made


def cut_off(threads: Iterable[threading.Thread]) -> None:
    """Let threads that wait for an answer, or for the rest of it, fail at once.

    :param threads: the threads.
    """
    threads = set(threads)
    with _lock:
        for connection in _connections:
            if connection.user in threads:
                connection.cut_off()


@contextmanager
def answered_within(seconds: float) -> Iterator[threading.Event]:
    """Cut this thread off if it is not done in time. The time-out of a read does not bound the whole.

    :param seconds: the time.
    :return: set if it was cut off. What it has then may look like the end of an answer.
    """
    this, done, too_late = threading.current_thread(), threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        too_late.set()
        # Again and again: it may have waited for a token, and ask only now.
        while not done.wait(_MOMENT):
            cut_off([this])

    watchdog = threading.Thread(target=watch, name="zcc-watchdog", daemon=True)
    watchdog.start()
    try:
        yield too_late
    finally:
        done.set()
        watchdog.join()


class _Session(requests.Session):
    def resolve_redirects(self, resp: requests.Response, *_: Any, **__: Any) -> Iterator[Any]:
        """Refuse before the body is read, which may not end."""
        if resp.is_redirect:
            resp.close()
            raise requests.TooManyRedirects(response=resp)
        return iter(())


class _Cuttable(HTTPConnection):
    user: threading.Thread | None = None
    _twin: socket.socket | None = None
    _answers = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._note_user()
        super().request(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        self._note_user()
        made = super()._new_conn()
        self._close_twin()
        # TLS takes the socket over, and holds it where nobody else can reach it during the handshake.
        self._twin = made.dup()
        return made

    def getresponse(self) -> Any:
        # The last answer of a connection closes it before its body is read.
        self._answers = True
        try:
            return super().getresponse()
        finally:
            self._answers = False

    def cut_off(self) -> None:
        if self._twin:
            with suppress(OSError):  # It may have ended in the meantime.
                self._twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if not self._answers:
            self._close_twin()

    def _close_twin(self) -> None:
        with _lock:
            if self._twin:
                self._twin.close()

    def _note_user(self) -> None:
        with _lock:
            self.user = threading.current_thread()
            _connections.add(self)


class _CuttableTLS(_Cuttable, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Cuttable


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _CuttableTLS


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _make_cuttable(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        _make_cuttable(manager)
        return manager


def _make_cuttable(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
