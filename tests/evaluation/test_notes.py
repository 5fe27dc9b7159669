from __future__ import annotations

from collections import Counter

from mrt_reward.evaluation.notes import MAX_CHARS, note_lines, proved_by, quoted, worthless_lines
from mrt_reward.evaluation.summary import Summary
from mrt_reward.evaluation.tally import Caveats
from mrt_reward.evaluation.traces import ReadNotes

SUMMARY = Summary((64.0,), 0.02, (), (), weighted_votes=True)


def test_what_others_wrote_is_one_short_line_without_folders() -> None:
    assert quoted("a\nb\t/home/me/c") == "a b c"
    assert len(quoted("x" * 10_000)) == MAX_CHARS


def test_everything_that_was_left_out_is_counted() -> None:
    notes = ReadNotes(read=9, cut=1, malformed=2, first_malformed="r.jsonl:3: not JSON", duplicates=3)
    notes.failed, notes.models = Counter({"no_answer": 4}), Counter({"m": 9})
    caveats = Caveats(partial=5, without_episodes=6, provers={"a", "b"}, lower_bounds=True, warnings={"odd": 7})
    assert note_lines(SUMMARY, notes, {"m": caveats}) == [
        "An episode earned nothing when |progress| < 0.02.",
        "Votes are weighted: each counts 2^(mean log-probability of its answer), as the authors' do.",
        "9 traces were read; of 1 models.",
        "4 traces or problems have no value and are in no number: 4 no_answer.",
        "1 lines that were cut in the middle were skipped.",
        "2 lines that are no result were skipped.",
        "3 repeated traces were skipped.",
        "First line that is no result: r.jsonl:3: not JSON",
        "m: values by a, b.",
        "m: its values come from more than one prover, which are not comparable.",
        "m: 5 traces lack a value and are in no curve.",
        "m: 6 traces thought nothing.",
        "m: its values are likelihoods of listed spellings, which can only understate.",
        "m: 7 traces: odd",
    ]


def test_a_reader_knows_who_proved_and_whose_values_mean_nothing() -> None:
    assert proved_by({"m": Caveats(provers={"b@1", "a@1"})}) == "Values by a@1, b@1."
    assert proved_by({"m": Caveats()}) == "Values by a prover that the files do not name."
    assert worthless_lines({"m": Caveats()}) == []
    [line] = worthless_lines({"m": Caveats(foreign=2)})
    assert line.startswith("m: the values of 2 traces mean nothing")
