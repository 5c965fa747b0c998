#!/usr/bin/env python
"""Django's command-line entry point. Starts the embedded servers for the command's duration when it needs them."""

import os
import sys

# Commands that are right without a database.
NO_DATABASE = {
    "help",
    "version",
    "check",
    "collectstatic",
    "findstatic",
    "makemessages",
    "diffsettings",
    "--version",
}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
    from tagger_site import embedded

    arguments = sys.argv[1:]
    share = None
    if arguments and arguments[0] not in NO_DATABASE and not {"-h", "--help"} & set(arguments):
        try:
            share = embedded.use(say=lambda text: print(f"Embedded servers: {text}", file=sys.stderr))  # noqa: T201
        except embedded.EmbeddedError as error:
            raise SystemExit(str(error)) from error

    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    finally:
        if share:
            share.give_back()


if __name__ == "__main__":
    main()
