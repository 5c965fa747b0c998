#!/bin/sh
# All tests: first those that share nothing but the database server, on several cores; then those that start servers,
# workers and browsers, one after the other. Words after the command go to pytest, both times. --fast: quick ones alone.
set -u
cd "$(dirname "$0")/.."
alone="browser or worker or services"
NONE_CHOSEN=5 # pytest's word for it

run() { .venv/bin/python -m pytest "$@"; }
run_side_by_side() { run -n logical --maxprocesses 4 "$@"; }

if [ "${1:-}" = --fast ]; then
    shift
    run_side_by_side -m "not ($alone or tensorflow or slow)" "$@"
    exit
fi
run_side_by_side -m "not ($alone)" "$@"
first=$?
[ $first -eq 2 ] && exit 2 # interrupted
run -m "$alone" "$@"
second=$?
[ $first -eq $NONE_CHOSEN ] && exit $second
[ $second -eq $NONE_CHOSEN ] && exit $first
exit $((first > second ? first : second))
