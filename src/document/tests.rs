//! What a document promises to those who wrote it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[track_caller]
fn parse(text: &str) -> Document {
    Document::parse("a.yaml", text.to_owned()).expect(text)
}

#[track_caller]
fn refused(text: &str) -> String {
    Document::parse("a.yaml", text.to_owned()).expect_err(text).to_string()
}

#[test]
fn what_is_not_one_document_is_refused_with_its_place() {
    let check = |text: &str, expected: &str| assert_eq!(refused(text), expected, "{text:?}");
    check("", "a.yaml:1:1: the document is empty");
    check("# only a comment\n", "a.yaml:1:1: the document is empty");
    check("~", "a.yaml:1:1: the document is empty");
    check("a: 1\n---\nb: 2\n", "a.yaml:3:1: a second document begins here; a file holds only one");
    check(
        "a: 1\nb: [1, 2\nc: 3\n",
        "a.yaml:3:2: is not YAML: did not find expected ',' or ']', while parsing a list in brackets at line 2 column 4",
    );
    check("a: b: c\n", "a.yaml:1:5: is not YAML: mapping values are not allowed in this context");
    check("a: *b\n", "a.yaml:1:4: is not YAML: unknown anchor");
    check(
        "a: !secret b\n",
        "a.yaml:1:4: a tag (`!name`) has no meaning here; leave it out, or put the text into quotes",
    );
    check("a: &a {b: 1}\nc:\n  <<: *a\n", "a.yaml:3:3: merging (`<<`) has no meaning here; write the fields out");
    check(
        "? [a]\n: b\n",
        "a.yaml:1:3: a value does not fit its tag, or a field name is not text; `{{...}}` must be in quotes",
    );
    check("a: 99999999999999999999\n", "a.yaml:1:4: this number is too large; if it is text, put it into quotes");
}

#[test]
fn every_field_that_occurs_twice_is_shown() {
    assert_eq!(
        refused("a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\na: 2\n"),
        "a.yaml:5:5: b[0].c: occurs twice; the first is at line 3\na.yaml:6:1: a: occurs twice; the first is at line 1"
    );
    let mut many: String = (0..100).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "f{n}: 1");
        text
    });
    many.push_str("f50: 2\n");
    assert_eq!(refused(&many), "a.yaml:101:1: f50: occurs twice; the first is at line 51");
}

#[test]
fn aliases_cannot_make_a_small_text_large() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for n in 1..9 {
        let before = n - 1;
        let _ = writeln!(text, "a{n}: &a{n} [{}]", vec![format!("*a{before}"); 10].join(", "));
    }
    let problem = refused(&text);
    assert!(problem.ends_with("its aliases repeat too much"), "{problem}");
}

#[test]
fn a_document_too_deep_to_walk_is_refused() {
    let problem = refused(&format!("a: {}{}", "[".repeat(500), "]".repeat(500)));
    assert!(problem.contains("recursion limit exceeded"), "{problem}");
}

#[test]
fn a_file_is_refused_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let read = |bytes: &[u8], bytes_max: u64| {
        std::fs::write(&path, bytes).unwrap();
        let problems = Document::read(&path, bytes_max).map(|_| ()).unwrap_err();
        problems.to_string().replace(&path.display().to_string(), "a.yaml")
    };
    assert_eq!(read(b"a: 1\nb: \xc3\xa4\xff\n", 100), "a.yaml:2:5: is not UTF-8 text");
    assert_eq!(read(b"a: 123456", 8), "a.yaml: is larger than 8B, the most that is read");
    assert!(Document::read(&path, 9).is_ok());
    std::fs::remove_file(&path).unwrap();
    let missing = Document::read(&path, 9).unwrap_err().to_string();
    assert!(missing.ends_with("a.yaml: cannot be opened: No such file or directory (os error 2)"), "{missing}");
}

