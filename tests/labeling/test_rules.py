"""Rules: what matches, what is refused, and provisional labels."""

from __future__ import annotations

import re
import time
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import jobs, lexicon, rules, tasks
from labeling.labels import derive_labels
from labeling.models import Annotation, Job, Label, Origin, Rule, Tag, Verdict
from labeling.rules import RuleLine, RuleSet, check_pattern
from tests.factories import make_annotation, make_rule, make_tag, make_tweet


def votes(text: str, *lines: tuple) -> list[int]:
    return RuleSet(RuleLine(*line) for line in lines).match([text])[0]


# Matching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "lean",
        "LEAN!",
        "#lean",
        "@Lean",
        "(lean)",
        "sip lean…",
        "ñ lean",
        "❤️lean",
        "lean's",
        "a\nlean",
        "“lean”",
    ],
)
def test_a_term_matches_as_a_whole_word_in_any_case_and_as_hashtag(text):
    assert votes(text, (1, "term", "lean")) == [1]


@pytest.mark.parametrize("text", ["clean", "leaner", "élean", "leané", "lean_cuisine", "le an", "ленlean"])
def test_a_term_does_not_match_inside_a_word_of_any_script(text):
    assert votes(text, (1, "term", "lean")) == []


BESIDE = st.text("aZ9_é\u0301#@'’ .\u200d\ufe0f\u20e3ſKл💊", max_size=3)
PATTERNS = ["lean", "#od", "ks", "don't do", "naïve", "$5", "героин", "💊", "é", "o2"]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS), kind=st.sampled_from(["phrase", "regex"]), before=BESIDE, after=BESIDE
)
def test_the_quick_look_misses_no_match(pattern, kind, before, after):
    """A rule is compiled exactly only where a loose form of it matches."""
    line = RuleLine(1, kind, re.escape(pattern) if kind == "regex" else pattern)
    for text in (f"{before}{pattern}{after}", f"{before}{pattern.upper()}{after}{pattern}"):
        exactly = line.search.search(text) is not None
        assert line.matches(text) == exactly
        assert bool(line.spans(text)) == exactly


def test_only_rules_that_match_are_compiled_exactly(monkeypatch):
    compiled, exactly = [], rules._search

    def search(matcher):
        compiled.append(matcher.core)
        return exactly(matcher)

    monkeypatch.setattr(rules, "_search", search)
    lines = [RuleLine(1, "term", f"lean{n}") for n in range(5)]
    assert RuleSet(lines).spans("no lean3 here") == [(3, 8, 1)]
    assert [core for core in compiled if "lean3" in core] == compiled != []


def test_terms_of_other_scripts_and_emoji_match():
    assert votes("принял героин вчера", (1, "term", "ГЕРОИН")) == [1]
    assert votes("героиновый", (1, "term", "героин")) == []
    assert votes("x💊y", (1, "term", "💊")) == [1]
    assert votes("NAÏVE", (1, "term", "naïve")) == [1]


def test_a_term_written_with_a_hash_wants_the_hash():
    assert votes("od", (1, "term", "#od")) == []
    assert votes("x #OD", (1, "term", "#od")) == [1]


def test_a_phrase_matches_across_any_white_space_and_either_apostrophe():
    line = (1, "phrase", "can't stop")
    assert votes("I can’t\n  stop", line) == [1]
    assert votes("can't\u00a0stop", line) == [1]
    assert votes("can't unstop", line) == []
    assert votes("can't stopping", line) == []


def test_signs_in_terms_are_taken_literally():
    assert votes("c++ (x)", (1, "term", "c++")) == [1]
    assert votes("cc", (1, "term", "c++")) == []


def test_a_regex_matches_anywhere_in_any_case():
    assert votes("two PERCS", (1, "regex", r"\bperc(s|ocets?)?\b")) == [1]


def test_an_exclusion_silences_its_tag_only():
    lines = [(1, "term", "lean"), (1, "phrase", "lean meat", True), (2, "term", "meat")]
    assert votes("lean meat", *lines) == [2]
    assert votes("lean", *lines) == [1]


def test_spans_mark_what_voted_in_characters():
    found = RuleSet([RuleLine(1, "term", "lean"), RuleLine(2, "term", "🍇")]).spans("🍇 lean #lean clean")
    assert found == [(0, 1, 2), (2, 6, 1), (7, 12, 1)]


def test_no_rules_match_nothing():
    empty = RuleSet([])
    assert empty.match(["lean"]) == [[]]
    assert empty.matches_any(["lean"]).tolist() == [False]
    assert empty.term_pattern() == ""


def test_matches_any_is_a_mask():
    mask = RuleSet([RuleLine(1, "term", "lean")]).matches_any(["lean", "clean"])
    assert mask.dtype == bool
    assert mask.tolist() == [True, False]


