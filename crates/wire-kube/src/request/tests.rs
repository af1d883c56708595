use super::*;

fn read(method: &str, target: &str) -> Result<Request, Refused> {
    match target.split_once('?') {
        Some((path, query)) => parse(method, path, Some(query)),
        None => parse(method, target, None),
    }
}

/// Verb, group/version/resource/subresource, namespace and name in one line.
fn shown(method: &str, target: &str) -> String {
    let request = read(method, target).unwrap_or_else(|e| panic!("{target}: {e}"));
    let Some(r) = request.resource else {
        return format!("{} {:?}", request.verb, request.known());
    };
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut line = format!("{} {}/{}/{}", request.verb, r.group, r.version, r.resource);
    if !r.subresource.is_empty() {
        line = format!("{line}/{}", r.subresource);
    }
    line = format!("{line} {} {}", or(r.namespace), or(r.name));
    if !r.rest.is_empty() {
        line = format!("{line} {}", r.rest);
    }
    line
}

fn refused(target: &str) -> Refused {
    match read("GET", target) {
        Err(refused) => refused,
        Ok(request) => panic!("{target} was read as {request:?}"),
    }
}

#[test]
fn names_resources_as_the_server_does() {
    for (method, target, expected) in [
        (
            "GET",
            "/api/v1/namespaces/default/secrets/db",
            "get /v1/secrets default db",
        ),
        (
            "HEAD",
            "/api/v1/namespaces/default/secrets/db",
            "get /v1/secrets default db",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/secrets",
            "list /v1/secrets default -",
        ),
        ("GET", "/api/v1/secrets", "list /v1/secrets - -"),
        ("GET", "/api/v1/nodes/n1", "get /v1/nodes - n1"),
        ("GET", "/api/v1/namespaces", "list /v1/namespaces - -"),
        ("GET", "/api/v1/namespaces/x", "get /v1/namespaces x x"),
        (
            "PUT",
            "/api/v1/namespaces/x/finalize",
            "update /v1/namespaces/finalize x x",
        ),
        (
            "GET",
            "/api/v1/namespaces/x/status",
            "get /v1/namespaces/status x x",
        ),
        (
            "GET",
            "/api/v1/namespaces/status",
            "get /v1/namespaces status status",
        ),
        ("POST", "/api/v1/namespaces/x/pods", "create /v1/pods x -"),
        (
            "POST",
            "/api/v1/namespaces/x/pods/p/eviction",
            "create /v1/pods/eviction x p",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/x/pods/p/status",
            "patch /v1/pods/status x p",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/x/pods/p",
            "delete /v1/pods x p",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/x/pods",
            "deletecollection /v1/pods x -",
        ),
        (
            "GET",
            "/apis/apps/v1/deployments",
            "list apps/v1/deployments - -",
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/d/deployments/web/scale",
            "get apps/v1/deployments/scale d web",
        ),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "create authorization.k8s.io/v1/selfsubjectaccessreviews - -",
        ),
        (
            "GET",
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/d/pods/*/HTTP_requests",
            "get custom.metrics.k8s.io/v1beta1/pods/HTTP_requests d *",
        ),
        (
            "GET",
            "/apis/subresources.kubevirt.io/v1/namespaces/d/virtualmachineinstances/vm/portforward/80/tcp",
            "get subresources.kubevirt.io/v1/virtualmachineinstances/portforward d vm 80/tcp",
        ),
        (
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "get rbac.authorization.k8s.io/v1/clusterroles - system:node",
        ),
        (
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/my%20r%C3%B6le",
            "get rbac.authorization.k8s.io/v1/clusterroles - my röle",
        ),
    ] {
        assert_eq!(shown(method, target), expected, "{method} {target}");
    }
}

#[test]
fn decodes_the_path_once_and_drops_slashes_at_its_end() {
    let same = "get /v1/secrets default db";
    for target in [
        "/api/v1/namespaces/default/secret%73/db",
        "/api/v1/namespaces/default/secrets/db/",
        "/api/v1/namespaces/default/secrets/db//",
        "/api/v1/namespaces/default/secrets/db/?",
        "/%61pi/v1/namespaces/default/secrets/%64%62",
    ] {
        assert_eq!(shown("GET", target), same, "{target}");
    }
    let request = read("GET", "/api/v1/namespaces/default/secret%73/db//").unwrap();
    assert_eq!(request.path, "/api/v1/namespaces/default/secrets/db");
}

#[test]
fn any_watch_but_0_and_false_watches_collections() {
    for (query, verb) in [
        ("watch=1", "watch"),
        ("watch=true", "watch"),
        ("watch", "watch"),
        ("watch=", "watch"),
        ("watch=no", "watch"),
        ("w%61tch=1", "watch"),
        ("watch=0", "list"),
        ("watch=false", "list"),
        ("watch=FALSE", "list"),
        ("Watch=1", "list"),
        ("watch=1&watch=1", "watch"),
    ] {
        let request = read("GET", &format!("/api/v1/secrets?{query}")).unwrap();
        assert_eq!(
            (request.verb, request.watch),
            (verb, verb == "watch"),
            "{query}"
        );
    }
    let one = read("GET", "/api/v1/namespaces/d/secrets/db?watch=1").unwrap();
    assert_eq!((one.verb, one.watch), ("get", false));
    assert_eq!(
        shown("POST", "/api/v1/namespaces/d/secrets?watch=1"),
        "create /v1/secrets d -"
    );
}

#[test]
fn legacy_watch_and_proxy_are_verbs_of_the_path() {
    for (target, expected) in [
        ("/api/v1/watch/secrets", "watch /v1/secrets - -"),
        (
            "/api/v1/watch/namespaces/d/secrets",
            "watch /v1/secrets d -",
        ),
        (
            "/api/v1/watch/namespaces/d/secrets/db",
            "watch /v1/secrets d db",
        ),
        ("/api/v1/watch/namespaces/d", "watch /v1/namespaces d d"),
        (
            "/apis/apps/v1/watch/deployments",
            "watch apps/v1/deployments - -",
        ),
        ("/api/v1/w%61tch/secrets", "watch /v1/secrets - -"),
        (
            "/api/v1/proxy/namespaces/d/pods/p:80/a/b",
            "get /v1/pods/proxy d p:80 a/b",
        ),
        ("/api/v1/proxy/nodes/n/logs", "get /v1/nodes/proxy - n logs"),
    ] {
        assert_eq!(shown("GET", target), expected, "{target}");
    }
    for target in ["/api/v1/watch", "/apis/apps/v1/watch", "/api/v1/proxy/"] {
        assert_eq!(refused(target), Refused::NoResource, "{target}");
    }
}

#[test]
fn exec_attach_and_port_forward_create_and_proxies_do_as_their_method() {
    for (method, target, expected) in [
        (
            "GET",
            "/api/v1/namespaces/d/pods/p/exec?command=env",
            "create /v1/pods/exec d p",
        ),
        (
            "POST",
            "/api/v1/namespaces/d/pods/p/exec?command=env",
            "create /v1/pods/exec d p",
        ),
        (
            "GET",
            "/api/v1/namespaces/d/pods/p/attach",
            "create /v1/pods/attach d p",
        ),
        (
            "GET",
            "/api/v1/namespaces/d/pods/p/portforward?ports=1&ports=2",
            "create /v1/pods/portforward d p",
        ),
        (
            "GET",
            "/api/v1/namespaces/d/pods/p/log?follow=1",
            "get /v1/pods/log d p",
        ),
        (
            "GET",
            "/api/v1/namespaces/d/services/https:db:5432/proxy/",
            "get /v1/services/proxy d https:db:5432",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/d/services/db:http/proxy/a%2Fb//../c/?x=1;y=2&x=2&bad=%zz",
            "delete /v1/services/proxy d db:http a%2Fb//../c/",
        ),
        (
            "POST",
            "/api/v1/nodes/n/proxy/run/ns/p/c?cmd=id",
            "create /v1/nodes/proxy - n run/ns/p/c",
        ),
    ] {
        assert_eq!(shown(method, target), expected, "{method} {target}");
    }
    let exec = read(
        "GET",
        "/api/v1/namespaces/d/pods/p/exec?command=sh&command=-c&command=echo+%24A%3B&stdout=true&tty=0",
    )
    .unwrap();
    assert_eq!(exec.command(), ["sh", "-c", "echo $A;"]);
    assert!(exec.query.flag("stdout") && !exec.query.flag("tty") && !exec.query.flag("stdin"));
    let log = read("GET", "/api/v1/namespaces/d/pods/p/log?command=x").unwrap();
    assert!(log.command().is_empty());
}

#[test]
fn refuses_paths_that_another_reader_takes_otherwise() {
    for (target, expected) in [
        (
            "/api/v1/namespaces/default%2Fsecrets/db",
            Refused::Separator,
        ),
        (
            "/api/v1/namespaces/default%2fsecrets/db",
            Refused::Separator,
        ),
        (
            "/api/v1/namespaces/default/secrets%5Cdb",
            Refused::Separator,
        ),
        ("/api/v1/namespaces/default/secrets\\db", Refused::Separator),
        (
            "/api/v1/namespaces/default/secrets/db%00",
            Refused::Separator,
        ),
        (
            "/api/v1/namespaces/default/secrets/db%0a",
            Refused::Separator,
        ),
        (
            "/api/v1/namespaces/default/secret%2573/db",
            Refused::Separator,
        ),
        (
            "/api/v1/namespaces/default/configmaps/../secrets/db",
            Refused::DotSegment,
        ),
        (
            "/api/v1/namespaces/default/./secrets/db",
            Refused::DotSegment,
        ),
        (
            "/api/v1/namespaces/default/%2e%2E/secrets",
            Refused::DotSegment,
        ),
        ("/healthz/../api/v1/secrets", Refused::DotSegment),
        ("//api/v1/secrets", Refused::EmptySegment),
        ("/api//v1/secrets", Refused::EmptySegment),
        ("/apis//v1/secrets", Refused::EmptySegment),
        ("/api/v1/namespaces//secrets/db", Refused::EmptySegment),
        ("api/v1/secrets", Refused::EmptySegment),
        ("", Refused::EmptySegment),
        ("//", Refused::EmptySegment),
        ("/api/v1/namespaces/default/SECRETS/db", Refused::Case),
        ("/api/V1/secrets", Refused::Case),
        ("/apis/Apps/v1/deployments", Refused::Case),
        ("/api/v1/namespaces/d/pods/p/Exec", Refused::Case),
        ("/api/v1/secrets%", Refused::Encoding("path")),
        ("/api/v1/secrets%7", Refused::Encoding("path")),
        ("/api/v1/secrets%zz", Refused::Encoding("path")),
        ("/api/v1/secrets%ff", Refused::Encoding("path")),
        ("/api/v1/secret%c0%af", Refused::Encoding("path")),
        ("/api/v1/sécrets", Refused::Character("path")),
        ("/api/v1/sec rets", Refused::Character("path")),
        ("/api/v1/pods/p\u{7f}", Refused::Character("path")),
        // What is encoded in front of a proxy's own path decides whose path it is.
        ("/api/v1/nodes/n%2Fproxy/x", Refused::Separator),
        ("/api/v1/nodes/../proxy/x", Refused::DotSegment),
    ] {
        assert_eq!(refused(target), expected, "{target}");
    }
    let long = format!("/{}", "a".repeat(MAX_PATH));
    assert_eq!(refused(&long), Refused::TooLong("path"));
}

#[test]
fn refuses_methods_that_the_api_has_none_of() {
    for method in ["CONNECT", "TRACE", "get", "Get", "", "PROPFIND", "OPTIONS"] {
        let target = "/api/v1/secrets";
        assert_eq!(read(method, target), Err(Refused::Method), "{method}");
    }
    assert_eq!(read("CONNECT", "/"), Err(Refused::Method));
    assert_eq!(shown("OPTIONS", "/healthz"), "options Health");
}

#[test]
fn refuses_queries_that_another_reader_takes_otherwise() {
    let twice = |name: &str| Refused::Twice(name.to_owned());
    for (query, expected) in [
        ("fieldSelector=metadata.name%3Dnope;x=1", Refused::Semicolon),
        ("a;b", Refused::Semicolon),
        ("watch=0&watch=1", twice("watch")),
        ("limit=1&limit=0&limit=", twice("limit")),
        ("continue=a&continue=b", twice("continue")),
        ("labelSelector=a&labelSelector=b", twice("labelSelector")),
        (
            "resourceVersion=1&resourceVersion=2",
            twice("resourceVersion"),
        ),
        ("x=1&%78=2", twice("x")),
        ("limit=", Refused::Number("limit")),
        ("limit=1e3", Refused::Number("limit")),
        ("limit=99999999999999999999", Refused::Number("limit")),
        ("fieldSelector=name", Refused::Selector),
        ("fieldSelector=a%3Db%3Dc", Refused::Selector),
        ("a=%zz", Refused::Encoding("query")),
        ("a=%ff", Refused::Encoding("query")),
        ("a=é", Refused::Character("query")),
        ("a=b c", Refused::Character("query")),
    ] {
        assert_eq!(
            refused(&format!("/api/v1/secrets?{query}")),
            expected,
            "{query}"
        );
    }
    let many = format!("/api/v1/pods?{}", "a&".repeat(MAX_PARAMETERS + 1));
    assert_eq!(refused(&many), Refused::Parameters);
    let long = format!("/api/v1/pods?{}", "a".repeat(MAX_QUERY + 1));
    assert_eq!(refused(&long), Refused::TooLong("query"));
    // An encoded semicolon is a letter like any other.
    assert!(read("GET", "/api/v1/secrets?labelSelector=a%3Bb").is_ok());
    assert!(read("GET", "/readyz?exclude=etcd&exclude=kms&verbose").is_ok());
    assert!(
        read("PATCH", "/api/v1/nodes/n?dryRun=All&dryRun=All")
            .unwrap()
            .dry_run
    );
}

#[test]
fn reads_what_decides_how_much_comes_back() {
    let list = read(
        "GET",
        "/api/v1/pods?limit=500&continue=abc&labelSelector=app%3Dx&fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed&timeout=32s",
    )
    .unwrap();
    assert_eq!(list.limit, Some(500));
    assert_eq!(list.continue_token.as_deref(), Some("abc"));
    assert_eq!(list.label_selector.as_deref(), Some("app=x"));
    assert_eq!(list.label_keys, ["app"]);
    let terms: Vec<_> = list
        .field_terms
        .iter()
        .map(|t| (t.field.as_str(), t.relation, t.value.as_str()))
        .collect();
    let expected = [
        ("spec.nodeName", Relation::Equals, "n1"),
        ("status.phase", Relation::NotEquals, "Failed"),
    ];
    assert_eq!(terms, expected);
    assert_eq!(list.timeout, Some(Duration::from_secs(32)));
    for limit in ["0", "-1"] {
        let all = read("GET", &format!("/api/v1/pods?limit={limit}")).unwrap();
        assert_eq!(all.limit, None);
    }
    let watch = read(
        "GET",
        "/api/v1/services?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=9m&timeoutSeconds=540&watch=true",
    )
    .unwrap();
    assert!(watch.watch && watch.initial_events);
    assert_eq!(watch.timeout, Some(Duration::from_secs(540)));
    let table = read("GET", "/api/v1/pods?includeObject=Object").unwrap();
    assert_eq!(table.include_object.as_deref(), Some("Object"));
}

#[test]
fn a_selector_of_one_name_names_the_object() {
    for (query, name) in [
        ("fieldSelector=metadata.name%3Ddb", Some("db")),
        ("fieldSelector=metadata.name==db", Some("db")),
        (
            "fieldSelector=type%3DOpaque,metadata.name%3Ddb&watch=1",
            Some("db"),
        ),
        ("fieldSelector=metadata.name!%3Ddb", None),
        ("fieldSelector=metadata.name%3Da%5C,b", Some("a,b")),
        ("fieldSelector=metadata.name%3D", None),
        ("fieldSelector=metadata.name%3Da/b", None),
    ] {
        let request = read("GET", &format!("/api/v1/namespaces/d/secrets?{query}")).unwrap();
        assert_eq!(request.resource.unwrap().name.as_deref(), name, "{query}");
    }
    let all = read(
        "DELETE",
        "/api/v1/namespaces/d/secrets?fieldSelector=metadata.name%3Ddb",
    );
    assert_eq!(all.unwrap().verb, "deletecollection");
}

#[test]
fn reads_durations_as_go_writes_them() {
    for (text, millis) in [
        ("9m", Some(540_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5s", Some(1500)),
        ("100ms", Some(100)),
        ("0", Some(0)),
        ("0s", Some(0)),
        ("", None),
        ("s", None),
        ("5", None),
        ("-5s", None),
        ("1x", None),
        ("1..5s", None),
        ("99999999999999999999999h", None),
    ] {
        let duration = query::duration(text).map(|d| d.as_millis());
        assert_eq!(duration, millis, "{text}");
    }
}

#[test]
fn knows_what_urls_without_resources_are_for() {
    for (target, known) in [
        ("/", Known::Discovery),
        ("/api", Known::Discovery),
        ("/api/", Known::Discovery),
        ("/api/v1?timeout=32s", Known::Discovery),
        ("/apis/apps", Known::Discovery),
        ("/apis/apps/v1", Known::Discovery),
        ("/openapi/v2", Known::OpenApi),
        ("/openapi/v3", Known::OpenApi),
        ("/openapi/v3/apis/apps/v1?hash=AB", Known::OpenApi),
        ("/healthz", Known::Health),
        ("/readyz?verbose", Known::Health),
        ("/livez/poststarthook/x", Known::Health),
        ("/metrics", Known::Metrics),
        ("/metrics/slis", Known::Metrics),
        ("/version", Known::Version),
        ("/.well-known/openid-configuration", Known::OpenId),
        ("/openid/v1/jwks", Known::OpenId),
        ("/debug/flags/v", Known::Debug),
        ("/debug/pprof/heap", Known::Debug),
        ("/%64ebug/pprof/heap", Known::Debug),
        ("/logs/kube-apiserver.log", Known::Debug),
        ("/configz", Known::Debug),
        ("/flagz", Known::Debug),
        ("/apiserver", Known::Other),
        ("/API/v1/secrets", Known::Other),
        ("/metrics/x", Known::Other),
    ] {
        let request = read("GET", target).unwrap();
        assert_eq!((request.known(), request.verb), (known, "get"), "{target}");
    }
    assert_eq!(shown("PUT", "/debug/flags/v"), "put Debug");
}

#[test]
fn knows_the_labels_that_a_selector_looks_at() {
    for (selector, expected) in [
        ("a", &["a"][..]),
        ("!a", &["a"]),
        (" ! a , b==x,c!=y", &["a", "b", "c"]),
        ("a in (x, y),b notin (z,a) , !c", &["a", "b", "c"]),
        ("x.io/a in(),b>5,c<6", &["x.io/a", "b", "c"]),
        ("a in (x", &["a"]),
        (",,", &[]),
        ("a=(b,c),d", &["a", "d"]),
    ] {
        let encoded: String = selector.bytes().map(|b| format!("%{b:02x}")).collect();
        for path in ["/api/v1/pods", "/api/v1/watch/pods"] {
            let query = format!("labelSelector={encoded}");
            let request = parse("GET", path, Some(&query)).unwrap();
            assert_eq!(request.label_keys, expected, "{selector}");
        }
    }
}
