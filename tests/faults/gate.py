"""A way to a server that can be shut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Gate:
    """Passes on what comes to a free port of loopback, while the context lasts.

    While it is shut, who was on the way is cut off, and who comes is refused.

    :ivar behind: the port that it leads to.
    """

    def __init__(self) -> None:
        self.behind = 0
        # It listens to nobody, and keeps the port while the gate is shut.
        self._keeper = _bound(0)
        self._port: int = self._keeper.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._open()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()
        self._keeper.close()

    def shut_for(self, seconds: float) -> None:
        """Shut the gate, and open it again after so many seconds."""
        self._shut()
        threading.Timer(seconds, self._open).start()

    def _open(self) -> None:
        self._listener = _bound(self._port)
        self._listener.listen()
        self._ways: list[socket.socket] = []
        threading.Thread(target=self._let_in, args=(self._listener,), daemon=True).start()

    def _shut(self) -> None:
        for end in (self._listener, *self._ways):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _let_in(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                outside, _ = listener.accept()
                inside = socket.create_connection(("127.0.0.1", self.behind))
                self._ways += [outside, inside]
                for ends in ((outside, inside), (inside, outside)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    return place


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
