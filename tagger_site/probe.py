"""python -m tagger_site.probe [PATH]: exit code 0 when this machine's web server answers. A container's health check."""

import os
import sys
import urllib.request


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    address = f"http://127.0.0.1:{os.environ.get('PORT') or '8000'}{path}"
    try:
        with urllib.request.urlopen(address, timeout=4):
            return 0
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
