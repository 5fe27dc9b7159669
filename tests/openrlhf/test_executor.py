"""The rollout side with OpenRLHF's own agents and reward client, against a real server."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mrt_openrlhf.agent import AgentExecutor
from mrt_openrlhf.executor import policy_tokens
from mrt_openrlhf.labels import EvaluationLabel, TrainingLabel, for_evaluation
from mrt_openrlhf.payload import KEY, unpack
from mrt_openrlhf.setup import AGENT, Setup
from mrt_openrlhf.trainer import extend_samples_generator
from openrlhf.trainer.ppo_utils import samples_generator
from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
from openrlhf.utils import agent as openrlhf_agent
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mrt_reward.errors import ConfigError, GraderError, TraceError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.records import Lapse, Prefixed, Scored, number_of
from tests.openrlhf.cpu.run import REWARD
from tests.provers.conftest import byte_level, metaspace
from tests.server.conftest import VALUES, threaded_server

TEXT = "<think>\nOne.\n\nTwo 🦊.\n\nThree.\n\n</think>\n\nThe final answer is \\boxed{42}"
PROMPT = "6 times 7?"
USERS_AGENT = str(Path(__file__).with_name("users_agent.py"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as found:
        yield found


class Engine:
    """Stands for a rollout actor: generates the same text for every prompt."""

    def __init__(self, tokenizer: Any, text: str = TEXT) -> None:
        self.ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        self.text = text
        self.num_calls = 0

    async def generate(self, prompt_ids: list[int], sampling_params: Any, **_: Any) -> Any:
        self.num_calls += 1
        ids = self.ids[: sampling_params.max_tokens]
        reason = "length" if len(ids) < len(self.ids) else "stop"
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=ids, text=self.text, finish_reason=reason, logprobs=None)]
        )


@pytest.fixture
def agent(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our agent as a rollout worker loads it, with these settings."""

    def made(rewards: tuple[str, ...] = (str(REWARD),), users: str | None = None, **given: Any) -> Any:
        setup = Setup({"url": url, "segmenter": "paragraphs", **given}, rewards, users)
        for name, value in setup.to_environment().items():
            monkeypatch.setenv(name, value)
        return AgentExecutor()

    return made


async def sample(agent: Any, tokenizer: Any, label: Any = "42", *, engine: Any = None, max_length: int = 200) -> Any:
    parameters = SimpleNamespace(max_tokens=100, logprobs=None)
    return await agent.execute(PROMPT, label, parameters, max_length, tokenizer, engine or Engine(tokenizer))


async def test_the_outcome_is_the_users_and_progress_rides_beside_it(agent: Any, tokenizer: Any) -> None:
    before = time.time()
    output = await sample(agent(), tokenizer)
    assert (output["reward"], output["scores"]) == (1.0, 1.0)
    record, num_tokens = unpack(output["extra_logs"].pop(KEY))
    assert before - 1e-3 <= record.rewarded_at <= time.time() + 1e-3
    assert 0 < record.latency_s <= record.waited_s
    assert output["extra_logs"] == {"right": 1.0}
    [(start, end)] = output["action_ranges"]
    assert num_tokens == end - start
    assert isinstance(record.what, Scored)
    assert record.what.value_P == pytest.approx(VALUES)
    ids = output["observation_tokens"][start:]
    pieces = [tokenizer.decode(ids[span.start : span.end]).strip() for span in record.what.spans]
    assert pieces == ["One.", "Two 🦊.", "Three."]


async def test_coupled_answers_are_seeded_by_the_round_that_the_label_tells(agent: Any, tokenizer: Any) -> None:
    prover = ScriptedProver(VALUES)
    with threaded_server(prover) as url:
        ours = agent(url=url, estimator="rollouts", coupled=True)
        for step in (3, 3, 4):
            engine = Engine(tokenizer, TEXT.replace("Two", f"Number {len(prover.proofs)}"))
            output = await sample(ours, tokenizer, TrainingLabel("42", step), engine=engine)
            assert output["label"] == "42"
    first, second, later = [{probe.seed for probe in proof.probes} for proof in prover.proofs]
    assert first == second
    assert first.isdisjoint(later)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
async def test_episodes_end_on_whole_characters_of_the_policys_own_tokens(agent: Any, kind: str) -> None:
    backend = byte_level() if kind == "byte_level" else metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    output = await sample(agent(), tokenizer)
    record, _ = unpack(output["extra_logs"][KEY])
    assert isinstance(record.what, Scored), record
    [(start, _)] = output["action_ranges"]
    ids, tokens = output["observation_tokens"][start:], policy_tokens(tokenizer)
    pieces = [tokens.locate(ids[span.start : span.end])[0].strip() for span in record.what.spans]
    assert pieces == ["One.", "Two 🦊.", "Three."]


