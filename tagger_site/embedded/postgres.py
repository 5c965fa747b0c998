"""The embedded PostgreSQL: SCRAM passwords, checksums, one private socket, no TCP port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from tagger_site.embedded.layout import DATABASE, EmbeddedError, Layout, secret
from tagger_site.embedded.processes import (
    end,
    environment,
    open_log,
    own_folder,
    start_server,
    stop_leftover,
    tail,
)
from tagger_site.embedded.programs import POSTGRES_MAJOR, postgres_program

MB = 1024 * 1024
RETRY_SECONDS = 30  # a killed server's pid and shared memory look alive for some seconds


class Postgres:
    name = "PostgreSQL"

    def __init__(
        self, layout: Layout, *, durable: bool = True, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.layout, self.durable, self.say = layout, durable, say
        self.log = open_log(layout, "postgres.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, after a crash too; returns when the database answers."""
        own_folder(self.layout, self.layout.sockets)
        new = not self.layout.postgres.exists()
        if new:
            self._create_cluster()
        self._check_version()
        self._write_configuration()
        self._start_server()
        self._create_database()

    def stop(self) -> None:
        if self.process:
            end(self.process, ask=signal.SIGINT, patience=60)  # SIGINT: end the sessions, write a checkpoint

    def _create_cluster(self) -> None:
        """initdb into a folder beside, then rename: an interrupted first start leaves nothing half-made."""
        self.say("creating the database cluster")
        draft = self.layout.data / "postgres.new"
        if draft.exists():
            shutil.rmtree(draft)
        own_folder(self.layout, draft)
        password_file = self.layout.sockets / "initdb-password"
        password_file.write_text(secret(self.layout.var, "postgres_password"))
        password_file.chmod(0o600)
        uid, gid = self.layout.owner
        os.chown(password_file, uid, gid)
        other_user = {"user": uid, "group": gid, "extra_groups": []} if self.layout.user else {}
        try:
            done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
                [
                    str(postgres_program(self.layout, "initdb")),
                    f"--pgdata={draft}",
                    "--username=postgres",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--data-checksums",
                    "--encoding=UTF8",
                    "--locale=C",  # sorts by code point: prefix searches use plain indexes
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",  # and knows the letters of every script
                ],
                env=environment(),
                cwd=self.layout.data,
                capture_output=True,
                text=True,
                check=False,
                **other_user,
            )
        finally:
            password_file.unlink()
        if done.returncode:
            raise EmbeddedError(f"initdb failed:\n{done.stdout}{done.stderr}")
        draft.rename(self.layout.postgres)

    def _check_version(self) -> None:
        found = (self.layout.postgres / "PG_VERSION").read_text().strip()
        if found != POSTGRES_MAJOR:
            raise EmbeddedError(
                f"{self.layout.postgres} was written by PostgreSQL {found}, the installed programs are {POSTGRES_MAJOR}. "
                "docs/deploying.md, “Upgrades”, says how to bring the data along."
            )

    def _write_configuration(self) -> None:
        values = configuration(self.layout.sockets, memory=available_memory(), durable=self.durable)
        self._write("tagger.conf", "".join(f"{key} = {value}\n" for key, value in values.items()))
        self._write("pg_hba.conf", "local all all scram-sha-256\n")
        main = self.layout.postgres / "postgresql.conf"
        if "tagger.conf" not in main.read_text():
            with main.open("a") as file:
                file.write(
                    "\ninclude 'tagger.conf'  # rewritten at every start\ninclude_if_exists 'local.conf'  # yours\n"
                )

    def _write(self, name: str, text: str) -> None:
        path = self.layout.postgres / name
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, *self.layout.owner)

    def _start_server(self) -> None:
        self.stop_leftover()
        program = str(postgres_program(self.layout, "postgres"))
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            position = self.log.stat().st_size
            self.process = start_server(
                self.layout,
                [program, "-D", str(self.layout.postgres)],
                log=self.log,
                death_signal=signal.SIGINT,
            )
            if self._answers():
                return
            complaint = self.log.read_bytes()[position:].decode(errors="replace")
            held = "lock file" in complaint or "shared memory block" in complaint
            if not held or time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL does not start. The end of {self.log}:\n{tail(self.log)}")
            self._forget_stale_pid()
            time.sleep(0.3)

    def _answers(self) -> bool:
        """Wait until the server accepts our password. False when it has ended instead."""
        assert self.process
        told, began = False, time.monotonic()
        while self.process.poll() is None:
            try:
                self.connect("postgres", "postgres_password", "postgres").close()
                return True
            except psycopg2.OperationalError as error:
                if "authentication failed" in str(error):
                    self.stop()
                    raise EmbeddedError(
                        f"{self.layout.var}/secrets does not hold the password of the database in "
                        f"{self.layout.postgres}. Restore that folder from your backup."
                    ) from error
            if not told and time.monotonic() - began > 5:
                self.say("recovering the database after a crash; this can take minutes")
                told = True
            time.sleep(0.05)
        return False

    def _pid_in_file(self) -> int | None:
        try:
            return int((self.layout.postgres / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None

    def stop_leftover(self) -> None:
        if pid := self._pid_in_file():
            stop_leftover(pid, self.layout.postgres, ask=signal.SIGINT)

    def _forget_stale_pid(self) -> None:
        """After a restart of the machine the old pid may belong to another program of the same user."""
        pid = self._pid_in_file()
        try:
            if pid and psutil.Process(pid).name() != "postgres":
                (self.layout.postgres / "postmaster.pid").unlink(missing_ok=True)
        except psutil.Error:
            return

    def connect(self, user: str, password_name: str, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=str(self.layout.sockets),
            port=5432,
            user=user,
            password=secret(self.layout.var, password_name),
            dbname=database,
            connect_timeout=10,
        )

    def _create_database(self) -> None:
        """The role is no superuser; it may create databases because the tests need one of their own."""
        connection = self.connect("postgres", "postgres_password", "postgres")
        connection.autocommit = True
        role = sql.Identifier(DATABASE)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE])
            if not cursor.fetchone():
                cursor.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD %s").format(role),
                    [secret(self.layout.var, "database_password")],
                )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        connection.close()


