// The scenario with pgx. Prints a canonical transcript.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var ctx = context.Background()

func show(title string, values ...any) {
	fmt.Printf("%s: %s", title, fmt.Sprintln(values...))
}

func check(err error) {
	if err != nil {
		show("unexpected error", err)
		os.Exit(1)
	}
}

func failing(title string, err error) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		show(title, pg.Severity, pg.Code, pg.Message, pg.Detail, pg.Hint, pg.Position, pg.Where, pg.SchemaName, pg.TableName, pg.ConstraintName, pg.File, pg.Routine)
	} else {
		show(title, err != nil)
	}
}

func connect(change ...func(*pgx.ConnConfig)) *pgx.Conn {
	config, err := pgx.ParseConfig("") // the PG* variables
	check(err)
	for _, f := range change {
		f(config)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	check(err)
	return conn
}

func basics(conn *pgx.Conn) {
	for _, name := range []string{"server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "is_superuser", "session_authorization"} {
		show("parameter", name, conn.PgConn().ParameterStatus(name))
	}
	var pid uint32
	check(conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid))
	show("pid is the server's", pid == conn.PgConn().PID())
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		for _, pair := range [][2]int32{{1, 3}, {7, 14}, {2000, 2001}} {
			rows, err := conn.Query(ctx, "SELECT id, name, price, ok, at AT TIME ZONE 'UTC', day, data, blob, tags, big, real8, uid FROM items WHERE id BETWEEN $1 AND $2 ORDER BY id", mode, pair[0], pair[1])
			check(err)
			for _, f := range rows.FieldDescriptions() {
				show("field", f.Name, f.TableOID > 0, f.TableAttributeNumber, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format)
			}
			for rows.Next() {
				show("row", fmt.Sprintf("%q", rows.RawValues()))
			}
			show("end", rows.Err(), rows.CommandTag())
		}
	}
	_, err := conn.Exec(ctx, "SELEC 1")
	failing("syntax", err)
	_, err = conn.Exec(ctx, "SELECT nosuch FROM items WHERE id = $1", 1)
	failing("column", err)
}

func transactions(conn *pgx.Conn) {
	tx, err := conn.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "INSERT INTO ledger VALUES ($1, $2)", 1, 10)
	check(err)
	_, err = tx.Exec(ctx, "SELECT 1/0")
	failing("in transaction", err)
	_, err = tx.Exec(ctx, "SELECT 1")
	failing("aborted", err)
	show("commit", tx.Commit(ctx))
	batch := &pgx.Batch{}
	for i := 0; i < 50; i++ {
		batch.Queue("INSERT INTO ledger VALUES ($1, $2)", i+100, i+1)
	}
	batch.Queue("SELECT count(*), sum(amount) FROM ledger")
	batch.Queue("DELETE FROM ledger WHERE id >= 100")
	results := conn.SendBatch(ctx, batch)
	for i := 0; i < 50; i++ {
		_, err := results.Exec()
		check(err)
	}
	var count, sum int64
	check(results.QueryRow().Scan(&count, &sum))
	tag, err := results.Exec()
	show("batch", count, sum, tag, err, results.Close())
	bad := &pgx.Batch{}
	bad.Queue("SELECT 1")
	bad.Queue("INSERT INTO ledger VALUES ($1, $2)", 5, -5)
	bad.Queue("SELECT 3")
	failing("bad batch", conn.SendBatch(ctx, bad).Close())
}

func copies(conn *pgx.Conn) {
	for _, options := range []string{"", "(FORMAT csv)", "(FORMAT binary)"} {
		var out bytes.Buffer
		tag, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM items ORDER BY id) TO STDOUT "+options)
		show("copy out", options, fmt.Sprintf("%x", sha256.Sum256(out.Bytes())), tag, err)
	}
	_, err := conn.Exec(ctx, "TRUNCATE inbox")
	check(err)
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"inbox"}, []string{"id", "body"}, pgx.CopyFromSlice(50000, func(i int) ([]any, error) {
		return []any{int32(i), fmt.Sprintf("line %d ä", i)}, nil
	}))
	show("copy in", n, err)
	var digest string
	check(conn.QueryRow(ctx, "SELECT md5(string_agg(body, ',' ORDER BY id)) FROM inbox").Scan(&digest))
	show("inbox", digest)
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("1000000\tfine\nx\tbad\n"), "COPY inbox FROM STDIN")
	failing("copy bad row", err)
}

func cancels(conn *pgx.Conn) {
	for _, sql := range []string{"SELECT pg_sleep(30)", "SELECT g, pg_sleep(0.001) FROM generate_series(1,100000) g"} {
		start := time.Now()
		go func() { time.Sleep(500 * time.Millisecond); _ = conn.PgConn().CancelRequest(ctx) }()
		_, err := conn.Exec(ctx, sql)
		failing("cancel", err)
		show("quick", time.Since(start) < 5*time.Second)
	}
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err := conn.Exec(short, "SELECT pg_sleep(30)")
	show("deadline", err != nil) // it closes in its own time
}

func notify(conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "LISTEN news")
	check(err)
	other := connect()
	_, err = other.Exec(ctx, "NOTIFY news, 'from another'")
	check(err)
	wait, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	n, err := conn.WaitForNotification(wait)
	check(err)
	show("notification", n.Channel, n.Payload, n.PID == other.PgConn().PID())
	check(other.Close(ctx))
}

func cursor(conn *pgx.Conn) {
	tx, err := conn.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT g, md5(g::text), g::numeric / 7 FROM generate_series(1,100000) g")
	check(err)
	sum, count := sha256.New(), 0
	for {
		rows, err := tx.Query(ctx, "FETCH 5000 FROM c")
		check(err)
		got := 0
		for rows.Next() {
			got++
			for _, v := range rows.RawValues() {
				sum.Write(v)
			}
		}
		check(rows.Err())
		count += got
		if got == 0 {
			break
		}
	}
	show("cursor", count, fmt.Sprintf("%x", sum.Sum(nil)), tx.Commit(ctx))
}

func main() {
	var notices []string
	conn := connect(func(c *pgx.ConnConfig) {
		c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
			notices = append(notices, n.Severity+" "+n.Code+" "+n.Message+" "+n.Detail+" "+n.Hint)
		}
	})
	basics(conn)
	_, err := conn.Exec(ctx, "DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'h', DETAIL = 'd'; END $$")
	show("notices", notices, err)
	transactions(conn)
	copies(conn)
	notify(conn)
	cursor(conn)
	cancels(conn)
	victim, killer := connect(), connect(func(c *pgx.ConnConfig) { c.RuntimeParams["work_mem"] = "9MB" })
	_, err = killer.Exec(ctx, "SELECT pg_terminate_backend($1)", int32(victim.PgConn().PID()))
	check(err)
	time.Sleep(200 * time.Millisecond)
	_, err = victim.Exec(ctx, "SELECT 1")
	failing("terminated", err)
	var mem string
	check(killer.QueryRow(ctx, "SHOW work_mem").Scan(&mem))
	show("options", mem)
	check(killer.Close(ctx))
}
