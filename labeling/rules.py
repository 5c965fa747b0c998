"""Rules: terms, phrases and RE2 expressions that vote for tags; matching, and provisional labels from them.

Everything runs on RE2, in time linear in the text: no pattern can hang a worker.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import re2
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from labeling.jobs import Progress, Superseded, create_job
from labeling.labels import TweetsGone, derive_labels
from labeling.models import Job, Origin, Rule

MAX_PATTERN_LENGTH = 500  # characters; also the width of the column
MAX_PROGRAM_SIZE = 20_000  # RE2 instructions of one pattern; a long word has about 20
PATTERN_MEMORY = 8 << 20  # bytes for one compiled pattern and its automaton
SET_MEMORY = 256 << 20  # bytes for all rules together; taken only as far as needed

# RE2's \b knows ASCII letters only. A word here is made of letters, marks and digits of any script.
# An emoji may end in a variation selector, which Unicode calls a mark: a word may begin right after it.
WORD = r"\p{L}\p{M}\p{N}_"
BEFORE_WORD = rf"(?:\A|[^{WORD}]|[\x{{FE00}}-\x{{FE0F}}\x{{20E3}}])"
AFTER_WORD = rf"(?:[^{WORD}]|\z)"
LETTER_BEYOND_ASCII = re.compile(r"[^\W\x00-\x7f]|[\u0300-\u036f]")  # where \b may be wrong
SPACE = r"[\s\p{Z}]+"
SENTINEL = "\U0010fffd"  # a private character: proves that the compiled set really runs


def _options(max_mem: int) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = False
    options.max_mem = max_mem
    return options


# What RE2 says, and what we say.
REASONS = [
    (("(?=", "(?!", "(?<=", "(?<!"), "Look-ahead and look-behind are not supported (the rules run in linear "
     "time). Use an exclusion rule for what must not be there."),
    (("(?>",), "Atomic groups are not supported. Use a plain group: (?:…)."),
    (("invalid escape sequence: \\0", "invalid escape sequence: \\1", "invalid escape sequence: \\2",
      "invalid escape sequence: \\3", "invalid escape sequence: \\k", "invalid escape sequence: \\g"),
     "Backreferences such as \\1 are not supported (the rules run in linear time). Write the text out."),
    (("invalid escape sequence",), "RE2 does not know this escape. To match a sign itself, put one backslash "
     "before it, as in \\$."),
    (("missing )", "missing closing )"), "A bracket “(” is never closed."),
    (("unexpected )",), "A bracket “)” was never opened. To match the sign itself write \\)."),
    (("missing ]", "missing closing ]"), "A “[” is never closed."),
    (("character class range",), "A range inside […] runs backwards, as in [z-a]."),
    (("invalid character class",), "RE2 does not know this class of characters."),
    (("repetition operator", "repetition argument"), "A *, + or ? stands where there is nothing to repeat, or "
     "twice in a row."),
    (("repetition size",), "A repetition {…} is too large; 1,000 is the most."),
    (("too large",), "The pattern is too large. Shorten it, or lower its repetitions {…}."),
    (("trailing \\",), "The pattern ends with a lone backslash."),
    (("perl operator", "named"), "This kind of group (?…) is not supported. Use a plain group: (?:…)."),
]  # fmt: skip


def _reason(message: str, pattern: str) -> str:
    for signs, words in REASONS:
        if any(sign in message for sign in signs):
            return words
    if "\\Q" in pattern:
        return "A \\Q is never closed by \\E."
    return f"RE2 cannot read this pattern: {message}."


def is_word(character: str) -> bool:
    """Whether a character belongs to a word, as in WORD."""
    return unicodedata.category(character)[0] in "LMN" or character == "_"


def _literal(text: str) -> str:
    """A pattern for these words, with any white space between them, and either apostrophe."""
    words = ("['’]".join(re2.escape(part) for part in re.split("['’]", word)) for word in text.split())
    return SPACE.join(words)


@dataclass(frozen=True)
class Matcher:
    """How one rule matches: `core` between two boundaries, each empty, or a side of a word."""

    core: str
    starts_word: bool = False
    ends_word: bool = False
    ascii_start: bool = False
    ascii_end: bool = False

    @classmethod
    def of(cls, kind: str, pattern: str) -> Matcher:
        if kind == Rule.Kind.REGEX:
            return cls(f"(?i:{pattern})")
        first, last = pattern.strip()[0], pattern.strip()[-1]
        starts, ends = is_word(first), is_word(last)
        core = f"(?i:{'[#@]?' if starts else ''}{_literal(pattern)})"
        return cls(core, starts, ends, starts and first.isascii(), ends and last.isascii())

    @property
    def exact(self) -> str:
        """The whole pattern; group 1 is what to mark."""
        before, after = BEFORE_WORD if self.starts_word else "", AFTER_WORD if self.ends_word else ""
        return f"{before}({self.core}){after}"

    @property
    def loose(self) -> str:
        r"""The same, and a little too much beside letters beyond ASCII: boundaries are RE2's quick \b."""
        core = self.core.replace("(?i:[#@]?", r"(?i:[#@]?\b", 1) if self.ascii_start else self.core
        return core + (r"\b" if self.ascii_end else "")


