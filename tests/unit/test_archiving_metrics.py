"""The histogram of times counts thousands of IMs at once as one by one."""

from hypothesis import given
from hypothesis import strategies as st

from archiving.metrics import Latency

NOW = 1_700_000_000_000


@given(st.lists(st.lists(st.integers(NOW - 10_000_000, NOW + 1000), min_size=1), min_size=1))
def test_the_histogram_counts_every_im_in_every_bucket_it_belongs_to(batches: list[list[int]]) -> None:
    latency = Latency()
    for accepted in batches:
        latency.observe(sorted(accepted), NOW)
    [metric] = latency.collect()
    milliseconds = [NOW - each for accepted in batches for each in accepted]
    values = {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value for sample in metric.samples
    }
    assert values.pop(("count", None)) == len(milliseconds)
    assert values.pop(("sum", None)) == sum(milliseconds) / 1000
    for (_, bound), count in values.items():
        assert count == sum(each <= float(bound or 0) * 1000 for each in milliseconds)
    assert latency.newest == NOW - min(milliseconds)
