"""Metrics in Prometheus' text format."""

from tulle.wire.prometheus import Metric, Sample, encode_metrics, histogram_samples


def metric(*samples: Sample) -> Metric:
    return Metric(name="tulle_x_total", kind="counter", help="Things.", samples=samples)


def test_a_metric_is_its_help_its_type_and_its_samples() -> None:
    text = encode_metrics([metric(Sample(3, {"kind": "route"}), Sample(0.5))]).decode()
    assert text.splitlines() == [
        "# HELP tulle_x_total Things.",
        "# TYPE tulle_x_total counter",
        'tulle_x_total{kind="route"} 3',
        "tulle_x_total 0.5",
    ]


def test_one_without_samples_is_left_out() -> None:
    assert encode_metrics([metric()]) == b""


def test_no_label_breaks_out_of_its_quotes() -> None:
    text = encode_metrics([metric(Sample(1, {"a": 'x"} 1\ntulle_y 2\\'}))]).decode()
    assert text.splitlines()[2:] == ['tulle_x_total{a="x\\"} 1\\ntulle_y 2\\\\"} 1']


def test_a_histogram_counts_up_to_all() -> None:
    samples = histogram_samples((0.1, 1.0), (2, 0, 1), 3.5)
    assert [(sample.suffix, sample.labels.get("le"), sample.value) for sample in samples] == [
        ("_bucket", "0.1", 2),
        ("_bucket", "1", 2),
        ("_bucket", "+Inf", 3),
        ("_sum", None, 3.5),
        ("_count", None, 3),
    ]
