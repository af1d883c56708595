//! Metrics of one process, declared beside the code that counts.
//!
//! A family has one label and its values are a closed enum: every child
//! exists from the start (a counter that never moved reads 0, not nothing),
//! and nothing a client sends can make a new one.

use std::fmt;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, TextEncoder};

/// A closed set of values for one label.
pub trait Label: Copy + Eq + 'static {
    /// The label's name, such as `outcome`.
    const NAME: &'static str;
    /// Every value there is.
    const ALL: &'static [Self];
    /// The value as it is written, such as `denied`.
    fn as_str(self) -> &'static str;
}

/// The metrics of one process. Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
}

impl Registry {
    /// A counter. Names are literals such as `weir_statements_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    /// A histogram with these upper bounds, in the unit that its name ends in.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }

    /// A counter for every value of a label.
    pub fn counters<L: Label>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<Counters<L>, prometheus::Error> {
        self.family(|label| {
            IntCounter::with_opts(Opts::new(name, help).const_label(L::NAME, label))
        })
        .map(Counters)
    }

    /// A counter for every pair of values of two labels.
    pub fn counters_by<A: Label, B: Label>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<PairCounters<A, B>, prometheus::Error> {
        let row = |first: A| {
            let row = self.family(|second| {
                let opts = Opts::new(name, help).const_label(A::NAME, first.as_str());
                IntCounter::with_opts(opts.const_label(B::NAME, second))
            });
            Ok((first, Counters(row?)))
        };
        A::ALL
            .iter()
            .copied()
            .map(row)
            .collect::<Result<_, _>>()
            .map(PairCounters)
    }

    /// A gauge for every value of a label.
    pub fn gauges<L: Label>(&self, name: &str, help: &str) -> Result<Gauges<L>, prometheus::Error> {
        self.family(|label| IntGauge::with_opts(Opts::new(name, help).const_label(L::NAME, label)))
            .map(Gauges)
    }

