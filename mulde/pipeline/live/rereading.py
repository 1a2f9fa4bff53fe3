"""The file of cameras, read again while they are watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from mulde.errors import sentence
from mulde.pipeline.live.delivery import Deliveries
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.sink_worker import SinkWorker
from mulde.pipeline.live.watched import CameraSpec
from mulde.progress import Reporter
from mulde.sinks.opening import SinkSpec


class Rereading:
    """Reads the file of cameras again when it is asked to. Reading, which may load models, is done beside the loop."""

    def __init__(
        self,
        engine: LiveEngine,
        read: Callable[[], Mapping[str, CameraSpec]],
        asked: threading.Event,
        reporter: Reporter,
        read_sinks: Callable[[], Sequence[SinkSpec]] = tuple,
        deliveries: Deliveries | None = None,
    ) -> None:
        self._engine, self._read, self._asked, self._reporter = engine, read, asked, reporter
        self._read_sinks, self._deliveries = read_sinks, deliveries
        self._pool = ThreadPoolExecutor(1, "cameras")
        self._reading: Future[tuple[Mapping[str, CameraSpec], dict[str, SinkWorker]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> None:
        """Begin to read, or do what was read."""
        if self._reading is None:
            if self._asked.is_set():
                self._asked.clear()
                self._reading = self._pool.submit(self._read_all)
        elif self._reading.done():
            done, self._reading = self._reading, None
            try:
                specs, workers = done.result()
                self.follow(specs)
                if self._deliveries is not None:
                    self._deliveries.follow(workers)
            except Exception as error:  # those that are watched go on, whatever it is
                self._reporter.warn(f"the cameras stay as they are: {sentence(error, 'the file of cameras')}")

    def _read_all(self) -> tuple[Mapping[str, CameraSpec], dict[str, SinkWorker]]:
        """Cameras, and sinks that are opened: a file in which anything is wrong changes nothing."""
        specs = self._read()
        return specs, {} if self._deliveries is None else self._deliveries.opened(self._read_sinks())

    def follow(self, specs: Mapping[str, CameraSpec]) -> None:
        """Begin, change and end cameras; the others go on, and one that was refused is tried again."""
        engine = self._engine
        for name in [name for name in engine.cameras if name not in specs]:
            engine.remove(name)
            self._reporter.say(f"{name}: no longer watched")
        for name, spec in specs.items():
            known = engine.cameras.get(name)
            if known is not None and known.spec.settings == spec.settings:
                known.reader.retry()
                continue
            if known is not None:
                engine.remove(name)
            engine.add(spec)
            self._reporter.say(f"{name}: {'watched anew' if known is not None else 'watched'}")
