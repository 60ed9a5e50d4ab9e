//! The measurements that need a server of their own: that they measure what they say, and leave
//! nothing behind. How fast anything is is not tested here.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::process::Command;

use serde_json::Value;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::peers;
use vivarium_tests::program;
use vivarium_tests::tool::{complaint, complaint_of_use, told};

/// `vivarium bench` with these.
fn bench<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["bench"], arguments].concat()
}

fn number(figures: &Value, key: &str) -> f64 {
    let value = figures[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {figures}"))
}

fn znodes(ensemble: &Ensemble) -> Vec<String> {
    ensemble
        .client(1)
        .children("/")
        .expect("the root is there")
        .0
}

#[test]
fn a_load_is_counted_and_leaves_nothing() {
    let ensemble = Plan::new("bench-load", 1).kind(Kind::Vivarium).start();
    let server = ensemble.client_address(1).to_string();
    let pid = ensemble.pid(1).to_string();
    let before = znodes(&ensemble);
    let operations = [
        ("mixed:50", true, true),
        ("create", false, true),
        ("multi:3", false, true),
        ("children", true, false),
        ("exists", true, false),
        ("watches", true, true),
    ];
    for (operation, reads, writes) in operations {
        let mut arguments = vec!["load", "--json", "--servers", &server, "--op", operation];
        arguments.extend(["--for", "300ms", "--warmup", "100ms", "--keys", "250"]);
        arguments.extend(["--connections", "3", "--in-flight", "4", "--pids", &pid]);
        let figures = told(&bench(&arguments));
        assert!(number(&figures, "per_second") > 0.0, "{operation}");
        assert_eq!(number(&figures, "refused"), 0.0, "{operation}");
        assert!(number(&figures, "resident_mb") > 0.0, "{operation}");
        assert_eq!(figures.get("read_p50_us").is_some(), reads, "{operation}");
        assert_eq!(figures.get("write_p50_us").is_some(), writes, "{operation}");
        let has_events = number(&figures, "events") > 0.0;
        assert_eq!(has_events, operation == "watches", "{operation}");
        assert_eq!(znodes(&ensemble), before, "{operation} left something");
    }
}

#[test]
fn a_rate_is_kept_and_a_stop_is_charged_to_the_server() {
    let ensemble = Plan::new("bench-rate", 1).kind(Kind::Vivarium).start();
    let server = ensemble.client_address(1).to_string();
    let mut load = Command::new(program::vivarium());
    load.args([
        "bench",
        "load",
        "--json",
        "--servers",
        &server,
        "--op",
        "get",
    ]);
    load.args([
        "--for", "3s", "--warmup", "0s", "--keys", "10", "--rate", "200",
    ]);
    load.args(["--connections", "2", "--in-flight", "10000", "--keep"]);
    load.stdout(std::process::Stdio::piped());
    let load = load.spawn().expect("the program runs");
    // Once its znodes are there, the load is about to begin or has begun.
    while znodes(&ensemble).len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(700));
    ensemble.pause(1);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    ensemble.resume(1);
    let output = load.wait_with_output().expect("the load ends");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    // Every request that was due counts, those of the stop too.
    let sent = number(&figures, "per_second") * 3.0;
    assert_eq!(sent.round(), 600.0);
    // For half of the time nothing was answered: a load that had waited with its requests until
    // the server went on would show one slow answer for each connection.
    assert!(number(&figures, "read_p90_us") > 500_000.0, "{figures}");
}

#[test]
fn makes_are_compared() {
    let dir = program::scratch("bench-compare").join("work");
    let dir = dir.to_str().expect("a path of text");
    let mut arguments = vec!["compare", "--json", "--servers", "1,3", "--ops", "set"];
    arguments.extend(["--clients", "2x2", "--for", "300ms", "--warmup", "100ms"]);
    arguments.extend(["--keys", "100", "--dir", dir]);
    let java = peers::newest_zookeeper("makes_are_compared");
    if let Some(java) = java {
        arguments.extend(["--zookeeper", java.classpath()]);
    }
    let figures = told(&bench(&arguments));
    let rows = figures["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(number(&row["vivarium"], "per_second") > 0.0, "{row}");
        if java.is_some() {
            assert!(number(&row["zookeeper"], "per_second") > 0.0, "{row}");
        }
    }
    assert!(!std::path::Path::new(dir).exists(), "the work is gone");
}

#[test]
fn the_loss_of_a_leader_is_measured() {
    let dir = program::scratch("bench-failover").join("work");
    let dir = dir.to_str().expect("a path of text");
    let mut arguments = vec!["failover", "--json", "--rounds", "2", "--before", "200ms"];
    arguments.extend(["--dir", dir]);
    let java = peers::newest_zookeeper("the_loss_of_a_leader_is_measured");
    if let Some(java) = java {
        arguments.extend(["--zookeeper", java.classpath()]);
    }
    let figures = told(&bench(&arguments));
    let (median, most) = ("gap_median_ms", "gap_max_ms");
    assert!(number(&figures, median) > 0.0, "{figures}");
    assert!(number(&figures, most) >= number(&figures, median));
    if java.is_some() {
        assert!(number(&figures, "zookeeper_gap_median_ms") > 0.0);
    }
    assert!(!std::path::Path::new(dir).exists(), "the work is gone");
}

#[test]
fn what_makes_no_sense_is_named() {
    for (arguments, named) in [
        (&["load", "--op", "put"][..], "mixed:PERCENT"),
        (&["load", "--keys", "0"], "--keys"),
        (&["load", "--servers", "nowhere"], "HOST:PORT"),
        (&["compare", "--servers", "2"], "odd"),
        (&["failover", "--servers", "4"], "odd"),
        (&["failover", "--rounds", "0"], "--rounds"),
        (&["compare", "--clients", "16"], "16x16"),
    ] {
        let said = complaint_of_use(&bench(arguments));
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
    let said = complaint(&bench(&["load", "--servers", "127.0.0.1:1"]));
    assert!(said.contains("127.0.0.1:1: "), "{said}");
}
