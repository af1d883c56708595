//! The scenario with tokio-postgres. Prints a canonical transcript.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

type Messages = mpsc::UnboundedReceiver<AsyncMessage>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn tls() -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    if let Ok(pem) = std::fs::read(env("PGSSLROOTCERT")) {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
            let _ = roots.add(certificate);
        }
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    MakeRustlsConnect::new(config)
}

async fn connect(options: &str) -> Result<(Client, Messages), Error> {
    let mut config = Config::new();
    config
        .host(env("PGHOST"))
        .port(env("PGPORT").parse().unwrap_or(5432))
        .user(env("PGUSER"))
        .password(env("PGPASSWORD"))
        .dbname(env("PGDATABASE"))
        .options(options);
    if env("PGCHANNELBINDING") == "disable" {
        config.channel_binding(ChannelBinding::Disable);
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = $connection;
            tokio::spawn(async move {
                let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
                while let Some(Ok(message)) = messages.next().await {
                    let _ = sender.send(message);
                }
            });
        }};
    }
    let client = if env("PGSSLMODE") == "verify-full" {
        config.ssl_mode(SslMode::Require);
        let (client, connection) = config.connect(tls()).await?;
        drive!(connection);
        client
    } else {
        config.ssl_mode(SslMode::Disable);
        let (client, connection) = config.connect(NoTls).await?;
        drive!(connection);
        client
    };
    Ok((client, receiver))
}

fn failing<T>(title: &str, result: Result<T, Error>) {
    match result {
        Ok(_) => println!("{title}: no error"),
        Err(error) => match error.as_db_error() {
            Some(e) => println!(
                "{title}: {:?}",
                (e.severity(), e.code(), e.message(), e.detail(), e.hint(), e.position(), e.where_(), e.table(),
                 e.constraint(), e.file(), e.routine())
            ),
            None => println!("{title}: closed {}", error.is_closed()),
        },
    }
}

/// The raw bytes of a cell, whatever its type.
struct Raw(Option<Vec<u8>>);

impl<'a> tokio_postgres::types::FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(Some(raw.to_vec())))
    }
    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(None))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

async fn basics(client: &Client) -> Outcome {
    let statement = client.prepare("SELECT * FROM items WHERE id BETWEEN $1 AND $2 ORDER BY id").await?;
    println!("parameters: {:?}", statement.params());
    for column in statement.columns() {
        println!("column: {} {:?} {:?} {}", column.name(), column.type_(), column.column_id(), column.table_oid().is_some());
    }
    for (low, high) in [(1i32, 3i32), (7, 14), (2000, 2001)] {
        for row in client.query(&statement, &[&low, &high]).await? {
            let cells: Vec<_> = (0..row.len()).map(|i| row.get::<_, Raw>(i).0).collect();
            println!("row: {cells:?}");
        }
    }
    let simple = client.simple_query("SELECT id, name FROM items WHERE id < 4 ORDER BY id; SELECT 2; SELECT 3 WHERE false").await?;
    for message in simple {
        match message {
            SimpleQueryMessage::Row(row) => println!("simple: {:?}", row.get(0)),
            SimpleQueryMessage::CommandComplete(n) => println!("simple complete: {n}"),
            _ => println!("simple: description"),
        }
    }
    failing("syntax", client.query("SELEC 1", &[]).await);
    failing("column", client.query("SELECT nosuch FROM items", &[]).await);
    failing("constraint", client.execute("INSERT INTO ledger VALUES (1, -1)", &[]).await);
    failing("null", client.execute("INSERT INTO items (id) VALUES (5000)", &[]).await);
    // many statements in flight on one connection
    let mut pipelined = Vec::new();
    for i in 1..=40i32 {
        pipelined.push(async move { client.query_one("SELECT $1::int * 2, (SELECT name FROM items WHERE id = $1)", &[&i]).await });
    }
    for row in future::try_join_all(pipelined).await? {
        println!("pipelined: {} {}", row.get::<_, i32>(0), row.get::<_, &str>(1));
    }
    Ok(())
}

async fn transactions(client: &mut Client) -> Outcome {
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO ledger VALUES ($1, $2)", &[&1i32, &10i32]).await?;
    failing("in transaction", transaction.query("SELECT 1/$1::int", &[&0i32]).await);
    failing("aborted", transaction.query("SELECT 1", &[]).await);
    transaction.rollback().await?;
    let row = client.query_one("SELECT count(*) FROM ledger", &[]).await?;
    println!("ledger: {}", row.get::<_, i64>(0));
    Ok(())
}