    /// A histogram for every value of a label.
    pub fn histograms<L: Label>(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
    ) -> Result<Histograms<L>, prometheus::Error> {
        self.family(|label| {
            Histogram::with_opts(
                HistogramOpts::new(name, help)
                    .buckets(bounds.to_vec())
                    .const_label(L::NAME, label),
            )
        })
        .map(Histograms)
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }

    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.inner.gather()
    }

    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.inner.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn family<L: Label, M: Collector + Clone + 'static>(
        &self,
        new: impl Fn(&'static str) -> Result<M, prometheus::Error>,
    ) -> Result<Vec<(L, M)>, prometheus::Error> {
        L::ALL
            .iter()
            .map(|label| Ok((*label, self.add(new(label.as_str())?)?)))
            .collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// One counter for every value of `L`.
#[derive(Debug, Clone)]
pub struct Counters<L>(Vec<(L, IntCounter)>);

impl<L: Label> Counters<L> {
    /// Counts one.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// Counts `n` at once.
    pub fn add(&self, label: L, n: u64) {
        if let Some(counter) = child(&self.0, label) {
            counter.inc_by(n);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn value(&self, label: L) -> u64 {
        child(&self.0, label).map_or(0, IntCounter::get)
    }
}

/// One counter for every pair of values of `A` and `B`.
#[derive(Debug, Clone)]
pub struct PairCounters<A, B>(Vec<(A, Counters<B>)>);

impl<A: Label, B: Label> PairCounters<A, B> {
    /// Counts one.
    pub fn inc(&self, first: A, second: B) {
        let row = self.0.iter().find(|(label, _)| *label == first);
        if let Some((_, counters)) = row {
            counters.inc(second);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn value(&self, first: A, second: B) -> u64 {
        let row = self.0.iter().find(|(label, _)| *label == first);
        row.map_or(0, |(_, counters)| counters.value(second))
    }
}

/// One gauge for every value of `L`.
#[derive(Debug, Clone)]
pub struct Gauges<L>(Vec<(L, IntGauge)>);

impl<L: Label> Gauges<L> {
    /// Moves the gauge up or down.
    pub fn add(&self, label: L, n: i64) {
        if let Some(gauge) = child(&self.0, label) {
            gauge.add(n);
        }
    }

    /// Sets the gauge.
    pub fn set(&self, label: L, n: i64) {
        if let Some(gauge) = child(&self.0, label) {
            gauge.set(n);
        }
    }
}

/// One histogram for every value of `L`.
#[derive(Debug, Clone)]
pub struct Histograms<L>(Vec<(L, Histogram)>);

impl<L: Label> Histograms<L> {
    /// Records one observation.
    pub fn observe(&self, label: L, value: f64) {
        if let Some(histogram) = child(&self.0, label) {
            histogram.observe(value);
        }
    }
}

fn child<L: Label, M>(children: &[(L, M)], label: L) -> Option<&M> {
    children
        .iter()
        .find(|(known, _)| *known == label)
        .map(|(_, metric)| metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Outcome {
        Permitted,
        Denied,
    }

    impl Label for Outcome {
        const NAME: &'static str = "outcome";
        const ALL: &'static [Self] = &[Self::Permitted, Self::Denied];

        fn as_str(self) -> &'static str {
            match self {
                Self::Permitted => "permitted",
                Self::Denied => "denied",
            }
        }
    }

    #[test]
    fn every_child_exists_from_the_start() {
        let registry = Registry::default();
        let statements = registry
            .counters::<Outcome>("weir_statements_total", "Statements judged.")
            .unwrap();
        statements.inc(Outcome::Denied);
        statements.add(Outcome::Denied, 2);
        let text = registry.render().unwrap();
        assert!(text.contains("# TYPE weir_statements_total counter"));
        assert!(text.contains("weir_statements_total{outcome=\"permitted\"} 0"));
        assert!(text.contains("weir_statements_total{outcome=\"denied\"} 3"));
        assert_eq!(statements.value(Outcome::Denied), 3);
    }

    #[test]
    fn gauges_and_histograms_are_rendered() {
        let registry = Registry::default();
        registry.gauge("weir_connections", "Open.").unwrap().set(4);
        let gauges = registry.gauges::<Outcome>("weir_open", "Open.").unwrap();
        gauges.set(Outcome::Denied, 5);
        gauges.add(Outcome::Denied, -2);
        let histogram = registry
            .histograms::<Outcome>("weir_wait_seconds", "Waited.", &[0.1, 1.0])
            .unwrap();
        histogram.observe(Outcome::Permitted, 0.5);
        registry
            .histogram("weir_size_bytes", "Size.", &[10.0])
            .unwrap()
            .observe(11.0);
        let text = registry.render().unwrap();
        assert!(text.contains("weir_connections 4"));
        assert!(text.contains("weir_open{outcome=\"denied\"} 3"));
        assert!(text.contains("weir_wait_seconds_bucket{outcome=\"permitted\",le=\"1\"} 1"));
        assert!(text.contains("weir_size_bytes_bucket{le=\"+Inf\"} 1"));
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Way {
        In,
        Out,
    }

    impl Label for Way {
        const NAME: &'static str = "way";
        const ALL: &'static [Self] = &[Self::In, Self::Out];

        fn as_str(self) -> &'static str {
            match self {
                Self::In => "in",
                Self::Out => "out",
            }
        }
    }

    #[test]
    fn a_family_of_two_labels_has_every_pair() {
        let registry = Registry::default();
        let pairs = registry.counters_by::<Way, Outcome>("weir_pairs_total", "Pairs.");
        let pairs = pairs.unwrap();
        pairs.inc(Way::Out, Outcome::Denied);
        let text = registry.render().unwrap();
        let line = |way, outcome, n| {
            format!("weir_pairs_total{{outcome=\"{outcome}\",way=\"{way}\"}} {n}")
        };
        assert!(text.contains(&line("in", "permitted", 0)), "{text}");
        assert!(text.contains(&line("out", "denied", 1)), "{text}");
        assert_eq!(pairs.value(Way::Out, Outcome::Denied), 1);
    }

    #[test]
    fn one_name_is_registered_once() {
        let registry = Registry::default();
        registry.counter("weir_x_total", "X.").unwrap();
        assert!(registry.clone().counter("weir_x_total", "X.").is_err());
    }
}
