#!/bin/sh
# Every check but the tests. Goes on after a failure, so that one run shows all of them.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin/python
failed=0
check() {
    echo "tagger | $1"
    shift
    "$@" || failed=1
}
check "ruff check" $bin -m ruff check .
check "ruff format" $bin -m ruff format --check .
check "mypy" $bin -m mypy .
check "djade" sh -c 'find templates -name "*.html" -print0 | xargs -0 .venv/bin/djade --check --target-version 5.2'
check "import contract" $bin -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
check "migrations" $bin manage.py makemigrations --check --dry-run
check "Django's own checks" $bin manage.py check --fail-level WARNING
check "deployment checks" env HTTPS=true ALLOWED_HOSTS=tagger.example.org $bin manage.py check --deploy --fail-level WARNING
echo "tagger | pip-audit"
mkdir -p var
$bin -m pip_audit --progress-spinner off --disable-pip --no-deps -r constraints.txt >var/pip-audit.log 2>&1
audited=$?
# Known holes fail the check; a registry that cannot be asked does not, but is said.
if grep -q "^Found .* known vulnerabilit" var/pip-audit.log; then
    cat var/pip-audit.log
    failed=1
elif [ $audited -ne 0 ] || grep -q "could not be audited" var/pip-audit.log; then
    echo "Not asked, or not answered, for $(grep -c "could not be audited" var/pip-audit.log) packages: see var/pip-audit.log"
fi
[ $failed -eq 0 ] && echo "tagger | All checks passed." || echo "tagger | Some checks failed, see above."
exit $failed