/// The places come out of words of the parser, so each style is held to them.
#[test]
fn a_problem_points_at_what_it_is_about() {
    let document = parse(
        "one: 1\ntwo:\n  three: 'x'\n  list:\n    - a: 1\n      b: 2\n    - {c: 3, d: [4, 5]}\n    - plain\nempty:\nanchor: &x\n  \
         y: 1\nalias: *x\ntext: |\n  block\nä: ö\n",
    );
    let root = Path::root();
    let check = |path: &Path, place: (usize, usize)| {
        let problem = document.problem(path, "m");
        assert_eq!((problem.line, problem.column), place, "{path}");
    };
    let list = root.field("two").field("list");
    check(&root, (1, 1));
    check(&root.field("one"), (1, 6));
    check(&root.field("two"), (2, 1));
    check(&root.field("two").field("three"), (3, 10));
    check(&root.field("two").field("missing"), (2, 1));
    check(&list, (4, 3));
    check(&list.index(0), (5, 7));
    check(&list.index(0).field("b"), (6, 10));
    check(&list.index(1).field("d").index(1), (7, 21));
    check(&list.index(2), (8, 7));
    check(&list.index(9), (4, 3));
    check(&root.field("empty"), (9, 1));
    check(&root.field("alias").field("y"), (11, 6));
    check(&root.field("text"), (13, 7));
    check(&root.field("ä"), (15, 4));
    check(&root.field("one").field("inside"), (1, 6));
    let name = document.problem_with_name(&root.field("one"), "m");
    assert_eq!((name.line, name.column), (1, 1));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    name: String,
    #[serde(default)]
    count: Option<u32>,
    #[serde(default)]
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    kind: Kind,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Small,
    Large,
    Sized { bytes: size::ByteSize },
}

/// The parser ends lines where `grep -n` does not.
#[test]
fn lines_are_counted_as_editors_count_them() {
    let at = |text: &str, field: &str| {
        let problem = parse(text).problem(&Path::root().field(field), "m");
        (problem.line, problem.column)
    };
    for text in ["a: 1\nb: 2\n", "a: 1\r\nb: 2\r\n", "a: \"\r\r\u{2028}\r\"\nb: 2\n", "#\u{85}\u{85}#\ra: 1\nb: 2\n"] {
        assert_eq!(at(text, "b"), (2, 4), "{text:?}");
    }
    assert_eq!(at("a: 1\rb: 2\r", "b"), (1, 9));
    assert_eq!(at("a: \"\r\" # \r\nc: 1\nb: 2", "b"), (3, 4));
    assert!(
        refused("a: \"\r\r\r\"\nb: [1\nc: }\n").starts_with("a.yaml:3:"),
        "{}",
        refused("a: \"\r\r\r\"\nb: [1\nc: }\n")
    );
}

#[test]
fn decoding_finds_the_place_and_hides_the_value() {
    let shape: Shape =
        parse("name: x\ncount: 3\ninner:\n  - kind: small\n  - kind: {sized: {bytes: 1KiB}}\n").decode().unwrap();
    assert_eq!((shape.name.as_str(), shape.count, shape.inner.len()), ("x", Some(3), 2));
    assert_eq!(shape.inner[1].kind, Kind::Sized { bytes: size::ByteSize::from_bytes(1024) });

    let check = |text: &str, expected: &str| {
        let problems = parse(text).decode::<Shape>().unwrap_err();
        assert_eq!(problems.to_string(), expected, "{text}");
    };
    check("name: 123456\n", "a.yaml:1:7: name: expected a string, found a whole number");
    check("name: x\ncount: hunter2\n", "a.yaml:2:8: count: expected u32, found text");
    check("name: x\ncount: -7\n", "a.yaml:2:8: count: expected u32");
    check("name: x\ncount:\n", "a.yaml:2:1: count: expected u32, found nothing");
    check("count: 1\n", "a.yaml:1:1: name: is missing, and has no default");
    check("name: x\ncuont: 1\n", "a.yaml:2:1: cuont: unknown field; did you mean `count`?");
    check("name: x\ninner:\n- kind: hunter2\n", "a.yaml:3:9: inner[0].kind: expected `small`, `large` or `sized`");
    check(
        "name: x\ninner:\n- kind: {sized: {bytes: hunter2}}\n",
        "a.yaml:3:25: inner[0].kind.sized.bytes: is not a size such as `64KiB`, `10MiB`, `1GiB` or a number of bytes",
    );
    check("hunter2\n", "a.yaml:1:1: expected struct Shape, found text");
}

fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["listen"],
        "properties": {
            "listen": {"anyOf": [
                {"type": "string", "format": "socket-address"},
                {"$ref": "#/$defs/Listener"},
                {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Listener"}}
            ]},
            "requests": {"type": "integer", "format": "uint32", "minimum": 1},
            "verify": {"type": "boolean"},
            "wait": {"type": "string", "format": "human-duration"},
            "name": {"type": "string", "minLength": 1},
            "algorithm": {"oneOf": [{"const": "token_bucket"}, {"const": "rolling_window"}, {"const": "none"}]},
            "version": {"type": "string", "enum": ["1.2", "1.3"]},
            "workers": {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]},
            "body": {"anyOf": [{"const": "unlimited"}, {"type": ["string", "integer"], "format": "byte-size"}]}
        },
        "$defs": {"Listener": {
            "type": "object",
            "required": ["address"],
            "additionalProperties": false,
            "properties": {"address": {"type": "string", "format": "socket-address"}, "http2": {"type": "boolean"}}
        }}
    })
}

