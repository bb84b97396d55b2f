//! The dashboard and the alerts of deploy/grafana/ ask for metrics that exist, and each alert rises when it
//! should and not else: a real Prometheus says so.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value as Json;

use crate::markdown::root;

#[test]
fn every_metric_that_is_asked_for_exists() {
    let served = fs::read_to_string(root().join("src/admin/metrics.rs")).unwrap();
    let stages = ["token", "queue", "body", "upstream"].map(|it| format!("request_{it}_seconds"));
    let exists = |name: &String| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        [Some(name.as_str()), family].into_iter().flatten().any(|name| {
            served.contains(&format!("\"{name}\"")) || stages.iter().any(|stage| stage == name)
        })
    };

    for file in ["dashboard.json", "alerts.yaml"] {
        let text = fs::read_to_string(root().join("deploy/grafana").join(file)).unwrap();
        let names: BTreeSet<String> = text.split("nexudus_proxy_").skip(1).map(name).collect();
        assert!(names.len() > 4, "{file}: {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
}

#[test]
fn the_dashboard_is_one_and_its_panels_have_queries() {
    let text = fs::read_to_string(root().join("deploy/grafana/dashboard.json")).unwrap();
    let dashboard: Json = serde_json::from_str(&text).unwrap();

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            // A query that forgets the choice of instances adds the figures of all.
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{target}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn each_alert_rises_when_it_should_and_not_else() {
    for check in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let ours = root().join("target/tools/promtool");
        let promtool = if ours.exists() { ours } else { "promtool".into() };
        let mut command = Command::new(promtool);
        let output = command.args(check).current_dir(root().join("deploy/grafana")).output();
        let output = output.expect("run scripts/prepare.sh");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let rules = fs::read_to_string(root().join("deploy/grafana/alerts.yaml")).unwrap();
    let tests = fs::read_to_string(root().join("deploy/grafana/alerts.test.yaml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let tried = tests.matches(&format!("alertname: {alert}")).count();
        assert_eq!(tried, 2, "{alert}: one test that it rises, one that it does not");
    }
}

/// Returns the name at the beginning of a text.
fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}