def test_the_term_pattern_finds_votes_but_not_exclusions_and_leaves_neighbours():
    import re2

    ruleset = RuleSet([RuleLine(1, "term", "lean"), RuleLine(1, "term", "meat", True)])
    assert re2.sub(ruleset.term_pattern(), "", "sip #lean or lean meat, clean") == "sip  or  meat, clean"


def test_the_fingerprint_follows_the_rules_not_their_order():
    a, b = RuleLine(1, "term", "a"), RuleLine(1, "term", "b")
    assert RuleSet([a, b]).fingerprint() == RuleSet([b, a]).fingerprint()
    assert RuleSet([a]).fingerprint() != RuleSet([a, b]).fingerprint()


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "Backreferences"),
        ("a(?=b)", "Look-ahead"),
        ("(?<!a)b", "Look-ahead and look-behind"),
        ("(?>a)", "Atomic"),
        ("(a", "never closed"),
        ("a)", "never opened"),
        ("[a", "never closed"),
        ("a**", "twice in a row"),
        ("a{1001}", "too large"),
        (r"((\pL{30}){30}){30}", "too large"),
        ("a\\", "lone backslash"),
        (r"\Qa", "closed"),
        ("", "empty"),
        ("a*", "catch every tweet"),
        ("^", "catch every tweet"),
        (r"\b", "catch every tweet"),
        ("a|", "catch every tweet"),
        ("a\x00b", "control character"),
        ("a" * 501, "longer than 500"),
    ],
)
def test_a_bad_regex_is_refused_in_plain_words(pattern, reason):
    with pytest.raises(ValidationError, match=reason):
        check_pattern("regex", pattern)


def test_a_term_of_two_words_and_an_unknown_kind_are_refused():
    with pytest.raises(ValidationError, match="phrase"):
        check_pattern("term", "two words")
    with pytest.raises(ValidationError, match="not a kind"):
        check_pattern("glob", "a")


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(x+x+)+y", r"(a|aa)+$", r"(.*a){20}"])
def test_a_pathological_pattern_takes_linear_time(pattern):
    check_pattern("regex", pattern)
    ruleset = RuleSet([RuleLine(1, "regex", pattern)])
    started = time.perf_counter()
    ruleset.match(["a" * 20_000 + "!", "x" * 20_000])
    assert time.perf_counter() - started < 2


# Applying ------------------------------------------------------------------------------------------------


def apply() -> Job:
    job = jobs.run_job(rules.start_apply().pk, tasks.work_for(Job.Kind.RULES), heartbeat=False)
    assert job is not None
    assert job.state == Job.State.DONE, job.error
    return job


@pytest.fixture
def lean(db) -> Tag:
    tag = make_tag("lean")
    make_rule(tag, "lean")
    return tag


def test_it_writes_provisional_tags_that_show_where_they_come_from(lean):
    tweet, other = make_tweet("sipping lean"), make_tweet("a clean desk")
    job = apply()
    label = Label.objects.get()
    assert (label.tweet_id, label.tag_ids, label.tags_origin, label.verdict) == (
        tweet.pk,
        [lean.pk],
        Origin.RULE,
        None,
    )
    assert job.detail["written"] == 1
    assert not Annotation.objects.filter(tweet=other).exists()


def test_a_second_run_adds_nothing(lean):
    make_tweet("sipping lean")
    apply()
    assert apply().detail["written"] == 0
    assert Annotation.objects.count() == 1


def test_when_a_rule_goes_its_provisional_label_goes_and_comes_back_with_it(lean):
    tweet = make_tweet("sipping lean")
    apply()
    Rule.objects.update(is_active=False)
    assert apply().detail["written"] == 1
    assert not Label.objects.exists()
    assert apply().detail["written"] == 0
    Rule.objects.update(is_active=True)
    apply()
    assert Label.objects.get().tag_ids == [lean.pk]
    assert Annotation.objects.filter(tweet=tweet).count() == 3  # nothing was overwritten


def test_people_and_imports_beat_rules_and_a_withdrawn_rule_never_says_none(lean, analyst):
    judged, imported = make_tweet("lean on me"), make_tweet("lean again")
    make_annotation(judged, annotator=analyst, verdict=Verdict.NDA, tag_ids=[])
    make_annotation(imported, origin=Origin.IMPORT, tag_ids=[lean.pk])
    derive_labels([judged.pk, imported.pk])
    apply()
    Rule.objects.all().delete()
    apply()
    assert Label.objects.get(tweet=judged).tag_ids == []
    assert Label.objects.get(tweet=judged).tags_origin == Origin.ANALYST
    assert Label.objects.get(tweet=imported).tag_ids == [lean.pk]