async def test_a_response_that_is_cut_is_scored_as_what_is_left(agent: Any, tokenizer: Any) -> None:
    ours, engine = agent(), Engine(tokenizer)
    prompt = len(tokenizer.encode(PROMPT, add_special_tokens=False))
    third = len(tokenizer.encode("<think>\nOne.\n\nTwo 🦊.\n\nTh", add_special_tokens=False))
    parameters = SimpleNamespace(max_tokens=third, logprobs=None)
    output = await ours.execute(PROMPT, "42", parameters, prompt + third, tokenizer, engine)
    assert output["truncated"]
    record, num_tokens = unpack(output["extra_logs"][KEY])
    assert isinstance(record.what, Scored)
    assert record.what.cut_off
    assert record.what.ends[-1] == num_tokens == third


async def test_text_beyond_what_openrlhf_keeps_is_not_scored(agent: Any, tokenizer: Any) -> None:
    ours = agent(users=USERS_AGENT, rewards=())
    prompt = len(tokenizer.encode(PROMPT, add_special_tokens=False))

    class Long(Engine):
        async def generate(self, prompt_ids: list[int], sampling_params: Any, **_: Any) -> Any:
            return await super().generate(prompt_ids, SimpleNamespace(max_tokens=1000))

    parameters, longest = SimpleNamespace(max_tokens=10, logprobs=None), prompt + 20
    output = await ours.execute(PROMPT, "42", parameters, longest, tokenizer, Long(tokenizer))
    assert len(output["observation_tokens"]) > longest
    record, num_tokens = unpack(output["extra_logs"][KEY])
    assert isinstance(record.what, Scored)
    assert record.what.ends[-1] <= 20
    kept = samples_generator.SamplesGenerator.__new__(samples_generator.SamplesGenerator)
    experience = kept._process_response_into_experience(output, max_len=longest)
    assert int(experience.action_mask.sum()) == num_tokens == 20


async def test_evaluation_is_never_proved(agent: Any, tokenizer: Any) -> None:
    # No server is there.
    output = await sample(agent(url="http://127.0.0.1:9"), tokenizer, EvaluationLabel("42"))
    assert output["reward"] == 1.0
    assert output["label"] == "42"
    assert KEY not in output["extra_logs"]


def test_openrlhfs_own_generator_says_what_samples_are_for_and_in_which_round_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def dispatch(self: Any, prompts: Any, labels: Any, **_: Any) -> list[Any]:
        asked.extend(labels)
        return []

    monkeypatch.setattr(samples_generator.SamplesGenerator, "_dispatch_prompts_to_vllm", dispatch)
    module = SimpleNamespace(SamplesGenerator=type("Ours", (samples_generator.SamplesGenerator,), {}))
    extend_samples_generator(module)
    batches = [(["d"], ["p"], ["1"], [None]), (["d"], ["q"], ["2"], [None])]
    args = SimpleNamespace(
        vllm=SimpleNamespace(enable_sleep=False),
        rollout=SimpleNamespace(batch_size=4, n_samples_per_prompt=1, vllm_generate_batch_size=4),
        algo=SimpleNamespace(dynamic_filtering_enable=False),
    )
    made = module.SamplesGenerator(SimpleNamespace(args=args), batches, batches, None, [])
    made.generate_eval_samples()
    assert asked == [EvaluationLabel("1"), EvaluationLabel("2")]
    for step in range(2):
        asked.clear()
        made.generate_samples()
        assert asked == [TrainingLabel("1", step), TrainingLabel("2", step)]
    assert next(for_evaluation(iter(batches)))[1] == ["p"]


