//! Values that have to be found, in the forms that people write.

use super::*;

#[test]
fn social_security_numbers() {
    only("805-36-9215", "805-36-9215", "ssn");
    only("(749-77-8232)", "749-77-8232", "ssn");
    only("tax id 792-70-2972.", "792-70-2972", "ssn");
    only("{\"ssn\": \"887910860\"}", "887910860", "ssn");
    only("805 36 9215", "805 36 9215", "ssn");
    only("805.36.9215", "805.36.9215", "ssn");
    only("8 0 0 - 9 3 - 7 6 7 2", "8 0 0 - 9 3 - 7 6 7 2", "ssn");
    only("a,737-34-1941,1981-03-19,b", "737-34-1941", "ssn");
    only("737-34-1941 1981-03-19", "737-34-1941", "ssn");
}

#[test]
fn values_in_other_scripts_and_escapes() {
    only(
        "878\u{2013}59\u{2013}0544",
        "878\u{2013}59\u{2013}0544",
        "ssn",
    );
    only(
        "878\u{2212}81\u{2212}8871",
        "878\u{2212}81\u{2212}8871",
        "ssn",
    );
    only(
        "878\u{2011}81\u{2011}8871",
        "878\u{2011}81\u{2011}8871",
        "ssn",
    );
    only(
        "x \u{668}\u{667}\u{668}-99-2448 y",
        "\u{668}\u{667}\u{668}-99-2448",
        "ssn",
    );
    only("874%2D04%2D3846", "874%2D04%2D3846", "ssn");
    only("837&#45;05&#x2d;6422", "837&#45;05&#x2d;6422", "ssn");
    only(
        "87\u{200b}8-81-88\u{ad}71",
        "87\u{200b}8-81-88\u{ad}71",
        "ssn",
    );
    only(
        "878\u{a0}81\u{a0}8871\u{200b}",
        "878\u{a0}81\u{a0}8871",
        "ssn",
    );
    only("\u{feff}878-81-8871", "878-81-8871", "ssn");
    only(
        "é user\u{ff20}example.test é",
        "user\u{ff20}example.test",
        "email",
    );
    only("user%40example.test", "user%40example.test", "email");
    only("user&#64;example.test", "user&#64;example.test", "email");
    only("874%252D04%252D3846", "874%252D04%252D3846", "ssn");
    only("874\\u002d04\\u002d3846", "874\\u002d04\\u002d3846", "ssn");
    let spelled = "user [at] example [dot] test";
    only(&format!("to {spelled} now"), spelled, "email");
    only(
        "user(at)example(dot)test",
        "user(at)example(dot)test",
        "email",
    );
}

#[test]
fn cards_of_every_issuer() {
    for number in [
        "4000006739051240",
        "4000004544926",
        "5555552287904989",
        "2223006850585294",
        "378282912491667",
        "6011004348678968",
        "3528005583831751",
        "6200007666588645",
        "6200009897755444593",
        "30569309025904",
        "38520000023237",
        "6304000000000000",
        "2200000000000004",
    ] {
        only(number, number, "pan");
        only(&format!("card {number} exp 12/29"), number, "pan");
        only(&format!("x,{number},y"), number, "pan");
    }
}

#[test]
fn cards_in_groups() {
    for number in [
        "4000 0067 3905 1240",
        "4000-0067-3905-1240",
        "4000.0067.3905.1240",
        "4000_0067_3905_1240",
        "4000\n0067\n3905\n1240",
        "4000\r\n0067\r\n3905\r\n1240",
        "3782 829773 02619",
        "4 0 0 0 0 0 6 7 3 9 0 5 1 2 4 0",
    ] {
        only(number, number, "pan");
    }
    only("n=4000+0067+3905+1240&x", "4000+0067+3905+1240", "pan");
    only("4000 0067 3905 1240 123", "4000 0067 3905 1240", "pan");
}

#[test]
fn cards_inside_of_unbroken_text() {
    only("xxxx4000006739051240yyyy", "4000006739051240", "pan");
    only("card:4000006739051240", "4000006739051240", "pan");
}

#[test]
fn card_tracks_as_a_whole() {
    let one = "%B4000006739051240^QUILL/ZORA^29121010000000?";
    only(one, one, "pan");
    let two = ";4000006739051240=29121010000000?";
    only(two, two, "pan");
}