def test_rules_of_an_archived_tag_do_not_vote(lean):
    make_tweet("sipping lean")
    Tag.objects.update(is_archived=True)
    assert apply().detail["matched"] == 0


def test_it_goes_on_where_it_stopped_and_starts_over_when_the_rules_changed(lean, monkeypatch):
    monkeypatch.setattr(rules, "BATCH", 2)
    for _ in range(5):
        make_tweet("lean")
    job = rules.start_apply()

    class StopsAfterOne(jobs.Progress):
        def report(self, **kwargs):
            super().report(**kwargs)
            if self.job.detail.get("tweets") == 2:
                self.write()
                raise RuntimeError("killed")

    claimed = jobs.claim_job(job.pk)
    assert claimed is not None
    with pytest.raises(RuntimeError):
        rules.apply_rules(claimed, StopsAfterOne(claimed))
    assert Annotation.objects.count() == 2
    Job.objects.filter(pk=job.pk).update(state=Job.State.QUEUED)
    done = jobs.run_job(job.pk, rules.apply_rules, heartbeat=False)
    assert done is not None
    assert (done.detail["tweets"], done.detail["written"], Annotation.objects.count()) == (5, 5, 5)

    make_rule(lean, "purple")
    Job.objects.filter(pk=job.pk).update(state=Job.State.QUEUED, detail={**done.detail, "after": 10**9})
    again = jobs.run_job(job.pk, rules.apply_rules, heartbeat=False)
    assert again is not None
    assert again.detail["tweets"] == 5


def test_a_worker_that_lost_its_job_writes_nothing(lean):
    make_tweet("lean")
    late = jobs.claim_job(rules.start_apply().pk)
    assert late is not None
    Job.objects.filter(pk=late.pk).update(attempt=7)
    with pytest.raises(jobs.Superseded):
        rules._apply_batch(late, RuleSet.active(), after=0)
    assert not Annotation.objects.exists()


def test_freshness_tells_of_new_tweets_and_changed_rules(lean):
    make_tweet("lean")
    assert rules.freshness().job is None
    apply()
    fresh = rules.freshness()
    assert (fresh.rules_changed, fresh.has_new_tweets) == (False, False)
    make_tweet("more")
    make_rule(lean, "purple")
    fresh = rules.freshness()
    assert (fresh.rules_changed, fresh.has_new_tweets) == (True, True)


# Commands ------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_apply_rules_ends_with_one_line_of_figures(lean):
    make_tweet("lean")
    last = run("apply_rules").strip().splitlines()[-1]
    assert last.startswith("Applied the rules to 1 tweets")
    assert "1 match, 1 provisional labels changed." in last


def test_import_rules_reads_csv_twice_without_adding_twice(db, tmp_path):
    path = tmp_path / "rules.csv"
    path.write_text(
        "tag,kind,pattern,exclusion,guideline\nlean,term,lean,,When sipped\nlean,phrase,lean  meat,1,\n"
    )
    assert "1 tags added" in run("import_rules", str(path))
    assert "0 rules added, 2 known already" in run("import_rules", str(path))
    assert Tag.objects.get().guideline == "When sipped"
    assert set(Rule.objects.values_list("kind", "pattern", "is_exclusion")) == {
        ("term", "lean", False),
        ("phrase", "lean meat", True),
    }


def test_import_rules_takes_what_is_good_and_names_the_line_of_what_is_not(db, tmp_path):
    path = tmp_path / "rules.jsonl"
    path.write_text(
        '{"tag": "a", "pattern": "b"}\nnonsense\n{"tag": "a", "kind": "regex", "pattern": "(c"}\n{"pattern": "d"}\n'
    )
    out = StringIO()
    with pytest.raises(CommandError, match="3 rows were rejected"):
        call_command("import_rules", str(path), stdout=out, stderr=out)
    assert "line 2: This line is no JSON object." in out.getvalue()
    assert "line 3: A bracket “(” is never closed." in out.getvalue()
    assert "line 4: Give the tag a name." in out.getvalue()
    assert Rule.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("r.csv", b"a,b\n1,2\n", "no column"),
        ("r.txt", b"", "Name the file"),
        ("r.csv", b"tag\n\xff\n", "UTF-8"),
    ],
)
def test_import_rules_says_why_a_file_cannot_be_read(db, tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=reason):
        run("import_rules", str(tmp_path / name))


def test_the_starter_lexicon_has_25_tags_with_guidelines_and_loads_twice(db):
    first = lexicon.load_starter()
    assert (first.tags_added, first.rejected) == (25, [])
    assert first.rules_added >= 250
    assert lexicon.load_starter().rules_added == 0
    assert not Tag.objects.filter(guideline="").exists()
    assert all(tag.rules.filter(is_exclusion=False).exists() for tag in Tag.objects.all())
    RuleSet.active().match(["compiles"])
