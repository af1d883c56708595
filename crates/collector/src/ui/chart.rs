//! Pictures, drawn by the server as SVG: no script draws, and no style of their own is needed.
//!
//! Invariant: numbers become attributes and texts become escaped text. Colours are classes.

use std::fmt::{self, Write as _};

use super::html::visible;
use super::show::count;

/// One bar, in parts that stand on each other.
pub(super) struct Bar {
    /// Below it.
    pub(super) name: String,
    /// Class and amount of each part.
    pub(super) parts: Vec<(&'static str, u64)>,
}

/// A picture.
pub(super) struct Picture(String);

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Picture {}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 52.0;
const BELOW: f64 = 24.0;
const ABOVE: f64 = 10.0;

/// Bars over time, with what they are in all in words for those who do not see them.
pub(super) fn bars(title: &str, bars: &[Bar]) -> Picture {
    let top = round_up(bars.iter().map(Bar::total).max().unwrap_or(0));
    let room = HEIGHT - ABOVE - BELOW;
    let mut out = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        visible(title)
    );
    for step in 0..=4_u32 {
        let y = ABOVE + room * f64::from(4 - step) / 4.0;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>"
        );
        if step % 2 == 0 || top >= 4 {
            let value = top / 4 * u64::from(step);
            let _ = write!(
                out,
                "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                short(value)
            );
        }
    }
    let slot = (WIDTH - LEFT) / whole(bars.len().max(1));
    let wide = (slot * 0.72).min(46.0);
    let every = bars.len().div_ceil(8).max(1);
    for (at, bar) in bars.iter().enumerate() {
        let x = LEFT + slot * whole(at) + (slot - wide) / 2.0;
        let mut y = ABOVE + room;
        let _ = write!(out, "<g><title>{}</title>", visible(&bar.told()));
        for (class, amount) in bar.parts.iter().filter(|(_, amount)| *amount > 0) {
            let high = (room * part(*amount, top)).max(1.5);
            y -= high;
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" rx=\"1.5\"/>"
            );
        }
        out.push_str("</g>");
        if (bars.len() - 1 - at).is_multiple_of(every) {
            let _ = write!(
                out,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x + wide / 2.0,
                HEIGHT - 6.0,
                visible(&bar.name)
            );
        }
    }
    out.push_str("</svg>");
    Picture(out)
}

/// A line of parts, from left to right, as wide as their amounts of `whole` are.
pub(super) fn share(title: &str, parts: &[(&'static str, u64)], all: u64) -> Picture {
    let mut out = format!(
        "<svg class=\"share\" viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        visible(title)
    );
    let mut x = 0.0;
    for (class, amount) in parts.iter().filter(|(_, amount)| *amount > 0) {
        let wide = (1000.0 * part(*amount, all)).max(4.0);
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"0\" width=\"{wide:.1}\" height=\"14\"/>"
        );
        x += wide;
    }
    out.push_str("</svg>");
    Picture(out)
}

impl Bar {
    fn total(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    fn told(&self) -> String {
        let parts = self.parts.iter().filter(|(_, amount)| *amount > 0);
        let told: Vec<_> = parts
            .map(|(class, amount)| format!("{} {class}", count(*amount)))
            .collect();
        format!(
            "{}: {}",
            self.name,
            if told.is_empty() {
                "nothing".to_owned()
            } else {
                told.join(", ")
            }
        )
    }
}

/// The next number that four lines divide well.
fn round_up(most: u64) -> u64 {
    let mut unit = 4_u64;
    loop {
        for times in [1, 2, 5] {
            let top = unit.saturating_mul(times);
            if top >= most {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// `12k`, `3.4M`.
fn short(number: u64) -> String {
    match number {
        0..10_000 => count(number),
        10_000..1_000_000 => format!("{}k", number / 1000),
        1_000_000..1_000_000_000 => {
            format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000)
        }
        _ => format!("{}G", number / 1_000_000_000),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture's precision is a pixel"
)]
fn part(amount: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        (amount as f64 / all as f64).min(1.0)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture's precision is a pixel"
)]
fn whole(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_its_numbers_and_escapes_its_names() {
        let bar = |name: &str, parts| Bar {
            name: name.to_owned(),
            parts,
        };
        let picture = bars(
            "rows <b>",
            &[
                bar("<1>", vec![("rows", 1200), ("masked", 0)]),
                bar("2", vec![]),
            ],
        );
        let text = picture.to_string();
        assert!(text.contains("aria-label=\"rows &lt;b&gt;\""));
        assert!(text.contains("<title>&lt;1&gt;: 1,200 rows</title>"));
        assert!(text.contains("<title>2: nothing</title>"));
        assert_eq!(text.matches("<rect").count(), 1);
        assert!(!text.contains("NaN") && !text.contains("style"));
        assert!(!bars("", &[]).to_string().contains("NaN"));
        assert!(!share("", &[("a", 0)], 0).to_string().contains("NaN"));
    }

    #[test]
    fn an_axis_ends_above_the_largest_and_is_divided_by_four() {
        for most in [0, 1, 3, 4, 5, 9, 1000, 12_345, u64::MAX] {
            let top = round_up(most);
            assert!(
                top >= most && (top.is_multiple_of(4) || top == u64::MAX),
                "{most} {top}"
            );
        }
        assert_eq!(short(12_345), "12k");
        assert_eq!(short(3_400_000), "3.4M");
    }
}
