//! One ensemble of Apache ZooKeeper and Vivarium servers: every kind leads every other, and each
//! behaviour is tried through each server. What came out is printed as a table.
//!
//! `VIVARIUM_MIXED=all` runs every mix of three servers and the telling ones of five.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

mod behaviours;
mod catching_up;
mod faults;
mod full;
mod local;
mod matrix;
mod migration;
mod recording;

use matrix::{Case, Matrix};
use vivarium_tests::ensemble::Kind;
use vivarium_tests::peers;

/// Both releases of ZooKeeper, or `None` after saying that `test` is skipped.
fn releases(test: &str) -> Option<[Kind; 2]> {
    match peers::zookeepers() {
        [older, newer] => Some([Kind::ZooKeeper(older), Kind::ZooKeeper(newer)]),
        _ => {
            peers::skip(test, "needs both Debian's ZooKeeper and the one from Maven");
            None
        }
    }
}

fn is_whole() -> bool {
    std::env::var("VIVARIUM_MIXED").is_ok_and(|wanted| wanted == "all")
}

fn run(cases: &[Case]) {
    let mut matrix = Matrix::default();
    for case in cases {
        case.run(&mut matrix);
    }
    print!("{matrix}");
    matrix.assert_ok();
}

/// The last server of each list leads.
#[test]
fn each_kind_leads_both_others() {
    let Some([old, new]) = releases("mixed ensembles") else {
        return;
    };
    let us = Kind::Vivarium;
    let mut cases = vec![Case::of(&[old, new, us]), Case::of(&[us, old, new])];
    if is_whole() {
        cases.push(Case::of(&[us, new, old]));
    }
    run(&cases);
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn many_mixes_of_kinds() {
    let Some([old, new]) = releases("many mixed ensembles") else {
        return;
    };
    let us = Kind::Vivarium;
    let mut cases = vec![
        Case::of(&[us, new, old]),
        // An observer of each kind behind the other.
        Case::of(&[us, us, new]).observers(&[us]),
        Case::of(&[new, old, us]).observers(&[new]),
    ];
    if is_whole() {
        for java in [old, new] {
            cases.push(Case::of(&[us, java, us]));
            cases.push(Case::of(&[us, us, java]));
            cases.push(Case::of(&[java, java, us]));
            cases.push(Case::of(&[us, java, java]));
        }
        cases.push(Case::of(&[old, us, us, new, us]));
        cases.push(Case::of(&[us, us, us, old, new]));
        cases.push(Case::of(&[us, us, new, us, old]));
        cases.push(Case::of(&[old, new, old, new, us]));
        cases.push(Case::of(&[us, old, new, old, new]));
        cases.push(Case::of(&[old, us, us]).observers(&[old, new]));
    }
    run(&cases);
}
