from __future__ import annotations

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.training.servers import check_servers
from mrt_reward.training.settings import TrainingSettings
from tests.server.conftest import threaded_server


def test_every_server_says_who_proves(capsys: pytest.CaptureFixture[str]) -> None:
    with threaded_server() as url:
        check_servers(TrainingSettings(url=[url, url]), "reward.mrt")
    assert capsys.readouterr().out.count(f"[mrt] {url} proves with") == 2


def test_one_that_does_not_answer_is_told_with_what_to_do() -> None:
    settings = TrainingSettings(url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"no progress server answers at --mrt\.url=http://127\.0\.0\.1:9.*serve"):
        check_servers(settings, "--mrt")
