//! Values that look like findings and are not.

use super::*;

#[test]
fn numbers_that_are_not_social_security_numbers() {
    for text in [
        "666-12-3456",
        "000-12-3456",
        "987-65-4320",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "078-05-1120",
        "219-09-9999",
        "123-45-6789",
        "111-11-1111",
        "774-21-90361",
        "7774-21-9036",
        "ISBN 774-21-9036-55",
        "ORD-774-21-9036",
        "774-21-9036-A",
        "A774-21-9036",
        "887910860",
        "774-21/9036",
    ] {
        nothing(text);
    }
}

#[test]
fn numbers_that_are_not_cards() {
    for text in [
        "order 5555552807377672",
        "0000000000000000",
        "**** **** **** 4242",
        "IMEI 359076557956841",
        "order #9184858033766858",
        "2000000774219",
        "00012345600012345678",
        "9400000000077421903600",
        "ORD-4000-0077-4219",
        "40000067390512401",
        "$4000006739051240",
        "x4000004544926",
        "0x4000006739051240",
        "4000 0067 3905 1241",
        "4000-0067-3905-1240-99",
        "1.4000006739051240",
    ] {
        nothing(text);
    }
}

#[test]
fn text_that_is_not_an_iban() {
    for text in [
        "GB08TEST00000085771079",
        "ZZ12TEST000000000001",
        "DE520000000012345678",
        "GB999 9999 73",
        "SKU GB29 BLACK XL",
        "DE030000000062849845470",
        "XDE03000000006284984547",
    ] {
        nothing(text);
    }
}

#[test]
fn text_that_is_not_an_email_address() {
    for text in [
        "user@",
        "a@b",
        "@types/node@20.1.0",
        "@media screen",
        "x @ y",
        "postgres://h:5432/db?x=a@b",
        "icon@2x.png",
        "a..b@",
        "a..b@example.test",
        "@example.test",
        "git@github.com:org/repo.git",
        "ssh://git@github.com/org/repo",
        "lodash@4.17.21",
        "user@-x.test",
        "image@sha256:abcdef",
        "a.@example.test",
        "getty@tty1.service",
    ] {
        nothing(text);
    }
}

#[test]
fn numbers_that_are_not_phone_numbers() {
    for text in [
        "1726560000",
        "12:34:56.789",
        "123-456",
        "0000000000",
        "3.14159265358",
        "2025-550-01234",
        "A2025550123B",
        "2025550123",
        "2024-09-17 10:00:00",
        "2024-09-17T10:00:00+02:00",
        "+1.5",
        "REF 7742 1903",
        "#100001",
        "2024/000774219036",
        "RMA774219036",
        "183456.78",
        "-12.5e3",
        "+10000-01-01",
        "+4439-06336",
        "0 0 1 1 0 1 0 0 1 1 0",
        "SKU 0123-4567-89",
        "ISBN 0-306-40615-2",
        "07 09 2024 10:00",
        "07-09-2024 10:30:00",
        "1,000,000.00",
        "17/09/2024",
        "01.02.2024",
        "100 200 300",
        "12 345 678 901",
    ] {
        nothing(text);
    }
}

#[test]
fn text_that_is_not_an_ip_address() {
    for text in [
        "1.2.3.4.5",
        "v1.2.3.4",
        "1.2.3.4-beta",
        "version 1.2.3.4",
        "256.1.1.1",
        "1.2.3",
        "12:34:56",
        "std::vector::iterator",
        "fe80:zz::1",
        "10:20:30:40:50:60:70",
        "00:11:22:33:44:55",
        "::",
        "0.0.0.0",
        "Foo::Bar",
        "args[0::2], args[::3]",
        "SELECT $1::int, 1::date, 1::'x'",
        "a::b",
    ] {
        nothing(text);
    }
}

#[test]
fn dates_and_identifiers() {
    for text in [
        "2024-09-17",
        "17/09/2024",
        "09/17/24",
        "Tue, 17 Sep 2024 10:00:00 GMT",
        "19 March 1981",
        "8b7f32a5-2cce-437c-ab85-f2f7d82b226c",
        "01HZX3K9V7J8Q2M4N6P8R0T2WY",
        "ORD-20240917-000042",
        "INV-774-21",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ] {
        nothing(text);
    }
}

#[test]
fn placeholders_and_checksums_of_tokens() {
    for parts in [
        ["ghp", "_short", ""],
        ["ghp", "_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ""],
        ["ghp", "_kINaqGHxEi6BZeg3ZQBIqCO9NbibGK1NtgFM", ""],
        ["AKI", "AIOSFODNN7", "EXAMPLE"],
        ["eyJ", "hbGciOiJIUzI1NiJ9", ".eyJzdWIiOiJ4In0"],
        ["aaa", ".bbb", ".ccc"],
        ["eyJ", "zdWIiOiJ4In0", ".eyJzdWIiOiJ4In0.abc"],
        ["sk_", "live_", "xxxxxxxxxxxxxxxxxxxxxxxx"],
        ["npm", "_run_", "build"],
    ] {
        nothing(&joined(&parts));
    }
}

#[test]
fn public_keys_and_certificates() {
    for label in [
        "PUBLIC KEY",
        "CERTIFICATE",
        "CERTIFICATE REQUEST",
        "RSA PUBLIC KEY",
    ] {
        nothing(&format!(
            "-----BEGIN {label}-----\nMIIabc\n-----END {label}-----"
        ));
    }
}

#[test]
fn names_of_secrets_without_a_secret() {
    for text in [
        "password=<redacted>",
        "password=",
        "password: ",
        "password=${DB_PASSWORD}",
        "password=********",
        "password=null",
        "\"password\": null",
        "password = getpass()",
        "password=$PASSWORD",
        "password={{ .Values.password }}",
        "password=[REDACTED]",
        "token: string",
        "max_tokens=4096",
        "PASSWORD ''",
        "<password></password>",
        "<password>${PW}</password>",
        "--password --verbose",
        "password=:password",
        "getpass('Password: ')",
        "secret=true",
        "token: CancellationToken",
        "Token::TupleStruct",
        "token: syn::token::Brace2",
        "password: must be long",
        "password == other",
        "postgres://db.example.test/shop",
        "postgres://u@db/shop",
        "postgres://u:***@db/shop",
        "compass=north",
        "password_hint=cat",
        "key=value",
    ] {
        nothing(text);
    }
}
