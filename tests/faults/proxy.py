"""A TCP proxy between workers and the broker that reads what passes, and delays, withholds or cuts what it is told to.

Of every request it reads the header (which call, which number), of every response the number, so that it knows what a
response answers. The broker tells clients its own address in three kinds of response; there its port is replaced by
the proxy's, in place, since both take four bytes.

It keeps to what can happen with a Kafka: answers come in the order of the requests on a connection, or not at all. One
that is missing among others aborts the process in librdkafka (``txn_req_cnt > 0``, AddPartitionsToTxn answered after
EndTxn), and neither a broker nor a network loses a single one.

A ``Late`` request is the case that exactly-once with unnumbered commits is afraid of: the client sees its connection
break and sends the request again, and the first one arrives when the client has long gone on.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

from tests.faults.crew import until

HOST = b"127.0.0.1"


class Call(IntEnum):
    """Kafka's numbers of the requests that matter here."""

    PRODUCE = 0
    METADATA = 3
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CLUSTER = 60


_WITH_ADDRESSES = frozenset({Call.METADATA, Call.FIND_COORDINATOR, Call.DESCRIBE_CLUSTER})


@dataclass(frozen=True)
class Delayed:
    """The response, and what comes after it on its connection, arrives so much later."""

    seconds: float


@dataclass(frozen=True)
class Silenced:
    """Neither the response nor what comes after it on its connection arrives; the connection lives on."""


@dataclass(frozen=True)
class Cut:
    """The connection breaks instead of bringing the response."""


@dataclass(frozen=True)
class Late:
    """The connection breaks, and the request reaches the broker only after ``calls`` more of kind ``after``."""

    after: Call
    calls: int = 1


Trouble = Delayed | Silenced | Cut | Late

LATE: Mapping[Call, Late] = {
    Call.END_TXN: Late(after=Call.PRODUCE),
    Call.TXN_OFFSET_COMMIT: Late(after=Call.TXN_OFFSET_COMMIT, calls=2),
    Call.ADD_PARTITIONS_TO_TXN: Late(after=Call.END_TXN),
    Call.ADD_OFFSETS_TO_TXN: Late(after=Call.END_TXN),
    Call.PRODUCE: Late(after=Call.END_TXN),
}
"""Requests of one transaction that reach the broker when the next has begun, or when none is open."""

BEYOND_S = 3.0
"""Longer than the tests let a transaction be open, and than a client then waits for an answer in one."""

TROUBLES: Mapping[Call, tuple[Trouble, ...]] = {
    call: (Cut(), Delayed(0.5), Silenced(), Delayed(BEYOND_S), LATE[call]) for call in LATE
}
"""Everything that can happen to the calls of a transaction."""


class Proxy:
    """Listens on a port of its own, on a thread of its own."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._troubles: dict[Call, Trouble] = {}
        self._met: Counter[tuple[Call, Trouble]] = Counter()
        self._calls: Counter[int] = Counter()
        self._called = asyncio.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, HOST.decode(), 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST.decode()}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def prepare(self, call: Call, trouble: Trouble) -> Callable[[], None]:
        """The next exchange of this kind meets with ``trouble``; what is returned waits until one has."""
        before = self._met[call, trouble]
        self._troubles[call] = trouble
        return lambda: until(lambda: self._met[call, trouble] > before, f"{call.name} met {trouble}")

    @property
    def troubles_met(self) -> int:
        """How many exchanges have met with trouble."""
        return self._met.total()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_broker = await asyncio.open_connection(HOST.decode(), self._broker_port)
        except OSError:
            writer.close()
            return
        _Connection(self, (reader, writer), to_broker)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, call: int, kinds: tuple[type[Trouble], ...]) -> Trouble | None:
        """The trouble of this kind that is waiting for ``call``; each is met once."""
        trouble = self._troubles.get(Call(call)) if call in list(Call) else None
        if not isinstance(trouble, kinds):
            return None
        del self._troubles[Call(call)]
        self._met[Call(call), trouble] += 1
        return trouble

    async def _count(self, call: int) -> None:
        async with self._called:
            self._calls[call] += 1
            self._called.notify_all()

    async def _wait_for(self, call: Call, more: int) -> None:
        async with self._called:
            goal = self._calls[call] + more
            await self._called.wait_for(lambda: self._calls[call] >= goal)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client's connection and the one to the broker that belongs to it."""

    def __init__(self, proxy: Proxy, client: Streams, broker: Streams) -> None:
        self._proxy = proxy
        self._client, self._to_client = client
        self._broker, self._to_broker = broker
        self._asked: dict[int, int] = {}
        self._is_late = False
        self._is_silent = False
        proxy._spawn(self._pump(self._client, self._request))
        proxy._spawn(self._pump(self._broker, self._response))

    async def _pump(self, source: asyncio.StreamReader, pass_on: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await source.readexactly(4))
                await pass_on(await source.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            self._to_client.close()
            if not self._is_late:
                self._to_broker.close()

    async def _request(self, frame: bytes) -> None:
        call, _version, number = struct.unpack_from(">hhi", frame)
        self._asked[number] = call
        trouble = self._proxy._take(call, (Late,))
        if isinstance(trouble, Late):
            self._is_late = True
            self._to_client.close()
            await self._proxy._wait_for(trouble.after, trouble.calls)
            self._is_late = False
        await self._proxy._count(call)
        await self._send(self._to_broker, frame)

    async def _response(self, frame: bytes) -> None:
        (number,) = struct.unpack_from(">i", frame)
        call = self._asked.pop(number)
        if self._is_silent:
            return
        match self._proxy._take(call, (Delayed, Silenced, Cut)):
            case Delayed(seconds):
                await asyncio.sleep(seconds)
            case Silenced():
                self._is_silent = True
                return
            case Cut():
                raise ConnectionAbortedError
        if call in _WITH_ADDRESSES:
            ports = self._proxy._broker_port, self._proxy.port
            frame = frame.replace(*(HOST + struct.pack(">i", port) for port in ports))
        await self._send(self._to_client, frame)

    async def _send(self, writer: asyncio.StreamWriter, frame: bytes) -> None:
        writer.write(struct.pack(">i", len(frame)) + frame)
        await writer.drain()
