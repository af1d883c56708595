use serde_json::{Value, json};

use super::*;

fn written(pieces: &[&[u8]]) -> Result<String, JsonError> {
    let (mut writer, mut out) = (Writer::new(Limits::default()), Vec::new());
    for piece in pieces {
        writer.feed(piece, &mut out)?;
    }
    writer.finish()?;
    Ok(String::from_utf8(out).unwrap())
}

/// What is written, which is the same for every cut, and read back as what it was.
fn same(json: &str) -> String {
    let whole = written(&[json.as_bytes()]).unwrap();
    let bytes: Vec<&[u8]> = json.as_bytes().chunks(1).collect();
    assert_eq!(written(&bytes).unwrap(), whole);
    for cut in 0..json.len() {
        let (one, two) = json.as_bytes().split_at(cut);
        assert_eq!(written(&[one, two]).unwrap(), whole);
    }
    let options = serde_saphyr::options! { strict_booleans: true };
    let read: Value = serde_saphyr::from_str_with_options(&whole, options).unwrap();
    assert_eq!(
        read,
        serde_json::from_str::<Value>(json).unwrap(),
        "{whole}"
    );
    whole
}

#[test]
fn an_object_is_written_as_people_write_it() {
    let json = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","labels":{},"managedFields":[{"manager":"kubectl","fieldsV1":{"f:data":{".":{},"f:password":{}}}}],"finalizers":["a/b","c"]},"data":{"password":"W21hc2tlZF0="},"list":[[1,2],[],[{"x":1,"y":[null,true]}]],"immutable":false,"n":-1.5e+10}"#;
    assert_eq!(
        same(json),
        r#"apiVersion: v1
kind: Secret
metadata:
  name: db
  labels: {}
  managedFields:
  - manager: kubectl
    fieldsV1:
      "f:data":
        ".": {}
        "f:password": {}
  finalizers:
  - a/b
  - c
data:
  password: "W21hc2tlZF0="
list:
- - 1
  - 2
- []
- - x: 1
    "y":
    - null
    - true
immutable: false
"n": -1.5e+10
"#
    );
}

#[test]
fn texts_stay_texts() {
    for text in [
        "",
        " ",
        "a b",
        "yes",
        "No",
        "null",
        "~",
        "NaN",
        ".inf",
        "1",
        "0x10",
        "1e3",
        "1_000",
        "-",
        "- a",
        "a: b",
        "a #b",
        "#",
        "!x",
        "&x",
        "*x",
        "%",
        "@",
        "`",
        "|",
        ">",
        "<<",
        "=",
        "2026-01-01",
        "12:30:45",
        "{",
        "[",
        "a\nb",
        "a\r\n",
        "\ttab",
        "\"q\"",
        "'q'",
        "back\\slash",
        "---",
        "...",
        "é",
        "\u{1f600}",
        "\u{0}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}x",
        "\u{feff}",
        "trailing ",
    ] {
        same(&json!({ "a": text, text: ["b", text] }).to_string());
    }
    assert_eq!(same(r#"{"a":"plain-text/1.2_3"}"#), "a: plain-text/1.2_3\n");
    // Readers differ about these.
    for text in ["y", "ON", "1", "a b"] {
        let json = json!({ "a": text }).to_string();
        assert_eq!(same(&json), format!("a: \"{text}\"\n"));
    }
}

#[test]
fn keys_of_any_length_are_keys() {
    let long = "k:".repeat(2000);
    let json = json!({ "a": { &long: { "b": 1 }, "c": [{ &long: "d" }] } }).to_string();
    assert!(same(&json).contains("? \"k:k:"));
}

#[test]
fn all_that_is_no_object_is_written_too() {
    for (json, yaml) in [
        ("{}", "{}\n"),
        ("[]", "[]\n"),
        ("[1]\n", "- 1\n"),
        ("[[[]]]", "- - []\n"),
        ("\"a\"", "a\n"),
    ] {
        assert_eq!(same(json), yaml);
    }
    assert_eq!(written(&[b"{}{\"a\":1}"]).unwrap(), "{}\n---\na: 1\n");
    assert_eq!(written(&[b" \n"]).unwrap(), "");
}

#[test]
fn what_is_no_json_is_refused() {
    for json in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "[1",
        "{]",
        "[}",
        "[1,]",
        "{\"a\" 1}",
        "{,}",
        "{\"a\":1,}",
        "{1:2}",
        "[tru]",
        "[01]",
        "\"a\nb\"",
        "[\"\\x\"]",
        "}",
        ",",
        "[1 2]",
        "tru",
    ] {
        let bytes: Vec<&[u8]> = json.as_bytes().chunks(1).collect();
        assert!(written(&[json.as_bytes()]).is_err(), "{json}");
        assert!(written(&bytes).is_err(), "{json}");
    }
    let deep = "[".repeat(300);
    assert_eq!(written(&[deep.as_bytes()]), Err(JsonError::TooDeep(256)));
    let mut writer = Writer::new(Limits {
        string: 10,
        depth: 10,
    });
    let fed = writer.feed(b"{\"a\":\"0123456789x", &mut Vec::new());
    assert_eq!(fed, Err(JsonError::TooLong(10)));
    assert!(writer.feed(b"\"}", &mut Vec::new()).is_err());
}
