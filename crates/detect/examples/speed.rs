//! Times the scanner on text without findings (budget B10) and on some with.
//!
//! `cargo run --release -p weir-detect --example speed [NAME]`

use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let only = std::env::args().nth(1);
    for (name, unit) in [
        (
            "prose",
            "It was the best of times, it was the worst of times; it was the age of wisdom. ",
        ),
        (
            "rows",
            "100042,Zora Quill,Northwind Trading,active,2024-09-17 10:00:00,183456.78,EU,17\n",
        ),
        (
            "json",
            "{\"order_id\": 100042, \"status\": \"shipped\", \"note\": \"leave at the door\"},\n",
        ),
        (
            "accents",
            "Où est-ce que la forêt s'arrête ? Übermäßig viele Bäume, señor.\n",
        ),
        (
            "findings",
            "100042,zora@example.test,805-36-9215,4000006739051240,202-555-0199,192.0.2.17\n",
        ),
    ] {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let text = unit.repeat((1 << 20) / unit.len());
        // The best of many short passes: other work on the machine only adds.
        let mut best = Duration::MAX;
        let mut found = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            let pass = Instant::now();
            found = weir_detect::scan(black_box(text.as_bytes())).len();
            best = best.min(pass.elapsed());
        }
        let rate = text.len() as f64 / best.as_secs_f64() / 1e9;
        println!("{name:10} {rate:6.2} GB/s  {found} findings per MiB");
    }
}
