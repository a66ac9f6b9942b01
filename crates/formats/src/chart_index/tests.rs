//! The same index in every spelling reads the same; broken ones say why; none of them takes the program down.

use std::fmt::Write as _;
use std::io::Write as _;

use super::*;

const LIMITS: Limits = Limits { charts: 1000, versions: 10_000 };

fn read(text: &str) -> Result<Index> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    parse(&mut file, LIMITS)
}

/// Whether the line reader alone takes a text.
fn is_blocks(text: &str) -> bool {
    blocks::read(text.as_bytes(), &mut Collector::new(LIMITS)).unwrap()
}

fn by_events(text: &str) -> Index {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let mut collector = Collector::new(LIMITS);
    yaml::read(&mut file, &mut collector).unwrap();
    collector.finish().unwrap()
}

fn said(index: &Index) -> String {
    serde_json::to_string(
        &index
            .charts
            .iter()
            .map(|(name, chart)| (name, &chart.metadata, &chart.versions))
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

/// As Helm writes it.
const HELMS: &str = r#"apiVersion: v1
entries:
  alpine:
  - annotations:
      category: Infrastructure
      images: |
        - name: alpine
          image: docker.io/alpine:3
      licenses: Apache-2.0
    apiVersion: v2
    appVersion: 3.20.1
    created: "2024-05-06T07:08:09.123456789Z"
    dependencies:
    - name: common
      repository: oci://registry.example/charts
      tags:
      - a
      version: 2.x.x
    description: Small and simple, but also a text that is long enough to go
      on in the next line, and in one more that ends here.
    digest: 99c76e403d752c84ead610644d4b1c2f2b453a74b921f422b9dcb8a7c8b559cd
    home: https://example.org/alpine
    icon: https://example.org/alpine.png
    keywords:
    - small
    - linux
    maintainers:
    - email: a@example.org
      name: Alice
    - name: Bob
    name: alpine
    sources:
    - https://example.org/git/alpine
    type: application
    urls:
    - https://example.org/alpine-0.2.0.tgz
    version: 0.2.0
  - created: "2024-01-06T07:08:09Z"
    deprecated: true
    description: 'It''s "old": # and that is all'
    digest: sha256:705ebc5d83feb2ce3cea7a7b7bcd9ed8c1a3de0a1f1c7d8a2b8c47c8ad1d1c06
    name: alpine
    urls:
    - alpine-0.1.0.tgz
    version: 0.1.0
  - name: alpine
    urls:
    - alpine-1.0.0-rc.1.tgz
    version: 1.0.0-rc.1
  nginx:
  - description: |-
      Two
      lines
    name: nginx
    urls:
    - "nginx-v1.tgz"
    version: "v1"
  empty: []
generated: "2024-05-06T07:08:09.123456789Z"
"#;

#[test]
fn what_helm_writes_is_read_line_by_line_and_says_the_same_as_by_events() {
    let index = read(HELMS).unwrap();

    assert!(is_blocks(HELMS));
    assert_eq!(said(&index), said(&by_events(HELMS)));
    assert_eq!((index.versions, index.skipped), (4, 0), "{:?}", index.problems);
    let alpine = &index.charts["alpine"];
    assert_eq!(
        alpine.versions.iter().map(|version| version.version.as_str()).collect::<Vec<_>>(),
        ["1.0.0-rc.1", "0.2.0", "0.1.0"]
    );
    assert_eq!(
        alpine.metadata.description,
        "Small and simple, but also a text that is long enough to go on in the next line, and in one more that ends here."
    );
    assert_eq!(alpine.metadata.maintainers, ["Alice", "Bob"]);
    assert_eq!(alpine.metadata.category.as_deref(), Some("Infrastructure"));
    assert_eq!(alpine.versions[1].created, Some(1_714_979_289));
    assert!(alpine.versions[2].deprecated);
    assert_eq!(index.charts["nginx"].metadata.description, "Two\nlines");
    assert!(!index.charts.contains_key("empty"));
}

#[test]
fn json_and_flow_style_and_anchors_say_the_same() {
    let json = r#"{"apiVersion":"v1","generated":"x","entries":{"a":[{"name":"a","version":"1.0.0","urls":["a.tgz"],"keywords":["k"],"digest":null}],"b":[]}}"#;
    let flow =
        "{apiVersion: v1, entries: {a: [{name: a, version: 1.0.0, urls: [a.tgz], keywords: [k]}], b: []}}";
    let anchors = "defaults: &d\n  name: a\n  keywords: [k]\nentries:\n  a:\n  - <<: *d\n    version: 1.0.0\n    urls: &u [a.tgz]\n  - <<: *d\n    version: 1.0.0\n    urls: *u\n";
    let wide = "entries:\n    a:\n      - name: a\n        version: 1.0.0 # first\n        urls:\n          - a.tgz\n        keywords: [k]\n";
    let dashes = "entries:\n  a:\n  -\n    name: a\n    version: 1.0.0\n    urls:\n    -\n      a.tgz\n    keywords: [k]\n";
    let expected = said(&read(json).unwrap());

    for text in [flow, anchors, wide, dashes] {
        assert!(!is_blocks(text), "{text}");
        assert_eq!(said(&read(text).unwrap()), expected, "{text}");
    }
    assert_eq!(read(anchors).unwrap().skipped, 1, "a version that is listed twice");
}

#[test]
fn bad_entries_are_left_out_and_counted() {
    let index = read(
        "entries:\n  good:\n  - {name: good, version: 1.0.0, urls: [x]}\n  - {name: good, version: latest}\n  - {name: good}\n  - text\n  - null\n  - {name: other, version: 1.0.0}\n  ../up:\n  - {name: ../up, version: 1.0.0}\n  '..':\n  - {version: 1.0.0}\n  a/b:\n  - {version: 1.0.0}\n  odd: 7\n  \"esc\\e[2J\":\n  - {version: 1.0.0}\n",
    )
    .unwrap();

    assert_eq!(index.charts.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!((index.versions, index.skipped), (1, 10), "{:#?}", index.problems);
    assert!(index.problems.iter().all(|problem| !problem.contains('\u{1b}')), "{:?}", index.problems);
}

#[test]
fn texts_lose_what_drives_terminals_and_are_cut() {
    let long = "x".repeat(5000);
    let text = format!(
        "entries:\n  a:\n  - version: 1.0.0\n    description: \"red \\u001b[31m\\u202etext\\u0007 <script>alert(1)</script>\"\n    home: \"javascript:alert(1)\\n\"\n    appVersion: {long}\n    icon: {long}\n"
    );
    let index = read(&text).unwrap();
    let chart = &index.charts["a"];

    assert_eq!(chart.metadata.description, "red [31mtext <script>alert(1)</script>");
    assert_eq!((chart.metadata.home.as_deref(), chart.metadata.icon.as_deref()), (None, None));
    assert_eq!(chart.versions[0].app_version.as_ref().map(String::len), Some(128));
}

#[test]
fn what_is_no_index_is_refused_with_a_reason() {
    for (text, words) in [
        ("", "not an object"),
        ("<!DOCTYPE html><html></html>", "not an object"),
        ("[]", "not an object"),
        ("apiVersion: v1\n", "no `entries`"),
        ("entries: 7\n", "not an object of charts"),
        ("entries:\n\ta: b\n", "not YAML"),
        ("entries: {a: [", "not YAML"),
        ("{\"entries\": {\"a\": [", "not YAML"),
        ("a: *b\n", "not YAML"),
        ("entries: {? [a] : b}", "key is not a text"),
        ("entries:\n  a: &x\n  - version: 1.0.0\n    self: *x\n", "alias is inside"),
        ("entries: {a: [{version: 1.0.0, version: 2.0.0}]}", "twice"),
        ("\u{0}\u{1}", "not"),
    ] {
        let message = read(text).unwrap_err().to_string();
        assert!(message.contains(words), "{text:?}: {message}");
    }
}

#[test]
fn json_is_read_as_helm_reads_it() {
    let index = read(
        r#"{"entries": {"a": [
            {"name": "b", "name": "a", "version": "1.0.0", "keywords": ["x"], "keywords": ["k", 7, null, ["y"], {"name": "n"}], "maintainers": [{"name": "A"}],
             "home": {"name": "x"}, "icon": ["i.png"], "deprecated": true, "annotations": {"category": 7, "category": "c"}, "urls": "a.tgz", "digest": null},
            {"version": 2}, {"version": 1.5}, 7, "x", null, true, -1, 0.5, [[{}]], []
        ], "none": null}}"#,
    )
    .unwrap();
    let chart = &index.charts["a"];

    let versions: Vec<_> = chart.versions.iter().map(|version| version.version.as_str()).collect();
    assert_eq!((versions, index.skipped), (vec!["2", "1.5", "1.0.0"], 8), "{:#?}", index.problems);
    let first = &chart.versions[2];
    assert!(first.deprecated && first.urls.is_empty());
    assert!(read(r#"{"entries": {"a": {"b": 1}}}"#).unwrap().charts.is_empty());
    assert!(read(r#"{"entries": 7}"#).is_err());
}

#[test]
fn bombs_end_early() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{items}]").unwrap();
    }
    laughs.push_str("entries: {a: [{version: 1.0.0, x: *a8}]}\n");
    let quadratic = format!(
        "a: &a {}\nentries: {{a: [{}]}}\n",
        "x".repeat(1 << 20),
        vec!["{version: 1.0.0, x: *a}"; 4000].join(", ")
    );
    let deep = format!("entries: {{a: [{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_json =
        format!("{{\"entries\": {{\"a\": [{{\"name\": {}{}}}]}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let escapes = format!("{{\"entries\": {{\"a\": [{{\"name\": \"{}\"}}]}}}}", "\\\"".repeat(1 << 20));
    let unquoted = format!("{{\"x\": \"{}", "x".repeat(3 << 20));
    let nested = format!("entries:\n  a:\n  - version: 1.0.0\n    x: {}{}\n", "[".repeat(40), "]".repeat(40));
    let scalar = format!("entries: {{a: [{{version: 1.0.0, description: {}}}]}}", "x".repeat(3 << 20));
    let many = format!("entries:\n  a:\n{}", "  - version: 1.0.0\n".repeat(10_001));
    let charts = (0..1001)
        .fold(String::from("entries:\n"), |text, number| format!("{text}  a{number}:\n  - version: 1.0.0\n"));
    for (name, text) in [
        ("laughs", laughs),
        ("quadratic", quadratic),
        ("deep", deep),
        ("deep_json", deep_json),
        ("escapes", escapes),
        ("unquoted", unquoted),
        ("nested", nested),
        ("scalar", scalar),
        ("many", many),
        ("charts", charts),
    ] {
        let begun = std::time::Instant::now();
        assert!(read(&text).is_err(), "{name}");
        assert!(begun.elapsed().as_secs() < 20, "{name} took {:?}", begun.elapsed());
    }
}

#[test]
fn what_is_read_as_a_stream_says_the_same() {
    let mut text = String::from("entries:\n    a:\n");
    for number in 0..300 {
        writeln!(
            text,
            "    - {{name: a, version: 1.0.{number}, urls: [\u{e4}\u{4e2d}\u{1f600}.tgz], x: \"{}\"}}",
            "x".repeat(900)
        )
        .unwrap();
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut collector = Collector::new(LIMITS);

    yaml::read_as_stream(&file, &mut collector).unwrap();

    assert_eq!(said(&collector.finish().unwrap()), said(&by_events(&text)));
    for broken in
        [&b"entries: \xff"[..], b"entries: \xc3", b"entries: \xed\xa0\x80", b"entries: \xf5\x80\x80\x80"]
    {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(broken).unwrap();
        file.rewind().unwrap();
        assert!(yaml::read_as_stream(&file, &mut Collector::new(LIMITS)).is_err());
    }
}

proptest::proptest! {
    /// Any text reads or is refused; it never ends the program, and both readers agree where the line reader takes it.
    #[test]
    fn no_text_takes_the_program_down(text in "(apiVersion: v1\n)?(entries:\n)?(  [a-c.]{1,3}:\n|  - |    |name: |version: |1\\.0\\.[0-9]|urls:\n|- |\"|'|\\||>|#|&a |\\*a|\\{|\\}|\\[|\\]|: |, |\n|[ -~]|é){0,60}") {
        let result = read(&text);
        let mut collector = Collector::new(LIMITS);
        if let Ok(true) = blocks::read(text.as_bytes(), &mut collector) {
            let by_lines = collector.finish().unwrap();
            // What is better refused may be read line by line; what both read says the same.
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut events = Collector::new(LIMITS);
            if yaml::read(&mut file, &mut events).is_ok() && let Ok(by_events) = events.finish() {
                proptest::prop_assert_eq!(said(&by_lines), said(&by_events));
            }
        }
        drop(result);
    }
}
