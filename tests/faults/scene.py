"""One application on a broker, ready to be hurt: its topics, its triggers, its workers, its load and its judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_triggers.client import Client
from stream_triggers.config import Config
from stream_triggers.verify import Report
from tests.faults.crew import Crew, Settings
from tests.faults.feeder import TRIGGERS, Feeder
from tests.faults.forker import Forker
from tests.faults.judge import Judge


@dataclass
class Scene:
    """What a test works with."""

    config: Config
    crew: Crew
    judge: Judge
    client: Client
    feeder: Feeder

    def heal(self, slots: Sequence[str]) -> None:
        """Have a worker that nothing happens to under each of ``slots``, whatever was there."""
        for slot in slots:
            life = self.crew.lives.get(slot)
            if life is not None and not life.is_over:
                life.kill()
                life.until("ended")
            self.crew.start(slot)

    def settle(self) -> Report:
        """Wait until everything sent has been processed, stop the workers, and judge all of it."""
        self.judge.until_quiet()
        self.crew.stop()
        return self.judge.assert_exactly_once(self.feeder.expected(), sent_in_order=not self.feeder.has_sent_late)


@contextmanager
def scene(
    bootstrap_servers: str,
    application: str,
    forker: Forker,
    folder: Path,
    *,
    triggers: Sequence[dict[str, Any]] = TRIGGERS,
    rate: int = 300,
    seed: int = 1,
    through: str | None = None,
    **settings: int | str,
) -> Iterator[Scene]:
    """An application with its topics and triggers; ``settings`` are those of its workers.

    Workers connect to ``through``, if that is given; everything else to the broker.
    """
    config = Config(bootstrap_servers=bootstrap_servers, application=application, topic_prefix=f"{application}-")
    judge = Judge(config)
    judge.create_topics()
    with Client(config) as client:
        client.apply(triggers)
        feeder = Feeder(config, rate=rate, seed=seed)
        with Crew(forker, config, Settings(**settings), folder, through or bootstrap_servers) as crew:
            yield Scene(config, crew, judge, client, feeder)
