#!/bin/sh
# All tests: those that share nothing but the database server on several cores, then those that start servers, workers,
# browsers and trainings, one after the other. Words after the command go to pytest, both times.
set -u
cd "$(dirname "$0")/.."
alone="browser or tensorflow or worker or services"
NONE_CHOSEN=5 # pytest's word for it

run() { .venv/bin/python -m pytest "$@"; }

case "${1:-}" in
    --fast)
        shift
        run -n logical --maxprocesses 4 -m "not ($alone or slow)" "$@"
        exit
        ;;
esac
run -n logical --maxprocesses 4 -m "not ($alone)" "$@"
first=$?
[ $first -eq 2 ] && exit 2 # interrupted
run -m "$alone" "$@"
second=$?
[ $first -eq $NONE_CHOSEN ] && exit $second
[ $second -eq $NONE_CHOSEN ] && exit $first
exit $((first > second ? first : second))
