//! Values that come before their names.

use super::*;

/// Hides what `PASSWORD` says is one, and what a pattern covers.
struct Late;

impl Values for Late {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        let hides = text.field.is_some() || text.whose == Some("PASSWORD");
        if hides {
            out.push_str("***");
        }
        hides
    }

    fn bare(&mut self, _: Option<&str>, whose: Option<&str>, _: &[u8]) -> bool {
        whose == Some("PASSWORD")
    }

    fn reads_names(&self) -> bool {
        true
    }

    fn names_hidden(&mut self, name: &str) -> bool {
        name == "PASSWORD"
    }

    fn late(&mut self, name: &str, _: &str, _: Part, out: &mut String) -> bool {
        out.push_str("***");
        name == "PASSWORD"
    }
}

/// What is shown of an answer that comes in pieces of a size.
fn shown(patterns: &[&str], answer: &str, size: usize) -> String {
    let mut rewriter = Rewriter::new(fields(patterns), Limits::default());
    let (mut out, mut mark) = (Vec::new(), 0);
    for mut piece in answer.as_bytes().chunks(size) {
        loop {
            match rewriter.feed(&mut piece, &mut out, &mut Late).unwrap() {
                Event::None => break,
                Event::ObjectBegins => mark = out.len(),
                Event::ObjectEnds => rewriter.hide_late(&mut out, mark, &mut Late),
            }
        }
    }
    rewriter.finish().unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn values_before_their_names_are_hidden_in_the_object_that_they_stand_in() {
    let list = |a: &str, b: &str| {
        format!(
            r#"{{"kind":"List","metadata":{{"x":{{}}}},"items":[{{"a":[{{"value":"x","name":"A"}},{{"value":{a},"name":"PASSWORD"}}]}},{{"a":{{"v":"x"}},"b":{{"value":{{"value":[{b},12]}},"c":{{}},"key":"PASSWORD"}}}}]}}"#
        )
    };
    let own = |paths: &str, tag: &str, value: &str| {
        format!(
            r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{{"f:spec":{{"f:tags":{{{paths}}}}}}}}}]}},"spec":{{"tags":["{tag}"],"p":[{{"value":"x","name":"A"}},{{"value":"{value}","name":"PASSWORD"}},{{"value":"x","name":"B"}}]}}}}"#
        )
    };
    for size in [1, 7, 4096] {
        assert_eq!(
            shown(&[], &list(r#""x""#, r#""y""#), size),
            list(r#""***""#, r#""***""#).replace(",12]", ",null]")
        );
        // Members that are left out move no number.
        assert_eq!(
            shown(
                &["spec.tags"],
                &own(r#"".":{},"v:\"t\"":{},"v:\"u\"":{}"#, "t", "x"),
                size
            ),
            own(r#"".":{}"#, "***", "***")
        );
    }
}
