"""PostgreSQL and Redis, or Valkey, from the system's packages, each with a folder of its own that goes with it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.ports import free_port

_STARTS_WITHIN = 60.0
#: Where Debian and Ubuntu put PostgreSQL's programs, by version: only its clients are in the PATH.
_POSTGRES = "/usr/lib/postgresql"


class ProgramMissing(Exception):
    """A server is not installed."""


def program(*names: str) -> str:
    """Find the first of these programs that is installed.

    :raises ProgramMissing: if none is, with what to do.
    """
    versions = sorted(Path(_POSTGRES).glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    path = os.pathsep.join([*map(str, versions), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise ProgramMissing(
        f"{' or '.join(names)} is not installed. On Debian or Ubuntu:\n"
        "    sudo apt-get install --yes postgresql redis-server"
    )


class _Server(ABC):
    """A server process that listens on loopback while the context lasts.

    It does not run as root, which PostgreSQL does not allow, and has a password of its own.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        self._folder = tempfile.TemporaryDirectory(prefix="airflow-celery-")
        self.folder = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Prepare the folder, and return what is to run in it."""

    def __enter__(self) -> _Server:
        try:
            if self._user:
                shutil.chown(self.folder, self._user)
            self._process = self._popen(self._command())
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            # For PostgreSQL this is a fast shutdown: sessions end.
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user and pwd.getpwnam(self._user).pw_gid,
                extra_groups=[] if self._user else None,
                process_group=0,
            )

    def _run(self, command: Sequence[str]) -> None:
        process = self._popen(command)
        try:
            process.wait()
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}:\n{self._log()}")

    def _secret_file(self, name: str, text: str) -> Path:
        """Write a file that the server alone may read."""
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(text)
        if self._user:
            shutil.chown(file, self._user)
        return file

    def _wait(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{type(self).__name__} did not start:\n{self._log()}") from None
                time.sleep(0.1)

    def _log(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-20:])


class PostgresServer(_Server):
    """A PostgreSQL with an empty database."""

    @property
    def url(self) -> str:
        """Of its database, as SQLAlchemy takes it."""
        return f"postgresql+psycopg2://airflow:{self.password}@127.0.0.1:{self.port}/postgres"

    def _command(self) -> Sequence[str]:
        data, password = self.folder / "data", self._secret_file("password", self.password)
        self._run(
            [
                program("initdb"),
                f"--pgdata={data}",
                f"--pwfile={password}",
                "--username=airflow",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        return [program("postgres"), "-D", str(data), *settings]


class RedisServer(_Server):
    """A Redis, or a Valkey, that keeps nothing on disk."""

    @property
    def url(self) -> str:
        """Of its database, as Celery takes it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _command(self) -> Sequence[str]:
        settings = f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\nsave ""\nappendonly no\n'
        return [program("valkey-server", "redis-server"), str(self._secret_file("redis.conf", settings))]


def _unprivileged_user() -> str:
    """Name the user that servers run as when this is root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
