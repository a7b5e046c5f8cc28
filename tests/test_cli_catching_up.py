"""What ``describe`` tells of a trigger that starts in the past: where it has yet to catch up."""

from stream_triggers.cli.catching_up import Place, behind_text, places
from stream_triggers.core.record import Start
from tests.engine_bundle import SHIP, EngineBundle, paid


def look(bundle: EngineBundle, epoch: int = 0) -> list[Place]:
    return places(bundle.log("looker"), bundle.topics, "ship", epoch)


def test_before_during_and_after_it_catches_up() -> None:
    bundle = EngineBundle(batch_records_max=2, commit_interval_ms=1)
    worker = bundle.ready()
    bundle.send(*[paid(f"e{number}") for number in range(30)])
    bundle.work_off(worker)
    bundle.define(SHIP, start=Start(0, 0))
    assert behind_text(look(bundle)) == "no worker has begun in 3 partitions"
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    [behind] = look(bundle)
    assert (behind.partition, behind.end) == ("events/0", 30)
    assert behind.next_offset == len(bundle.fired()) < 30
    assert behind_text([behind]) == f"is catching up: events/0 at {behind.next_offset} of 30"
    bundle.until(lambda: len(bundle.fired()) == 30, worker)
    assert behind_text(look(bundle)) == "has caught up"
    assert len(look(bundle, epoch=1)) == 3


def test_a_line_names_some_places_and_counts_the_others() -> None:
    behind = [Place(f"events/{number}", number or None, 9) for number in range(7)]
    named = ["events/0 not begun of 9", *[f"events/{number} at {number} of 9" for number in range(1, 5)]]
    assert behind_text(behind) == f"is catching up: {', '.join(named)}, and 2 more"
