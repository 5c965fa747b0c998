"""The embedded servers: closed to everyone else, and back after every kind of crash."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from tagger_site import embedded
from tagger_site.embedded.layout import layout
from tagger_site.embedded.postgres import configuration
from tests.services.conftest import Installation, servers_of, wait_until

pytestmark = pytest.mark.services

# Starts the servers, says so, and uses them until its input or its life ends.
HOLD = "import time; from tagger_site import embedded; share = embedded.use(say=print); print('up', flush=True); time.sleep(600)"
WRITE = """
from tagger_site import embedded
share = embedded.use()
import psycopg2, redis
connection = psycopg2.connect(embedded.database_url(embedded.var_dir()))
connection.cursor().execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
connection.commit()
redis.Redis.from_url(embedded.broker_url(embedded.var_dir())).set("kept", 42)
"""
READ = """
from tagger_site import embedded
share = embedded.use()
import psycopg2, redis
cursor = psycopg2.connect(embedded.database_url(embedded.var_dir())).cursor()
cursor.execute("SELECT n FROM kept")
print(cursor.fetchone()[0], redis.Redis.from_url(embedded.broker_url(embedded.var_dir())).get("kept").decode())
"""


PRIORITIES = """
import os, sys
os.nice(int(sys.argv[1]))
from tagger_site import embedded
share = embedded.use()
import django
django.setup()
from django.db import connection
connection.ensure_connection()
print(*(os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, connection.connection.info.backend_pid)))
"""


@contextmanager
def held(installation: Installation) -> Iterator[subprocess.Popen[str]]:
    """The servers of an installation are up, because another process uses them."""
    process = installation.start("-c", HOLD)
    assert process.stdout
    words = list(iter(process.stdout.readline, "up\n")) if process.poll() is None else []
    assert process.poll() is None, words
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: not servers_of(installation.var))


def server(installation: Installation, name: str) -> psutil.Process:
    folder = layout(installation.var).postgres if name == "postgres" else layout(installation.var).valkey
    pid_file = folder / ("postmaster.pid" if name == "postgres" else "valkey.pid")
    return psutil.Process(int(pid_file.read_text().split()[0]))


@pytest.fixture(scope="module", autouse=True)
def written(installation: Installation) -> None:
    """There is something to lose."""
    installation.python(WRITE)


def test_they_stop_with_their_last_user_and_keep_what_was_written(installation: Installation) -> None:
    wait_until(lambda: not servers_of(installation.var))
    assert installation.python(READ).split() == ["42", "42"]


def test_a_second_user_shares_them_and_outlives_the_first(installation: Installation) -> None:
    with held(installation) as first:
        second = installation.start("-c", HOLD)
        assert second.stdout
        assert second.stdout.readline() == "up\n"
        keepers = [
            process.pid for process in servers_of(installation.var) if "keeper" in " ".join(process.cmdline())
        ]
        assert len(keepers) == 1
        first.kill()
        time.sleep(1)
        psycopg2.connect(embedded.database_url(installation.var)).close()
        second.kill()
        second.communicate()


def test_they_listen_on_no_tcp_port(installation: Installation) -> None:
    with held(installation):
        processes = [server(installation, "postgres"), server(installation, "valkey")]
        for process in processes + [child for parent in processes for child in parent.children()]:
            assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


def test_they_refuse_a_visitor_without_the_password(installation: Installation) -> None:
    with held(installation):
        found = layout(installation.var)
        for user in ("postgres", "tagger"):
            for password in (None, "", "wrong"):
                with pytest.raises(psycopg2.OperationalError, match=r"password|authentication"):
                    psycopg2.connect(
                        host=str(found.sockets),
                        user=user,
                        dbname="tagger",
                        password=password,
                        passfile="/dev/null",
                    )
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(found.valkey_socket)).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(found.valkey_socket), password="wrong").ping()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_another_user_of_the_machine_reaches_nothing(installation: Installation) -> None:
    with held(installation):
        found = layout(installation.var)
        other = pwd.getpwnam("daemon")
        paths = [found.sockets / ".s.PGSQL.5432", found.valkey_socket, found.postgres / "PG_VERSION"]
        paths += [
            found.valkey / "valkey.conf",
            found.var / "secrets" / "database_password",
            found.var / "users.lock",
        ]
        for path in paths:
            assert path.exists()
            reads = subprocess.run(
                ["/bin/sh", "-c", 'test -r "$1" || test -w "$1"', "sh", str(path)],
                user=other.pw_uid,
                group=other.pw_gid,
                extra_groups=[],
                cwd="/",
                check=False,
            )
            assert reads.returncode != 0, path


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_they_run_as_a_service_user(installation: Installation) -> None:
    with held(installation):
        for name in ("postgres", "valkey"):
            assert server(installation, name).username() == layout(installation.var).user != "root"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_in_a_closed_folder_the_data_goes_where_the_service_user_can(
    another_installation: Installation,
) -> None:
    another_installation.var.parent.chmod(0o700)
    with held(another_installation):
        found = layout(another_installation.var)
        assert found.data.parent == Path("/var/lib")
        assert embedded.describe(another_installation.var).startswith("data in /var/lib/tagger-")
        psycopg2.connect(embedded.database_url(another_installation.var)).close()
    shutil.rmtree(another_installation.var)  # the checkout is removed, and made again at the same place
    process = another_installation.start("-c", HOLD)
    assert process.stdout
    assert "left by an installation that is gone" in process.stdout.readline() + process.stdout.readline()
    process.kill()
    process.communicate()
    wait_until(lambda: not servers_of(another_installation.var))
    for folder in found.data.parent.glob(f"{found.data.name}*"):
        shutil.rmtree(folder)


def test_servers_alone_end_in_order_when_they_are_asked_to(installation: Installation) -> None:
    """`make services` blocks signals for itself: Valkey inherited that, and was killed after 20 seconds' wait."""
    process = installation.start("-m", "tagger_site.embedded")
    assert process.stdout
    assert any(" are up: " in line for line in process.stdout)
    log = installation.var / "log" / "valkey.log"
    before = log.read_text().count("bye bye")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert log.read_text().count("bye bye") == before + 1


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_comes_back_with_its_data(installation: Installation, name: str) -> None:
    with held(installation):
        time.sleep(1.2)  # Valkey's file is synced every second
        killed = server(installation, name)
        killed.kill()
        wait_until(lambda: killed.pid not in [process.pid for process in servers_of(installation.var)])
        wait_until(lambda: len(servers_of(installation.var)) == 3)
        wait_until((installation.var / "keeper.json").exists)
        assert installation.python(READ).split() == ["42", "42"]


