"""A lock, a watch and an ephemeral that go on while servers fail.

python keeps_working.py HOST:PORT,... -- prints "ready" when all of it works, goes on until a line
comes on stdin, then checks everything and prints what it counted.

Two workers add one to a counter inside a kazoo lock, a third client watches the counter, a fourth
holds an ephemeral znode. Nothing may be lost and no session may expire.
"""

import logging
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
logging.getLogger("kazoo.client").setLevel(logging.CRITICAL)
hosts = sys.argv[1]
stop = threading.Event()
problems = []
inside = threading.Lock()
added = {"a": 0, "b": 0}


def connect(name):
    # A retry of a create or set whose answer was lost may find its own effect; the callers below
    # look at what is there instead of repeating.
    patient = KazooRetry(max_tries=-1, delay=0.1, max_delay=1)
    client = KazooClient(hosts=hosts, timeout=20, connection_retry=patient, command_retry=patient)

    def listen(state):
        if state == KazooState.LOST and not stop.is_set():
            problems.append(f"{name} lost its session")

    client.start(timeout=60)
    client.add_listener(listen)
    return client


def read(client, path):
    return client.retry(client.get, path)


def write_one(client, name):
    """Counter plus one. The value says who wrote it last, so that a lost answer can be resolved."""
    data, stat = read(client, "/app/counter")
    count = int(data.split()[0])
    new = f"{count + 1} {name}".encode()
    while True:
        try:
            client.set("/app/counter", new, version=stat.version)
            return
        except (KazooException, KazooTimeoutError):
            client.retry(client.sync, "/app/counter")
            data, now = read(client, "/app/counter")
            if data == new and now.version == stat.version + 1:
                return
            if now.version != stat.version:
                problems.append(f"{name}: {data} at version {now.version} under the lock")
                return


def work(name):
    client = connect(name)
    lock = client.Lock("/app/lock", name)
    while not stop.is_set():
        try:
            if not lock.acquire(timeout=60):
                problems.append(f"{name} waited 60 s for the lock")
                return
        except (KazooException, KazooTimeoutError):
            continue
        if not inside.acquire(blocking=False):
            problems.append(f"{name} got the lock while the other holds it")
            return
        write_one(client, name)
        added[name] += 1
        inside.release()
        lock.release()
    client.stop()
    client.close()


watcher = connect("watcher")
watcher.ensure_path("/app")
watcher.create("/app/counter", b"0 nobody")
values = []


@watcher.DataWatch("/app/counter")
def changed(data, stat):
    if data is not None:
        values.append((int(data.split()[0]), stat.version))


keeper = connect("keeper")
keeper.create("/app/alive", b"", ephemeral=True)
born = keeper.exists("/app/alive")
workers = [threading.Thread(target=work, args=(name,), daemon=True) for name in added]
for worker in workers:
    worker.start()
while min(added.values()) < 2 and not problems:
    time.sleep(0.02)
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    # Any other line: report progress, so that the test can see it go on.
    print(sum(added.values()), flush=True)
stop.set()
for worker in workers:
    worker.join(timeout=90)
    if worker.is_alive():
        problems.append("a worker hangs")
total = sum(added.values())
watcher.retry(watcher.sync, "/app/counter")
final = int(read(watcher, "/app/counter")[0].split()[0])
if final != total:
    problems.append(f"the counter is {final}, {total} were added")
end = time.time() + 20
while (not values or values[-1][0] != final) and time.time() < end:
    time.sleep(0.02)
if values[-1][0] != final:
    problems.append(f"the watch last saw {values[-1]}, the counter is {final}")
if values != sorted(values):
    problems.append("the watch saw the counter go back")
now = keeper.retry(keeper.exists, "/app/alive")
if now is None or (now.czxid, now.ephemeralOwner) != (born.czxid, born.ephemeralOwner):
    problems.append(f"the ephemeral was {born}, is {now}")
keeper.stop()
keeper.close()
watcher.retry(watcher.sync, "/app/alive")
if watcher.retry(watcher.exists, "/app/alive") is not None:
    problems.append("the ephemeral outlived its closed session")
watcher.stop()
watcher.close()
if problems:
    sys.exit("\n".join(problems))
print(f"{total} added under the lock, {len(values)} values watched", flush=True)
