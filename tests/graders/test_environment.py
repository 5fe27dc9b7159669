"""Workers that read hostile text hold no secrets."""

from __future__ import annotations

from mrt_reward.graders.environment import worker_environment

ALL = {
    "MRT_REWARD_API_KEY": "s",
    "MRT_REWARD_ADMIN_KEY": "s",
    "MRT_REWARD_ENGINE_API_KEY": "s",
    "HF_TOKEN": "s",
    "AWS_SECRET_ACCESS_KEY": "s",
    "PGPASSWORD": "s",
    "PATH": "/bin",
    "MRT_REWARD_PORT": "1",
}


def test_our_own_grader_inherits_no_secret() -> None:
    assert worker_environment(ALL, "math") == {"PATH": "/bin", "MRT_REWARD_PORT": "1"}


def test_a_users_grader_inherits_what_is_not_ours() -> None:
    kept = worker_environment(ALL, "my_package.graders:grade")
    assert [name for name in ALL if name not in kept] == [
        "MRT_REWARD_API_KEY",
        "MRT_REWARD_ADMIN_KEY",
        "MRT_REWARD_ENGINE_API_KEY",
    ]