def normalise_pattern(kind: str, pattern: str) -> str:
    """As it is stored: outer and repeated white space of terms and phrases is dropped."""
    return pattern.strip() if kind == Rule.Kind.REGEX else " ".join(pattern.split())


def check_pattern(kind: str, pattern: str) -> None:
    """Raise ValidationError, in plain words, for a pattern that cannot be a rule."""
    if kind not in Rule.Kind.values:
        raise ValidationError(f"“{kind}” is not a kind of rule. Use term, phrase or regex.")
    if not pattern.strip():
        raise ValidationError("The pattern is empty.")
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ValidationError(f"The pattern is longer than {MAX_PATTERN_LENGTH} characters. Split it.")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in pattern.strip()):
        raise ValidationError("The pattern contains a control character.")
    if kind == Rule.Kind.TERM and len(pattern.split()) > 1:
        raise ValidationError("A term is one word. Choose “phrase” for words in a row.")
    if kind != Rule.Kind.REGEX:
        return  # words are taken literally: nothing can be wrong with them
    _compile(pattern, shown=pattern)  # alone first: the message is then about what was typed
    compiled = _compile(Matcher.of(kind, pattern).exact, shown=pattern)
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise ValidationError("The pattern is too large. Shorten it, or lower its repetitions {…}.")
    if any(
        match.end(1) == match.start(1) for probe in ("", "a", " a b. ") for match in compiled.finditer(probe)
    ):
        raise ValidationError("The pattern also matches nothing at all, so it would catch every tweet.")


def _compile(pattern: str, *, shown: str) -> re2._Regexp:
    """Compiled past re2's cache, which holds 128 patterns only. Raises ValidationError."""
    try:
        return re2._Regexp(pattern, _options(PATTERN_MEMORY))
    except (re2.error, UnicodeEncodeError) as error:
        message = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ValidationError(_reason(message, shown)) from error


def _search(matcher: Matcher) -> re2._Regexp:
    return _compile(matcher.exact, shown=matcher.core)


