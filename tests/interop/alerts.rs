//! What is shipped for Prometheus and Grafana, judged by Prometheus' own tool and held against the documents.
//!
//! Whether the alerts fire, and the dashboard shows something, is seen in `prometheus.rs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A file of the repository.
#[track_caller]
pub(crate) fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file of the repository.
#[track_caller]
fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&shipped(path)).unwrap()
}

/// Every rule that alerts.
pub(crate) fn alerts() -> Vec<Value> {
    let groups = yaml("deploy/prometheus/keygate.rules.yaml")["groups"].as_array().unwrap().clone();
    let rules: Vec<Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    assert!(rules.iter().all(|rule| rule["alert"].is_string()), "a rule that is no alert");
    rules
}

/// Every query of the dashboard, with the title of its panel, and its variables filled in.
pub(crate) fn queries(interval: &str) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&shipped("deploy/grafana/keygate.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", interval);
            let query = query.replace("\"$job\"", "\".*\"").replace("\"$instance\"", "\".*\"");
            assert!(!query.contains('$'), "a variable that is not known: {query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 30, "only {} queries", queries.len());
    queries
}

/// The metrics of ours that a query names, without the endings of a histogram.
fn metrics(query: &str) -> BTreeSet<String> {
    let words = query.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let ours = words.filter(|word| word.starts_with("keygate_") || word.starts_with("process_"));
    let family = |word: &str| {
        let histogram = word.contains("_duration_seconds");
        let ending = ["_bucket", "_count", "_sum"].into_iter().find_map(|ending| word.strip_suffix(ending));
        ending.filter(|_| histogram).unwrap_or(word).to_owned()
    };
    ours.map(family).collect()
}

#[track_caller]
fn promtool(words: &[&str]) {
    let output = Command::new("promtool").args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("SUCCESS"), "promtool {words:?}:\n{said}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_configuration_and_the_alerts() {
    promtool(&["check", "rules", "deploy/prometheus/keygate.rules.yaml"]);
    promtool(&["check", "config", "deploy/prometheus/prometheus.yaml"]);
    promtool(&["test", "rules", "deploy/prometheus/keygate.rules.test.yaml"]);
}

/// A typing error in the dashboard would else show as an empty panel.
#[test]
fn promtool_understands_every_query_of_the_dashboard() {
    let rules: String = (queries("5m").iter().enumerate())
        .map(|(number, (_, query))| format!("  - record: dashboard:{number}\n    expr: {}\n", serde_json::json!(query)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{rules}")).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases = yaml("deploy/prometheus/keygate.rules.test.yaml");
    let tested: Vec<&Value> = cases["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|case| case["alert_rule_test"].as_array().unwrap())
        .collect();
    for alert in alerts() {
        let name = &alert["alert"];
        let of_alert = || tested.iter().filter(|test| test["alertname"] == *name);
        let fires = |test: &&&Value| !test["exp_alerts"].as_array().unwrap().is_empty();
        assert!(of_alert().any(|test| fires(&test)), "{name} never fires");
        assert!(of_alert().any(|test| !fires(&test)), "{name} is never silent");
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_has_its_entry_in_the_runbook() {
    let runbook = shipped("docs/operations.md");
    let entries: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let (_, entry) =
            runbook.split_once(&format!("\n### {name}\n")).unwrap_or_else(|| panic!("{name} has no entry"));
        let entry = entry.split("\n### ").next().unwrap();
        assert!(
            entry.contains("**Means:**")
                && entry.contains("**See")
                && (entry.contains("**Do:**") || entry.contains("do:**")),
            "{name}"
        );
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], anchor.as_str());
        assert!(
            alert["annotations"]["summary"].is_string() && alert["annotations"]["description"].is_string(),
            "{name}"
        );
        named.insert(name);
    }
    assert_eq!(entries, named.iter().map(String::as_str).collect(), "an entry for an alert that is none");
}

#[test]
fn every_metric_that_an_alert_or_the_dashboard_asks_for_is_documented() {
    let document = shipped("docs/metrics.md");
    let alerts: Vec<String> = alerts().iter().map(|alert| alert["expr"].as_str().unwrap().to_owned()).collect();
    let queries = queries("5m").into_iter().map(|(_, query)| query);
    let asked: BTreeSet<String> = alerts.into_iter().chain(queries).flat_map(|query| metrics(&query)).collect();
    assert!(asked.len() > 20, "{asked:?}");
    let unknown: Vec<_> = asked.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
}
