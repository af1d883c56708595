// The scenario with node-postgres (pg, cursors, COPY streams) and postgres.js. Prints a canonical transcript.
"use strict";
const fs = require("fs");
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");
const copy = require("pg-copy-streams");
const postgres = require("postgres");

const env = process.env;
const ssl = env.PGSSLMODE === "verify-full" ? { ca: fs.readFileSync(env.PGSSLROOTCERT, "utf8") } : false;
const login = {
  host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, password: env.PGPASSWORD, database: env.PGDATABASE, ssl,
};
const show = (title, ...values) => console.log(`${title}:`, ...values.map((value) => JSON.stringify(value)));

async function step(title, act) {
  try {
    show(title, await act());
  } catch (error) {
    const { code, severity, detail, hint, position, table, constraint, routine } = error;
    show(title, "error", error.message, { code, severity, detail, hint, position, table, constraint, routine });
  }
}

function stream(source, sink) {
  return new Promise((done, failed) => source.on("error", failed).on(sink, done));
}

async function nodePostgres() {
  const client = new Client(login);
  await client.connect();
  const notices = [];
  client.on("notice", (notice) => notices.push([notice.severity, notice.message]));
  const rows = async (...query) => {
    const result = await client.query(...query);
    const fields = result.fields.map((field) => [field.name, field.dataTypeID, field.columnID, field.format]);
    return [result.command, result.rowCount, fields, result.rows];
  };
  await step("simple", () => rows("SELECT * FROM items WHERE id IN (7, 11) ORDER BY id"));
  await step("parameters", () => rows("SELECT * FROM items WHERE id = ANY ($1) ORDER BY id", [[7, 11]]));
  await step("binary", () => rows({ text: "SELECT id, name, big, ok FROM items WHERE id = 7", binary: true }));
  await step("array rows", () => rows({ text: "SELECT id, name FROM items WHERE id < $1", values: [3], rowMode: "array" }));
  for (let id = 1; id < 4; id++) {
    await step("named", () => rows({ name: "by id", text: "SELECT name FROM items WHERE id = $1", values: [id] }));
  }
  await step("types", () => rows("SELECT $1::jsonb a, $2::bytea b, $3::timestamptz c, $4::text[] d, $5::numeric e",
    [{ a: ["ü", null] }, Buffer.from([0, 1]), new Date(0), ["a", null, 'b"c'], "NaN"]));
  await step("several", async () => (await client.query("SELECT 1 a; SELECT 2 b, 3 c; SELECT 4 WHERE false"))
    .map((result) => [result.command, result.rows]));
  await step("syntax", () => rows("SELEC 1"));
  await step("column", () => rows("SELECT nosuch FROM items"));
  await step("constraint", () => rows("INSERT INTO ledger VALUES ($1, $2)", [1, -1]));
  await step("returning", () => rows("INSERT INTO ledger VALUES (1, 5), (2, 6) RETURNING *"));
  await step("transaction", async () => {
    await client.query("BEGIN");
    await client.query("DELETE FROM ledger WHERE id = $1", [1]);
    await client.query("SAVEPOINT s");
    const failed = await client.query("SELECT 1/$1::int", [0]).catch((error) => error.code);
    const aborted = await client.query("SELECT 1").catch((error) => error.code);
    await client.query("ROLLBACK TO s");
    const { rows: left } = await client.query("SELECT * FROM ledger");
    await client.query("ROLLBACK");
    return [failed, aborted, left];
  });
  await step("cursor", async () => {
    const cursor = client.query(new Cursor("SELECT g FROM generate_series(1, $1) g", [1000]));
    const counts = [];
    for (let read = await cursor.read(300); read.length; read = await cursor.read(300)) counts.push(read.length);
    await cursor.close();
    return counts;
  });
  await step("cursor that is left", async () => {
    const cursor = client.query(new Cursor("SELECT g FROM generate_series(1, 100000) g"));
    const read = await cursor.read(2);
    await cursor.close();
    return read;
  });
  await step("cursor that fails", async () => {
    const cursor = client.query(new Cursor("SELECT 1 / (5 - g) FROM generate_series(1, 10) g"));
    for (let read = await cursor.read(2); read.length; read = await cursor.read(2));
  });
  await step("alive", () => rows("SELECT 1"));
  for (const options of ["", "(FORMAT csv)", "(FORMAT binary)"]) {
    await step(`copy out ${options}`, async () => {
      const source = client.query(copy.to(`COPY (SELECT id, name FROM items ORDER BY id) TO STDOUT ${options}`));
      let bytes = 0;
      source.on("data", (chunk) => (bytes += chunk.length));
      await stream(source, "end");
      return bytes;
    });
  }
  await step("copy in", async () => {
    const sink = client.query(copy.from("COPY inbox FROM STDIN"));
    for (let line = 0; line < 20000; line++) sink.write(`${line}\tzeile ${line} ä\n`);
    sink.end();
    await stream(sink, "finish");
    return (await client.query("SELECT count(*), sum(length(body)) FROM inbox")).rows;
  });
  await step("copy in that fails", async () => {
    const sink = client.query(copy.from("COPY inbox FROM STDIN"));
    sink.end("x\ty\n");
    await stream(sink, "finish");
  });
  await step("notification", async () => {
    const heard = new Promise((done) => client.once("notification", ({ channel, payload }) => done([channel, payload])));
    await client.query("LISTEN news");
    await client.query("NOTIFY news, 'grüße'");
    return heard;
  });
  await client.query("DO $$ BEGIN RAISE NOTICE 'hello %', 42; END $$");
  show("notices", notices);
  await step("pool", async () => {
    const pool = new Pool({ ...login, max: 4 });
    const all = await Promise.all([...Array(20).keys()].map((value) => pool.query("SELECT $1::int v", [value])));
    await pool.end();
    return all.map((result) => result.rows[0].v);
  });
  await step("timeout", async () => {
    const other = new Client({ ...login, statement_timeout: 200, application_name: "knoten" });
    await other.connect();
    const failed = await other.query("SELECT pg_sleep(5)").catch((error) => error.code);
    const { rows: [name] } = await other.query("SHOW application_name");
    await other.end();
    return [failed, name];
  });
  await client.end();
}