#[test]
fn ibans_electronic_and_printed() {
    for iban in [
        "DE03000000006284984547",
        "FR69000000000004925M2020100",
        "NL91TEST6420679089",
        "CH4600000640828717639",
        "NO9700001250855",
        "GB29NWBK60161331926819",
        "NL91 TEST 6420 6790 89",
        "PL98 0000 0000 3405 0834 1569 2366",
        "de03000000006284984547",
    ] {
        only(iban, iban, "iban");
        only(&format!("to {iban}."), iban, "iban");
        only(&format!("IBAN:{iban};x"), iban, "iban");
    }
}

#[test]
fn email_addresses() {
    for address in [
        "zora.quill@northwind.test",
        "o'brien@example.test",
        "UPPER@EXAMPLE.TEST",
        "a_b+c-d@x.example",
        "1234567@example.test",
        "user@xn--bcher-kva.example",
        "\"quoted local\"@example.test",
        "user@[192.0.2.1]",
        "zoë@exämple.test",
        "4000006739051240@example.test",
        "user@sub.sub2.example.museum",
    ] {
        only(address, address, "email");
        only(&format!("<{address}>"), address, "email");
        only(&format!("to {address}, then"), address, "email");
    }
    only("'bob@example.test'", "bob@example.test", "email");
    only(
        "mailto:bob@example.test?subject=x",
        "bob@example.test",
        "email",
    );
    only("email=bob@example.test&x=1", "bob@example.test", "email");
    only("mail bob@example.test.", "bob@example.test", "email");
}

#[test]
fn phone_numbers() {
    for number in [
        "+1-555-0100",
        "202-555-0199",
        "(202) 555-0199",
        "(202)555-0199",
        "202.555.0199",
        "202 555 0199",
        "1-202-555-0199",
        "+1 202 555 0199",
        "+1 (202) 555-0199",
        "+12025550199",
        "020 7946 0123",
        "+44 7700 900123",
        "+44 20 7946 0123",
        "+44 (0)20 7946 0123",
        "07700 900123",
        "(020) 7946 0123",
        "+33 1 99 00 12 34",
        "01 99 00 12 34",
        "01.99.00.12.34",
        "0044 20 7946 0123",
        "+49 30 23125 000",
        "202 555 0123 ext. 77",
        "202-555-0123 x77",
    ] {
        only(number, number, "phone");
        only(&format!("call {number}, please"), number, "phone");
    }
    only("phone: 2025550123", "2025550123", "phone");
    only("{\"mobile\":\"07700900123\"}", "07700900123", "phone");
    only("tel 555-0100", "555-0100", "phone");
}

#[test]
fn ip_addresses() {
    only("client=192.0.2.1:5432", "192.0.2.1", "ipv4");
    only("http://192.0.2.1/x", "192.0.2.1", "ipv4");
    only("from 192.0.2.1.", "192.0.2.1", "ipv4");
    only("192.0.2.0/24", "192.0.2.0/24", "ipv4");
    assert_eq!(find("192.0.2.1-192.0.2.9").len(), 2);
    for address in [
        "2001:db8::1",
        "::1",
        "2001:0db8:0000:0000:0000:ff00:0042:8329",
        "::ffff:192.0.2.128",
        "fe80::1ff:fe23:4567:890a%eth0",
        "2001:db8::/32",
        "fe80::",
    ] {
        only(address, address, "ipv6");
        only(&format!("from {address} on"), address, "ipv6");
    }
    only("[2001:db8::1]:443", "2001:db8::1", "ipv6");
    only("ip: 2001:db8::1, x", "2001:db8::1", "ipv6");
}

#[test]
fn dates_of_birth_by_their_context() {
    only("DOB: 1981-03-19", "1981-03-19", "date_of_birth");
    only("born 19 March 1981", "19 March 1981", "date_of_birth");
    only("born on March 19, 1981", "March 19, 1981", "date_of_birth");
    only(
        "{\"birth_date\": \"19/03/1981\"}",
        "19/03/1981",
        "date_of_birth",
    );
    only("date of birth 19.3.81", "19.3.81", "date_of_birth");
}

