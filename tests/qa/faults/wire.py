"""A TCP wire between two parts that a test can cut and heal: the partition of a network, on loopback."""

import contextlib
import socket
import threading
import time
from typing import Final

from devstack.services import free_port

_BUFFER: Final = 64 * 1024
_PAUSE_S: Final = 0.02


class Wire:
    """Listens on `host` and `port` and carries bytes to 127.0.0.1:`target`, both ways.

    While cut it carries nothing and closes nothing: both ends see silence, as behind a dead switch.
    New connections are accepted (by the kernel) and stay silent too.
    """

    def __init__(self, target: int = 0, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.port = port or free_port()
        self.target = target
        self._cut = threading.Event()
        self._dead: set[socket.socket] = set()
        self._closed = threading.Event()
        self._listener = socket.create_server((host, self.port))
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._cut.set()

    def heal(self) -> None:
        """What waited gets through, in order, and all that follows."""
        self._cut.clear()

    def kill_quietly(self) -> int:
        """The connections there are live on and are dead: what is sent into them is taken, and lost, and
        neither end hears that the other has closed. New ones pass. Returns how many there were."""
        self._dead |= self._sockets
        return self.connections()

    def drop(self) -> int:
        """Closes the connections there are; new ones pass. Returns how many there were."""
        found = self.connections()
        for each in self._sockets.copy():
            _end(each)
        return found

    def quiet(self) -> int:
        """How many of those are still held."""
        return len(self._dead & self._sockets) // 2

    def lead_to(self, port: int) -> None:
        """New connections go to 127.0.0.1:`port`; those there are stay where they are."""
        self.target = port

    def connections(self) -> int:
        """How many there are."""
        return len(self._sockets) // 2

    def stayed(self) -> int:
        """How many connections still lead to another port than new ones do."""
        return sum(self._leads_elsewhere(each) for each in self._sockets.copy())

    def _leads_elsewhere(self, each: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            return bool(each.getsockname()[1] != self.port and each.getpeername()[1] != self.target)
        return False

    def close(self) -> None:
        """End the listener and all connections."""
        self._closed.set()
        self._cut.clear()
        for each in (self._listener, *self._sockets, *self._dead):
            _end(each)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._wait()
        try:
            far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            _end(near)
            return
        far.settimeout(None)
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.add(each)
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BUFFER):
                self._wait()
                if sink not in self._dead:
                    sink.sendall(data)
        self._wait()
        self._sockets -= {source, sink}
        _end(source)
        if sink not in self._dead:
            _end(sink)

    def _wait(self) -> None:
        while self._cut.is_set() and not self._closed.is_set():
            time.sleep(_PAUSE_S)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
