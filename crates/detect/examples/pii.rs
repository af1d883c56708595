//! Speaks the corpus harness's protocol: reads lines `{"id","text"}`, writes
//! lines `{"id","spans":[[start,end,"type"],…]}` with offsets in characters.

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let item: serde_json::Value = serde_json::from_str(&line?)?;
        let text = item.get("text").and_then(|t| t.as_str()).unwrap_or("");
        let characters = |end: usize| text.get(..end).map_or(0, |head| head.chars().count());
        let spans: Vec<_> = weir_detect::scan(text.as_bytes())
            .into_iter()
            .map(|span| {
                serde_json::json!([
                    characters(span.start),
                    characters(span.end),
                    span.kind.name()
                ])
            })
            .collect();
        writeln!(
            out,
            "{}",
            serde_json::json!({"id": item.get("id"), "spans": spans})
        )?;
    }
    Ok(out.flush()?)
}