async fn copies(client: &Client) -> Outcome {
    for options in ["", "(FORMAT csv)", "(FORMAT binary)"] {
        let sql = format!("COPY (SELECT * FROM items ORDER BY id) TO STDOUT {options}");
        let blocks: Vec<Bytes> = client.copy_out(&sql).await?.try_collect().await?;
        println!("copy out {options}: {} blocks {:x}", blocks.len(), Sha256::digest(blocks.concat()));
    }
    client.batch_execute("TRUNCATE inbox").await?;
    let sink = client.copy_in("COPY inbox FROM STDIN").await?;
    tokio::pin!(sink);
    for i in 0..50_000 {
        sink.send(Bytes::from(format!("{i}\tline {i} ä\n"))).await?;
    }
    println!("copy in: {}", sink.finish().await?);
    let row = client.query_one("SELECT md5(string_agg(body, ',' ORDER BY id)) FROM inbox", &[]).await?;
    println!("inbox: {}", row.get::<_, &str>(0));
    let sink = client.copy_in("COPY inbox FROM STDIN").await?;
    tokio::pin!(sink);
    sink.send(Bytes::from_static(b"1000000\tfine\nx\tbad\n")).await?;
    failing("copy bad row", sink.finish().await);
    {
        let sink = client.copy_in::<_, Bytes>("COPY inbox FROM STDIN").await?;
        drop(sink); // the driver sends CopyFail
    }
    let row = client.query_one("SELECT count(*) FROM inbox", &[]).await?;
    println!("inbox: {}", row.get::<_, i64>(0));
    Ok(())
}

async fn cancels(client: &Client) -> Outcome {
    for sql in ["SELECT pg_sleep(30)", "SELECT g, pg_sleep(0.001) FROM generate_series(1,100000) g"] {
        let token = client.cancel_token();
        let start = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if env("PGSSLMODE") == "verify-full" {
                let _ = token.cancel_query(tls()).await;
            } else {
                let _ = token.cancel_query(NoTls).await;
            }
        });
        failing("cancel", client.query(sql, &[]).await);
        println!("quick: {}", start.elapsed() < Duration::from_secs(5));
    }
    Ok(())
}

async fn notify(client: &Client, messages: &mut Messages) -> Outcome {
    client.batch_execute("DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'h', DETAIL = 'd'; END $$").await?;
    client.batch_execute("LISTEN news").await?;
    let (other, _keep) = connect("").await?;
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    other.batch_execute("NOTIFY news, 'from another'").await?;
    loop {
        match tokio::time::timeout(Duration::from_secs(5), messages.recv()).await? {
            Some(AsyncMessage::Notice(n)) => println!("notice: {} {:?} {:?}", n.message(), n.detail(), n.hint()),
            Some(AsyncMessage::Notification(n)) => {
                println!("notification: {} {} {}", n.channel(), n.payload(), n.process_id() == pid);
                return Ok(());
            }
            _ => return Err("no notification".into()),
        }
    }
}

async fn cursor(client: &mut Client) -> Outcome {
    let transaction = client.transaction().await?;
    let statement = transaction.prepare("SELECT g, md5(g::text), g::numeric / 7 FROM generate_series(1,100000) g").await?;
    let portal = transaction.bind(&statement, &[]).await?;
    let (mut digest, mut count) = (Sha256::new(), 0);
    loop {
        let rows = transaction.query_portal(&portal, 777).await?;
        if rows.is_empty() {
            break;
        }
        count += rows.len();
        for row in rows {
            for i in 0..row.len() {
                digest.update(row.get::<_, Raw>(i).0.unwrap_or_default());
            }
        }
    }
    println!("cursor: {count} {:x}", digest.finalize());
    transaction.commit().await?;
    let params: [&(dyn ToSql + Sync); 0] = [];
    let stream = client.query_raw("SELECT g FROM generate_series(1,100000) g", params).await?;
    let sum = stream.try_fold(0i64, |sum, row| future::ready(Ok(sum + i64::from(row.get::<_, i32>(0))))).await?;
    println!("stream: {sum}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let _ = Arc::new(rustls::crypto::aws_lc_rs::default_provider()).as_ref().clone().install_default();
    let (mut client, mut messages) = connect("").await?;
    basics(&client).await?;
    transactions(&mut client).await?;
    copies(&client).await?;
    notify(&client, &mut messages).await?;
    cursor(&mut client).await?;
    cancels(&client).await?;
    let (victim, _keep) = connect("-c work_mem=9MB").await?;
    println!("options: {}", victim.query_one("SHOW work_mem", &[]).await?.get::<_, &str>(0));
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    failing("terminated", victim.query("SELECT 1", &[]).await);
    Ok(())
}
