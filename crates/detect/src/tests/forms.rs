//! Values in the forms that programs, terminals and web pages give them.

use super::*;

/// A value behind an escape such as `\n`, and inside of colours, is no part of a word.
#[test]
fn values_behind_escapes_and_inside_of_colours() {
    let github = joined(&["ghp", "_kINaqGHxEi6BZeg3ZQBIqCO9NbibGK1NtgFN"]);
    let aws = joined(&["AKI", "AQAJYNNFHXBXCP2WQ"]);
    let jwt = joined(&[
        "eyJ",
        "hbGciOiJIUzI1NiJ9",
        ".eyJzdWIiOiJ1MTcxIn0.q0slIsYQSZsATh14RpoOf2f87beGpVQd",
    ]);
    for (value, kind) in [
        ("805-36-9215", "ssn"),
        ("4000 0067 3905 1240", "pan"),
        ("DE03000000006284984547", "iban"),
        ("192.0.2.1", "ipv4"),
        ("2001:db8::1", "ipv6"),
        ("202-555-0199", "phone"),
        (&github, "github_token"),
        (&aws, "aws_access_key_id"),
        (&jwt, "jwt"),
    ] {
        only(&format!("\\n{value}\\n"), value, kind);
        only(&format!("\\\\t{value}\\\\r"), value, kind);
        only(
            &format!("\u{1b}[01;31m\u{1b}[K{value}\u{1b}[m\u{1b}[K"),
            value,
            kind,
        );
    }
    let inside = "805-\u{1b}[1m36\u{1b}[0m-9215";
    only(inside, inside, "ssn");
    only(
        "4000\\n0067\\n3905\\n1240",
        "4000\\n0067\\n3905\\n1240",
        "pan",
    );
}

#[test]
fn escapes_of_every_character_that_is_known() {
    for (sign, kind) in [
        ("\\u00a0", "ssn"),
        ("\\u2011", "ssn"),
        ("%C2%A0", "ssn"),
        ("%E2%80%93", "ssn"),
        ("%25E2%2580%2593", "ssn"),
        ("\\xe2\\x80\\x93", "ssn"),
        ("%0A", "ssn"),
        ("&mdash;", "ssn"),
        ("&#8209;", "ssn"),
        ("&#x2011;", "ssn"),
    ] {
        let text = format!("805{sign}36{sign}9215");
        only(&text, &text, kind);
    }
    let wide: String = "4000006739051240"
        .chars()
        .map(|c| format!("\\uff1{c}"))
        .collect();
    only(&wide, &wide, "pan");
    let lt = "&lt;password&gt;hunter2&lt;/password&gt;";
    only(lt, "hunter2", "password_assignment");
    let slashes = r#"{"url":"postgres:\/\/zora:hunter2@db\/x"}"#;
    only(slashes, "zora:hunter2", "url_password");
    for text in [
        "zora@example[.]com",
        "zora[@]example.com",
        "zora(@)example(.)com",
    ] {
        only(text, text, "email");
    }
}

#[test]
fn digits_of_more_scripts_and_invisible_characters() {
    for zero in [
        '\u{7c0}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{17e0}', '\u{1810}',
    ] {
        let text: String = "4000006739051240"
            .chars()
            .filter_map(|c| char::from_u32(u32::from(zero) + c.to_digit(10)?))
            .collect();
        only(&text, &text, "pan");
    }
    let circles: String = "4000006739051240"
        .chars()
        .filter_map(|c| "\u{24ea}①②③④⑤⑥⑦⑧⑨".chars().nth(c.to_digit(10)? as usize))
        .collect();
    only(&circles, &circles, "pan");
    for hidden in [
        "\u{180e}",
        "\u{34f}",
        "\u{61c}",
        "\u{fe0f}\u{20e3}",
        "\u{115f}",
        "\u{3164}",
        "\u{e0020}",
        "\u{2068}",
    ] {
        let text = format!("805-3{hidden}6-9215");
        only(&text, &text, "ssn");
    }
}

