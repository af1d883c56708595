//! zstd, with contexts that are kept: to make one costs as much as to compress a small block.
//!
//! One of each is kept, for whoever comes next; who comes meanwhile makes one of their own.

use std::io;
use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};

static COMPRESSOR: Mutex<Option<Compressor<'static>>> = Mutex::new(None);
static DECOMPRESSOR: Mutex<Option<Decompressor<'static>>> = Mutex::new(None);

/// Compresses in one frame.
pub(crate) fn compress(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut context = match take(&COMPRESSOR) {
        Some(context) => context,
        None => Compressor::new(level)?,
    };
    context.set_compression_level(level)?;
    let packed = context.compress(bytes)?;
    keep(&COMPRESSOR, context);
    Ok(packed)
}

/// Unpacks one frame of at most `most` bytes.
pub(crate) fn decompress(packed: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let mut context = match take(&DECOMPRESSOR) {
        Some(context) => context,
        None => Decompressor::new()?,
    };
    // A context that failed is not used again.
    let bytes = context.decompress(packed, most)?;
    keep(&DECOMPRESSOR, context);
    Ok(bytes)
}

fn take<T>(kept: &Mutex<Option<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn keep<T>(kept: &Mutex<Option<T>>, context: T) {
    *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(context);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_used_again_at_any_level_and_after_what_cannot_be_read() {
        let text = "select 1; select 2; ".repeat(5000);
        for (level, bytes) in [
            (3, text.as_bytes()),
            (6, b"short"),
            (3, b""),
            (6, text.as_bytes()),
        ] {
            let packed = compress(bytes, level).unwrap();
            assert_eq!(zstd::bulk::compress(bytes, level).unwrap(), packed);
            assert!(decompress(b"not a frame", 100).is_err());
            assert!(bytes.is_empty() || decompress(&packed, bytes.len() - 1).is_err());
            assert_eq!(decompress(&packed, bytes.len()).unwrap(), bytes);
        }
    }
}
