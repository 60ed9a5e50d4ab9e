//! The answers to four-letter words, in the text that ZooKeeper's collectors parse. Pure: a view of
//! the server goes in, text comes out.

use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use vivarium_core::boundary::FourLetterWord;
use vivarium_core::config::LearnerType;
use vivarium_core::node::{RoleName, Status};

use crate::config::{Settings, WORDS};
use crate::meter::{Times, decimal};
use crate::version;

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// Time from a client's bytes to the answer, over the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Latency {
    count: u64,
    sum: Duration,
    min: Duration,
    max: Duration,
}

impl Latency {
    pub(crate) fn record(&mut self, passed: Duration) {
        self.min = if self.count == 0 {
            passed
        } else {
            self.min.min(passed)
        };
        self.max = self.max.max(passed);
        self.sum += passed;
        self.count += 1;
    }

    /// Milliseconds with up to four decimals, `0.0` before the first.
    fn average(&self) -> String {
        decimal(self.sum.as_secs_f64() * 1_000.0 / self.count.max(1) as f64)
    }
}

/// One connection in the list of `stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClientLine {
    pub(crate) address: SocketAddr,
    /// Requests or answers on their way.
    pub(crate) queued: u64,
    /// Pieces of its stream that were read.
    pub(crate) received: u64,
    /// Answers and events given to it.
    pub(crate) sent: u64,
}

/// What the answers are made from.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) status: &'a Status,
    pub(crate) latency: Latency,
    /// Syncs of the log.
    pub(crate) sync_times: Times,
    pub(crate) uptime: Duration,
    /// Since this server leads, if it does.
    pub(crate) leading: Option<Duration>,
    pub(crate) clients: &'a [ClientLine],
}

/// The whole answer; the connection is closed after it.
pub(crate) fn answer(word: FourLetterWord, view: &View<'_>) -> String {
    let name = WORDS
        .iter()
        .find(|(_, w)| *w == word)
        .map_or("", |(name, _)| *name);
    if !view.settings.answers(name) {
        return format!("{name} is not executed because it is not in the whitelist.\n");
    }
    let read_only = view.status.read_only;
    let serving = view.status.serving || read_only;
    match word {
        FourLetterWord::Ruok => "imok".into(),
        FourLetterWord::Isro => match (read_only || view.status.writes_refused, serving) {
            (true, _) => "ro",
            (false, true) => "rw",
            (false, false) => "null",
        }
        .into(),
        FourLetterWord::Srvr
        | FourLetterWord::Stat
        | FourLetterWord::Mntr
        | FourLetterWord::Conf
            if !serving =>
        {
            NOT_SERVING.into()
        }
        FourLetterWord::Srvr => server(view, false),
        FourLetterWord::Stat => server(view, true),
        FourLetterWord::Mntr => monitor(view),
        FourLetterWord::Conf => configuration(view.settings),
        FourLetterWord::Envi => environment(),
    }
}

