"""python -m tagger_site.embedded.backup [--restore] FILE: pg_dump and pg_restore of the embedded database."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tagger_site import embedded
from tagger_site.embedded.layout import DATABASE, layout
from tagger_site.embedded.programs import postgres_program


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--restore", action="store_true", help="replaces what the embedded database holds")
    options.add_argument("file", type=Path)
    given = options.parse_args()
    try:
        share = embedded.use(["postgres", "valkey"])
    except embedded.EmbeddedError as error:
        raise SystemExit(str(error)) from error
    assert share
    found = layout(embedded.var_dir())
    name = "pg_restore" if given.restore else "pg_dump"
    command = [str(postgres_program(found, name)), "-h", str(found.sockets), "-U", DATABASE, "-d", DATABASE]
    command += (
        ["--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction"]
        if given.restore
        else ["-Fc"]
    )
    environment = {**os.environ, "PGPASSWORD": embedded.secret(found.var, "database_password")}
    if given.restore:
        with given.file.open("rb") as file:
            code = subprocess.call(command, env=environment, stdin=file)  # noqa: S603
    else:
        with os.fdopen(os.open(given.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            code = subprocess.call(command, env=environment, stdout=file)  # noqa: S603
    share.give_back(wait=60)
    return code


if __name__ == "__main__":
    sys.exit(main())
