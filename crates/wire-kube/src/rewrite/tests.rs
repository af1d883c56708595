mod late;

use super::*;

/// Replaces what a pattern covers, strings that hold `s3cr3t`, and cells of the column `Password`.
#[derive(Default)]
struct Mask {
    seen: Vec<String>,
    tokens: Vec<String>,
    idle: bool,
}

impl Values for Mask {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        let or = |name: Option<&str>| name.unwrap_or("-").to_owned();
        self.seen.push(format!(
            "{}={} {} {:?} {:?}",
            or(text.key),
            text.value,
            or(text.name),
            text.field,
            text.part
        ));
        let hit = text.field.is_some()
            || text.value.contains("s3cr3t")
            || text.cell == Some("Password")
            || text.name.is_some_and(|name| name.ends_with("PASSWORD"))
                && text.key == Some("value")
            || text.before == Some("--password");
        if hit && !self.idle {
            out.push_str("MA\"SK");
        }
        hit && !self.idle
    }

    fn number(&mut self, _: usize) -> bool {
        !self.idle
    }

    fn list_continues(&mut self, token: &str) {
        self.tokens.push(token.to_owned());
    }

    fn reads_names(&self) -> bool {
        !self.idle
    }

    fn hides(&mut self, text: &Text<'_>) -> bool {
        self.replace(text, &mut String::new())
    }
}

fn fields(patterns: &[&str]) -> Arc<[FieldPattern]> {
    let parse = |text: &&str| FieldPattern::parse(text).unwrap();
    patterns.iter().map(parse).collect()
}

/// The output for input that comes in these pieces, with `<` and `>` where objects begin and end.
fn run(
    patterns: &[&str],
    pieces: &[&[u8]],
    values: &mut Mask,
    marks: bool,
) -> Result<String, JsonError> {
    let mut rewriter = Rewriter::new(fields(patterns), Limits::default());
    let mut out = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match rewriter.feed(&mut rest, &mut out, values)? {
                Event::None => break,
                Event::ObjectBegins if marks => out.push(b'<'),
                Event::ObjectEnds if marks => out.push(b'>'),
                _ => {}
            }
        }
        assert!(rest.is_empty());
    }
    rewriter.finish()?;
    Ok(String::from_utf8(out).unwrap())
}

/// The output, which is the same for every cut.
fn masked(patterns: &[&str], input: &str) -> String {
    let whole = run(patterns, &[input.as_bytes()], &mut Mask::default(), true).unwrap();
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    assert_eq!(
        run(patterns, &bytes, &mut Mask::default(), true).unwrap(),
        whole
    );
    for cut in 0..input.len() {
        let (one, two) = input.as_bytes().split_at(cut);
        let cut = run(patterns, &[one, two], &mut Mask::default(), true).unwrap();
        assert_eq!(cut, whole);
    }
    let same = run(
        patterns,
        &[input.as_bytes()],
        &mut Mask {
            idle: true,
            ..Mask::default()
        },
        false,
    );
    let kept = !patterns.is_empty() && ["\"v:", "\"k:"].iter().any(|item| input.contains(item));
    assert!(kept || same.unwrap() == input);
    whole
}

fn seen(patterns: &[&str], input: &str) -> Vec<String> {
    let mut values = Mask::default();
    run(patterns, &[input.as_bytes()], &mut values, false).unwrap();
    values.seen
}

fn fails(input: &str) -> JsonError {
    let whole = run(&[], &[input.as_bytes()], &mut Mask::default(), false);
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    let cut = run(&[], &bytes, &mut Mask::default(), false);
    assert_eq!(whole.is_err(), cut.is_err(), "{input}");
    whole.expect_err(input)
}

const SECRET: &str = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","uid":"1"},"data":{"user":"YQ==","pass":"Yg=="},"type":"Opaque"}"#;

#[test]
fn replaces_fields_of_one_object() {
    assert_eq!(
        masked(&["data.*"], SECRET),
        r#"<{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","uid":"1"},"data":{"user":"MA\"SK","pass":"MA\"SK"},"type":"Opaque"}>"#
    );
}