#[test]
fn cards_and_numbers_that_are_called_so() {
    for text in ["card-4000006739051240", "cc_4000006739051240"] {
        only(text, "4000006739051240", "pan");
    }
    for number in [
        "5019717010103742",
        "9792000000000001",
        "8600000000000008",
        "6062820000000000",
        "6363680000000007",
    ] {
        let number = with_luhn(number);
        only(&number, &number, "pan");
    }
    only("ssn-779-08-1693", "779-08-1693", "ssn");
    only("/ssn/412-64-9815/", "412-64-9815", "ssn");
    only("socialSecurityNumber: 775258677", "775258677", "ssn");
    nothing("ORD-4000006739051240");
    nothing("2024/774-21-9036");
    nothing("774-21-9036/7");
    nothing("NDC 0777-3105-02");
}

/// The number with its last digit made right.
fn with_luhn(number: &str) -> String {
    (0..10)
        .map(|digit| format!("{}{digit}", &number[..number.len() - 1]))
        .find(|number| {
            let sum: u32 = number
                .bytes()
                .rev()
                .enumerate()
                .map(|(k, b)| {
                    let digit = u32::from(b - b'0') * (1 + k as u32 % 2);
                    digit / 10 + digit % 10
                })
                .sum();
            sum.is_multiple_of(10)
        })
        .unwrap()
}

#[test]
fn ibans_however_they_are_parted() {
    let parts = ["DE03", "0000", "0000", "6284", "9845", "47"];
    for sign in ["-", "_", "/", "+", ".", "  ", "\r\n", "\u{a0}"] {
        let text = parts.join(sign);
        only(&text, &text, "iban");
    }
    only("DE 03000000006284984547", "DE 03000000006284984547", "iban");
    let apart = "D E 0 3 0 0 0 0 0 0 0 0 6 2 8 4 9 8 4 5 4 7";
    only(apart, apart, "iban");
    only(
        "IBANDE03000000006284984547",
        "DE03000000006284984547",
        "iban",
    );
    nothing("in 03000000006284984547");
}

#[test]
fn addresses_that_are_versions_and_identifiers() {
    for text in [
        "Chrome/120.0.0.0 Safari/537.36",
        "\"Edg/118.0.2088.76\"",
        "00:11:22:33:44:55:66:77",
    ] {
        nothing(text);
    }
    only("http://192.0.2.1/x", "192.0.2.1", "ipv4");
    only("/hosts/192.0.2.1", "192.0.2.1", "ipv4");
}

#[test]
fn more_tokens() {
    let hex = "06a3bbc9d9fd3d5e2e112d3b8809fba5d3850a41a96310b4d2c6832161ac4e59";
    for (head, body) in [
        ("GOC", "SPX-H4JdSo9LPsZS7eFGtbiHQnGJoRHT"),
        ("sq0", "atp-l8LDkkUzZFcTB1t87atQ7s"),
        ("doo", &format!("_v1_{hex}")),
        ("fig", "d_etrnUwWHDfSPE4ZIcJv4TyKIxJqImxsaw4UStdkr"),
        (
            "SG",
            ".JADwDyTQoml0sA6kjP9d3A.LE3eRu-OFhJY5ZQpYe3uAxIdj0tXSkBbiTq7EUo2UVu",
        ),
        (
            "hvs",
            ".ccepqA4QXTvQdD59uZdlDwzSSjTAi00x5JZmojS7KZ2Ak0G90aeiZVGxkfU1kDZtxyTk6Hf1cX9",
        ),
    ] {
        let token = joined(&[head, body]);
        only(&token, &token, "api_token");
        only(&format!("\\n{token}\\n"), &token, "api_token");
    }
    let rotated = joined(&["xoxe", ".xox", "p-1-qcsJjg5omuhMFjcu1aIt3HrtzUdy9uUTn37c"]);
    only(&rotated, &rotated, "slack_token");
    let github = joined(&["ghp", "_kINaqGHxEi6BZeg3ZQBIqCO9NbibGK1NtgFN"]);
    only(&format!("x_{github}_y"), &github, "github_token");
    let aws = joined(&["AKI", "AQAJYNNFHXBXCP2WQ"]);
    only(&format!("key_{aws}"), &aws, "aws_access_key_id");
    nothing(&joined(&[
        "aws_secret_access_key=wJalrXUtnFEMI/",
        "K7MDENG/bPxRfiCYEXAMPLEKEY",
    ]));
    nothing("www.some-host.example-company-with-a-long-name.test");
}

