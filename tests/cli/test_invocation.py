from __future__ import annotations

import re

from mrt_reward.cli.invocation import this_call
from mrt_reward.version import __version__


def test_a_call_is_named_as_it_was_typed_without_folders_of_the_machine() -> None:
    words = ["evaluate", "/data/my problems.jsonl", "-o", "out", "--model=/models/last", "--engine-url", "http://a:1"]
    call = this_call([*words, "--options", '{"seed": 1}'])
    assert call.command == (
        "mrt-reward evaluate 'my problems.jsonl' -o out --model=last --engine-url http://a:1 --options '{\"seed\": 1}'"
    )
    assert this_call(["--direct", 'a={"model": "/m/b", "engine_api_key": "secret"}']).command == (
        'mrt-reward --direct \'a={"model": "b", "engine_api_key": "…"}\''
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", call.date)
    assert call.version == __version__
