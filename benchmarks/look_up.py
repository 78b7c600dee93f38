"""The cost of a decision to a front end that knows the flags of a million users: time and memory."""

import time
import tracemalloc

from benchmarks.answer import Answer
from contract.policy import GlobalSetting, Policy, PolicySettings, decide

_TIMES = 200_000


def measure_look_up(users: int) -> Answer:
    """Measure ``decide`` under ``per_user``, the setting that looks people up."""
    answer = Answer(
        "look-up", f"What does a decision cost with {users:,} users' flags?", ["what", "figure"], unit="ns"
    )
    tracemalloc.start()
    policy = Policy(
        PolicySettings(
            version=1,
            since=0,
            internal=GlobalSetting.PER_USER,
            federated=GlobalSetting.PER_USER,
            domains=frozenset({"contoso.com"}),
            pools=(),
        ),
        users={f"sip:user{number}@contoso.com": 1 for number in range(users)},
    )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    people = [
        (f"sip:user{number * 7919 % users}@contoso.com", f"sip:user{number * 104_729 % users}@contoso.com")
        for number in range(_TIMES)
    ]
    started = time.perf_counter_ns()
    for sender, _ in people:
        policy.users.get(sender, 0)
    look_up = (time.perf_counter_ns() - started) / _TIMES
    started = time.perf_counter_ns()
    for sender, recipient in people:
        decide(policy, pool="pool1", sender=sender, recipients=(recipient,))
    decision = (time.perf_counter_ns() - started) / _TIMES
    answer.add("looking a user up", f"{look_up:,.0f} ns", bar=look_up)
    answer.add("a whole decision, not remembered from the last IM", f"{decision:,.0f} ns", bar=decision)
    answer.add("memory", f"{held / users:,.0f} bytes a user, {held / 2**20:,.0f} MiB in all")
    return answer