def test_everything_killed_at_once_recovers_at_the_next_start(installation: Installation) -> None:
    with held(installation) as user:
        time.sleep(1.2)
        victims = servers_of(installation.var)
        assert len(victims) >= 3  # the keeper, PostgreSQL and Valkey
        user.kill()
        for process in victims:
            process.send_signal(signal.SIGKILL)
        assert installation.python(READ).split() == ["42", "42"]


def test_a_killed_keeper_takes_its_servers_along(installation: Installation) -> None:
    with held(installation):
        keeper = json.loads((installation.var / "keeper.json").read_text())["pid"]
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not servers_of(installation.var))


def test_a_pid_file_that_names_another_program_is_forgotten(installation: Installation) -> None:
    wait_until(lambda: not servers_of(installation.var))
    found = layout(installation.var)
    with subprocess.Popen(["sleep", "60"], user=found.owner[0] if found.user else None) as other:
        pid_file = found.postgres / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n{found.postgres}\n0\n5432\n{found.sockets}\n\n")
        os.chown(pid_file, *found.owner)
        try:
            assert installation.python(READ).split() == ["42", "42"]
            assert other.poll() is None  # and the other program is left alone
        finally:
            other.kill()


def test_secrets_are_private_and_differ_between_installations(
    installation: Installation, another_installation: Installation
) -> None:
    print_key = "import django; django.setup(); from django.conf import settings; print(settings.SECRET_KEY)"
    key, other_key = installation.python(print_key), another_installation.python(print_key)
    assert key != other_key
    assert len(key.strip()) >= 50
    assert installation.python(print_key) == key
    assert stat.S_IMODE((installation.var / "secrets" / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((installation.var / "secrets").stat().st_mode) == 0o700


def test_a_command_starts_the_servers_for_its_duration(installation: Installation) -> None:
    assert "[ ] 0001_initial" in installation.run("manage.py", "showmigrations", "sessions")
    wait_until(lambda: not servers_of(installation.var))


def test_a_lost_password_is_explained(installation: Installation) -> None:
    wait_until(lambda: not servers_of(installation.var))
    password_file = installation.var / "secrets" / "postgres_password"
    password = password_file.read_text()
    password_file.write_text("lost")
    process = installation.start("manage.py", "migrate")
    output, _ = process.communicate(timeout=60)
    password_file.write_text(password)
    assert process.returncode == 1
    assert "does not hold the password" in output
    assert "Traceback" not in output


def test_the_database_sorts_by_code_point_and_knows_every_letter(installation: Installation) -> None:
    with held(installation), psycopg2.connect(embedded.database_url(installation.var)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT lower('ÄÉЖ'), 'a' > 'Z', current_setting('data_checksums'), current_setting('jit')"
        )
        assert cursor.fetchone() == ("äéж", True, "on", "off")
        cursor.execute(
            "SELECT datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'tagger'"
        )
        assert cursor.fetchone() == ("C", "UTF8")
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False,)


def test_memory_settings_follow_the_machine(tmp_path: Path) -> None:
    small = configuration(tmp_path, memory=1024**3, durable=True)
    large = configuration(tmp_path, memory=64 * 1024**3, durable=True)
    assert small["shared_buffers"] == "122MB"
    assert large["shared_buffers"] == "4096MB"
    assert "fsync" not in large


def test_what_the_server_does_for_a_worker_gives_way_as_the_worker_does(installation: Installation) -> None:
    with held(installation):
        own = [installation.run("-c", PRIORITIES, str(more)).split() for more in (0, 10)]
    base = os.getpriority(os.PRIO_PROCESS, 0)
    assert own == [[str(base), str(base)], [str(base + 10), str(base + 10)]]