def available_memory() -> int:
    """Bytes of memory, as the machine or the container limits it."""
    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return int(total)


def configuration(sockets: Path, *, memory: int, durable: bool) -> dict[str, str]:
    """PostgreSQL's settings for bulk loads and short page queries on a small machine."""

    def share(part: float, *, least: int, most: int) -> str:
        return f"{int(min(max(memory * part / MB, least), most))}MB"

    values = {
        "listen_addresses": "''",
        "port": "5432",
        "unix_socket_directories": f"'{sockets}'",
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "max_connections": "80",
        "shared_buffers": share(0.12, least=64, most=4096),
        "effective_cache_size": share(0.5, least=128, most=65536),
        "work_mem": share(0.002, least=4, most=64),
        "maintenance_work_mem": share(0.05, least=64, most=1024),
        "max_wal_size": "8GB",  # a load of 20 M tweets checkpoints once or twice, not every few seconds
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "wal_compression": "off",  # pages of a random index: pglz costs a load more than the bytes that it saves
        "wal_level": "minimal",  # a table filled in the transaction that created it skips the log
        "max_wal_senders": "0",
        "synchronous_commit": "on",  # an analyst's label is on disk when the page says so
        "jit": "off",
        "random_page_cost": "1.1",
        "max_parallel_workers_per_gather": "1",
        "autovacuum_naptime": "20s",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_insert_scale_factor": "0.1",
        "autovacuum_vacuum_cost_limit": "1000",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_checkpoints": "off",
        "log_min_duration_statement": "5s",
        "idle_in_transaction_session_timeout": "1h",
    }
    if not _shared_memory_is_large():
        values["dynamic_shared_memory_type"] = "mmap"  # containers often give /dev/shm 64 MB
    if not durable:
        values |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return values


def _shared_memory_is_large() -> bool:
    try:
        return shutil.disk_usage("/dev/shm").total >= 512 * MB  # noqa: S108
    except OSError:
        return True
