"""``make bench-report``: the answers that were measured, as tables and plots in docs/performance.md."""

import json
import re
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from benchmarks.answer import Answer, read_answers

_ROOT = Path(__file__).parent.parent
_PAGE = _ROOT / "docs" / "performance.md"
_PLOTS = _ROOT / "docs" / "performance"
_PEERS = _ROOT / ".state" / "peers" / "results.json"


def _plot(answer: Answer) -> None:
    chart = pygal.HorizontalBar(
        style=CleanStyle, js=[], show_legend=False, print_values=True, width=900,
        height=90 + 38 * len(answer.bars), title=f"{answer.question} ({answer.unit})",
        value_formatter=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:,.1f}",
    )  # fmt: skip
    chart.x_labels = [label for label, _ in reversed(answer.bars)]
    chart.add("", [value for _, value in reversed(answer.bars)])
    _PLOTS.mkdir(exist_ok=True)
    chart.render_to_file(str(_PLOTS / f"{answer.name}.svg"))


def _section(answer: Answer) -> str:
    lines = [answer.table()]
    if answer.bars:
        _plot(answer)
        lines.append(f"![{answer.question}](performance/{answer.name}.svg)")
    lines.append(f"*{answer.machine}; {answer.measured}.*")
    return "\n\n".join(lines)


def _read_peers() -> Answer | None:
    """Return the peers' results as one more answer."""
    if not _PEERS.exists():
        return None
    document = json.loads(_PEERS.read_text())
    results = document["results"]
    rates = {each["peer"]: each["ims"] / each["seconds"] for each in results if each["ims"]}
    answer = Answer(
        "peers", "How fast are others, on the same servers?",
        ["who", "version", "IM/s", "CPU s for 100,000 IMs", "LCS Archive is … as fast"],
        unit="IMs/s", machine=document["machine"], measured=document["measured"],
    )  # fmt: skip
    for each in results:
        name = each["peer"]
        if name not in rates:
            answer.add(name, each["version"], each["reason"], "", "")
            continue
        times = "" if each["beside"] == name else f"{rates[each['beside']] / rates[name]:.0f} times"
        cpu = each["cpu_seconds"] / each["ims"] * 100_000
        answer.add(name, each["version"], f"{rates[name]:,.0f}", f"{cpu:.1f}", times, bar=rates[name])
    return answer


def main() -> None:
    """Fill the page's places, each between ``<!-- NAME -->`` and ``<!-- end -->``, with the measurements."""
    answers = read_answers()
    if (peers := _read_peers()) is not None:
        answers[peers.name] = peers

    def fill(match: re.Match[str]) -> str:
        answer = answers.get(match["name"])
        if answer is None:
            return match[0]  # not measured here: what stands there stays
        return f"<!-- {answer.name} -->\n{_section(answer)}\n<!-- end -->"

    text = re.sub(r"<!-- (?P<name>[\w-]+) -->\n.*?<!-- end -->", fill, _PAGE.read_text(), flags=re.DOTALL)
    _PAGE.write_text(text)


if __name__ == "__main__":
    main()