fn server(view: &View<'_>, clients: bool) -> String {
    let Status {
        visible,
        connections,
        outstanding,
        node_count,
        ..
    } = view.status;
    let mut text = format!("Zookeeper version: {}\n", version::FULL);
    if view.status.read_only {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if view.status.writes_refused {
        text.push_str("READ-ONLY for lack of room: writes are refused\n");
    }
    if clients {
        text.push_str("Clients:\n");
        for client in view.clients {
            let ClientLine {
                address,
                queued,
                received,
                sent,
            } = client;
            line(
                &mut text,
                format_args!(" /{address}[1](queued={queued},recved={received},sent={sent})"),
            );
        }
        text.push('\n');
    }
    let Latency { min, max, .. } = view.latency;
    line(
        &mut text,
        format_args!(
            "Latency min/avg/max: {}/{}/{}",
            min.as_millis(),
            view.latency.average(),
            max.as_millis()
        ),
    );
    line(
        &mut text,
        format_args!("Received: {}", view.status.packets_received),
    );
    line(
        &mut text,
        format_args!("Sent: {}", view.status.packets_sent),
    );
    line(&mut text, format_args!("Connections: {connections}"));
    line(&mut text, format_args!("Outstanding: {outstanding}"));
    line(&mut text, format_args!("Zxid: {visible}"));
    line(&mut text, format_args!("Mode: {}", mode(view.status)));
    line(&mut text, format_args!("Node count: {node_count}"));
    if view.status.role == RoleName::Leading {
        let (last, min, max) = view.status.proposal_sizes;
        line(
            &mut text,
            format_args!("Proposal sizes last/min/max: {last}/{min}/{max}"),
        );
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String can not fail.
    let _ = writeln!(text, "{content}");
}

/// ZooKeeper's `server_state`.
pub(crate) fn mode(status: &Status) -> &'static str {
    match status.role {
        RoleName::Looking if status.read_only => "read-only",
        RoleName::Standalone => "standalone",
        RoleName::Looking => "looking",
        RoleName::Following => "follower",
        RoleName::Leading => "leader",
        RoleName::Observing => "observer",
    }
}

/// Clients learn the version from here. There is no Java whose environment could be shown.
fn environment() -> String {
    let (version, os, arch) = (version::FULL, env::consts::OS, env::consts::ARCH);
    format!("Environment:\nzookeeper.version={version}\nos.name={os}\nos.arch={arch}\n")
}

/// Only what is measured: a gauge that is always zero would be believed.
fn monitor(view: &View<'_>) -> String {
    let s = view.status;
    let mut text = String::new();
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        line(&mut text, format_args!("zk_{key}\t{value}"));
    };
    put("version", &version::FULL);
    put("server_state", &mode(s));
    let peer_state = match s.role {
        RoleName::Standalone | RoleName::Looking => None,
        RoleName::Following => Some("following - broadcast"),
        RoleName::Leading => Some("leading - broadcast"),
        RoleName::Observing => Some("observing - broadcast"),
    };
    if let Some(state) = peer_state {
        put("peer_state", &state);
    }
    put("avg_latency", &view.latency.average());
    put("min_latency", &view.latency.min.as_millis());
    put("max_latency", &view.latency.max.as_millis());
    put("packets_received", &s.packets_received);
    put("packets_sent", &s.packets_sent);
    put("num_alive_connections", &s.connections);
    put("connection_rejected", &s.connections_rejected);
    put("outstanding_requests", &s.outstanding);
    put("throttled_ops", &s.throttled.throttled_ops);
    put(
        "stale_requests_dropped",
        &s.throttled.stale_requests_dropped,
    );
    put(
        "request_throttle_wait_count",
        &s.throttled.request_throttle_wait_count,
    );
    put(
        "large_requests_rejected",
        &s.throttled.large_requests_rejected,
    );
    put("uptime", &view.uptime.as_millis());
    put("znode_count", &s.node_count);
    put("watch_count", &s.watch_count);
    put("ephemerals_count", &s.ephemeral_count);
    put("approximate_data_size", &s.data_bytes);
    put("global_sessions", &s.sessions);
    put("local_sessions", &s.local_sessions);
    put("digest_mismatches_count", &s.digest_mismatches);
    monitor_disk(view, &mut put);
    if let (Some(open), Some(max)) = file_descriptors() {
        put("open_file_descriptor_count", &open);
        put("max_file_descriptor_count", &max);
    }
    if !view.settings.is_standalone() {
        let members = view.settings.members.values();
        put(
            "quorum_size",
            &members
                .filter(|m| m.kind == LearnerType::Participant)
                .count(),
        );
    }
    if s.role == RoleName::Leading {
        monitor_leader(view, &mut put);
    }
    text
}

/// What an operator should be woken for is 1.
fn monitor_disk(view: &View<'_>, put: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
    let s = view.status;
    put("disk_full", &u8::from(s.disk_full));
    put("disk_stuck", &u8::from(s.disk_stuck));
    put("writes_refused", &u8::from(s.writes_refused));
    put("snapshot_error_count", &s.snapshot_errors);
    for (key, value) in view.sync_times.lines() {
        put(key, &value);
    }
}

