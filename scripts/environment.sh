#!/bin/sh
# Makes .venv and installs what requirements.txt (or requirements-dev.txt) pins. Does nothing when nothing changed.
# Usage: scripts/environment.sh run|dev
set -eu
cd "$(dirname "$0")/.."
case "${1:-run}" in
    dev) requirements=requirements-dev.txt ;;
    *) requirements=requirements.txt ;;
esac
say() { echo "tagger | $*"; }

# A command can exist and still fail (the shims of pyenv), or be too old: only one that answers counts.
suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
makes_environments() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    found=""
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        suits "$candidate" || continue
        found=$candidate
        if makes_environments "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if [ -n "$found" ]; then
        version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "$found is Python $version, but cannot make virtual environments. On Debian and Ubuntu:" >&2
        say "    apt-get install python$version-venv" >&2
    else
        say "Python 3.11, 3.12 or 3.13 is needed, and none was found on the PATH." >&2
        say "On Debian and Ubuntu: apt-get install python3 python3-venv. Elsewhere: https://www.python.org/downloads/" >&2
        say "If it has another name: make run PYTHON=/path/to/python3.12" >&2
    fi
    return 1
}

# A moved or upgraded Python leaves an environment that cannot run.
if ! suits .venv/bin/python; then
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

fingerprint() {
    .venv/bin/python - "$1" <<'PYTHON'
import hashlib, pathlib, sys
names = ["requirements.txt", "constraints.txt"] + ([sys.argv[1]] if sys.argv[1] != "requirements.txt" else [])
print(hashlib.sha256(b"".join(pathlib.Path(name).read_bytes() for name in names) + sys.version.encode()).hexdigest())
PYTHON
}
wanted=$(fingerprint "$requirements")
stamp=.venv/installed-$requirements
[ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0

say "Installing $requirements into .venv (the first time: about 700 MB to download)"
log=.venv/install.log
.venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
    -r "$requirements" >"$log" 2>&1 &
pip=$!
trap 'kill $pip 2>/dev/null; exit 130' INT TERM
seconds=0
while kill -0 $pip 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    [ $((seconds % 10)) -eq 0 ] && say "  ${seconds} s: $(tail -n 1 "$log" | cut -c 1-90)"
done
if ! wait $pip; then
    tail -n 15 "$log"
    say "Installing failed. The whole log is in $log; run the same command again to go on."
    exit 1
fi
echo "$wanted" >"$stamp"
[ "$requirements" = requirements.txt ] || fingerprint requirements.txt >.venv/installed-requirements.txt
say "Installed in ${seconds} s"
