//! What a registry counts, as plain values: for whoever hands metrics on in another form than Prometheus'.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::Registry;

/// A metric with all its children.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Such as `weir_statements_total`.
    pub name: String,
    /// What it counts.
    pub help: String,
    /// A point for each set of labels.
    pub points: Vec<Point>,
}

/// What one child says.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Names and values of the labels.
    pub labels: Vec<(String, String)>,
    /// What was read.
    pub reading: Reading,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A count that only grows while the process lives.
    Counter(u64),
    /// A value that goes up and down.
    Gauge(i64),
    /// Observations since the process began.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum, in the unit that the name ends in.
        sum: f64,
        /// Upper bounds, each with how many were at most that; the one without a bound is not among them.
        buckets: Vec<(f64, u64)>,
    },
}

impl Registry {
    /// What every metric says now.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.gather().iter().map(family).collect()
    }
}

fn family(family: &MetricFamily) -> Family {
    let kind = family.get_field_type();
    let points = family.get_metric().iter();
    let points = points.filter_map(|metric| {
        Some(Point {
            labels: labels(metric),
            reading: reading(kind, metric)?,
        })
    });
    Family {
        name: family.name().to_owned(),
        help: family.help().to_owned(),
        points: points.collect(),
    }
}

fn labels(metric: &Metric) -> Vec<(String, String)> {
    let labels = metric.get_label().iter();
    labels
        .map(|label| (label.name().to_owned(), label.value().to_owned()))
        .collect()
}

/// A registry makes nothing else: counters and gauges are whole numbers.
fn reading(kind: MetricType, metric: &Metric) -> Option<Reading> {
    match kind {
        MetricType::COUNTER => Some(Reading::Counter(metric.get_counter().get_value() as u64)),
        MetricType::GAUGE => Some(Reading::Gauge(metric.get_gauge().get_value() as i64)),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let buckets = histogram.get_bucket().iter();
            Some(Reading::Histogram {
                count: histogram.get_sample_count(),
                sum: histogram.get_sample_sum(),
                buckets: buckets
                    .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                    .filter(|(bound, _)| bound.is_finite())
                    .collect(),
            })
        }
        MetricType::SUMMARY | MetricType::UNTYPED => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_counted() {
        let registry = Registry::default();
        registry.counter("weir_a_total", "A.").unwrap().inc_by(7);
        registry.gauge("weir_b", "B.").unwrap().set(-3);
        let histogram = registry.histogram("weir_c_seconds", "C.", &[0.5, 1.0]);
        let histogram = histogram.unwrap();
        [0.25, 0.75, 4.0]
            .iter()
            .for_each(|seen| histogram.observe(*seen));
        let families = registry.families();
        let read = |name: &str| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            assert!(family.points[0].labels.is_empty() && !family.help.is_empty());
            family.points[0].reading.clone()
        };
        assert_eq!(read("weir_a_total"), Reading::Counter(7));
        assert_eq!(read("weir_b"), Reading::Gauge(-3));
        let wanted = Reading::Histogram {
            count: 3,
            sum: 5.0,
            buckets: vec![(0.5, 1), (1.0, 2)],
        };
        assert_eq!(read("weir_c_seconds"), wanted);
    }
}
