"""Where the embedded servers live: folders, service user, sockets, passwords, addresses."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

CHECKOUT = Path(__file__).resolve().parents[2]
DATABASE = "tagger"  # the name of the database and of the role that owns it
OWN_USER = "tagger-db"  # created for the servers where root starts them and no `postgres` user exists
LAYOUT_FILE = "embedded.json"
SOCKET_FOLDER_LIMIT = 70  # a socket's whole path must stay below about 100 bytes


class EmbeddedError(Exception):
    """The embedded servers cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Layout:
    var: Path  # everything of this installation; secrets, locks and logs always stay here
    data: Path  # the servers' own data: `var`, unless the service user may not enter it
    sockets: Path  # mode 0700, so that no other user can even knock
    user: str  # whom the servers run as; "" for whoever starts them

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def valkey(self) -> Path:
        return self.data / "valkey"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def owner(self) -> tuple[int, int]:
        """User and group id of the servers."""
        if not self.user:
            return os.geteuid(), os.getegid()
        entry = pwd.getpwnam(self.user)
        return entry.pw_uid, entry.pw_gid


def var_dir() -> Path:
    """The folder of this installation: TAGGER_VAR_DIR, or var/ in the checkout."""
    return Path(os.environ.get("TAGGER_VAR_DIR") or CHECKOUT / "var").resolve()


def database(var: Path) -> dict[str, str]:
    """Django's settings of the embedded database."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE,
        "USER": DATABASE,
        "PASSWORD": secret(var, "database_password"),
        "HOST": str(layout(var).sockets),
        "PORT": "5432",
    }


def database_url(var: Path) -> str:
    """The same address as a URL, for psql, pg_dump and other programs."""
    password, sockets = secret(var, "database_password"), quote(str(layout(var).sockets), safe="")
    return f"postgres://{DATABASE}:{password}@{sockets}:5432/{DATABASE}"


def broker_url(var: Path) -> str:
    """The address of the embedded Valkey."""
    return f"unix://:{secret(var, 'valkey_password')}@{layout(var).valkey_socket}?db=0"


def describe(var: Path) -> str:
    """Where the data is and whose it is, in words."""
    found = layout(var)
    return f"data in {found.data}" + (f", as user {found.user}" if found.user else "")


def secret(var: Path, name: str) -> str:
    """A random secret of this installation, made at its first use; only this user can read its file."""
    folder = var / "secrets"
    path = folder / name
    if path.exists():
        return path.read_text()
    make_folder(var)
    folder.mkdir(mode=0o700, exist_ok=True)
    draft = folder / f".{name}.{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)  # whoever comes first wins, and nobody reads half a secret
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text()


def make_folder(var: Path) -> None:
    """Make var/. As root, others may pass through it, because the servers' own folders are inside."""
    try:
        var.mkdir(parents=True, exist_ok=True)
        if var.stat().st_uid == os.geteuid():
            var.chmod(0o711 if os.geteuid() == 0 else 0o700)
        (var / "files").mkdir(mode=0o700, exist_ok=True)  # uploads, exports, models
    except PermissionError as error:
        raise EmbeddedError(f"{var} cannot be written: {error.strerror}. {_whose(var)}") from error


def layout(var: Path) -> Layout:
    """The layout that the servers' first start decided on, or what it would decide now."""
    path = var / LAYOUT_FILE
    if not path.exists():
        return _decide(var)
    try:
        saved = json.loads(path.read_text())
    except PermissionError as error:
        raise EmbeddedError(f"{path} cannot be read. {_whose(var)}") from error
    old_var, data = Path(saved["var"]), Path(saved["data"])
    if old_var == var:
        return Layout(var=var, data=data, sockets=Path(saved["sockets"]), user=saved["user"])
    if data != old_var:  # the checkout was moved, the data was elsewhere
        return Layout(var=var, data=data, sockets=_socket_folder(var, data), user=saved["user"])
    return _decide(var)


def save_layout(found: Layout) -> None:
    make_folder(found.var)
    draft = found.var / f".{LAYOUT_FILE}.{os.getpid()}"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({key: str(value) for key, value in asdict(found).items()}, indent=1) + "\n")
    draft.replace(found.var / LAYOUT_FILE)


def _decide(var: Path) -> Layout:
    if os.geteuid() != 0:
        return Layout(var=var, data=var, sockets=_socket_folder(var, var), user="")
    user = _service_user(var)
    data = var if _may_enter(user, var) else Path("/var/lib") / f"tagger-{_digest(var)}"
    return Layout(var=var, data=data, sockets=_socket_folder(var, data), user=user)


def _service_user(var: Path) -> str:
    """PostgreSQL refuses to run as root. The user that owns the data already, `postgres`, or one of our own."""
    if (var / "postgres").exists():
        return pwd.getpwuid((var / "postgres").stat().st_uid).pw_name
    for name in ("postgres", OWN_USER):
        if _exists(name):
            return name
    if useradd := shutil.which("useradd"):
        subprocess.run(  # noqa: S603
            [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWN_USER],
            check=False,
            capture_output=True,
        )
    return OWN_USER if _exists(OWN_USER) else "nobody"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _may_enter(user: str, var: Path) -> bool:
    folder = next(folder for folder in (var, *var.parents) if folder.exists())
    if folder == var and var.stat().st_uid == 0:
        folder = var.parent  # make_folder() opens var itself
    return may(user, "-x", folder)


def may(user: str, test: str, path: Path) -> bool:
    """Whether a user passes `test -x` or `test -r` for a path. Only root can ask."""
    entry = pwd.getpwnam(user)
    return not subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", f'test {test} "$1"', "sh", str(path)],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
        check=False,
    ).returncode


def _socket_folder(var: Path, data: Path) -> Path:
    """Near the data; a short private folder elsewhere when the path is long or has characters to quote."""
    folder = data / "sockets"
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_LIMIT and re.fullmatch(r"[\w/.-]+", str(folder), re.ASCII):
        return folder
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run") / f"tagger-{_digest(var)}"
    return Path("/tmp") / f"tagger-{os.geteuid()}-{_digest(var)}"  # noqa: S108  (owner and mode are checked)


def _digest(var: Path) -> str:
    return hashlib.sha256(os.fsencode(var)).hexdigest()[:10]


def _whose(var: Path) -> str:
    existing = next(folder for folder in (var, *var.parents) if folder.exists())
    uid = existing.stat().st_uid
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return f"{existing} belongs to {name}: start as that user, or set TAGGER_VAR_DIR to a folder of your own."
