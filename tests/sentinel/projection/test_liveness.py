"""Which rows are live: the incremental fold against the rule itself, and the cases that people meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_sentinel.projection.liveness import Change, Committed, Liveness, Recognised

PARSER = "advice"
Live: TypeAlias = set[str]


@dataclass
class Rule:
    """The rule as the specification says it, from all that happened: nothing is remembered about what was live."""

    newest: dict[tuple[str, str], str] = field(default_factory=dict)
    #: (parser, file) → content → how new the knowledge is
    has: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    #: file → content, as the last scan saw it
    present: dict[str, str] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        has = self.has.setdefault((change.parser, change.file_id), {})
        key = (change.parser, change.content_hash)
        if isinstance(change, Recognised) and key not in self.newest:
            return
        as_of = change.as_of_seq if isinstance(change, Recognised) else change.queued_seq
        if isinstance(change, Committed):
            self.newest[key] = change.job_id
            if self.present.get(change.file_id) == change.content_hash:
                as_of = change.seq
            for (parser, file), known in self.has.items():  # a copy that changed to this very content
                is_copy = parser == change.parser and file != change.file_id and bool(known)
                if is_copy and self.present.get(file) == change.content_hash and change.content_hash not in known:
                    known.clear()
                    known[change.content_hash] = change.seq
        if not change.keeps_earlier:
            if change.content_hash not in has and any(seq > as_of for seq in has.values()):
                return
            for other in [content for content in has if content != change.content_hash]:
                del has[other]
        has[change.content_hash] = max(as_of, has.get(change.content_hash, 0))

    def live(self) -> Live:
        return {self.newest[parser, content] for (parser, _file), has in self.has.items() for content in has}


@dataclass(frozen=True)
class Step:
    what: str
    parser: str
    file: str
    content: str
    age: int
    keeps: bool


_steps = st.builds(
    Step,
    what=st.sampled_from(["commit", "commit", "recognise", "observe"]),
    parser=st.sampled_from(["advice", "fix"]),
    file=st.sampled_from(["f1", "f2", "f3"]),
    content=st.sampled_from(["c1", "c2", "c3", "c4"]),
    age=st.integers(1, 8),
    keeps=st.sampled_from([False, False, False, True]),
)


@dataclass(frozen=True)
class Observed:
    """A scan: what a file's content is now."""

    file: str
    content: str


def apply(state: Liveness, change: Change | Observed, present: dict[str, str]) -> None:
    if isinstance(change, Observed):
        present[change.file] = change.content
        state.present = {
            (parser, content): [(file, False) for file, now in present.items() if now == content]
            for parser in ("advice", "fix")
            for content in present.values()
        }
    else:
        state.apply(change)


def changes_of(steps: list[Step]) -> list[Change | Observed]:
    """Commits, recognised contents and scans at rising sequences; `age` makes stragglers and late looks."""
    made: list[Change | Observed] = []
    for number, step in enumerate(steps, start=1):
        seq = 10 * number
        before = max(0, seq - 10 * step.age) + 5
        if step.what == "observe":
            made.append(Observed(step.file, step.content))
        elif step.what == "commit":
            made.append(Committed(seq, seq, f"j{number}", step.parser, step.file, step.content, before, step.keeps))
        else:
            made.append(Recognised(seq, seq, step.parser, step.file, step.content, before, step.keeps))
    return made


def live_of(state: Liveness) -> Live:
    return {commit.job_id for commits in state.commits.values() for commit in commits if commit.is_live}


@settings(max_examples=400, deadline=None)
@given(st.lists(_steps, max_size=25))
def test_what_is_live_after_each_change_is_what_the_rule_says(steps: list[Step]) -> None:
    state, rule = Liveness(), Rule()
    for change in changes_of(steps):
        apply(state, change, rule.present)
        if not isinstance(change, Observed):
            rule.apply(change)
        assert live_of(state) == rule.live()
        for commits in state.commits.values():
            assert sum(commit.is_live for commit in commits) <= 1
            for commit in commits:
                assert commit.is_live == (commit.superseded_by is None)


@settings(max_examples=200, deadline=None)
@given(st.lists(_steps, max_size=20))
def test_who_superseded_a_commit_leads_to_rows_that_are_live(steps: list[Step]) -> None:
    """Readers follow `superseded_by` while files are being put in place: it must end."""
    state, present = Liveness(), dict[str, str]()
    for change in changes_of(steps):
        apply(state, change, present)
    by_job = {commit.job_id: commit for commits in state.commits.values() for commit in commits}
    for commit in by_job.values():
        seen: set[str] = set()
        while commit.superseded_by is not None:
            assert commit.job_id not in seen
            seen.add(commit.job_id)
            commit = by_job[commit.superseded_by]
        assert commit.is_live


