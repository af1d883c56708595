//! Times, numbers and sizes as people read them.

use std::time::Duration;

use weir_audit::Timestamp;

/// `2026-11-28 09:41:07` in UTC.
pub(super) fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    if !text.contains('T') {
        return text;
    }
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock}"),
        _ => text,
    }
}

/// `09:41:07.123` in UTC.
pub(super) fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(11..23).map_or_else(|| text.clone(), str::to_owned)
}

/// `3 min 20 s`, `2 h 5 min`, `4 d 3 h`: the two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match seconds {
        0 if span.is_zero() => "0 s".to_owned(),
        0 if span.as_millis() == 0 => format!("{} µs", span.as_micros()),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many problems a list leaves out.
pub(super) fn unlisted(more: u64) -> Option<String> {
    (more > 0).then(|| {
        format!(
            "and {}: not listed",
            counted(more, "more problem", "more problems")
        )
    })
}

/// `1,234 rows`, `1 row`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `14.2 kB`, in powers of ten.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut whole, mut tenth) = (bytes, 0);
    let mut unit = "B";
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        tenth = whole % 1000 / 100;
        whole /= 1000;
        unit = next;
    }
    match (unit, whole) {
        ("B", _) | (_, 100..) => format!("{whole} {unit}"),
        _ => format!("{whole}.{tenth} {unit}"),
    }
}

/// From one time to a later one.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(to.as_micros().saturating_sub(from.as_micros()))
}

/// An identity's name in the form that people know it by: `reporter` in `billing` for a SPIFFE name of
/// a service account, else the name.
pub(super) fn short_name(name: &str) -> &str {
    let path = name
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once("/ns/"));
    path.map_or(name, |(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_read_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_250), "1.2 kB");
        assert_eq!(size(142_000_000), "142 MB");
        assert_eq!(size(u64::MAX), "18.4 EB");
    }

    #[test]
    fn spans_have_two_units() {
        let cases = [
            (0, "0 s"),
            (250, "250 ms"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (356_400_000, "4 d 3 h"),
        ];
        for (millis, text) in cases {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_micros(70)), "70 µs");
    }

    #[test]
    fn times_are_utc() {
        let time: Timestamp = "2026-11-28T09:41:07.123456Z".parse().unwrap();
        assert_eq!(moment(time), "2026-11-28 09:41:07");
        assert_eq!(clock(time), "09:41:07.123");
        assert_eq!(
            moment(Timestamp::from_micros(u64::MAX)),
            "18446744073709551615us"
        );
    }

    #[test]
    fn a_service_account_is_known_by_its_place() {
        assert_eq!(
            short_name("spiffe://cluster.local/ns/billing/sa/reporter"),
            "billing/sa/reporter"
        );
        assert_eq!(short_name("jane"), "jane");
    }
}