async function postgresJs() {
  const sql = postgres({ ...login, max: 2, onnotice: () => {} });
  await step("template", () => sql`SELECT id, name, price, tags FROM items WHERE id IN ${sql([7, 11])} ORDER BY id`);
  await step("pipeline", () => sql.begin((tx) => [tx`SELECT 1 a`, tx`SELECT ${2}::int b`, tx`SELECT ${["x"]}::text[] c`]));
  await step("savepoint", () => sql.begin(async (tx) => {
    const inner = await tx.savepoint((deeper) => deeper`SELECT 1/0`).catch((error) => error.code);
    return [inner, await tx`SELECT 1 one`];
  }));
  await step("describe", async () => {
    const { types, columns } = await sql`SELECT id, price, data FROM items WHERE id = ${1}`.describe();
    return [types, columns.map(({ name, type, number }) => [name, type, number])];
  });
  await step("cursor", async () => {
    const counts = [];
    await sql`SELECT id FROM items ORDER BY id`.cursor(300, (read) => { counts.push(read.length); });
    return counts;
  });
  await step("cancel", async () => {
    const query = sql`SELECT pg_sleep(30)`.execute();
    setTimeout(() => query.cancel(), 300);
    return query;
  });
  await step("made on one connection, used on another", async () => {
    await sql`CREATE TABLE IF NOT EXISTS fresh (id int, body jsonb)`;
    const used = await Promise.all([1, 2].map((id) => sql`INSERT INTO fresh VALUES (${id}, ${sql.json({ id })}) RETURNING body`));
    await sql`DROP TABLE fresh`;
    return used;
  });
  await sql.end();
}

nodePostgres().then(postgresJs).then(() => show("done", env.PGSSLMODE));