#[test]
fn tokens_by_their_prefix() {
    let random = "5oVyLZ7VPQxNSAmxXMkv";
    for (parts, kind) in [
        (["AKI", "AQAJYNNFHXBXCP2WQ", ""], "aws_access_key_id"),
        (["ASI", "AQAJYNNFHXBXCP2WQ", ""], "aws_access_key_id"),
        (
            ["ghp", "_kINaqGHxEi6BZeg3ZQBIqCO9NbibGK1NtgFN", ""],
            "github_token",
        ),
        (
            [
                "github",
                "_pat_11ABCDEFG0aBcDeFgHiJkL_",
                "abcdefghij0123456789ABCDEFGHIJabcdefghij0123456789ABCDEFGHI",
            ],
            "github_token",
        ),
        (["glp", "at-", random], "gitlab_token"),
        (
            ["xox", "b-160565975433-650715099860-H3lYvyIyiKy1VTMF", ""],
            "slack_token",
        ),
        (["sk_", "live_sjm2uyBuagBzq6stX9gY4hL7", ""], "stripe_key"),
        (
            ["AIz", "aTdNAyIlEvlL5JBuQPtqJzI0Lt0nWxBWwo8Z", ""],
            "google_api_key",
        ),
        (
            ["npm", "_ZxCKCzB062tI8tec9dUqCo1YFnaKipHhgYDY", ""],
            "npm_token",
        ),
    ] {
        let token = joined(&parts);
        only(&token, &token, kind);
        only(&format!("token={token}"), &token, kind);
        only(&format!("{{\"x\":\"{token}\"}}"), &token, kind);
    }
}

#[test]
fn json_web_tokens() {
    let jwt = joined(&[
        "eyJ",
        "hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        ".eyJzdWIiOiJ1MTcxIn0.q0slIsYQSZsATh14RpoOf2f87beGpVQd",
    ]);
    only(&jwt, &jwt, "jwt");
    only(&format!("Authorization: Bearer {jwt}"), &jwt, "jwt");
    only(&format!("token={jwt}&x=1"), &jwt, "jwt");
}

#[test]
fn private_keys_up_to_their_end() {
    for label in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "] {
        let key = joined(&[
            "-----BEGIN ",
            label,
            "PRIVATE KEY-----\nMIIabc+/=\nxyz\n-----END ",
            label,
            "PRIVATE KEY-----",
        ]);
        only(&format!("x {key} y"), &key, "private_key");
    }
    let pgp = joined(&[
        "-----BEGIN PGP PRIVATE",
        " KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----",
    ]);
    only(&pgp, &pgp, "private_key");
    let cut = joined(&["-----BEGIN PRIVATE", " KEY-----\nMIIabc"]);
    only(&cut, &cut, "private_key");
    let escaped = joined(&[
        "-----BEGIN PRIVATE",
        " KEY-----\\nMIIabc\\n-----END PRIVATE KEY-----\\n",
    ]);
    assert_eq!(find(&escaped).len(), 1);
}

#[test]
fn secrets_by_the_name_beside_them() {
    let secret = joined(&["YWOijNKTv4QrGVT3vyAX", "kEoGMMSvVKUr06MGncng"]);
    only(
        &format!("aws_secret_access_key={secret}"),
        &secret,
        "aws_secret_key",
    );
    only(
        &format!("{{\"secretKey\":\"{secret}\"}}"),
        &secret,
        "aws_secret_key",
    );
    for (text, part) in [
        ("password=hunter2", "hunter2"),
        ("DB_PASSWORD='correct horse'", "correct horse"),
        ("\"password\": \"hunter2\"", "hunter2"),
        ("{\\\"password\\\": \\\"hunter2\\\"}", "hunter2"),
        ("pwd: s3cr3t!", "s3cr3t!"),
        ("PGPASSWORD=x8!kd psql", "x8!kd"),
        ("api_key = 9f8a7b6c5d4e3f21", "9f8a7b6c5d4e3f21"),
        ("client-secret: Zx81-spectrum-K", "Zx81-spectrum-K"),
        ("host=h password=hunter2 dbname=x", "hunter2"),
        ("ALTER ROLE app PASSWORD 'hunter2'", "hunter2"),
        ("CREATE USER app IDENTIFIED BY 'hunter2'", "hunter2"),
        ("<password>hunter2</password>", "hunter2"),
        ("mysql --password hunter2 -h x", "hunter2"),
        ("Password: Tr0ub4dor&3", "Tr0ub4dor&3"),
        ("password=it's&user=x", "it's"),
        ("{password:hunter2,user:x}", "hunter2"),
        ("(password=hunter2)", "hunter2"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    ] {
        only(text, part, "password_assignment");
    }
}

#[test]
fn passwords_inside_of_urls() {
    only(
        "postgres://app:hunter2@db.example.test:5432/shop",
        "app:hunter2",
        "url_password",
    );
    only("https://:t0ken@example.test/", ":t0ken", "url_password");
    only("amqp://u:p%40ss@h/v", "u:p%40ss", "url_password");
}

#[test]
fn several_kinds_in_one_cell() {
    let found = find("a@example.test;860-41-2626;4000006739051240");
    let kinds: Vec<_> = found.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, ["email", "ssn", "pan"]);
}
