"""Metrics as Prometheus reads them: its text format, version 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value.  ``suffix`` is added to its metric's name (a histogram's ``_bucket`` …)."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric with its samples.  ``help`` is one line; a counter's name ends in ``_total``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[Sample]


def encode_metrics(metrics: Iterable[Metric]) -> bytes:
    """All of them; one without samples is left out."""
    return "".join(line for metric in metrics if metric.samples for line in _lines(metric)).encode()


def histogram_samples(bounds: Sequence[float], counts: Sequence[int], total: float) -> list[Sample]:
    """The samples of a histogram.  ``counts`` has one number more than ``bounds``: what lies beyond the last."""
    running = list(accumulate(counts))
    names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    buckets = [Sample(count, {"le": name}, "_bucket") for name, count in zip(names, running, strict=True)]
    return [*buckets, Sample(total, suffix="_sum"), Sample(running[-1], suffix="_count")]


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}\n"
    yield f"# TYPE {metric.name} {metric.kind}\n"
    for sample in metric.samples:
        labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in sample.labels.items())
        yield (
            f"{metric.name}{sample.suffix}{{{labels}}} {_number(sample.value)}\n"
            if labels
            else (f"{metric.name}{sample.suffix} {_number(sample.value)}\n")
        )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
