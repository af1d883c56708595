//! How fast a list of 5,000 pods and of 5,000 Secrets is rewritten, fed as a connection brings it.
//!
//! `cargo run --release -p weir-wire-kube --example speed`

use std::hint::black_box;
use std::time::{Duration, Instant};

use weir_wire_kube::{Event, FieldPattern, Limits, Rewriter, Text, Values};

/// Masks what a pattern covers, and nothing else.
struct Mask;

impl Values for Mask {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        black_box(text.value);
        if text.field.is_some() {
            out.push_str("Kg==");
        }
        text.field.is_some()
    }
}

fn main() -> Result<(), String> {
    let managed = r#"[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"0d1d2c3e-0000-4000-8000-000000000000\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"DB_PASSWORD\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{}}},"f:dnsPolicy":{},"f:restartPolicy":{}}}}]"#;
    let pod = format!(
        r#"{{"metadata":{{"name":"web-5d4f8c7b6d-x2x9k","namespace":"default","uid":"0d1d2c3e-0000-4000-8000-000000000000","resourceVersion":"123456","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"web","pod-template-hash":"5d4f8c7b6d"}},"managedFields":{managed}}},"spec":{{"containers":[{{"name":"c","image":"registry.example/web:1.2.3","command":["/bin/web","--listen","0.0.0.0:8080"],"env":[{{"name":"DB_PASSWORD","value":"x"}}],"resources":{{}},"imagePullPolicy":"Always"}}],"restartPolicy":"Always","dnsPolicy":"ClusterFirst","nodeName":"node1"}},"status":{{"phase":"Running","podIP":"10.244.0.17","startTime":"2026-01-01T00:00:00Z","conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}}"#
    );
    let secret = |bytes: usize| {
        format!(
            r#"{{"metadata":{{"name":"bulk-000","namespace":"bulk","uid":"0d1d2c3e-0000-4000-8000-000000000000","resourceVersion":"123456"}},"data":{{"password":"{}"}},"type":"Opaque"}}"#,
            "QUJD".repeat(bytes / 4)
        )
    };
    for (name, fields, object) in [
        ("pods, nothing masked", &[][..], pod.clone()),
        (
            "pods, env masked",
            &["spec.containers[*].env[*].value"],
            pod,
        ),
        ("secrets of 64 bytes", &["data.*"], secret(64)),
        ("configuration of 16 KiB", &[], secret(16 << 10)),
    ] {
        let list = format!(
            r#"{{"kind":"List","apiVersion":"v1","metadata":{{}},"items":[{}]}}"#,
            vec![object; 5000].join(",")
        );
        let fields: Result<Vec<FieldPattern>, String> = fields
            .iter()
            .map(|text| FieldPattern::parse(text))
            .collect();
        let fields = fields?;
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let mut rewriter = Rewriter::new(fields.clone().into(), Limits::default());
            let (start, mut out) = (Instant::now(), Vec::with_capacity(64 << 10));
            for mut piece in list.as_bytes().chunks(16 << 10) {
                while rewriter.feed(&mut piece, &mut out, &mut Mask) != Ok(Event::None) {}
                black_box(&out);
                out.clear();
            }
            assert_eq!(rewriter.finish(), Ok(()));
            best = best.min(start.elapsed());
        }
        let rate = list.len() as f64 / best.as_secs_f64() / 1e6;
        println!(
            "{name:<24} {:>6.1} MB {rate:>6.0} MB/s",
            list.len() as f64 / 1e6
        );
    }
    Ok(())
}
