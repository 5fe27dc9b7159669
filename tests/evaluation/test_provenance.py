from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrt_reward.evaluation.folder import Folder
from mrt_reward.evaluation.provenance import MAX_OPTIONS, Invocation, Origins, in_words, shown_names, without_folders
from mrt_reward.evaluation.report import ReportSpec, make_report
from mrt_reward.evaluation.traces import Results
from tests.evaluation.lines import line, write

OPTIONS = {"estimator": {"kind": "rollouts", "num_samples": 4, "temperature": 0.6, "coupled": False}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mrt-reward evaluate /home/me/problems.jsonl -o out", "mrt-reward evaluate problems.jsonl -o out"),
        ('\'large={"model": "/models/me/after mrt"}\'', '\'large={"model": "after mrt"}\''),
        ("~/runs/out", "out"),
        ("Qwen/Qwen3-8B ./out 1/2 </script>", "Qwen/Qwen3-8B ./out 1/2 </script>"),
        ("http://me:secret@gpu1:8000/v1", "http://gpu1:8000/v1"),
    ],
)
def test_no_folder_of_a_machine_and_no_secret_of_an_address_is_shown(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_a_model_that_is_a_folder_is_named_by_as_many_parts_as_tell_it_from_the_others() -> None:
    assert shown_names(["/home/me/a/last", "Qwen/Qwen3-8B"]) == {
        "/home/me/a/last": "last",
        "Qwen/Qwen3-8B": "Qwen/Qwen3-8B",
    }
    assert shown_names(["/me/a/last", "/me/b/last", "/me/a/last"]) == {"/me/a/last": "a/last", "/me/b/last": "b/last"}
    assert shown_names(["last", "/me/last"]) == {"last": "last", "/me/last": "me/last"}


def test_settings_are_put_into_words() -> None:
    given = {"num_samples": 4, "top_p": 0.95, "coupled": False, "keep_answers": True, "seed": None, "prior": {"a": 1}}
    assert in_words(given) == "num samples 4, top p 0.95, not coupled, keep answers"


def test_a_folder_of_evaluate_says_what_made_each_model(tmp_path: Path) -> None:
    rows = [line("a", [0.1, 0.3], model="m") | {"prover": "m@0123", "options": OPTIONS}]
    path = write(tmp_path / "results.jsonl", *rows)
    with Folder(tmp_path) as folder:
        sampling = {"num_traces": 8, "max_tokens": 4096, "temperature": 0.6}
        folder.remember("m", {"sampling": sampling, "options": OPTIONS, "engine": "vllm", "source": "aime.jsonl"})
        folder.add_run("m", Invocation("2026-11-28 04:00", "mrt-reward evaluate /data/aime.jsonl", "1.2.3").fields())
        folder.add_run("another", Invocation("2026-11-27 04:00", "mrt-reward evaluate", "1.2.3").fields())
    origins = Origins()
    for result in Results([path]):
        origins.add(result)
    assert origins.facts({"m": "shown"}) == {
        "shown": {
            "prover": "m@0123",
            "data": "aime.jsonl",
            "engine": "vllm",
            "sampling": "num traces 8, max tokens 4096, temperature 0.6",
            "estimator": "rollouts, num samples 4, temperature 0.6, not coupled",
            "made by": "2026-11-28 04:00 UTC, mrt-reward 1.2.3: mrt-reward evaluate aime.jsonl",
        }
    }


def test_a_file_of_score_says_what_its_lines_hold(tmp_path: Path) -> None:
    rows = [line("a", [0.1, 0.3]) | {"options": OPTIONS | {"terminator": "boxed"}}, line("b", [0.1, 0.3])]
    origins = Origins()
    for result in Results([write(tmp_path / "scored.jsonl", *rows)]):
        origins.add(result)
    [facts] = origins.facts({"unnamed": "unnamed"}).values()
    assert facts == {
        "data": "scored.jsonl",
        "estimator": "rollouts, num samples 4, temperature 0.6, not coupled",
        "terminator": "boxed",
    }


def test_a_seed_in_every_line_does_not_fill_the_report(tmp_path: Path) -> None:
    rows = [
        line(f"{seed}", [0.1, 0.3]) | {"options": {"estimator": {"kind": "rollouts", "seed": seed}}}
        for seed in range(9)
    ]
    origins = Origins()
    for result in Results([write(tmp_path / "scored.jsonl", *rows)]):
        origins.add(result)
    [facts] = origins.facts({"unnamed": "unnamed"}).values()
    assert facts["estimator"].count(" or ") == MAX_OPTIONS - 1


def test_what_stands_beside_results_may_be_broken(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    (tmp_path / "runs.jsonl").write_bytes(b"\xff\n[1]\n")
    origins = Origins()
    for result in Results([write(tmp_path / "results.jsonl", line("a", [0.1, 0.3], model="m"))]):
        origins.add(result)
    assert origins.facts({"m": "m"}) == {"m": {"data": "results.jsonl"}}


def test_a_report_holds_no_folder_of_the_machine_that_made_it(tmp_path: Path) -> None:
    model = f"{tmp_path}/checkpoints/last"
    rows = [
        line(f"{index}", [0.1, 0.3 + index / 10], model=model, problem=str(index)) | {"prover": f"{model}@0123"}
        for index in range(4)
    ]
    path = write(tmp_path / "results.jsonl", *rows, '{"id": 1}')
    made = Invocation("2026-11-28 04:00", "mrt-reward report results.jsonl", "1.2.3")
    make_report([path], tmp_path / "out", ReportSpec(made=made))
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert "mrt-reward report results.jsonl" in text.replace("\\", "")
        assert "last@0123" in text
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in summary["models"]] == list(summary["caveats"]) == ["last"]