@dataclass(frozen=True)
class RuleLine:
    """What matching needs of one rule."""

    tag_id: int
    kind: str
    pattern: str
    is_exclusion: bool = False

    @cached_property
    def matcher(self) -> Matcher:
        return Matcher.of(self.kind, self.pattern)

    @cached_property
    def search(self) -> re2._Regexp:
        return _search(self.matcher)

    @cached_property
    def _quick(self) -> re2._Regexp:
        """Matches wherever `search` does, and is compiled in .04 ms in place of 2: most rules match no text in view."""
        return _compile(self.matcher.loose, shown=self.matcher.core)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it matches. Goes on from the end of the marked part: neighbours may share a boundary."""
        if not self._quick.search(text):
            return []
        found, position = [], 0
        while match := self.search.search(text, position):
            found.append((match.start(1), match.end(1)))
            position = max(match.end(1), position + 1)
        return found

    def matches(self, text: str) -> bool:
        return self._quick.search(text) is not None and self.search.search(text) is not None


class RuleSet:
    """Many rules, compiled together. One pass over a text says which tags are voted for."""

    def __init__(self, lines: Iterable[RuleLine]) -> None:
        self.lines = sorted(
            set(lines), key=lambda line: (line.tag_id, line.is_exclusion, line.kind, line.pattern)
        )
        groups: dict[tuple[int, bool], list[RuleLine]] = defaultdict(list)
        for line in self.lines:
            groups[line.tag_id, line.is_exclusion].append(line)
        self._groups = list(groups.items())  # by position in the compiled set

    @classmethod
    def active(cls) -> RuleSet:
        """The enabled rules of the tags in use. One query."""
        rows = Rule.objects.active().values_list("tag_id", "kind", "pattern", "is_exclusion")
        return cls(RuleLine(*row) for row in rows)

    @cached_property
    def _set(self) -> re2.Set:
        """One RE2 set with a pattern for each tag's votes and each tag's exclusions."""
        compiled = re2.Set.SearchSet(_options(SET_MEMORY))
        for _, lines in self._groups:
            compiled.Add("|".join(line.matcher.loose for line in lines))
        sentinel = compiled.Add(SENTINEL)
        try:
            compiled.Compile()
        except re2.error as error:
            raise ValidationError(TOO_MANY) from error
        if compiled.Match(SENTINEL.encode()) != [sentinel]:  # out of memory looks like "no match"
            raise ValidationError(TOO_MANY)
        return compiled

    def match(self, texts: Sequence[str]) -> list[list[int]]:
        """For each text the ids of the tags voted for, ascending; an exclusion silences its tag."""
        if not self._groups:
            return [[] for _ in texts]
        search = self._set._set.Match  # past a wrapper that costs as much as the match
        found: list[list[int]] = []
        for text in texts:
            hits = search(text.encode("utf-8", "replace"))
            found.append(self._votes(text, hits) if hits else [])
        return found

    def _votes(self, text: str, hits: list[int]) -> list[int]:
        """Tags from positions in the set. Beside letters beyond ASCII each hit is looked at exactly."""
        is_plain = text.isascii() or not LETTER_BEYOND_ASCII.search(text)
        votes: set[int] = set()
        silenced: set[int] = set()
        for hit in hits:
            if hit == len(self._groups):
                continue  # the sentinel
            (tag_id, is_exclusion), lines = self._groups[hit]
            if is_plain or any(line.matches(text) for line in lines):
                (silenced if is_exclusion else votes).add(tag_id)
        return sorted(votes - silenced)

    def matches_any(self, texts: Sequence[str]) -> np.ndarray:
        """Whether any tag is voted for: bool [n]."""
        return np.fromiter((bool(votes) for votes in self.match(texts)), dtype=bool, count=len(texts))

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """(start, end, tag id) of every voting match, in characters, for marking. Silenced tags are left out."""
        (votes,) = self.match([text])
        lines = (line for line in self.lines if line.tag_id in votes and not line.is_exclusion)
        return sorted({(*span, line.tag_id) for line in lines for span in line.spans(text)})

    def term_pattern(self) -> str:
        r"""One RE2 alternation of all voting patterns ("" when none), for deleting or masking terms.

        Boundaries are zero-width \b, so that replacing a match leaves its neighbours alone.
        """
        return "|".join(dict.fromkeys(line.matcher.loose for line in self.lines if not line.is_exclusion))

    def fingerprint(self) -> str:
        """Changes when, and only when, the rules do."""
        rows = [f"{r.tag_id}\t{r.kind}\t{r.is_exclusion:d}\t{r.pattern}" for r in self.lines]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


TOO_MANY = "All rules together are too large to compile. Shorten or disable some regular expressions."


# Applying the rules -----------------------------------------------------------------------------------------

BATCH = 20_000  # tweets read, matched and written in one transaction; well under a second
READ = "SELECT id, text FROM labeling_tweet WHERE id > %s ORDER BY id LIMIT %s"
LATEST = """
SELECT DISTINCT ON (tweet_id) tweet_id, tag_ids FROM labeling_annotation a
WHERE tweet_id BETWEEN %s AND %s AND origin = %s AND tag_ids IS NOT NULL AND retracts_id IS NULL
  AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
