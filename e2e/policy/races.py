"""Definitions that one session changes while a statement of another, which was judged before, waits: for a lock, or
behind a slow one. Each race runs direct first, where the value arrives."""

import threading
import time

from attacks import REAL
from lab import wire
from lab.report import equal, lacks

LEAK = "SELECT region || '' FROM customers WHERE id = 1"
STORE = "INSERT INTO plain SELECT 9000, region FROM customers WHERE id = 1"
KEPT = "SELECT body FROM plain WHERE id = 9000"
CHILD = "SELECT region || '' FROM customers_2020 WHERE id = 2001"
SLOW = "SELECT pg_sleep(1.5)"
CHANGE = ["ALTER TABLE customers RENAME COLUMN region TO was", "ALTER TABLE customers RENAME COLUMN ssn TO region"]
BACK = ["ALTER TABLE customers RENAME COLUMN region TO ssn", "ALTER TABLE customers RENAME COLUMN was TO region",
        "DELETE FROM plain WHERE id = 9000"]


def undo(conn):
    """All is as it was, and known to be."""
    for sql in BACK:
        equal(conn.query(sql).errors, [], sql)
    conn.close()


def single(*texts):
    """Queries that go in one piece."""
    return b"".join(wire.query(sql) for sql in texts)


def batch(*texts):
    """One batch of the extended protocol."""
    return b"".join(wire.parse(sql) + wire.bind() + wire.execute() for sql in texts) + wire.message(b"S")


# before the change begins, after it has begun, and what is read at the end; each message is ready so many times
RACES = {
    "a lock": ([], [(single(LEAK), 1)], []),
    "a lock, in a batch": ([], [(batch(LEAK), 1)], []),
    "a lock, in a transaction": ([(single("BEGIN"), 1)], [(single(LEAK), 1)], []),
    "a lock, in a batch of a transaction": ([(single("BEGIN"), 1)], [(batch(LEAK), 1)], []),
    "a lock, and stores": ([], [(single(STORE), 1)], [KEPT]),
    "a lock, in a transaction, and stores": (
        [(single("BEGIN"), 1)], [(single(STORE, "COMMIT"), 2)], [KEPT]),
    "a lock, in a batch of a transaction, and stores": (
        [(single("BEGIN"), 1)], [(batch(STORE, "COMMIT"), 1)], [KEPT]),
    "a lock on a child": ([], [(single(CHILD), 1)], []),
    "a slow one, on a child": ([(single(SLOW, CHILD), 2)], [], []),
    "a slow one": ([(single(SLOW, LEAK), 2)], [], []),
    "a slow one, in a batch": ([(batch(SLOW, LEAK), 1)], [], []),
    "a slow one, and stores": ([(single(SLOW, STORE), 2)], [], [KEPT]),
    "a slow one, in a batch, and stores": ([(batch(SLOW, STORE), 1)], [], [KEPT]),
    "a slow one, in a message, and stores": ([(single(f"{SLOW}; {STORE}"), 1)], [], [KEPT]),
}


def hears(conn, times):
    """All that arrives until the connection was so often ready."""
    return "".join(repr(conn.until_ready()) for _ in range(times))


def run(connect, before, during, after, end):
    """What the waiting session hears, and reads afterwards."""
    changing, waiting = connect(), connect()
    heard = []
    try:
        # A session that knows what the columns were.
        waiting.query(LEAK)
        late = []
        for data, times in before:
            waiting.send(data)
            if during:
                heard.append(hears(waiting, times))
            else:
                late.append(times)
        time.sleep(0.3)
        for sql in ["BEGIN", *CHANGE]:
            equal(changing.query(sql).errors, [], sql)
        for data, times in during:
            waiting.send(data)
            late.append(times)
        time.sleep(0.3)
        thread = threading.Thread(target=lambda: heard.extend(hears(waiting, times) for times in late))
        thread.start()
        end(changing)
        thread.join(40)
        equal(thread.is_alive(), False, "the waiting session is answered")
    finally:
        waiting.close()
        changing.close()
    reader = connect()
    heard.extend(repr(reader.query(sql).rows) for sql in after)
    reader.close()
    return "".join(heard)


def commit(changing):
    """The change is committed."""
    equal(changing.query("COMMIT").errors, [], "the change is committed")