#[test]
fn a_schema_finds_every_problem_at_once() {
    let mut document = parse(
        "lisen: x\nrequests: 0\nverify: yes\nwait: 30\nname: ''\nalgorithm: tokenbucket\nversion: 1.2\nworkers: many\nbody: 10M\n",
    )
    .showing_values();
    assert_eq!(
        document.check(&schema()).to_string(),
        "a.yaml:1:1: lisen: unknown field; did you mean `listen`?\n\
         a.yaml:1:1: listen: is missing, and has no default\n\
         a.yaml:2:11: requests: must be at least 1\n\
         a.yaml:3:9: verify: expected `true` or `false`, found text\n\
         a.yaml:4:7: wait: expected a duration such as `30s`, found a whole number\n\
         a.yaml:5:7: name: is empty; write a value, or leave the field out\n\
         a.yaml:6:12: algorithm: `tokenbucket` is not `token_bucket`, `rolling_window` or `none`; did you mean `token_bucket`?\n\
         a.yaml:7:10: version: expected `1.2` or `1.3`, found a number; put it into quotes\n\
         a.yaml:8:10: workers: `many` is not `auto` or a whole number\n\
         a.yaml:9:7: body: `10M` is not `unlimited` or a size such as `10MiB`"
    );
}

#[test]
fn the_shape_that_was_meant_is_the_one_that_is_explained() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(text).showing_values().check(&schema()).to_string(), expected, "{text}");
    };
    check("listen: 127.0.0.1:80\n", "");
    check("listen: {address: '[::]:80'}\nrequests: 1\nworkers: 8\nbody: 10\n", "");
    check(
        "listen: localhost:80\n",
        "a.yaml:1:9: listen: `localhost:80` is a name, not an address; write for example `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`",
    );
    check(
        "listen:\n  adress: 1\n",
        "a.yaml:1:1: listen.address: is missing, and has no default\n\
         a.yaml:2:3: listen.adress: unknown field; did you mean `address`?",
    );
    check("listen:\n", "a.yaml:1:1: listen: has no value; write one");
    check("listen: []\n", "a.yaml:1:1: listen: is an empty list; write at least one item");
    check(
        "listen: 80\n",
        "a.yaml:1:9: listen: expected an address such as `127.0.0.1:8080`, a mapping or a list, found a whole number",
    );
    check(
        "listen: [{address: 1.2.3.4:5, http2: 1}]\n",
        "a.yaml:1:38: listen[0].http2: expected `true` or `false`, found a whole number",
    );
    check("listen: 1.2.3.4:5\nrequests: 5000000000\n", "a.yaml:2:11: requests: must be at most 4294967295");
    check("- listen\n", "a.yaml:1:3: expected a mapping, found a list");
}

