// Asks over a pool that lives as long as the process, with the certificate authorities that it read at
// its start, and says how often that went well: the client of the outage suite.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx := context.Background()
	seconds, _ := strconv.Atoi(os.Args[1])
	config, err := pgx.ParseConfig("")
	if err != nil {
		panic(err)
	}
	var conn *pgx.Conn
	done, failed, last := 0, 0, ""
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn == nil || conn.IsClosed() {
			if conn, err = pgx.ConnectConfig(ctx, config); err != nil {
				failed, last = failed+1, "failed "+err.Error()
				continue
			}
		}
		var answer string
		if err = conn.QueryRow(ctx, "select ssn from customers where id = $1", 1).Scan(&answer); err != nil {
			failed, last = failed+1, "failed "+err.Error()
			continue
		}
		done, last = done+1, answer
	}
	fmt.Printf("done %d failed %d last %s\n", done, failed, last)
}