#[test]
fn keeps_everything_else_byte_for_byte() {
    for input in [
        "",
        "\n",
        "{}",
        "[]",
        " { \"a\" : [ 1 , -2.50e+07 , true , null , \"\\u0041\\/\\ud83d\" ] , \"b\" : { } } \n",
        "{\"a\":12345678901234567890123456789012345678901234567890}",
        "{\"a\":1,\"a\":2,\"\":\"\"}",
        "{\"a\":[[[],{}],[{\"b\":[]}]]}{\"c\":\"é\u{1f600}\"}\n{}",
    ] {
        assert_eq!(masked(&[], input).replace(['<', '>'], ""), input);
        assert_eq!(
            masked(&["spec.x", "data.*"], input).replace(['<', '>'], ""),
            input
        );
    }
}

#[test]
fn finds_objects_where_the_api_puts_them() {
    for (input, expected) in [
        (
            r#"{"kind":"SecretList","metadata":{"continue":"t"},"items":[{"data":{"a":"b"}},{"data":{"a":"c"}}]}"#,
            r#"{"kind":"SecretList","metadata":{"continue":"t"},"items":[<{"data":{"a":"MA\"SK"}}>,<{"data":{"a":"MA\"SK"}}>]}"#,
        ),
        (
            r#"{"apiVersion":"v1","items":[{"data":{"a":"b"}}],"kind":"DbList","metadata":{}}"#,
            r#"{"apiVersion":"v1","items":[<{"data":{"a":"MA\"SK"}}>],"kind":"DbList","metadata":{}}"#,
        ),
        (
            r#"{"kind":"Table","metadata":{},"columnDefinitions":[{"name":"Name"},{"name":"Password"}],"rows":[{"cells":["db",["x"],"y"],"object":{"data":{"a":"b"}}},{"cells":["db","pw"]}]}"#,
            r#"{"kind":"Table","metadata":{},"columnDefinitions":[{"name":"Name"},{"name":"Password"}],"rows":[<{"cells":["db",["x"],"y"],"object":{"data":{"a":"MA\"SK"}}}>,<{"cells":["db","MA\"SK"]}>]}"#,
        ),
        (
            "{\"type\":\"ADDED\",\"object\":{\"data\":{\"a\":\"b\"}}}\n{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Secret\",\"metadata\":{\"resourceVersion\":\"7\"}}}\n",
            "<{\"type\":\"ADDED\",\"object\":{\"data\":{\"a\":\"MA\\\"SK\"}}}>\n{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Secret\",\"metadata\":{\"resourceVersion\":\"7\"}}}\n",
        ),
        (
            r#"{"type":"ADDED","object":{"kind":"Table","columnDefinitions":[{"name":"Password"}],"rows":[{"cells":["x"],"object":{"data":{"a":"b"}}}]}}{"type":"MODIFIED","object":{"kind":"Table","rows":[{"cells":["x"]}]}}"#,
            r#"<{"type":"ADDED","object":{"kind":"Table","columnDefinitions":[{"name":"Password"}],"rows":[{"cells":["MA\"SK"],"object":{"data":{"a":"MA\"SK"}}}]}}><{"type":"MODIFIED","object":{"kind":"Table","rows":[{"cells":["MA\"SK"]}]}}>"#,
        ),
        (
            r#"{"object":{"items":[{"data":{"a":"b"}}]},"type":"ADDED"}"#,
            r#"<{"object":{"items":[{"data":{"a":"MA\"SK"}}]},"type":"ADDED"}>"#,
        ),
        (
            r#"{"type":"ERROR","object":{"kind":"Status","message":"s3cr3t","code":410}}"#,
            r#"{"type":"ERROR","object":{"kind":"Status","message":"MA\"SK","code":410}}"#,
        ),
        (
            r#"{"kind":"Status","metadata":{},"message":"s3cr3t"}"#,
            r#"{"kind":"Status","metadata":{},"message":"MA\"SK"}"#,
        ),
        (
            // Named like a list: it begins where it shows that it is none.
            r#"{"kind":"AllowList","metadata":{},"spec":{},"data":{"a":"b"}}"#,
            r#"{"kind":"AllowList","metadata":{},"spec"<:{},"data":{"a":"MA\"SK"}}>"#,
        ),
        (r#"[{"data":{"a":"b"}}]"#, r#"[{"data":{"a":"MA\"SK"}}]"#),
    ] {
        assert_eq!(masked(&["data.*"], input), expected);
    }
}

#[test]
fn fields_are_matched_by_decoded_names_and_at_any_depth() {
    for (patterns, input, expected) in [
        (
            &["spec.password"][..],
            r#"{"spec":{"pa\u0073sword":"x","Password":"y","password":{"deep":["z",1,true,null]}}}"#,
            r#"<{"spec":{"pa\u0073sword":"MA\"SK","Password":"y","password":{"deep":["MA\"SK",null,null,null]}}}>"#,
        ),
        (
            &["spec.template.spec.containers[*].env[*].value"],
            r#"{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"value":"2"}]}]}}}}"#,
            r#"<{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"A","value":"MA\"SK"},{"value":"MA\"SK"}]}]}}}}>"#,
        ),
        (
            &["status.**"],
            r#"{"status":{"a":[{"b":"1"}],"c":"2"},"spec":{"status":"3"}}"#,
            r#"<{"status":{"a":[{"b":"MA\"SK"}],"c":"MA\"SK"},"spec":{"status":"3"}}>"#,
        ),
        (
            &["**.token"],
            r#"{"a":{"token":"1"},"token":"2","b":[{"token":["3"]}]}"#,
            r#"<{"a":{"token":"MA\"SK"},"token":"MA\"SK","b":[{"token":["MA\"SK"]}]}>"#,
        ),
        // A second member of one name is no way around, whichever a client takes.
        (
            &["data.*"],
            r#"{"data":"x","data":{"a":"1"},"data":{"a":"2"}}"#,
            r#"<{"data":"x","data":{"a":"MA\"SK"},"data":{"a":"MA\"SK"}}>"#,
        ),
    ] {
        assert_eq!(masked(patterns, input), expected);
    }
}

#[test]
fn copies_in_other_annotations_are_rewritten_wherever_they_begin() {
    let annotated = |name: &str, text: &str| {
        let mut quoted = Vec::new();
        json::write(text, &mut quoted);
        let quoted = String::from_utf8(quoted).unwrap();
        format!(r#"{{"metadata":{{"annotations":{{"{name}":{quoted}}}}}}}"#)
    };
    for (name, text, expected) in [
        (
            "kapp.k14s.io/original",
            r#"{"kind":"Secret","data":{"a":"b"},"n":1}"#,
            r#"{"kind":"Secret","data":{"a":"MA\"SK"},"n":1}"#,
        ),
        (
            "x/y",
            r#"[{"was":{"stringData":{"a":"b"}}}]"#,
            r#"[{"was":{"stringData":{"a":"MA\"SK"}}}]"#,
        ),
        // What is packed is one of the fields, where its name says that it is a copy.
        ("objectset.rio.cattle.io/applied", "H4sIAAAA", "MA\"SK"),
        ("x/y", "H4sIAAAA", "H4sIAAAA"),
        ("x/y", "{not JSON", "{not JSON"),
        ("x/y", r#"{"other":"b"}"#, r#"{"other":"b"}"#),
        ("x/y", r#"{"other":"s3cr3t"}"#, r#"{"other":"MA\"SK"}"#),
    ] {
        let patterns = ["data.*"];
        assert_eq!(
            masked(&patterns, &annotated(name, text)),
            format!("<{}>", annotated(name, expected)),
            "{text}"
        );
    }
}

#[test]
fn whose_a_value_is_is_known_through_what_says_nothing_of_it() {
    struct Whose(Vec<String>);
    impl Values for Whose {
        fn replace(&mut self, text: &Text<'_>, _: &mut String) -> bool {
            if text.value == "X" {
                self.0.push(text.whose.unwrap_or("-").to_owned());
            }
            false
        }

        fn bare(&mut self, key: Option<&str>, whose: Option<&str>, number: &[u8]) -> bool {
            let number = String::from_utf8_lossy(number);
            let (key, whose) = (key.unwrap_or("-"), whose.unwrap_or("-"));
            self.0.push(format!("{key} {whose} {number}"));
            false
        }

        fn reads_names(&self) -> bool {
            true
        }
    }
    let long = format!("{}_PASSWORD", "A".repeat(300));
    for (json, expected) in [
        (r#"{"password":{"value":"X"}}"#.to_owned(), "password"),
        (
            r#"{"adminPassword":{"valueFrom":{"literal":"X"}}}"#.to_owned(),
            "adminPassword",
        ),
        (
            r#"{"e":[{"name":"PIN","value":{"string":"X"}}]}"#.to_owned(),
            "PIN",
        ),
        (r#"{"e":[{"name":"PIN","values":["X"]}]}"#.to_owned(), "PIN"),
        (r#"{"e":[{"name":"PIN","default":"X"}]}"#.to_owned(), "PIN"),
        (r#"{"parameter":"pin","value":"X"}"#.to_owned(), "pin"),
        (
            r#"{"name":"pin","option":"o","value":"X"}"#.to_owned(),
            "pin",
        ),
        (r#"{"ref":{"name":"X"}}"#.to_owned(), "-"),
        (r#"{"pin":4711}"#.to_owned(), "pin - 4711"),
        (r#"{"pin":{"value":4711}}"#.to_owned(), "value pin 4711"),
        (r#"{"pin":true}"#.to_owned(), ""),
        (
            format!(r#"{{"name":"{long}","value":"X"}}"#),
            &long[long.len() - 256..],
        ),
    ] {
        let mut whose = Whose(Vec::new());
        let mut rewriter = Rewriter::new(fields(&[]), Limits::default());
        let (mut rest, mut out) = (json.as_bytes(), Vec::new());
        while rewriter.feed(&mut rest, &mut out, &mut whose) != Ok(Event::None) {}
        assert_eq!(whose.0.join(","), expected, "{json}");
    }
}

#[test]
fn last_applied_configuration_is_rewritten_by_the_same_rules() {
    let annotated = |text: &str| {
        let mut quoted = Vec::new();
        json::write(text, &mut quoted);
        let quoted = String::from_utf8(quoted).unwrap();
        format!(
            r#"{{"metadata":{{"annotations":{{"kubectl.kubernetes.io/last-applied-configuration":{quoted},"b":"c"}}}}}}"#
        )
    };
    for (patterns, applied, expected) in [
        (
            &["data.*"][..],
            "{\"data\":{\"a\":\"b\"},\"kind\":\"Secret\",\"stringData\":{\"c\":\"d\"}}\n",
            "{\"data\":{\"a\":\"MA\\\"SK\"},\"kind\":\"Secret\",\"stringData\":{\"c\":\"MA\\\"SK\"}}\n",
        ),
        (
            &["data.*"],
            r#"{"kind":"X","items":[{"data":{"a":"b"}}]}"#,
            r#"{"kind":"X","items":[{"data":{"a":"MA\"SK"}}]}"#,
        ),
        (
            &[],
            r#"{"spec":{"x":"s3cr3t","y":"\u0041"}}"#,
            r#"{"spec":{"x":"MA\"SK","y":"\u0041"}}"#,
        ),
        (&["data.*"], r#"{"spec":{"x":1}}"#, r#"{"spec":{"x":1}}"#),
        // What is no JSON may be anything, where there is something to hide.
        (&["data.*"], r#"{"data":{"a":"#, "MA\"SK"),
        (&["data.*"], "\"text\"", "MA\"SK"),
        (&[], "{", "{"),
        (&[], "s3cr3t", "MA\"SK"),
        (&["metadata.annotations.*"], "{}", "MA\"SK"),
    ] {
        let b = match patterns.first() {
            Some(&"metadata.annotations.*") => "MA\\\"SK",
            _ => "c",
        };
        let expected = format!(
            "<{}>",
            annotated(expected).replace("\"b\":\"c\"", &format!("\"b\":\"{b}\""))
        );
        assert_eq!(masked(patterns, &annotated(applied)), expected, "{applied}");
    }
    // Once more inside of itself it is a text that nobody wrote.
    let twice = annotated(&annotated("{}"));
    assert!(masked(&["data.*"], &twice).contains("MA"));
}

#[test]
fn paths_of_managers_that_hold_values_are_dropped() {
    let managed = |owned: &str| {
        format!(
            r#"{{"metadata":{{"managedFields":[{{"manager":"m","fieldsV1":{owned}}}]}},"spec":{{}}}}"#
        )
    };
    for (patterns, owned, expected) in [
        (
            &["spec.tokens"][..],
            r#"{"f:spec":{"f:tokens":{"v:\"a\"":{},"v:\"b\"":{}}}}"#,
            r#"{"f:spec":{"f:tokens":{}}}"#,
        ),
        (
            &["spec.tokens[*]"],
            r#"{"f:spec":{"f:tokens":{".":{},"v:\"a\"":{},"i:0":{}, "v:\"b\"" : { "x" : [1,"2"] } }}}"#,
            r#"{"f:spec":{"f:tokens":{".":{},"i:0":{} }}}"#,
        ),
        (
            &["spec.tokens[*]"],
            r#"{"f:spec":{"f:tokens":{ "v:1":{} , "\u0076:2":{} , "k:{}":{} , "v:3":{}, "i:1":{}}}}"#,
            r#"{"f:spec":{"f:tokens":{      "i:1":{}}}}"#,
        ),
        (
            &["spec.users[*].token"],
            r#"{"f:spec":{"f:users":{"k:{\"name\":\"a\"}":{".":{},"f:token":{}},"k:{\"token\":\"x\"}":{"f:name":{}},"k:x":{}}}}"#,
            r#"{"f:spec":{"f:users":{"k:{\"name\":\"a\"}":{".":{},"f:token":{}}}}}"#,
        ),
        (
            &["data.*"],
            r#"{"f:metadata":{"f:finalizers":{"v:\"a\"":{}}},"f:data":{".":{},"f:a":{}}}"#,
            r#"{"f:metadata":{"f:finalizers":{"v:\"a\"":{}}},"f:data":{".":{},"f:a":{}}}"#,
        ),
        (&[], r#"{"f:spec":{"v:1":{}}}"#, r#"{"f:spec":{"v:1":{}}}"#),
        // No field is named: by what they are.
        (
            &[],
            r#"{"f:spec":{"f:tags":{".":{},"v:\"s3cr3t\"":{},"v:\"b\"":{},"v:x s3cr3t":{}}}}"#,
            r#"{"f:spec":{"f:tags":{".":{},"v:\"b\"":{}}}}"#,
        ),
        (
            &[],
            r#"{"f:spec":{"f:env":{"k:{\"a\":{\"b\":[\"s3cr3t\"]}}":{},"k:{\"name\":\"DB_PASSWORD\",\"value\":\"x\"}":{},"k:{\"name\":\"c\"}":{}}}}"#,
            r#"{"f:spec":{"f:env":{"k:{\"name\":\"c\"}":{}}}}"#,
        ),
    ] {
        let expected = format!("<{}>", managed(expected));
        let output = masked(patterns, &managed(owned));
        let squeeze = |text: &str| text.replace(' ', "");
        assert_eq!(squeeze(&output), squeeze(&expected));
        serde_json::from_str::<serde_json::Value>(output.trim_matches(['<', '>'])).unwrap();
    }
}

#[test]
fn numbers_in_cells_are_told_by_their_column() {
    #[derive(Default)]
    struct Cells(Vec<String>);
    impl Values for Cells {
        fn replace(&mut self, text: &Text<'_>, _: &mut String) -> bool {
            if text.part == Part::Cell {
                self.0.push(format!("{:?}={}", text.cell, text.value));
            }
            false
        }

        fn cell(&mut self, column: Option<&str>) -> bool {
            self.0.push(format!("{column:?}"));
            column == Some("Pin")
        }
    }
    let table = r#"{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Pin","priority":0}],"rows":[{"cells":["a",4711,true,[1,{"x":"y"}]]},{"cells":[null,true,null]}]}"#;
    let (mut cells, mut out) = (Cells::default(), Vec::new());
    let mut rewriter = Rewriter::new(fields(&["spec.pin"]), Limits::default());
    let mut rest = table.as_bytes();
    while rewriter.feed(&mut rest, &mut out, &mut cells).unwrap() != Event::None {}
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.ends_with(r#"[{"cells":["a",null,true,[1,{"x":"y"}]]},{"cells":[null,null,null]}]}"#),
        "{text}"
    );
    let seen = [
        "Some(\"Name\")=a",
        "Some(\"Pin\")",
        "None",
        "None",
        "None=y",
        "Some(\"Pin\")",
    ];
    assert_eq!(cells.0, seen);
}

#[test]
fn tells_where_a_text_stands() {
    let pod = r#"{"kind":"Pod","metadata":{"name":"p","labels":{"app":"x"},"annotations":{"a/b":"c"},"ownerReferences":[{"uid":"u"}]},"spec":{"containers":[{"name":"c","command":["run","now"],"env":[{"name":"DB_PASSWORD","value":"v"},{"value":"w"}]}]}}"#;
    let expected = [
        "kind=Pod - None Identity",
        "name=p - None Identity",
        "app=x - None Label",
        "a/b=c - None Annotation",
        "uid=u - None Identity",
        "name=c - None Body",
        "command=run c None Body",
        "command=now c None Body",
        "name=DB_PASSWORD - None Body",
        "value=v DB_PASSWORD None Body",
        "value=w - None Body",
    ];
    assert_eq!(seen(&[], pod), expected);
    assert!(masked(&[], pod).contains(r#""name":"DB_PASSWORD","value":"MA\"SK""#));
    let pair = r#"{"params":[{"key":"PASSWORD","value":"x"},{"value":"y"}],"args":["--password","x",["y"],"z"]}"#;
    assert_eq!(
        masked(&[], pair),
        r#"<{"params":[{"key":"PASSWORD","value":"MA\"SK"},{"value":"y"}],"args":["--password","MA\"SK",["y"],"z"]}>"#
    );
}

#[test]
fn reports_that_a_list_goes_on() {
    for (input, tokens) in [
        (
            r#"{"kind":"PodList","metadata":{"continue":"abc","remainingItemCount":7},"items":[]}"#,
            1,
        ),
        (r#"{"items":[],"metadata":{"continue":""}}"#, 0),
        (r#"{"items":[{"spec":{"continue":"x"}}],"metadata":{}}"#, 0),
    ] {
        let mut values = Mask::default();
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        run(&[], &bytes, &mut values, false).unwrap();
        assert_eq!(values.tokens.len(), tokens, "{input}");
    }
}

#[test]
fn nothing_of_an_object_is_written_before_it_begins() {
    let list = br#"{"kind":"L","apiVersion":"v1","metadata":{},"items":[{"a":1},{"b":2}]}"#;
    for (input, before) in [
        (&list[..], ""),
        (br#"{"items":[{"a":1},{"b":2}]}"#, r#"{"items":["#),
        (b"{\"type\":\"ADDED\",\"object\":{\"a\":1}}", ""),
        (b"\n {\"kind\":\"Pod\",\"spec\":{}}", "\n "),
    ] {
        for step in [1, input.len()] {
            let mut rewriter = Rewriter::new(fields(&[]), Limits::default());
            let mut out = Vec::new();
            let begins = input.chunks(step).any(|mut piece| {
                let event = rewriter.feed(&mut piece, &mut out, &mut Mask::default());
                event.unwrap() == Event::ObjectBegins
            });
            assert!(begins);
            assert_eq!(String::from_utf8_lossy(&out), before);
        }
    }
}

#[test]
fn refuses_what_is_no_json() {
    for input in [
        "{]",
        "[}",
        "}",
        "]",
        ",",
        ":",
        "{,}",
        "[,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
        "[tru]",
        "[01]",
        "[+1]",
        "[1.]",
        "[nul]",
        "[NaN]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"a\nb\"]",
        "[\"\u{1}\"]",
        "{\"\u{1}\":1}",
        "['a']",
        "[1]//",
        "{\"a\":1}x",
        "1",
        "\"a\"",
        "null",
        "\u{feff}{}",
    ] {
        assert!(matches!(fails(input), JsonError::Syntax(_)), "{input}");
    }
    for input in [
        "{",
        "[",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "[1",
        "[tru",
        "[\"a\\",
        "{\"a\":{}",
        "{}[",
    ] {
        assert_eq!(fails(input), JsonError::Incomplete, "{input}");
    }
    let broken = run(&[], &[b"[\"\xff\"]"], &mut Mask::default(), false);
    assert!(matches!(broken, Err(JsonError::Syntax(_))));
    let mut rewriter = Rewriter::new(fields(&[]), Limits::default());
    let (mut out, mut values) = (Vec::new(), Mask::default());
    assert!(
        rewriter
            .feed(&mut &b"{\"a\":1}}"[..], &mut out, &mut values)
            .is_ok_and(|e| e != Event::None)
    );
    while rewriter.feed(&mut &b"}"[..], &mut out, &mut values).is_ok() {}
    assert!(
        rewriter
            .feed(&mut &b"{}"[..], &mut out, &mut values)
            .is_err()
    );
    assert!(rewriter.finish().is_err());
}

#[test]
fn strings_names_numbers_and_depth_are_bounded() {
    let limits = Limits {
        string: 100,
        depth: 3,
    };
    let run = |input: &str, step: usize| {
        let mut rewriter = Rewriter::new(fields(&["a"]), limits);
        let mut out = Vec::new();
        for mut piece in input.as_bytes().chunks(step) {
            while rewriter.feed(&mut piece, &mut out, &mut Mask::default())? != Event::None {}
        }
        rewriter.finish()
    };
    for step in [1, 7, 1 << 20] {
        let long = "x".repeat(101);
        assert_eq!(run(&format!("[\"{}\"]", "x".repeat(100)), step), Ok(()));
        assert_eq!(
            run(&format!("[\"{long}\"]"), step),
            Err(JsonError::TooLong(100))
        );
        assert_eq!(
            run(&format!("{{\"{long}\":1}}"), step),
            Err(JsonError::TooLong(100))
        );
        assert_eq!(run("[[[1]]]", step), Ok(()));
        assert_eq!(run("[[[[", step), Err(JsonError::TooDeep(3)));
        let digits = format!("[{}]", "1".repeat(MAX_NUMBER + 1));
        assert_eq!(run(&digits, step), Err(JsonError::TooLong(MAX_NUMBER)));
    }
}

#[test]
fn memory_does_not_grow_with_the_answer() {
    let mut rewriter = Rewriter::new(fields(&["data.*", "metadata.labels.x"]), Limits::default());
    let mut values = Mask {
        idle: true,
        ..Mask::default()
    };
    let mut out = Vec::new();
    let mut feed = |text: &str| {
        for mut piece in text.as_bytes().chunks(1000) {
            while rewriter.feed(&mut piece, &mut out, &mut values).unwrap() != Event::None {}
            out.clear();
            values.seen.clear();
        }
        let stack: usize =
            rewriter.held.capacity() + rewriter.waiting.capacity() + rewriter.scratch.capacity();
        stack
    };
    feed("{\"kind\":\"SecretList\",\"items\":[{}");
    let long = format!(",{{\"data\":{{\"a\":\"{}\\n\"}}}}", "x".repeat(1 << 20));
    feed(&long);
    let after = feed(",{}");
    assert!(after < 200_000, "{after}");
    for _ in 0..1000 {
        assert!(feed(",{\"metadata\":{\"name\":\"a\"},\"data\":{\"a\":\"\\u0041\"}}") <= after);
    }
}
