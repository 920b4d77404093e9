"""A Dask cluster that works through cases: one here, or the one of an address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from amsam_monai.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

    from amsam_monai.data.datasets.checks import Spread

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = re.compile(r"local:([1-9]\d*)$")
SECONDS = 30  # in which a scheduler must answer and have a worker
# Dask has workers give freed memory back at once; to get it again for each tensor takes most of an encoder's time.
TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
DEATHS = 3  # workers that may die with a case before it is given up


class Cluster:
    """Calls a function for each item on the workers of a cluster.

    What a worker had when it died is done by another. A function must be one that a worker can import, or pickle.

    Args:
        client: of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def dashboard(self) -> str:
        """Address of the page that shows what the workers do."""
        return str(self.client.dashboard_link)

    def as_done(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """Place of an item and its result, or what went wrong with it, as they come."""
        from distributed import as_completed

        futures = self._submit(function, items)
        places = {future.key: place for place, future in enumerate(futures)}
        for future in as_completed(futures):
            yield places[future.key], self._result(future)
            future.release()

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the order of the items.

        Raises:
            RuntimeError: workers died with an item, again and again.
        """
        for future in self._submit(function, items):
            result = self._result(future)
            if isinstance(result, Exception):
                raise result
            yield result
            future.release()

    def _submit(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Future]:
        return list(self.client.map(function, list(items), pure=False))

    @staticmethod
    def _result(future: Future) -> Any:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            return RuntimeError(
                f"{DEATHS + 1} workers died with it, most often for want of memory; give workers more of it, or have "
                f"fewer on a machine ({error})."
            )
        except Exception as error:
            return error


@contextmanager
def connect(scheduler: str) -> Iterator[Cluster]:
    """The cluster of an address; one that is made here ends with the `with`.

    Args:
        scheduler: "local:2", two processes on this machine; or the address of a Dask scheduler, "tcp://HOST:8786".

    Raises:
        ImportError: Dask is not installed.
        ValueError: no such form.
        ConnectionError: nobody answers, no worker comes, or workers have another version of this package.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "--scheduler must find Dask, which is not installed; run pip install distributed bokeh."
        ) from error
    local = LOCAL.match(scheduler)
    if local is None and not re.match(r"(tcp|tls|ucx|ws|wss)://\S+$", scheduler):
        raise ValueError(
            f"scheduler must be local:N, with N processes, or an address such as tcp://HOST:8786, got {scheduler!r}."
        )
    if local is not None:
        with (
            dask.config.set({TRIM: None}),
            LocalCluster(n_workers=int(local[1]), threads_per_worker=1) as here,
            Client(here) as client,
        ):
            yield _checked(client, scheduler)
        return
    try:
        client = Client(scheduler, timeout=SECONDS)
    except OSError as error:
        raise ConnectionError(
            f"{scheduler}: no Dask scheduler answers within {SECONDS} s; start one with `dask scheduler`, and see that "
            "this machine reaches it."
        ) from error
    with client:
        yield _checked(client, scheduler)


@contextmanager
def on_workers(scheduler: str | None) -> Iterator[Spread | None]:
    """`Cluster.map` of a cluster, see `connect`; None where there is no scheduler."""
    if scheduler is None:
        yield None
        return
    with connect(scheduler) as cluster:
        yield cluster.map


def _checked(client: Client, scheduler: str) -> Cluster:
    """The cluster, with workers that have this package as it is here."""
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError as error:
        raise ConnectionError(
            f"{scheduler}: no worker came within {SECONDS} s; start one with `dask worker ADDRESS --nthreads 1`."
        ) from error
    try:
        told = client.run(version_here)
    except ImportError as error:
        raise ConnectionError(f"{scheduler}: workers must have amsam_monai installed, got: {error}.") from error
    if others := {worker: found for worker, found in told.items() if found != __version__}:
        worker, found = next(iter(others.items()))
        raise ConnectionError(
            f"{scheduler}: workers must have amsam_monai {__version__}, as here, got {found} on {worker}."
        )
    return Cluster(client)


def version_here() -> str:
    """Of this package, where it is called."""
    return __version__
