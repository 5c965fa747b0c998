"""The embedded Valkey: one private socket, a password, an append-only file, no TCP port."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import redis

from tagger_site.embedded.layout import EmbeddedError, Layout, broker_url, secret
from tagger_site.embedded.processes import end, open_log, own_folder, start_server, stop_leftover, tail
from tagger_site.embedded.programs import valkey_server


class Valkey:
    name = "Valkey"

    def __init__(
        self, layout: Layout, *, durable: bool = True, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.layout, self.durable, self.say = layout, durable, say
        self.log = open_log(layout, "valkey.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        own_folder(self.layout, self.layout.sockets)
        own_folder(self.layout, self.layout.valkey)
        self.stop_leftover()
        self.layout.valkey_socket.unlink(missing_ok=True)
        self._write_configuration()
        self.process = start_server(
            self.layout,
            [str(valkey_server(self.layout)), str(self.layout.valkey / "valkey.conf")],
            log=self.log,
            death_signal=signal.SIGTERM,
        )
        client = redis.Redis.from_url(broker_url(self.layout.var))
        while self.process.poll() is None:
            try:
                client.ping()  # fails while the append-only file is read
                client.close()
                return
            except redis.RedisError:
                time.sleep(0.05)
        raise EmbeddedError(f"Valkey does not start. The end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        if self.process:
            end(self.process, ask=signal.SIGTERM, patience=20)

    def stop_leftover(self) -> None:
        try:
            pid = int((self.layout.valkey / "valkey.pid").read_text())
        except (FileNotFoundError, ValueError):
            return
        stop_leftover(pid, self.layout.valkey, ask=signal.SIGTERM)

    def _write_configuration(self) -> None:
        """In a file, not in arguments: those show in the list of processes."""
        values = {
            "port": "0",
            "unixsocket": f'"{self.layout.valkey_socket}"',
            "unixsocketperm": "700",
            "requirepass": secret(self.layout.var, "valkey_password"),
            "dir": _quoted(str(self.layout.valkey)),
            "pidfile": _quoted(str(self.layout.valkey / "valkey.pid")),
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',  # the append-only file is enough
            "maxmemory-policy": "noeviction",  # a broker must not forget
            "daemonize": "no",
        }
        path = self.layout.valkey / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in values.items()))
        os.chown(path, *self.layout.owner)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
