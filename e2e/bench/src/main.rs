//! The yardstick and the load: a bare relay, a raw-protocol client, and in-process timings.
//!
//! `e2e/bench/run.py` starts servers and proxies, pins everything to one CPU, interleaves the
//! rounds and makes the table; this binary is what it runs in each of them. Every subcommand
//! prints one line of JSON. It speaks just enough PostgreSQL for servers that trust it.

mod analysis;
mod client;
mod load;
mod relay;
mod ssh_relay;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What can go wrong in a benchmark: it is told and ends the run.
type Fail = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward bytes between clients and a server, and nothing else.
    Relay {
        /// Where to listen.
        listen: SocketAddr,
        /// Where to connect.
        target: SocketAddr,
    },
    /// Forward the channels of SSH clients to a server with russh, and nothing else.
    SshRelay {
        /// Where to listen.
        listen: SocketAddr,
        /// Where to connect.
        target: SocketAddr,
        /// The user to log in as.
        #[arg(long)]
        user: String,
        /// The private key to log in with.
        #[arg(long)]
        key: PathBuf,
        /// Also make the SHA-256 of what the server sends, as evidence of a file holds it.
        #[arg(long)]
        digest: bool,
    },
    /// One client, one statement after the other: percentiles in microseconds.
    Latency {
        /// Whom to connect to.
        #[command(flatten)]
        peer: Peer,
        /// Statements that count.
        #[arg(long, default_value_t = 5000)]
        count: usize,
        /// Statements before them that do not.
        #[arg(long, default_value_t = 500)]
        warmup: usize,
        /// The statement.
        #[arg(long)]
        sql: String,
        /// Prepared once, then Bind, Execute, Sync.
        #[arg(long)]
        prepared: bool,
    },
    /// One statement with a large result: rows, bytes and seconds.
    Bulk {
        /// Whom to connect to.
        #[command(flatten)]
        peer: Peer,
        /// The statement.
        #[arg(long)]
        sql: String,
    },
    /// Open connections, run one statement on each, and keep them until stdin closes.
    Hold {
        /// Whom to connect to.
        #[command(flatten)]
        peer: Peer,
        /// How many.
        #[arg(long, default_value_t = 100)]
        count: usize,
        /// The statement.
        #[arg(long, default_value = "select 1")]
        sql: String,
    },
    /// Statement analysis without a server.
    Analyse,
}

/// Whom to connect to.
#[derive(clap::Args)]
struct Peer {
    /// Its address.
    #[arg(long)]
    address: SocketAddr,
    /// The database user.
    #[arg(long, default_value = "bench")]
    user: String,
    /// The database.
    #[arg(long, default_value = "bench")]
    database: String,
    /// TLS, verified against these roots, for the name `localhost`.
    #[arg(long)]
    tls: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Relay { listen, target } => relay::run(listen, target),
        Command::SshRelay {
            listen,
            target,
            user,
            key,
            digest,
        } => ssh_relay::run(listen, target, &user, &key, digest),
        Command::Latency {
            peer,
            count,
            warmup,
            sql,
            prepared,
        } => load::latency(&peer, &sql, prepared, count, warmup),
        Command::Bulk { peer, sql } => load::bulk(&peer, &sql),
        Command::Hold { peer, count, sql } => load::hold(&peer, count, &sql),
        Command::Analyse => analysis::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
