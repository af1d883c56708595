//! What a registry counts as metrics of OpenTelemetry: the JSON form of `ExportMetricsServiceRequest`.
//!
//! Pure. Names stay those of Prometheus, so that one dashboard fits both; the unit is what a name ends in.
//! Counts are cumulative since the process began.

use serde_json::{Value, json};
use weir_audit::Timestamp;
use weir_telemetry::{Family, Point, Reading};

use super::{Instance, attribute, resource};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u32 = 2;

/// Everything that a registry says at `now`, by a process that began at `start`, as one request.
pub(crate) fn metrics(
    families: &[Family],
    from: &Instance,
    (start, now): (Timestamp, Timestamp),
) -> String {
    let all = families
        .iter()
        .filter_map(|family| metric(family, start, now));
    json!({"resourceMetrics": [{
        "resource": resource(Some(from)),
        "scopeMetrics": [{"scope": {"name": "weir.metrics"}, "metrics": all.collect::<Vec<_>>()}],
    }]})
    .to_string()
}

fn metric(family: &Family, start: Timestamp, now: Timestamp) -> Option<Value> {
    let first = &family.points.first()?.reading;
    let points: Vec<Value> = family
        .points
        .iter()
        .map(|one| point(one, start, now))
        .collect();
    let mut metric = json!({
        "name": family.name,
        "description": family.help,
        "unit": unit(&family.name),
    });
    let (kind, data) = match first {
        Reading::Counter(_) => (
            "sum",
            json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true}),
        ),
        Reading::Gauge(_) => ("gauge", json!({"dataPoints": points})),
        Reading::Histogram { .. } => (
            "histogram",
            json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE}),
        ),
    };
    metric.as_object_mut()?.insert(kind.to_owned(), data);
    Some(metric)
}

/// Whole numbers of 64 bits are text in JSON; counts of buckets are each bucket's own.
fn point(point: &Point, start: Timestamp, now: Timestamp) -> Value {
    let labels = point.labels.iter();
    let labels: Vec<Value> = labels.map(|(name, value)| attribute(name, value)).collect();
    let mut said = match &point.reading {
        Reading::Counter(count) => json!({"asInt": count.to_string()}),
        Reading::Gauge(value) => json!({"asInt": value.to_string()}),
        Reading::Histogram {
            count,
            sum,
            buckets,
        } => {
            let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| *bound).collect();
            let mut before = 0;
            let most = buckets.iter().map(|(_, at_most)| *at_most);
            let each = most.chain([*count]).map(|at_most| {
                let own = at_most.saturating_sub(before);
                before = at_most;
                own.to_string()
            });
            let each: Vec<String> = each.collect();
            json!({"count": count.to_string(), "sum": sum, "bucketCounts": each, "explicitBounds": bounds})
        }
    };
    if let Some(fields) = said.as_object_mut() {
        fields.insert("attributes".into(), Value::Array(labels));
        fields.insert("timeUnixNano".into(), json!(nanos(now)));
        if !matches!(point.reading, Reading::Gauge(_)) {
            fields.insert("startTimeUnixNano".into(), json!(nanos(start)));
        }
    }
    said
}

fn nanos(time: Timestamp) -> String {
    (u128::from(time.as_micros()) * 1000).to_string()
}

/// In UCUM, as OpenTelemetry wants it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, readings: Vec<Reading>) -> Family {
        let points = readings.into_iter().map(|reading| Point {
            labels: vec![("code".into(), "gap".into())],
            reading,
        });
        Family {
            name: name.into(),
            help: "What it counts.".into(),
            points: points.collect(),
        }
    }

    #[test]
    fn counts_are_cumulative_since_the_start_and_gauges_are_of_now() {
        let histogram = Reading::Histogram {
            count: 6,
            sum: 7.5,
            buckets: vec![(0.5, 1), (1.0, 4)],
        };
        let families = [
            family(
                "weir_findings_total",
                vec![Reading::Counter(3), Reading::Counter(4)],
            ),
            family("weir_store_bytes", vec![Reading::Gauge(-2)]),
            family("weir_lag_seconds", vec![histogram]),
            family("weir_nothing", Vec::new()),
        ];
        let (start, now) = (Timestamp::from_micros(1), Timestamp::from_micros(2_000_000));
        let text = metrics(&families, &Instance("collector_1".into()), (start, now));
        let request: Value = serde_json::from_str(&text).unwrap();
        let all = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert_eq!(all.as_array().unwrap().len(), 3, "{all}");
        let sum = &all[0]["sum"];
        assert_eq!(
            (&sum["aggregationTemporality"], &sum["isMonotonic"]),
            (&json!(2), &json!(true))
        );
        let wanted = json!({
            "asInt": "4", "attributes": [attribute("code", "gap")],
            "startTimeUnixNano": "1000", "timeUnixNano": "2000000000",
        });
        assert_eq!(sum["dataPoints"][1], wanted);
        assert_eq!(
            (&all[0]["unit"], &all[1]["unit"], &all[2]["unit"]),
            (&json!("1"), &json!("By"), &json!("s"))
        );
        let gauge = &all[1]["gauge"]["dataPoints"][0];
        assert_eq!(gauge["asInt"], "-2");
        assert_eq!(gauge["startTimeUnixNano"], Value::Null);
        let histogram = &all[2]["histogram"]["dataPoints"][0];
        assert_eq!(histogram["bucketCounts"], json!(["1", "3", "2"]));
        assert_eq!(histogram["explicitBounds"], json!([0.5, 1.0]));
        assert_eq!(
            (&histogram["count"], &histogram["sum"]),
            (&json!("6"), &json!(7.5))
        );
    }
}
