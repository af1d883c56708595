//! Names, globs, networks, routing.

use std::net::{IpAddr, SocketAddr};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn globs_match_any_run_of_characters() {
    for (pattern, name, expected) in [
        ("pii.*", "pii.ssn", true),
        ("pii.*", "pii.", true),
        ("pii.*", "secret", false),
        ("*ss*", "xssy", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a?c", "abc", true),
        ("a?c", "aéc", true),
        ("a?c", "ac", false),
        ("*", "", true),
        ("**", "x", true),
        ("", "", true),
    ] {
        assert_eq!(
            Glob::free(pattern).matches(name),
            expected,
            "{pattern} {name}"
        );
    }
    let hard = Glob::free(&"*a".repeat(30));
    assert!(!hard.matches(&"a".repeat(29)));
    assert!(
        !hard.matches(&format!("{}b", "a".repeat(5000))),
        "and it ends soon"
    );
}

#[test]
fn quoted_names_are_literal_and_may_contain_dots_stars_and_quotes() {
    let table = |text: &str| TablePattern::parse(text).expect("pattern");
    assert!(table(r#"legal."Tax Ids""#).matches("legal", "Tax Ids"));
    assert!(table(r#""a.b"."c.d""#).matches("a.b", "c.d"));
    assert!(table(r#"public."*""#).matches("public", "*"));
    assert!(!table(r#"public."*""#).matches("public", "x"));
    assert!(table(r#"public."a""b""#).matches("public", "a\"b"));
    assert!(table("public.t_*").matches("public", "t_1"));
}

#[test]
fn patterns_that_would_miss_in_silence_are_errors() {
    for bad in [
        "customers",
        "public.",
        ".x",
        "a.b.c",
        "public.Customers",
        "public.tax ids",
        "public.\"x",
        "public.\"\"",
        "public.\"x\"y",
        "",
    ] {
        assert!(TablePattern::parse(bad).is_err(), "{bad}");
    }
    assert!(Glob::identifier("a.b").is_err());
    assert!(Glob::identifier("\"a.b\"").is_ok());
    assert!(Glob::identifier("größe").is_ok());
}

#[test]
fn networks_are_strict_and_see_through_mapped_addresses() {
    let net = |text: &str| Cidr::parse(text).expect("network");
    assert!(net("10.0.0.0/8").contains(ip("10.9.9.9")));
    assert!(!net("10.0.0.0/8").contains(ip("11.0.0.1")));
    assert!(net("10.0.0.1").contains(ip("::ffff:10.0.0.1")));
    assert!(net("fd00::/8").contains(ip("fd12::1")));
    assert!(net("0.0.0.0/0").contains(ip("1.2.3.4")));
    assert!(!net("0.0.0.0/0").contains(ip("::1")));
    assert!(!net("::/0").contains(ip("1.2.3.4")));
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "fd00::1/64",
        "x",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "",
    ] {
        assert_eq!(Cidr::parse(bad), None, "{bad}");
    }
}

#[test]
fn the_most_exact_address_is_the_route() {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("wide", "10.0.0.0/8"))
        .target(target("exact", "10.0.0.1"))
        .target(Target {
            addresses: vec![Address {
                host: Host::Name("db.example".into()),
                ports: vec![5432],
            }],
            ..target("named", "192.0.2.1")
        });
    let bundle = builder.build(1).expect("bundle");
    let mut resolved = Resolved::default();
    let route = |to: &str, port, host, resolved: &Resolved| {
        let id = bundle.route(ip(to), port, host, resolved).expect("one");
        id.and_then(|id| bundle.target(id))
            .map(|target| target.name.clone())
    };
    assert_eq!(bundle.dns_names(), ["db.example"]);
    assert_eq!(
        route("10.0.0.1", 5432, None, &resolved).as_deref(),
        Some("exact")
    );
    assert_eq!(
        route("10.0.0.2", 5432, None, &resolved).as_deref(),
        Some("wide")
    );
    assert_eq!(route("10.0.0.2", 5433, None, &resolved), None);
    assert_eq!(
        route("198.51.100.7", 5432, Some("db.example"), &resolved),
        None
    );
    resolved.insert("DB.example", vec![ip("198.51.100.7"), ip("10.0.0.1")]);
    assert_eq!(
        route("198.51.100.7", 5432, None, &resolved).as_deref(),
        Some("named")
    );
    let contested = bundle.route(ip("10.0.0.1"), 5432, None, &resolved);
    let (first, second) = (TargetId(0), TargetId(1));
    assert_eq!(contested, Err(Unroutable::Contested { first, second }));
    assert_eq!(
        route("10.0.0.1", 5432, Some("db.EXAMPLE"), &resolved).as_deref(),
        Some("named")
    );
    assert_eq!(
        route("10.0.0.2", 5432, Some("db.example"), &resolved).as_deref(),
        Some("wide")
    );
}

#[test]
fn a_name_that_somebody_else_looks_up_is_a_route_where_one_target_has_it() {
    let at = |host: Host, port| {
        vec![Address {
            host,
            ports: vec![port],
        }]
    };
    let service = Host::Service {
        namespace: "shop".into(),
        name: "db".into(),
    };
    let mut builder = BundleBuilder::new();
    for (name, addresses) in [
        ("named", at(Host::Name("db.example".into()), 5432)),
        ("service", at(service, 5432)),
        ("one", at(Host::Name("both.example".into()), 22)),
        ("two", at(Host::Name("both.example".into()), 22)),
    ] {
        builder.target(Target {
            addresses,
            ..target(name, "192.0.2.1")
        });
    }
    let bundle = builder.build(1).expect("bundle");
    let route = |host, port| {
        let id = bundle.route_named(host, port).expect("one")?;
        bundle.target(id).map(|target| target.name.as_str())
    };
    assert_eq!(route("DB.example", 5432), Some("named"));
    assert_eq!(route("db.shop.svc", 5432), Some("service"));
    for (host, port) in [("db.example", 22), ("other.example", 5432), ("", 5432)] {
        assert_eq!(route(host, port), None, "{host}:{port}");
    }
    assert!(bundle.route_named("both.example", 22).is_err());
}

#[test]
fn an_address_that_two_targets_claim_is_nobodys() {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("a", "10.0.0.1"))
        .target(target("b", "10.0.0.1"))
        .target(target("net", "10.0.0.0/24"));
    let bundle = builder.build(1).expect("bundle");
    let resolved = Resolved::default();
    let (first, second) = (TargetId(0), TargetId(1));
    assert_eq!(
        bundle.route(ip("10.0.0.1"), 5432, None, &resolved),
        Err(Unroutable::Contested { first, second })
    );
    assert_eq!(
        bundle.route(ip("10.0.0.2"), 5432, None, &resolved),
        Ok(Some(TargetId(2)))
    );
}

/// Places by addresses, standing, and what is behind them.
fn places(addresses: &[&str], standing: Standing, behind: &[&str]) -> Places {
    let all = |list: &[&str]| list.iter().map(|at| at.parse().expect("address")).collect();
    Places {
        addresses: all(addresses),
        standing,
        behind: all(behind),
    }
}

/// A target with nothing but the places of its Service.
fn by_service(name: &str, places: Vec<Places>) -> Target {
    Target {
        addresses: Vec::new(),
        places,
        ..target(name, "192.0.2.1")
    }
}

/// The name of the target behind a place, or whether that is contested or mixed.
fn whose<'a>(bundle: &'a Bundle, at: &str) -> &'a str {
    let at: SocketAddr = at.parse().expect("address");
    match bundle.route(at.ip(), at.port(), None, &Resolved::default()) {
        Ok(Some(id)) => &bundle.target(id).expect("target").name,
        Ok(None) => "nobody",
        Err(Unroutable::Contested { .. }) => "contested",
        Err(Unroutable::Mixed { .. }) => "mixed",
    }
}

fn bundle(targets: Vec<Target>) -> Bundle {
    let mut builder = BundleBuilder::new();
    for target in targets {
        builder.target(target);
    }
    builder.build(1).expect("bundle")
}

use Standing::{Given, Written};

#[test]
fn a_front_is_a_targets_if_everything_behind_it_is() {
    let pods = ["10.244.1.5:5432", "10.244.2.6:5432"];
    let bundle = bundle(vec![by_service(
        "db",
        vec![
            places(&pods, Given, &[]),
            places(&["10.96.0.10:5432", "172.18.0.2:30032"], Given, &pods),
            places(&["192.0.2.7:5432"], Written, &pods),
            places(&["10.96.0.11:80"], Given, &pods[1..]),
            places(&["10.96.66.66:80"], Given, &[pods[0], "203.0.113.9:5432"]),
            places(
                &["198.51.100.9:80"],
                Written,
                &["203.0.113.9:5432", pods[0]],
            ),
        ],
    )]);
    for at in [
        pods[0],
        pods[1],
        "10.96.0.10:5432",
        "172.18.0.2:30032",
        "192.0.2.7:5432",
        "10.96.0.11:80",
        "[::ffff:10.96.0.11]:80",
    ] {
        assert_eq!(whose(&bundle, at), "db", "{at}");
    }
    assert_eq!(whose(&bundle, "10.96.66.66:80"), "mixed");
    assert_eq!(whose(&bundle, "198.51.100.9:80"), "mixed");
    assert_eq!(whose(&bundle, "203.0.113.9:5432"), "nobody");
}

#[test]
fn what_is_written_into_a_service_takes_no_address_of_another_target() {
    let strict = ["10.9.0.5:5432", "10.8.0.5:5432", "10.244.7.7:5432"];
    let behind = [&strict[..], &["10.244.1.5:5432"]].concat();
    let bundle = bundle(vec![
        by_service(
            "loose",
            vec![
                places(&["10.244.1.5:5432"], Given, &[]),
                places(&strict, Written, &[]),
                places(&["10.96.0.10:5432"], Given, &behind),
                places(&["10.9.0.5:5432", "10.9.0.6:5432"], Written, &behind),
                places(&["10.96.0.12:5432"], Given, &["10.244.1.5:5432"]),
            ],
        ),
        target("named", "10.9.0.5"),
        target("network", "10.8.0.0/16"),
        by_service("pods", vec![places(&["10.244.7.7:5432"], Given, &[])]),
    ]);
    assert_eq!(whose(&bundle, "10.9.0.5:5432"), "named");
    assert_eq!(whose(&bundle, "10.244.7.7:5432"), "pods");
    // Neither: a network may be the wider, and the laxer, of the two.
    assert_eq!(whose(&bundle, "10.8.0.5:5432"), "contested");
    assert_eq!(whose(&bundle, "10.8.0.6:5432"), "network");
    for front in ["10.96.0.10:5432", "10.9.0.6:5432"] {
        assert_eq!(whose(&bundle, front), "mixed", "{front}");
    }
    assert_eq!(whose(&bundle, "10.96.0.12:5432"), "loose");
    assert_eq!(whose(&bundle, "10.244.1.5:5432"), "loose");
}

#[test]
fn what_the_cluster_gave_a_service_is_more_exact_than_a_network() {
    let pod = ["10.244.1.5:5432"];
    let bundle = bundle(vec![
        by_service(
            "db",
            vec![
                places(&pod, Given, &[]),
                places(&["10.96.0.10:5432"], Given, &pod),
                places(&["10.7.0.1:5432"], Written, &pod),
                places(&["192.0.2.99:5432"], Written, &pod),
            ],
        ),
        target("everything", "10.0.0.0/8"),
        target("db-too", "10.96.0.10"),
    ]);
    assert_eq!(whose(&bundle, "10.244.1.5:5432"), "db");
    assert_eq!(whose(&bundle, "10.244.1.6:5432"), "everything");
    assert_eq!(whose(&bundle, "10.96.0.10:5432"), "contested");
    assert_eq!(whose(&bundle, "10.7.0.1:5432"), "contested");
    assert_eq!(whose(&bundle, "192.0.2.99:5432"), "db");
}

#[test]
fn what_others_write_of_an_address_that_a_target_names_does_not_take_it_away() {
    let all = ["10.0.0.1:5432", "10.96.0.10:5432", "10.244.1.5:5432"];
    let bundle = bundle(vec![Target {
        places: vec![
            places(&all[2..], Given, &[]),
            places(&all[1..2], Given, &all[2..]),
            places(&all, Written, &["10.244.1.5:5432", "203.0.113.9:5432"]),
        ],
        ..target("db", "10.0.0.1")
    }]);
    for at in all {
        assert_eq!(whose(&bundle, at), "db", "{at}");
    }
}

#[test]
fn a_service_is_reached_under_the_names_that_the_cluster_gives_it() {
    let service = |namespace: &str, name: &str| Address {
        host: Host::Service {
            namespace: namespace.into(),
            name: name.into(),
        },
        ports: vec![5432],
    };
    let mut orders = target("orders", "10.0.0.1");
    assert_eq!(orders.server_name(), None);
    orders.addresses.push(service("data", "orders"));
    let names = [
        "orders",
        "orders.data",
        "orders.data.svc",
        "orders.data.svc.cluster.local",
    ];
    assert_eq!(orders.client_names(), names);
    assert_eq!(orders.server_name().as_deref(), Some("orders.data.svc"));
    orders.addresses.push(Address {
        host: Host::Name("orders.example".into()),
        ports: vec![5432],
    });
    assert_eq!(orders.server_name().as_deref(), Some("orders.example"));
    orders.upstream_tls.server_name = Some("own.example".into());
    assert_eq!(orders.server_name().as_deref(), Some("own.example"));
}

#[test]
fn subjects_are_selected_by_all_fields_and_any_value() {
    let subject = Subject {
        namespace: Some("billing".into()),
        service_account: Some("reporter".into()),
        groups: vec!["ci".into()],
        claims: [("repository".to_owned(), "org/app".to_owned())].into(),
        ..Subject::named("x")
    };
    let globs = |list: &[&str]| list.iter().map(|text| Glob::free(text)).collect::<Vec<_>>();
    let none = SubjectSelector::default;
    assert!(!none().selects(&subject));
    assert!(
        SubjectSelector {
            namespaces: globs(&["a", "bill*"]),
            ..none()
        }
        .selects(&subject)
    );
    let both = SubjectSelector {
        namespaces: globs(&["billing"]),
        service_accounts: globs(&["other"]),
        ..none()
    };
    assert!(!both.selects(&subject));
    assert!(
        !SubjectSelector {
            pods: globs(&["*"]),
            ..none()
        }
        .selects(&subject)
    );
    assert!(
        SubjectSelector {
            groups: globs(&["c?"]),
            ..none()
        }
        .selects(&subject)
    );
    let claims = |value: &str| SubjectSelector {
        claims: [("repository".to_owned(), Glob::free(value))].into(),
        ..none()
    };
    assert!(claims("org/*").selects(&subject));
    assert!(!claims("other/*").selects(&subject));
}

#[test]
fn effects_and_uses_have_stable_names() {
    for effect in Effect::ALL {
        assert_eq!(Effect::parse(effect.name()), Some(*effect));
    }
    assert_eq!(EffectSet::of(Effect::ALL).iter().count(), Effect::ALL.len());
    assert_eq!(
        EffectSet::of(&[Effect::Drop, Effect::Select]).to_string(),
        "Select, Drop"
    );
    let uses: UseSet = Use::ALL.iter().copied().collect();
    assert_eq!(uses.iter().count(), Use::ALL.len());
}

#[test]
fn every_member_of_every_function_class_is_a_pattern() {
    for class in FunctionClass::ALL {
        assert_eq!(FunctionClass::parse(class.name()), Some(*class));
        for member in class.members() {
            FunctionPattern::parse(member).expect("pattern");
        }
    }
}
