"""The scenario with asyncpg. Prints a canonical transcript."""

import asyncio
import hashlib
import io
import os
import ssl
import time

import asyncpg


def show(title, *values):
    print(f"{title}:", *values, flush=True)


async def failing(title, call):
    try:
        await call
        show(title, "no error")
    except asyncpg.PostgresError as error:
        show(title, type(error).__name__, sorted((k, v) for k, v in error.as_dict().items()
                                                 if k not in ("server_source_line",)))


def connect(**kwargs):
    # asyncpg reads the PG* variables; verify-full by an explicit context
    if os.environ.get("PGSSLMODE") == "verify-full":
        kwargs["ssl"] = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    return asyncpg.connect(**kwargs)


async def main():
    conn = await connect()
    settings = conn.get_settings()
    for name in ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "IntervalStyle",
                 "standard_conforming_strings", "is_superuser", "session_authorization"):
        show("parameter", name, getattr(settings, name, None))
    show("version", conn.get_server_version())
    show("pid is the server's", await conn.fetchval("SELECT pg_backend_pid()") == conn.get_server_pid())
    notices = []
    conn.add_log_listener(lambda _c, m: notices.append((m.sqlstate, m.message, m.detail, m.hint)))

    statement = await conn.prepare("SELECT * FROM items WHERE id BETWEEN $1 AND $2 ORDER BY id")
    show("parameters", statement.get_parameters())
    show("attributes", statement.get_attributes())
    for low, high in ((1, 3), (7, 14), (2000, 2001)):
        show("rows", [dict(r) for r in await statement.fetch(low, high)], statement.get_statusmsg())
    await conn.executemany("INSERT INTO ledger VALUES ($1, $2)", [(i, i + 1) for i in range(100, 150)])
    await failing("constraint", conn.execute("INSERT INTO ledger VALUES (100, 1)"))
    show("delete", await conn.execute("DELETE FROM ledger WHERE id >= 100"))
    await failing("syntax", conn.execute("SELEC 1"))
    await failing("syntax prepared", conn.fetch("SELEC $1", 1))
    await failing("column", conn.fetch("SELECT nosuch FROM items"))
    await conn.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'h', DETAIL = 'd'; RAISE WARNING 'w'; END $$")
    await asyncio.sleep(0.1)
    show("notices", notices)
    show("multi", await conn.execute("SELECT 1; SELECT 2; CREATE TEMP TABLE t(i int)"))

    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("INSERT INTO ledger VALUES (1, 10)")
    await failing("in transaction", conn.fetch("SELECT 1/0"))
    await failing("aborted", conn.fetch("SELECT 1"))
    show("status", conn.is_in_transaction())
    await transaction.rollback()
    show("ledger", await conn.fetchval("SELECT count(*) FROM ledger"))

    for options in ({}, {"format": "csv", "header": True}, {"format": "binary"}):
        out = io.BytesIO()
        tag = await conn.copy_from_query("SELECT * FROM items WHERE id > $1 ORDER BY id", 3, output=out, **options)
        show("copy out", options, tag, hashlib.sha256(out.getvalue()).hexdigest())
    await conn.execute("TRUNCATE inbox")
    show("copy in", await conn.copy_records_to_table("inbox", records=[(i, f"line {i} ä") for i in range(50000)]))
    show("inbox", await conn.fetchrow("SELECT count(*), md5(string_agg(body, ',' ORDER BY id)) FROM inbox"))
    await failing("copy bad row", conn.copy_to_table("inbox", source=io.BytesIO(b"1000000\tfine\nx\tbad\n")))
    await failing("copy duplicate", conn.copy_records_to_table("inbox", records=[(1, "again")]))

    start = time.monotonic()
    try:
        await conn.fetch("SELECT pg_sleep(30)", timeout=0.5)
    except asyncio.TimeoutError:
        show("cancel by timeout", time.monotonic() - start < 5)
    show("alive", await conn.fetchval("SELECT 'alive'"))
    task = asyncio.ensure_future(conn.fetch("SELECT g, pg_sleep(0.001) FROM generate_series(1,100000) g"))
    await asyncio.sleep(0.5)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        show("cancelled mid-result")
    show("alive", await conn.fetchval("SELECT 'alive'"))

    heard = asyncio.Queue()
    await conn.add_listener("news", lambda _c, pid, channel, payload: heard.put_nowait((pid, channel, payload)))
    other = await connect()
    await other.execute("NOTIFY news, 'from another'")
    pid, channel, payload = await asyncio.wait_for(heard.get(), 5)
    show("notification", channel, payload, pid == other.get_server_pid())
    await other.close()

    async with conn.transaction():
        digest, count = hashlib.sha256(), 0
        async for row in conn.cursor("SELECT g, md5(g::text), g::numeric / 7 FROM generate_series(1,100000) g", prefetch=777):
            count += 1
            digest.update(repr(tuple(row)).encode())
        show("cursor", count, digest.hexdigest())
        cursor = await conn.cursor("SELECT g FROM generate_series(1,100) g")
        show("forward", await cursor.forward(10), await cursor.fetch(3))
    rows = await conn.fetch("SELECT g, md5(g::text) FROM generate_series(1,100000) g")
    show("100000 rows", hashlib.sha256(repr([tuple(r) for r in rows]).encode()).hexdigest())

    victim = await connect()
    await conn.execute(f"SELECT pg_terminate_backend({victim.get_server_pid()})")
    await asyncio.sleep(0.2)
    show("terminated", victim.is_closed())
    await conn.close()
    conn = await connect(server_settings={"work_mem": "9MB", "application_name": "settings"})
    show("settings", await conn.fetchval("SHOW work_mem"), await conn.fetchval("SHOW application_name"))
    await conn.close()


asyncio.run(main())
