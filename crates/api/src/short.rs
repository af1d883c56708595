//! Texts that are cut for people. Characters count, so that none is halved.

/// At most so many characters, the last of which is `…` where some are missing.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

/// The first `most` characters, and how many are hidden: `SELECT a… (12 more characters)`.
#[must_use]
pub fn abridged(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => {
            let (shown, hidden) = text.split_at(end);
            format!("{shown}… ({} more characters)", hidden.chars().count())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_is_cut_says_so() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(abridged("äöü", 3), "äöü");
        assert_eq!(abridged("äöüßx", 3), "äöü… (2 more characters)");
    }
}