#[test]
fn expanded_text_becomes_what_the_schema_wants() {
    let variable = |name: &str| match name {
        "N" => Some("100".to_owned()),
        "ZERO" => Some("0".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    };
    let check = |text: &str, expected: &str| {
        let mut document = parse(text).showing_values();
        let mut problems = document.expand(&variable);
        problems.extend(document.check(&schema()));
        assert_eq!(problems.to_string(), expected, "{text}");
    };
    check("listen: ${A:-1.2.3.4:5}\nrequests: ${N}\nverify: ${V:-true}\nworkers: ${N}\nbody: ${N}\n", "");
    check("listen: 1.2.3.4:5\nrequests: '100'\n", "a.yaml:2:11: requests: expected a whole number, found text");
    check(
        "listen: 1.2.3.4:5\nrequests: ${ZERO}\nworkers: ${ZERO}\n",
        "a.yaml:2:11: requests: must be at least 1\na.yaml:3:10: workers: must be at least 1",
    );
    check(
        "listen: 1.2.3.4:5\nwait: ${SECRET}\nalgorithm: ${SECRET}\n",
        "a.yaml:2:7: wait: is not a duration such as `500ms`, `30s`, `1m30s`, `24h` or `90d`\na.yaml:3:12: algorithm: must be `token_bucket`, `rolling_window` or `none`",
    );
    check(
        "listen: 1.2.3.4:5\nname: x${NONE}\n",
        "a.yaml:2:7: name: the environment variable `NONE` is not set; set it, or write `${NONE:-default}`",
    );
}

#[test]
fn what_is_faulty_is_set_aside_and_the_rest_decodes() {
    let schema = json!({"additionalProperties": false, "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "inner": {"type": "array", "items": {"properties": {"kind": {"enum": ["small"]}}}}
    }});
    let root = Path::root();
    let check = |text: &str, faulty: &[Path], count: Option<u32>, items: &[Path]| {
        let mut document = parse(text);
        document.expand(&|_| None);
        document.check(&schema);
        let rest: Shape = document.decode_rest().expect(text);
        assert_eq!((rest.name.as_str(), rest.count), ("x", count), "{text}");
        let found: Vec<_> = (0..rest.inner.len()).map(|n| document.item(&root.field("inner"), n)).collect();
        assert_eq!(found, items, "{text}");
        assert!(faulty.iter().all(|path| document.is_faulty(path)), "{text}");
        assert!(!document.is_faulty(&root.field("name")) && !document.is_faulty(&root.field("other")), "{text}");
        assert_eq!(document.problem(&root.field("name"), "m").line, 1, "{text}");
    };
    let inner = root.field("inner");
    check("name: x\ncount: 0\n", &[root.field("count")], None, &[]);
    check("name: x\ncount: 7\nzzz: 1\n", &[root.field("zzz")], Some(7), &[]);
    check("name: x\ncount: ${N}\n", &[root.field("count")], None, &[]);
    check(
        "name: x\ninner: [{kind: '${N}'}, {kind: small}]\n",
        &[inner.index(0).field("kind")],
        None,
        &[inner.index(1)],
    );
    check(
        "name: x\ncount: 7\ninner: [{}, {kind: small}, 7]\n",
        &[inner.index(0), inner.index(2)],
        Some(7),
        &[inner.index(1)],
    );

    let mut document = parse("name: 1\ncount: 1\n");
    document.check(&schema);
    assert!(document.decode_rest::<Shape>().is_none(), "the document as a whole cannot be left out");
}

#[test]
fn a_value_that_misses_two_fields_sets_nothing_aside_around_it() {
    let schema = json!({"properties": {"inner": {"items": {"required": ["kind", "size"]}}}});
    let mut document = parse("name: x\ninner: [{kind: small, size: 1}, {}]\n");
    assert_eq!(document.check(&schema).len(), 2);
    let kind = document.problem(&Path::root().field("inner").index(0).field("kind"), "m");
    assert_eq!((kind.line, kind.column), (2, 16));
    assert_eq!(document.decode_rest::<Shape>().map(|rest| rest.inner.len()), Some(1));
}

#[test]
fn no_problem_shows_a_value_unless_asked_to() {
    let secret = "kg_live_0123456789abcdefghijABCDEFGHIJKLMNOPQRST";
    let text = format!(
        "listen: {secret}\nwait: {secret}\nversion: {secret}\nbody: {secret}\n{secret}: 1\nrequests: {secret}\n"
    );
    let problems = parse(&text).check(&schema());
    assert_eq!(problems.len(), 6, "{problems}");
    assert!(!problems.to_string().contains("kg_live"), "{problems}");
    assert!(!format!("{problems:?}{:?}", parse(&text)).contains(secret));
}

#[test]
fn the_list_of_problems_has_an_end() {
    let text: String = (0..1000).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "f{n}: 1");
        text
    });
    let problems = parse(&text).check(&schema());
    assert_eq!(problems.len(), 101);
    assert!(problems.to_string().starts_with("a.yaml:1:1: there are more problems"), "{problems}");
}

/// Not a measurement: a guard against work that grows with the square of the file.
#[test]
fn a_hundred_thousand_entries_are_parsed_and_decoded() {
    let text: String = (0..100_000).fold("name: x\ninner:\n".to_owned(), |mut text, _| {
        text.push_str("  - kind: small\n");
        text
    });
    let shape: Shape = parse(&text).decode().unwrap();
    assert_eq!(shape.inner.len(), 100_000);
}

proptest::proptest! {
    /// Neither we nor the parser may fall over anything that somebody can type.
    #[test]
    fn no_text_makes_reading_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "a", "listen", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "&a ", "*a", "!t ", "!!int ", "? ",
            "|", ">", "'", "\"", "#", "---\n", "...\n", "${A}", "${", "1", "0x", "~", "<<", "\t", "\u{0}", "\u{feff}", "ä", "%",
        ]), 0..40),
    ) {
        let text = pieces.concat();
        match Document::parse("a.yaml", text) {
            Ok(mut document) => {
                let mut problems = document.expand(&|_| None);
                problems.extend(document.check(&schema()));
                let _ = document.decode_rest::<Shape>();
                proptest::prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
            }
            Err(problems) => proptest::prop_assert!(!problems.is_empty()),
        }
    }
}