fn monitor_leader(view: &View<'_>, put: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
    let s = view.status;
    let (last, min, max) = s.proposal_sizes;
    put("learners", &s.learners);
    put("synced_followers", &s.synced_followers);
    put("synced_non_voting_followers", &0);
    put("synced_observers", &s.synced_observers);
    put("pending_syncs", &s.pending_syncs);
    let uptime = view.leading.unwrap_or_default();
    put("leader_uptime", &uptime.as_millis());
    put("last_proposal_size", &last);
    put("min_proposal_size", &min);
    put("max_proposal_size", &max);
}

/// Open and allowed file descriptors, where the system tells.
fn file_descriptors() -> (Option<usize>, Option<u64>) {
    let open = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    let limits = std::fs::read_to_string("/proc/self/limits").ok();
    let max = limits.and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("Max open files"))?;
        line.split_ascii_whitespace().nth(3)?.parse().ok()
    });
    (open, max)
}

fn configuration(s: &Settings) -> String {
    let mut text = String::new();
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        line(&mut text, format_args!("{key}={value}"));
    };
    let (data, log) = (s.data_dir.join("version-2"), s.log_dir.join("version-2"));
    put("clientPort", &s.client.port);
    put("secureClientPort", &-1);
    put("dataDir", &data.display());
    put("dataDirSize", &directory_bytes(&data));
    put("dataLogDir", &log.display());
    put("dataLogSize", &directory_bytes(&log));
    put("tickTime", &s.tick.as_millis());
    put("maxClientCnxns", &s.rules.address_connections_max);
    put("minSessionTimeout", &s.session_timeout_min.as_millis());
    put("maxSessionTimeout", &s.session_timeout_max.as_millis());
    put("clientPortListenBacklog", &-1);
    put("serverId", &s.me);
    let Some(me) = s.my_member() else {
        text.push_str(&deviations(s));
        return text;
    };
    put("initLimit", &s.init_limit);
    put("syncLimit", &s.sync_limit);
    put("electionAlg", &3);
    put("electionPort", &me.election_port);
    put("quorumPort", &me.quorum_port);
    put("peerType", &u8::from(me.kind == LearnerType::Observer));
    text.push_str(&deviations(s));
    text.push_str("membership: \n");
    for (id, member) in &s.members {
        let role = match member.kind {
            LearnerType::Participant => "participant",
            LearnerType::Observer => "observer",
        };
        let _ = write!(
            text,
            "server.{id}={}:{}:{}:{role}",
            member.host, member.quorum_port, member.election_port
        );
        match &member.client_address {
            Some(client) => line(&mut text, format_args!(";{client}")),
            None => text.push('\n'),
        }
    }
    text.push_str("version=0");
    text
}

/// What was set otherwise than it is by default. ZooKeeper does not show it.
fn deviations(s: &Settings) -> String {
    s.deviations().iter().map(|d| format!("{d}\n")).collect()
}