class Story:
    """One parser; each call is one event later than the one before."""

    def __init__(self) -> None:
        self.state, self.seq = Liveness(), 0

    def commit(self, job: str, file: str, content: str, *, queued: int | None = None, keeps: bool = False) -> None:
        self.seq += 10
        at = self.seq if queued is None else queued
        self.state.apply(Committed(self.seq, self.seq, job, PARSER, file, content, at, keeps))

    def recognise(self, file: str, content: str, *, as_of: int | None = None, keeps: bool = False) -> None:
        self.seq += 10
        at = self.seq if as_of is None else as_of
        self.state.apply(Recognised(self.seq, self.seq, PARSER, file, content, at, keeps))

    @property
    def live(self) -> Live:
        return live_of(self.state)


def test_the_commit_of_a_changed_file_supersedes_the_rows_of_its_earlier_content() -> None:
    story = Story()
    story.commit("j1", "log", "50 lines")
    story.commit("j2", "log", "51 lines")
    assert story.live == {"j2"}
    (first,) = story.state.commits[PARSER, "50 lines"]
    assert (first.superseded_by, first.superseded_seq) == ("j2", 20)


def test_a_rerun_supersedes_the_earlier_commit_of_the_same_content() -> None:
    story = Story()
    story.commit("j1", "log", "a")
    story.commit("j2", "log", "a")
    assert story.live == {"j2"}


def test_a_content_counts_as_long_as_some_path_has_it() -> None:
    story = Story()
    story.commit("j1", "log", "a")
    story.recognise("copy", "a")
    story.commit("j2", "log", "b")
    assert story.live == {"j1", "j2"}
    story.commit("j3", "copy", "c")
    assert story.live == {"j2", "j3"}


def test_one_job_stands_for_all_files_that_changed_to_the_same_content() -> None:
    story = Story()
    story.commit("j1", "log", "a")
    story.state.present = {(PARSER, "b"): [("log", False), ("copy", False)]}
    story.commit("j2", "copy", "b")
    assert story.live == {"j2"}, "the log has the content too: its earlier rows are not there beside it"


def test_a_file_that_comes_back_to_an_earlier_content_has_the_rows_of_that_content_again() -> None:
    story = Story()
    story.commit("j1", "log", "a")
    story.commit("j2", "log", "b")
    story.recognise("log", "a")
    assert story.live == {"j1"}
    (second,) = story.state.commits[PARSER, "b"]
    assert second.superseded_by == "j1"


def test_a_late_commit_of_old_content_does_not_take_the_file_back() -> None:
    story = Story()
    story.commit("j2", "log", "new", queued=7)
    story.commit("j1", "log", "old", queued=3)
    assert story.live == {"j2"}
    (late,) = story.state.commits[PARSER, "old"]
    assert late.superseded_by == "j2"


def test_a_late_commit_counts_when_the_file_came_back_to_its_content_meanwhile() -> None:
    story = Story()
    story.commit("j0", "copy", "b", queued=1)
    story.recognise("log", "b")
    story.state.present = {(PARSER, "a"): [("log", False)]}
    story.commit("j1", "log", "a", queued=3)
    assert story.live == {"j0", "j1"}


def test_a_late_commit_of_old_content_counts_when_another_path_has_it() -> None:
    story = Story()
    story.commit("j0", "copy", "old", queued=1)
    story.commit("j2", "log", "new", queued=7)
    story.commit("j1", "log", "old", queued=3)
    assert story.live == {"j1", "j2"}


def test_what_was_recognised_from_an_old_look_changes_nothing() -> None:
    story = Story()
    story.commit("j1", "log", "a")
    story.commit("j2", "log", "b", queued=30)
    story.recognise("log", "a", as_of=29)
    assert story.live == {"j2"}


def test_a_source_that_is_appended_to_keeps_every_content() -> None:
    story = Story()
    story.commit("j1", "log", "a", keeps=True)
    story.commit("j2", "log", "b", keeps=True)
    assert story.live == {"j1", "j2"}
    story.commit("j3", "log", "b", keeps=True)
    assert story.live == {"j1", "j3"}, "a rerun of the same content supersedes its own earlier commit"
    story.commit("j4", "log", "c")
    assert story.live == {"j4"}, "a source that replaces again replaces all of them"