#[test]
fn private_keys_in_more_armours() {
    let lines = "Q7JoHcnpwyUN/1ze8AbaXAyaVHh3kZapxDzrl1zfzP\nZlcG8kU0z63frNAHiVcOuuYfVv6Q2K==";
    let form = joined(&[
        "-----BEGIN+RSA+PRIVATE+KEY",
        "-----%0A",
        "Q7JoHcnpwyUN%2F1ze8",
        "%0A-----END+RSA+PRIVATE+KEY-----",
    ]);
    let old = joined(&[
        "-----BEGIN PGP SECRET ",
        "KEY BLOCK-----\n",
        lines,
        "\n-----END PGP SECRET KEY BLOCK-----",
    ]);
    let ssh2 = joined(&[
        "---- BEGIN SSH2 ENCRYPTED ",
        "PRIVATE KEY ----\n",
        lines,
        "\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
    ]);
    for key in [form, old, ssh2] {
        let found = find(&key);
        assert_eq!(found.len(), 1, "{key}");
        assert_eq!(
            found[0],
            (key.trim_end_matches(|c| c != '-'), "private_key")
        );
    }
    let putty = joined(&["Private-", "Lines: 2\n", lines, "\n"]);
    assert_eq!(find(&putty).len(), 1);
    nothing(&joined(&[
        "-----BEGIN PRIVATE",
        " KEY-----\n-----END PRIVATE KEY-----",
    ]));
}

#[test]
fn secrets_in_more_forms() {
    for (text, part) in [
        ("password\t=\thunter2", "hunter2"),
        ("password        = hunter2", "hunter2"),
        ("password[]=hunter2", "hunter2"),
        ("password=\"hun\\\"ter2\"", "hun\\\"ter2"),
        ("PASSWORD 'hun''ter2'", "hun''ter2"),
        ("password: |\n  hunter2\n", "hunter2"),
        ("const password: string = \"hunter2\"", "hunter2"),
        ("let password: &'static str = \"hunter2\";", "hunter2"),
        (
            "{\"name\": \"DB_PASSWORD\", \"value\": \"hunter2\"}",
            "hunter2",
        ),
        ("- name: DB_PASSWORD\n  value: hunter2", "hunter2"),
        ("<property name=\"password\" value=\"hunter2\"/>", "hunter2"),
        ("<add key=\"Password\" value=\"hunter2\"/>", "hunter2"),
        (
            "IDENTIFIED WITH mysql_native_password BY 'hunter2'",
            "hunter2",
        ),
        ("SET PASSWORD FOR 'bob'@'%' = 'hunter2'", "hunter2"),
        ("PASSWORD('hunter2')", "hunter2"),
        ("define('DB_PASSWORD', 'hunter2');", "hunter2"),
        (
            "SECRET_KEY_BASE=0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        ),
        ("{\"auth\":\"em9yYTpodW50ZXIy\"}", "em9yYTpodW50ZXIy"),
        (
            "?sv=2022-11-02&sig=abcDEF123456ghiJKLmnoPQR789=&se=1",
            "abcDEF123456ghiJKLmnoPQR789=",
        ),
        ("bindpw=hunter2", "hunter2"),
        ("Kennwort: hunter2", "hunter2"),
    ] {
        only(text, part, "password_assignment");
    }
    let long = format!("session_token = \"{}\"", "aB3/x9Qz".repeat(200));
    assert_eq!(find(&long)[0].0.len(), 1600);
}

#[test]
fn forms_without_a_secret() {
    for text in [
        "password=***REDACTED***",
        "password: &str",
        "password: Option<String>",
        "login(user=user, password=password)",
        "password=args.password",
        "password: req.body.password",
        "<label for=\"password\">Password</label>",
        "tests pass: 12",
        "PASS: TestFoo",
        "PWD=/home/zora",
        "OLDPWD=/home/zora",
        "let token = tokens[0];",
        "docker://x:tag@sha256:abc",
        "t('password', 'Your password')",
        "{\"name\": \"DB_HOST\", \"value\": \"db\"}",
        "<input type=\"password\" name=\"password\">",
        "config sig=abcDEF123456ghiJKLmnoPQR789",
        "\"auth\": \"scram-sha-256\"",
    ] {
        nothing(text);
    }
}