ORDER BY tweet_id, id DESC
"""
COPY = "COPY labeling_annotation (tweet_id, origin, tag_ids, note, created_at) FROM STDIN"


def start_apply(*, user: AbstractBaseUser | None = None) -> Job:
    """A queued job that applies the rules. Raises AlreadyRunning. The caller rings the bell."""
    return create_job(Job.Kind.RULES, exclusive_key="rules", user=user)


def apply_rules(job: Job, progress: Progress) -> None:
    """The job: bring every tweet's provisional tags up to date with the rules.

    1. Read tweets in order of id, a batch at a time.
    2. Write an annotation where the votes differ from the tweet's latest one of the rules. Votes for nothing
       are written as an empty set, which takes the earlier ones back: derive_labels() holds it for no judgement.
    3. Derive the labels of those tweets, in the same transaction.

    Nothing is added when nothing changed, so that it may stop anywhere and run again.
    """
    rules = RuleSet.active()
    fingerprint = rules.fingerprint()
    if job.detail.get("fingerprint") != fingerprint:
        job.detail = {"fingerprint": fingerprint, "after": 0, "tweets": 0, "matched": 0, "written": 0}
    first, last = _id_range()
    progress.report(stage="applying rules", total=max(0, last - first + 1))
    while True:
        try:
            counts = _apply_batch(job, rules, after=job.detail["after"])
        except TweetsGone:  # one of them was erased between reading and writing: read again
            continue
        if counts is None:
            break
        detail = {key: job.detail[key] + counts[key] for key in ("tweets", "matched", "written")}
        progress.report(done=counts["after"] - first + 1, detail={**detail, "after": counts["after"]})
    progress.report(done=job.detail["tweets"], total=job.detail["tweets"])


def _id_range() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM labeling_tweet")
        first, last = cursor.fetchone()
    return first, last


def _apply_batch(job: Job, rules: RuleSet, *, after: int) -> dict[str, int] | None:
    """One batch in one transaction; None when no tweet is left."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Holding the job's row keeps a worker that takes it over from writing the same batch beside us.
        held = Job.objects.select_for_update(no_key=True).filter(pk=job.pk, attempt=job.attempt)
        if not held.filter(state=Job.State.RUNNING).exists():
            raise Superseded(f"Job {job.pk} was taken over or ended")
        cursor.execute(READ, [after, BATCH])
        rows = cursor.fetchall()
        if not rows:
            return None
        votes = rules.match([text for _, text in rows])
        cursor.execute(LATEST, [rows[0][0], rows[-1][0], int(Origin.RULE)])
        latest: dict[int, list[int]] = dict(cursor.fetchall())
        ids = [tweet_id for tweet_id, _ in rows]
        changed = [(i, new) for i, new in zip(ids, votes, strict=True) if latest.get(i, []) != new]
        if changed:
            _copy_votes(cursor, changed)
            derive_labels([tweet_id for tweet_id, _ in changed])
    matched = sum(1 for tags in votes if tags)
    return {"after": ids[-1], "tweets": len(ids), "matched": matched, "written": len(changed)}


def _copy_votes(cursor: Any, changed: Sequence[tuple[int, list[int]]]) -> None:
    now = timezone.now().isoformat()
    lines = (
        f"{tweet_id}\t{Origin.RULE:d}\t{{{','.join(map(str, tags))}}}\t\t{now}\n"
        for tweet_id, tags in changed
    )
    cursor.copy_expert(COPY, io.StringIO("".join(lines)))


@dataclass(frozen=True)
class Freshness:
    """Whether the provisional labels follow the rules and the tweets of this moment."""

    job: Job | None  # the latest that ended well
    rules_changed: bool
    has_new_tweets: bool


def freshness() -> Freshness:
    """Three queries."""
    job = Job.objects.filter(kind=Job.Kind.RULES, state=Job.State.DONE).order_by("-id").first()
    detail = job.detail if job else {}
    return Freshness(
        job=job,
        rules_changed=detail.get("fingerprint") != RuleSet.active().fingerprint(),
        has_new_tweets=_id_range()[1] > detail.get("after", 0),
    )
