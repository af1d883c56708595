//! What a governed pod looks like: a pod in, the same pod with its sidecar out, or why not.
//!
//! Pure: JSON to JSON. One source for the webhook, `weir inject` and the chart.