def race(scene, name):
    """It gets through direct, and not through Weir."""
    before, during, after = RACES[name]
    try:
        heard = run(scene.direct, before, during, after, commit)
        equal(REAL.decode() in heard, True, "direct")
    finally:
        undo(scene.direct())
    try:
        lacks(run(lambda: scene.conn(timeout=60), before, during, after, commit), REAL.decode(), "the value")
    finally:
        undo(scene.conn(timeout=60))


def benign(scene):
    """Who needs nothing but the new definition gets it as soon as it is there."""
    changing, waiting = scene.conn(timeout=60), scene.conn(timeout=60)
    count = "SELECT count(*) FROM customers"
    for send in (lambda: waiting.send(single(count)), lambda: waiting.send(batch(count))):
        for sql in ("BEGIN", "ALTER TABLE customers ADD COLUMN added int"):
            equal(changing.query(sql).errors, [], sql)
        send()
        time.sleep(0.3)
        equal(changing.query("ALTER TABLE customers DROP COLUMN added").errors, [])
        commit(changing)
        answer = wire.Answer(waiting.until_ready())
        equal((answer.errors, len(answer.rows)), ([], 1), "it goes on")
    changing.close()
    waiting.close()


def afterwards(scene, ends):
    """A session that judges by what was is told of a change however its transaction ended."""
    changing, other = scene.conn(timeout=60), scene.conn(timeout=60)
    try:
        other.query(LEAK)
        for sql in ["BEGIN", *CHANGE]:
            equal(changing.query(sql).errors, [], sql)
        ends(changing)
        time.sleep(0.5)
        lacks(repr(other.query(LEAK).rows), REAL.decode(), "the value")
    finally:
        changing.close()
        other.close()
        time.sleep(0.5)
        undo(scene.conn(timeout=60))


def later(scene):
    """A transaction that begins behind the change reads on, by both protocols."""
    changing, reading = scene.conn(timeout=60), scene.conn(timeout=60)
    level = "SET default_transaction_isolation = 'repeatable read'"
    try:
        for sql in (level, "SELECT 1 FROM customers LIMIT 1"):
            equal(reading.query(sql).errors, [], sql)
        for name in ("t1", "t2"):
            for sql in (f"ALTER TABLE customers ADD COLUMN {name} int", f"ALTER TABLE customers DROP COLUMN {name}"):
                equal(changing.query(sql).errors, [], sql)
            count = "SELECT count(*) FROM customers WHERE id < 3"
            for answer in (reading.pipeline(wire.extended(count)), reading.query(count)):
                equal((answer.errors, answer.rows), ([], [[b"2"]]), "it reads on")
    finally:
        changing.close()
        reading.close()


def snapshot(scene, level):
    """A transaction that sees the catalog as it was, while names mean what they do by now."""
    def tell(connect):
        changing, reading = connect(), connect()
        try:
            for sql in (f"BEGIN ISOLATION LEVEL {level}", "SELECT 1 FROM pg_class LIMIT 1"):
                equal(reading.query(sql).errors, [], sql)
            for sql in ["BEGIN", *CHANGE, "COMMIT"]:
                equal(changing.query(sql).errors, [], sql)
            return reading.query(LEAK)
        finally:
            changing.close()
            reading.close()

    try:
        equal(REAL.decode() in repr(tell(scene.direct).rows), True, "direct")
    finally:
        undo(scene.direct())
    try:
        answer = tell(lambda: scene.conn(timeout=60))
        equal((answer.rows, answer.code), ([], "40001"), "through Weir")
    finally:
        undo(scene.conn(timeout=60))


def chained(changing):
    """The next transaction begins at once."""
    equal(changing.query("COMMIT AND CHAIN").errors, [])


def together(changing):
    """The same in one message."""
    equal(changing.query("COMMIT; BEGIN").errors, [])


def gone(changing):
    """Nobody waits for the answer."""
    changing.send(wire.query("COMMIT"))
    time.sleep(0.05)
    changing.reset()


def claims(scene, results):
    """All of it."""
    for name in RACES:
        results.check(f"race: {name}", race, scene, name)
    results.check("race: who only waits goes on", benign, scene)
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        results.check(f"race: a snapshot from before the change: {level}", snapshot, scene, level)
    results.check("race: a snapshot from behind the change", later, scene)
    for ends in (chained, together, gone):
        results.check(f"race: a change that is {ends.__name__}", afterwards, scene, ends)
