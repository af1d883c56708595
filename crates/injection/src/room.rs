//! Room for Weir's containers in what a pod asks for as a whole (`spec.resources`).
//!
//! The API server refuses a pod whose containers ask for more than the pod does. What the pod says of a resource grows by
//! what the sidecar asks for; the probe, which has ended before the others begin, needs to fit beside it.

use serde_json::{Map, Value, json};

use crate::settings::Resources;

/// One, in the smallest unit of a quantity.
const ONE: i128 = 1_000_000_000;
/// Suffixes of quantities, with what they stand for.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const SUFFIXES: [(&str, i128); 16] = [
    ("", ONE),
    ("n", 1),
    ("u", 1000),
    ("m", 1_000_000),
    ("k", 1000 * ONE),
    ("M", 1_000_000 * ONE),
    ("G", 1_000_000_000 * ONE),
    ("T", 1_000_000_000_000 * ONE),
    ("P", 1_000_000_000_000_000 * ONE),
    ("E", 1_000_000_000_000_000_000 * ONE),
    ("Ki", (1 << 10) * ONE),
    ("Mi", (1 << 20) * ONE),
    ("Gi", (1 << 30) * ONE),
    ("Ti", (1 << 40) * ONE),
    ("Pi", (1 << 50) * ONE),
    ("Ei", (1 << 60) * ONE),
];

/// Makes it, for a pod into which nothing was injected yet.
pub(crate) fn make(spec: &mut Map<String, Value>, ours: &Resources) {
    let Some(whole) = spec.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    for part in ["requests", "limits"] {
        let Some(amounts) = whole.get_mut(part).and_then(Value::as_object_mut) else {
            continue;
        };
        for (name, amount) in amounts {
            // A container asks for at least its limit where it says nothing else, and has room for what it asks for.
            let (first, second) = match part {
                "requests" => (&ours.requests, &ours.limits),
                _ => (&ours.limits, &ours.requests),
            };
            let Some(own) = first.get(name).or_else(|| second.get(name)) else {
                continue;
            };
            let said = match &*amount {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // What cannot be read is the API server's to refuse.
            if let (Some(said), Some(own)) = (read(&said), read(own))
                && let Some(sum) = said.max(own).checked_add(own)
            {
                *amount = json!(written(sum));
            }
        }
    }
}

/// A quantity in its smallest unit, rounded up.
fn read(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.len() > 18 {
        return None;
    }
    let unit = match suffix.strip_prefix(['e', 'E']) {
        Some(exponent) if !exponent.is_empty() && suffix != "Ei" => {
            let exponent: u32 = exponent.parse().ok()?;
            10_i128.checked_pow(exponent)?.checked_mul(ONE)?
        }
        _ => SUFFIXES.iter().find(|(name, _)| *name == suffix)?.1,
    };
    let digits = format!("{whole}{part}").parse::<i128>().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    Some((digits.checked_mul(unit)? + scale - 1) / scale)
}

fn written(amount: i128) -> String {
    for (unit, suffix) in [(ONE, ""), (1_000_000, "m")] {
        if amount % unit == 0 {
            return format!("{}{suffix}", amount / unit);
        }
    }
    format!("{amount}n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, amount) in [
            ("1", ONE),
            ("100m", ONE / 10),
            ("0.5", ONE / 2),
            (".5", ONE / 2),
            ("1.5Gi", (3 << 29) * ONE),
            ("64Mi", (64 << 20) * ONE),
            ("2k", 2000 * ONE),
            ("1e3", 1000 * ONE),
            ("1E3", 1000 * ONE),
            ("1E", 1_000_000_000_000_000_000 * ONE),
            ("1Ei", (1 << 60) * ONE),
            ("5n", 5),
            ("0.0000000001", 1),
        ] {
            assert_eq!(read(text), Some(amount), "{text}");
        }
        for odd in [
            "",
            ".",
            "m",
            "-1",
            "1x",
            "1 Gi",
            "1e",
            "1e99",
            "99999999999999999999999999999999E",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
        for (amount, text) in [(ONE, "1"), (ONE / 2, "500m"), (5, "5n"), (0, "0")] {
            assert_eq!(written(amount), text);
        }
    }

    #[test]
    fn what_a_pod_asks_for_as_a_whole_grows_by_the_sidecars() {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let ours = Resources {
            requests: map(&[("cpu", "10m"), ("memory", "16Mi")]),
            limits: map(&[("memory", "128Mi")]),
        };
        let mut spec = json!({"resources": {
            "requests": {"cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi"},
            "limits": {"cpu": 1, "memory": "100Mi"}}});
        make(spec.as_object_mut().unwrap(), &ours);
        assert_eq!(
            spec["resources"],
            json!({
                "requests": {"cpu": "510m", "memory": (80 << 20).to_string(), "hugepages-2Mi": "4Mi"},
                // The probe's limit is above the pod's.
                "limits": {"cpu": "1010m", "memory": (256 << 20).to_string()}})
        );
        let mut none = json!({"containers": []});
        make(none.as_object_mut().unwrap(), &ours);
        assert_eq!(none, json!({"containers": []}));
    }
}
