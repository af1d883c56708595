//! Names, globs, networks, routing.

use std::net::IpAddr;

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
    assert_eq!(contested, Err(Contested { first, second }));
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
        Err(Contested { first, second })
    );
    assert_eq!(
        bundle.route(ip("10.0.0.2"), 5432, None, &resolved),
        Ok(Some(TargetId(2)))
    );
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
