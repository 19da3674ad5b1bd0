"""PostgreSQL and Redis, or Valkey, from the system's packages, on sockets in a folder of theirs that goes with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def program(*names: str) -> str:
    """Find the first of these programs that is installed, or exit and say what to do."""
    # Debian and Ubuntu put only PostgreSQL's clients in the PATH.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    path = os.pathsep.join([*map(str, reversed(versions)), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    sys.exit(
        f"{' or '.join(names)} is not installed. On Debian or Ubuntu:\n"
        "    sudo apt-get install --yes postgresql redis-server"
    )


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL with an empty database, and yield its URL, as SQLAlchemy takes it."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    # It does not run as root.
    user = "postgres" if os.geteuid() == 0 else None

    def run(*command: str) -> None:
        subprocess.run(
            command, cwd=folder, user=user, group=user, extra_groups=[] if user else None, stdout=log, check=True
        )

    with tempfile.TemporaryDirectory(prefix="airflow-postgres-") as folder, Path(folder, "log").open("wb") as log:
        if user:
            shutil.chown(folder, user)
        data, options = f"{folder}/data", f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        run(
            initdb,
            f"--pgdata={data}",
            "--username=airflow",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        run(pg_ctl, "start", "--wait", f"--pgdata={data}", f"--log={folder}/server.log", f"--options={options}")
        try:
            yield f"postgresql+psycopg2://airflow@/postgres?host={folder}"
        finally:
            run(pg_ctl, "stop", "--wait", f"--pgdata={data}", "--mode=fast")


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis, or a Valkey, that keeps nothing on disk, and yield its URL, as Celery takes it."""
    server = program("valkey-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="airflow-redis-") as folder:
        options = {"port": "0", "unixsocket": f"{folder}/socket", "save": "", "appendonly": "no"}
        arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        with subprocess.Popen([server, *arguments], cwd=folder, stdout=subprocess.DEVNULL, process_group=0) as process:
            try:
                yield f"redis+socket://{folder}/socket"
            finally:
                process.terminate()
