"""One page for Prometheus: how often and how fast each route answered, and gauges that the rest of the system gives.

Counts are of this process alone: with several WORKERS each tells its own. Knows nothing of what the gauges mean.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
log = logging.getLogger(__name__)

Sample = tuple[Mapping[str, str], float]  # labels, all of one gauge's with the same names, and the value
Gauges = Mapping[str, float | Sequence[Sample]]

# From what /health takes to Label Studio's limits: 1 s for a webhook, 3 s for /setup, 100 s for /predict.
_BUCKETS_S = (0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """The numbers of one app, in a registry of its own, so that two apps in a process do not share them.

    gauges: name -> number, or samples with labels; asked for at each scrape.
    """

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(gauges))
        self._requests = Counter(
            "edgewise_http_requests", "Requests answered.", ["endpoint", "status"], registry=self._registry
        )
        self._errors = Counter(
            "edgewise_http_errors", "Requests refused or failed, by error.", ["kind"], registry=self._registry
        )
        self._seconds = Histogram(
            "edgewise_http_request_seconds",
            "From a request's arrival to its answer.",
            ["endpoint"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

    def record(self, endpoint: str, status: int, elapsed_s: float) -> None:
        """Count one answer."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(elapsed_s)

    def record_error(self, kind: str) -> None:
        """Count one call that was refused or failed; kind: the error's class."""
        self._errors.labels(kind).inc()

    def page(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            values: Gauges | None = dict(self._gauges())
        except Exception as error:  # the counts must be readable above all when the database is away
            log.warning("the gauges of /metrics cannot be read: %s", type(error).__name__)
            values = None
        readable = values is not None
        yield GaugeMetricFamily("edgewise_gauges_readable", "1 if the gauges could be read.", value=readable)
        for name, value in sorted((values or {}).items()):
            yield _family(f"edgewise_{name}", name.replace("_", " ").capitalize() + ".", value)


def _family(name: str, words: str, value: float | Sequence[Sample]) -> GaugeMetricFamily:
    if isinstance(value, int | float):
        return GaugeMetricFamily(name, words, value=value)
    names = list(value[0][0]) if value else []
    family = GaugeMetricFamily(name, words, labels=names)
    for labels, number in value:
        family.add_metric([labels[label] for label in names], number)
    return family
