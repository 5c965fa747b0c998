"""`make services`: the embedded servers alone, until Ctrl-C."""

from __future__ import annotations

import signal
import sys

from tagger_site import embedded

STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def main() -> int:
    def say(text: str) -> None:
        print(f"tagger | {text}", flush=True)  # noqa: T201

    try:
        share = embedded.use(["postgres", "valkey"], say=say)
    except embedded.EmbeddedError as error:
        say(str(error))
        return 1
    assert share
    say(f"PostgreSQL and Valkey are up: {embedded.describe(embedded.var_dir())}")
    say("manage.py finds them by itself. Ctrl-C stops them.")
    signal.sigwait(STOPS)
    if not share.give_back(wait=90):
        say("Another command still uses the servers; they stop when that command ends.")
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    sys.exit(main())