/// Sum of the files' lengths; what can not be read counts as nothing.
fn directory_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|e| e.metadata().ok())
        .map(|m| m.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use vivarium_core::ids::{Epoch, ServerId, Zxid};
    use vivarium_core::pipeline::Throttled;

    use super::*;

    fn status(role: RoleName) -> Status {
        Status {
            role,
            leader: None,
            serving: role != RoleName::Looking,
            read_only: false,
            established: None,
            accepted_epoch: Epoch(1),
            current_epoch: Epoch(1),
            applied: Zxid(0x1_0000_0003),
            visible: Zxid(0x1_0000_0004),
            logged: Zxid(0x1_0000_0004),
            digest: 0,
            node_count: 5,
            watch_count: 6,
            data_watches: Default::default(),
            ephemeral_count: 7,
            data_bytes: 44,
            sessions: 2,
            local_sessions: 1,
            connections: 1,
            connections_rejected: 3,
            throttled: Throttled::default(),
            outstanding: 0,
            learners: 2,
            synced_followers: 2,
            synced_observers: 0,
            pending_syncs: 0,
            packets_received: 12,
            packets_sent: 11,
            proposal_sizes: (63, 48, 171),
            digest_mismatches: 0,
            disk_full: false,
            disk_stuck: false,
            writes_refused: false,
            snapshot_errors: 0,
        }
    }

    fn asked(word: FourLetterWord, role: RoleName, settings: &Settings) -> String {
        asked_in(word, &status(role), settings)
    }

    fn asked_in(word: FourLetterWord, status: &Status, settings: &Settings) -> String {
        let mut latency = Latency::default();
        latency.record(Duration::from_micros(500));
        latency.record(Duration::from_micros(2_900));
        let client = ClientLine {
            address: "127.0.0.1:40000".parse().expect("an address"),
            queued: 0,
            received: 1,
            sent: 0,
        };
        let view = View {
            settings,
            status,
            latency,
            sync_times: Times::default(),
            uptime: Duration::from_secs(9),
            leading: Some(Duration::from_secs(3)),
            clients: &[client],
        };
        answer(word, &view)
    }

    fn ensemble() -> Settings {
        let mut settings = Settings::standalone();
        settings.me = ServerId(2);
        (settings.init_limit, settings.sync_limit) = (10, 5);
        for id in 1..=3 {
            let member = vivarium_core::config::Member {
                kind: if id == 3 {
                    LearnerType::Observer
                } else {
                    LearnerType::Participant
                },
                host: format!("zk{id}"),
                quorum_port: 2888,
                election_port: 3888,
                client_address: (id == 1).then(|| "0.0.0.0:2181".into()),
            };
            settings.members.insert(ServerId(id), member);
        }
        settings
    }

    #[test]
    fn ruok_and_isro_without_newline() {
        let s = Settings::standalone();
        assert_eq!(asked(FourLetterWord::Ruok, RoleName::Looking, &s), "imok");
        assert_eq!(asked(FourLetterWord::Isro, RoleName::Looking, &s), "null");
        assert_eq!(asked(FourLetterWord::Isro, RoleName::Standalone, &s), "rw");
    }

    #[test]
    fn envi_tells_the_version_even_without_a_quorum() {
        let text = asked(FourLetterWord::Envi, RoleName::Looking, &ensemble());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Environment:"));
        let version = lines.next().expect("a second line");
        assert!(version.starts_with("zookeeper.version=3.9.4-"), "{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_server_in_read_only_mode_says_so() {
        let settings = ensemble();
        let status = Status {
            serving: false,
            read_only: true,
            ..status(RoleName::Looking)
        };
        assert_eq!(asked_in(FourLetterWord::Isro, &status, &settings), "ro");
        let text = asked_in(FourLetterWord::Srvr, &status, &settings);
        let second = text.lines().nth(1);
        assert_eq!(
            second,
            Some("READ-ONLY mode; serving only read-only clients")
        );
        assert!(text.contains("Mode: read-only\n"));
    }

    #[test]
    fn srvr_of_a_leader() {
        let text = asked(FourLetterWord::Srvr, RoleName::Leading, &ensemble());
        let (first, rest) = text.split_once('\n').expect("lines");
        assert!(
            first.starts_with("Zookeeper version: 3.9.4-vivarium-"),
            "{first}"
        );
        assert!(first.contains(", built on "), "{first}");
        assert_eq!(
            rest,
            "Latency min/avg/max: 0/1.7/2\nReceived: 12\nSent: 11\nConnections: 1\n\
             Outstanding: 0\nZxid: 0x100000004\nMode: leader\nNode count: 5\n\
             Proposal sizes last/min/max: 63/48/171\n"
        );
    }

    #[test]
    fn stat_lists_clients_after_the_version() {
        let text = asked(
            FourLetterWord::Stat,
            RoleName::Standalone,
            &Settings::standalone(),
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..4],
            [
                "Clients:",
                " /127.0.0.1:40000[1](queued=0,recved=1,sent=0)",
                ""
            ]
        );
        assert!(lines[4].starts_with("Latency min/avg/max: "));
        assert_eq!(
            lines[lines.len() - 2..],
            ["Mode: standalone", "Node count: 5"]
        );
    }

    #[test]
    fn words_that_need_service_say_so() {
        let s = ensemble();
        for word in [
            FourLetterWord::Srvr,
            FourLetterWord::Stat,
            FourLetterWord::Mntr,
            FourLetterWord::Conf,
        ] {
            let text = asked(word, RoleName::Looking, &s);
            assert_eq!(
                text,
                "This ZooKeeper instance is not currently serving requests\n"
            );
        }
    }

    #[test]
    fn mntr_lines_are_key_tab_value() {
        for (role, state) in [
            (RoleName::Standalone, "standalone"),
            (RoleName::Following, "follower"),
            (RoleName::Leading, "leader"),
            (RoleName::Observing, "observer"),
        ] {
            let text = asked(FourLetterWord::Mntr, role, &ensemble());
            for line in text.lines() {
                let (key, value) = line.split_once('\t').expect("a tab");
                assert!(key.starts_with("zk_") && !value.is_empty(), "{line}");
            }
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines[0].starts_with("zk_version\t3.9.4-"), "{}", lines[0]);
            assert_eq!(lines[1], format!("zk_server_state\t{state}"));
            for expected in [
                "zk_znode_count\t5",
                "zk_avg_latency\t1.7",
                "zk_quorum_size\t2",
                "zk_avg_fsynctime\t0.0",
                "zk_fsync_threshold_exceed_count\t0",
            ] {
                assert!(lines.contains(&expected), "{expected} in {text}");
            }
            let leads = role == RoleName::Leading;
            assert_eq!(lines.contains(&"zk_synced_followers\t2"), leads);
            assert_eq!(lines.contains(&"zk_leader_uptime\t3000"), leads);
        }
    }

    #[test]
    fn conf_in_zookeepers_order() {
        let text = asked(FourLetterWord::Conf, RoleName::Following, &ensemble());
        assert_eq!(
            text,
            "clientPort=2181\nsecureClientPort=-1\ndataDir=./vivarium-data/version-2\n\
             dataDirSize=0\ndataLogDir=./vivarium-data/version-2\ndataLogSize=0\ntickTime=3000\n\
             maxClientCnxns=60\nminSessionTimeout=6000\nmaxSessionTimeout=60000\n\
             clientPortListenBacklog=-1\nserverId=2\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\n\
             electionPort=3888\nquorumPort=2888\npeerType=0\nmembership: \n\
             server.1=zk1:2888:3888:participant;0.0.0.0:2181\nserver.2=zk2:2888:3888:participant\n\
             server.3=zk3:2888:3888:observer\nversion=0"
        );
        let alone = asked(
            FourLetterWord::Conf,
            RoleName::Standalone,
            &Settings::standalone(),
        );
        assert!(alone.ends_with("serverId=0\n"), "{alone}");
        let mut changed = Settings::standalone();
        changed.rules.skip_acl = true;
        changed.rules.connections_max = 7;
        let changed = asked(FourLetterWord::Conf, RoleName::Standalone, &changed);
        assert!(
            changed.ends_with("serverId=0\nmaxCnxns=7\nskipACL=yes\n"),
            "{changed}"
        );
    }

    #[test]
    fn the_whitelist_is_honoured() {
        let mut settings = Settings::standalone();
        settings.words = vec!["srvr"];
        let text = asked(FourLetterWord::Ruok, RoleName::Standalone, &settings);
        assert_eq!(
            text,
            "ruok is not executed because it is not in the whitelist.\n"
        );
    }

    #[test]
    fn latency_before_the_first_request() {
        let none = Latency::default();
        assert_eq!(
            (none.average().as_str(), none.min, none.max),
            ("0.0", Duration::ZERO, none.min)
        );
    }
}