async def test_a_users_own_agent_keeps_its_say(agent: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = agent(rewards=(), users=USERS_AGENT)
    output = await sample(ours, tokenizer)
    assert float(output["scores"]) == 1.0
    assert float(output["extra_logs"]["theirs"]) == 1.0
    assert isinstance(unpack(output["extra_logs"][KEY])[0].what, Scored)
    monkeypatch.setenv("TURNS", "2")
    output = await sample(ours, tokenizer, max_length=400)
    record, num_tokens = unpack(output["extra_logs"][KEY])
    assert record.what is Lapse.UNSUPPORTED
    assert num_tokens == sum(end - start for start, end in output["action_ranges"])


def test_our_file_is_one_that_openrlhf_loads(agent: Any) -> None:
    agent()
    assert isinstance(_load_agent_executor(str(AGENT)), AgentExecutor)


@contextmanager
def reward_server(reply: bytes, status: int = 200) -> Generator[tuple[str, list[bytes]]]:
    """A user's own reward model over HTTP."""
    seen: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/reward", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_users_reward_over_http_keeps_its_say(agent: Any, tokenizer: Any) -> None:
    with reward_server(b'{"rewards": [0.25], "scores": [0.75], "extra_logs": {"kind": [2]}}') as (address, seen):
        output = await sample(agent(rewards=(address,)), tokenizer)
    assert (output["reward"], output["scores"]) == ([0.25], [0.75])
    assert output["extra_logs"]["kind"] == [2]
    assert isinstance(unpack(output["extra_logs"][KEY])[0].what, Scored)
    assert len(seen) == 1


async def test_a_users_reward_that_fails_stops_the_run_with_its_name(
    agent: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_pause(_: float) -> None: ...

    monkeypatch.setattr(openrlhf_agent.asyncio, "sleep", no_pause)
    with reward_server(b"{}", 500) as (address, seen):
        ours = agent(rewards=(address,))
        with pytest.raises(GraderError, match=f"{address} gave no reward for a sample"):
            await sample(ours, tokenizer)
    assert len(seen) == 5


async def test_rewards_of_openrlhfs_own_reward_model_come_later(agent: Any, tokenizer: Any) -> None:
    output = await sample(agent(rewards=()), tokenizer)
    assert output["reward"] is None
    assert isinstance(unpack(output["extra_logs"][KEY])[0].what, Scored)


async def test_what_goes_wrong_with_a_score_is_a_reason_and_never_a_number(
    agent: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    down = agent(url="http://127.0.0.1:9", timeout_s=0.5)
    lapses = [unpack((await sample(down, tokenizer))["extra_logs"][KEY])[0].what for _ in range(3)]
    assert set(lapses) <= {Lapse.TIMEOUT, Lapse.UNREACHABLE}
    assert caplog.text.count("mrt: no progress") == 2, "the first, the second, the fourth"
    rejected = await sample(agent(), tokenizer, {"tests": []})
    assert unpack(rejected["extra_logs"][KEY])[0].what is Lapse.REJECTED
    with reward_server(b"not json") as (address, _):
        elsewhere = await sample(agent(url=address.removesuffix("/reward"), timeout_s=3), tokenizer)
    assert unpack(elsewhere["extra_logs"][KEY])[0].what is Lapse.REJECTED
    assert "expected an mrt-reward server at http://127.0.0.1:" in caplog.text
    with threaded_server(ScriptedProver(VALUES, fail_on="Two")) as failing:
        lost = await sample(agent(url=failing), tokenizer)
    assert unpack(lost["extra_logs"][KEY])[0].what in (Lapse.PARTIAL, Lapse.PROVER)
    assert lost["reward"] == 1.0
    thoughtless = await sample(agent(), tokenizer, engine=Engine(tokenizer, "\\boxed{42}"))
    assert unpack(thoughtless["extra_logs"][KEY])[0].what is Lapse.NO_THINKING


async def test_rows_of_prefixes_ask_no_prover_and_keep_their_own_label(agent: Any, tokenizer: Any) -> None:
    ours = agent(url="http://127.0.0.1:9", mode="prefix")
    row = {"mrt_group": "g", "mrt_value_prefix": 0.25, "mrt_stop": True, "label": "42"}
    output = await sample(ours, tokenizer, row)
    assert output["reward"] == 1.0
    what = unpack(output["extra_logs"][KEY])[0].what
    assert isinstance(what, Prefixed)
    assert (what.group, what.value, what.stop) == (number_of("g"), 0.25, True)
    [(start, _)] = output["action_ranges"]
    assert tokenizer.decode(output["observation_tokens"][start + what.start :]).startswith("</think>")
    evaluated = await sample(ours, tokenizer, EvaluationLabel(copy.deepcopy(row)))
    assert evaluated["label"] == "42"
    assert evaluated["reward"] == 1.0
    with pytest.raises(ConfigError, match="objects with mrt_group"):
        await sample(ours, tokenizer, "42")
    with pytest.raises(TraceError, match=r"a label: mrt_value_prefix must be in \[0, 1\], got 2"):
        await sample(ours, tokenizer, {**row, "mrt_value_prefix": 2})


def test_a_process_that_belongs_to_no_run_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRT_OPENRLHF_SETUP", raising=False)
    with pytest.raises(ConfigError, match="python -m mrt_openrlhf"):
        AgentExecutor()
