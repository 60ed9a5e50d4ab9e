"""Basic operations of kazoo against one server after the other: python matrix.py HOST:PORT,..."""

import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.security import make_acl, make_digest_acl

servers = sys.argv[1].split(",")


def connect(server):
    client = KazooClient(hosts=server, timeout=8)
    client.start(timeout=30)
    return client


def raises(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call.__name__}{args} did not raise {error.__name__}")


def create_read_write(c, base):
    assert c.create(f"{base}/a", b"one") == f"{base}/a"
    raises(NodeExistsError, c.create, f"{base}/a", b"")
    raises(NoNodeError, c.create, f"{base}/no/where", b"")
    data, stat = c.get(f"{base}/a")
    assert data == b"one" and stat.version == 0 and stat.dataLength == 3
    assert stat.czxid == stat.mzxid == stat.pzxid and stat.ctime == stat.mtime
    stat = c.set(f"{base}/a", b"two", version=0)
    assert stat.version == 1 and stat.mzxid > stat.czxid
    raises(BadVersionError, c.set, f"{base}/a", b"three", version=0)
    raises(NoNodeError, c.get, f"{base}/missing")
    assert c.exists(f"{base}/missing") is None
    path, stat = c.create(f"{base}/with-stat", b"12345", include_data=True)
    assert path == f"{base}/with-stat" and stat.dataLength == 5 and stat.version == 0
    big = bytes(range(256)) * 4000
    c.create(f"{base}/big", big)
    assert c.get(f"{base}/big")[0] == big
    c.create(f"{base}/empty", b"")
    assert c.get(f"{base}/empty")[0] == b""
    c.create(f"{base}/ünïcode", "ü".encode())
    assert c.get(f"{base}/ünïcode")[0] == "ü".encode()


def children_and_delete(c, base):
    for name in "xyz":
        c.create(f"{base}/parent/{name}", b"", makepath=True)
    children, stat = c.get_children(f"{base}/parent", include_data=True)
    assert sorted(children) == ["x", "y", "z"]
    assert stat.numChildren == 3 and stat.cversion == 3 and stat.version == 0
    raises(NotEmptyError, c.delete, f"{base}/parent")
    raises(BadVersionError, c.delete, f"{base}/parent/x", version=7)
    c.delete(f"{base}/parent/x", version=0)
    assert c.exists(f"{base}/parent").cversion == 4
    c.delete(f"{base}/parent", recursive=True)
    assert c.exists(f"{base}/parent") is None


def sequences(c, base):
    c.create(f"{base}/queue")
    made = [c.create(f"{base}/queue/n-", sequence=True) for _ in range(3)]
    assert made == [f"{base}/queue/n-{i:010}" for i in range(3)]
    for path in made:
        c.delete(path)
    assert c.create(f"{base}/queue/n-", sequence=True).endswith("n-0000000003")


def ephemerals(c, base, server):
    owner = connect(server)
    owner.create(f"{base}/alive", b"", ephemeral=True)
    assert c.sync(base) == base
    assert c.exists(f"{base}/alive").ephemeralOwner == owner.client_id[0]
    owner.stop()
    owner.close()
    c.sync(base)
    assert c.exists(f"{base}/alive") is None


def watches(c, base):
    seen = []
    arrived = threading.Semaphore(0)

    def watch(event):
        seen.append((event.type, event.path))
        arrived.release()

    c.exists(f"{base}/w", watch=watch)
    c.create(f"{base}/w", b"")
    assert arrived.acquire(timeout=10)
    c.get(f"{base}/w", watch=watch)
    c.get_children(f"{base}/w", watch=watch)
    c.set(f"{base}/w", b"1")
    assert arrived.acquire(timeout=10)
    c.create(f"{base}/w/child", b"")
    assert arrived.acquire(timeout=10)
    c.set(f"{base}/w", b"2")
    assert not arrived.acquire(timeout=0.3), f"a one-shot watch fired twice: {seen}"
    c.get(f"{base}/w/child", watch=watch)
    c.delete(f"{base}/w/child")
    assert arrived.acquire(timeout=10)
    expected = ["CREATED", "CHANGED", "CHILD", "DELETED"]
    assert [kind for kind, _ in seen] == expected, seen
    assert [path for _, path in seen] == [f"{base}/w"] * 3 + [f"{base}/w/child"], seen


def transactions(c, base):
    t = c.transaction()
    t.create(f"{base}/t", b"0")
    t.create(f"{base}/t/child", b"0")
    t.set_data(f"{base}/t", b"1")
    t.check(f"{base}/t", version=1)
    results = t.commit()
    assert results[:2] == [f"{base}/t", f"{base}/t/child"] and results[2].version == 1
    assert results[3] is True
    parent, child = c.exists(f"{base}/t"), c.exists(f"{base}/t/child")
    assert parent.czxid == child.czxid == parent.mzxid
    t = c.transaction()
    t.create(f"{base}/t/second", b"")
    t.check(f"{base}/t", version=9)
    t.delete(f"{base}/t/child")
    results = t.commit()
    kinds = [type(result) for result in results]
    assert kinds == [RolledBackError, BadVersionError, RuntimeInconsistency], results
    assert c.get_children(f"{base}/t") == ["child"]


def acls(c, base, server):
    acl = make_digest_acl("user", "secret", all=True)
    c.add_auth("digest", "user:secret")
    c.create(f"{base}/private", b"hidden", acl=[acl])
    assert c.get(f"{base}/private")[0] == b"hidden"
    found, stat = c.get_acls(f"{base}/private")
    assert len(found) == 1 and found[0].id.scheme == "digest" and stat.aversion == 0
    stranger = connect(server)
    raises(NoAuthError, stranger.get, f"{base}/private")
    raises(NoAuthError, stranger.set, f"{base}/private", b"")
    stranger.stop()
    stranger.close()
    c.set_acls(f"{base}/private", [make_acl("world", "anyone", read=True)], version=0)
    assert c.exists(f"{base}/private").aversion == 1
    raises(NoAuthError, c.set, f"{base}/private", b"")
    raises(InvalidACLError, c.create, f"{base}/bad", acl=[make_acl("nonsense", "x", all=True)])


def pipelined(c, base):
    c.create(f"{base}/pipe", b"")
    asked = [c.set_async(f"{base}/pipe", str(i).encode()) for i in range(200)]
    asked.append(c.get_async(f"{base}/pipe"))
    versions = [result.get(timeout=20).version for result in asked[:-1]]
    assert versions == list(range(1, 201))
    data, stat = asked[-1].get(timeout=20)
    assert data == b"199" and stat.version == 200


for number, server in enumerate(servers):
    client = connect(server)
    root = f"/matrix-{number}"
    client.create(root)
    create_read_write(client, root)
    children_and_delete(client, root)
    sequences(client, root)
    ephemerals(client, root, server)
    watches(client, root)
    transactions(client, root)
    acls(client, root, server)
    pipelined(client, root)
    # Every other server shows the same.
    for other in servers:
        reader = connect(other)
        reader.sync(root)
        assert reader.get(f"{root}/t")[0] == b"1"
        assert reader.exists(f"{root}/t") == client.exists(f"{root}/t")
        reader.stop()
        reader.close()
    client.stop()
    client.close()
    print(f"{server}: all operations as expected", flush=True)
