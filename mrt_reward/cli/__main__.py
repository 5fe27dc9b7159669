"""`python -m mrt_reward.cli`: the command, where its script is not on the path."""

from mrt_reward.cli import main

main()
