//! Times as they are typed and shown. All are UTC, so that two auditors read the same.

use std::time::Duration;

use weir_audit::Timestamp;

/// A point in time as typed; it becomes one when the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    At(Timestamp),
    Ago(Duration),
    Today,
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "today" {
            return Ok(Self::Today);
        }
        if let Some(ago) = ago(text) {
            return Ok(Self::Ago(ago));
        }
        let day = || format!("{text}T00:00:00Z").parse();
        text.parse().or_else(|_| day()).map(Self::At).map_err(|_| {
            "expected an RFC 3339 time such as 2026-01-31T08:00:00Z, a day such as 2026-01-31 (UTC), an age \
             such as 15m, 2h or 3d, or today"
                .to_owned()
        })
    }
}

fn ago(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let number: u64 = text.get(..at)?.parse().ok()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

impl Moment {
    /// The point in time, seen from `now`.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        const DAY: u64 = 86_400_000_000;
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.minus(ago),
            Self::Today => Timestamp::from_micros(now.as_micros() / DAY * DAY),
        }
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// From one time to a later one.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(to.as_micros().saturating_sub(from.as_micros()))
}

/// `2026-01-31 08:00:00`
pub(crate) fn shown(time: Timestamp) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => text,
    }
}

/// `08:00:00.123`
pub(crate) fn shown_clock(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(11..23).map_or_else(|| text.clone(), str::to_owned)
}
