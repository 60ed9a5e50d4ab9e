//! The servers of the ensemble: what runs there now, asked with `srvr` on their client ports, and
//! what is known of such a release beside Vivarium.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};
use vivarium_core::config::LearnerType;

use crate::config::{Settings, is_wildcard, unbracket};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer to `srvr` is a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// One server of the ensemble.
pub(super) struct Neighbour {
    id: i64,
    observes: bool,
    /// This very configuration's server.
    is_me: bool,
    address: String,
    /// What runs there, or why that is not known.
    answer: Result<Answer, String>,
}

struct Answer {
    version: String,
    mode: String,
}

/// Asks all servers of the ensemble at once; a standalone server only itself.
pub(super) fn ask(settings: &Settings) -> Vec<Neighbour> {
    let addresses = addresses(settings);
    let own = addresses.iter().find(|(id, ..)| *id == settings.me.0);
    let own = own.map_or_else(String::new, |(_, _, address)| address.clone());
    std::thread::scope(|scope| {
        let asked: Vec<_> = addresses
            .into_iter()
            .map(|(id, observes, address)| {
                let is_mine = id != settings.me.0 && address == own;
                let answer = scope.spawn({
                    let address = address.clone();
                    move || match is_mine {
                        true => Err("its client port stands in its own configuration".to_owned()),
                        false => srvr(&address).map_err(|why| why.to_string()),
                    }
                });
                (id, observes, address, answer)
            })
            .collect();
        let all = asked
            .into_iter()
            .map(|(id, observes, address, answer)| Neighbour {
                id,
                observes,
                is_me: id == settings.me.0,
                address,
                answer: answer.join().expect("asking does not panic"),
            });
        all.collect()
    })
}

/// Number, role and client address of each. Where a server's line has no client port, it is
/// believed to be our own.
fn addresses(settings: &Settings) -> Vec<(i64, bool, String)> {
    let own_port = settings.client.port;
    let own = &settings.client.host;
    let here = if is_wildcard(own) { "127.0.0.1" } else { own };
    if settings.is_standalone() {
        return vec![(settings.me.0, false, format!("{here}:{own_port}"))];
    }
    let all = settings.members.iter().map(|(id, member)| {
        let port = member
            .client_address
            .as_deref()
            .and_then(|address| address.rsplit(':').next()?.parse().ok())
            .unwrap_or(own_port);
        let host = if *id == settings.me {
            here
        } else {
            unbracket(&member.host)
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let observes = member.kind == LearnerType::Observer;
        (id.0, observes, format!("{host}:{port}"))
    });
    all.collect()
}

fn srvr(address: &str) -> io::Result<Answer> {
    let found = address.to_socket_addrs()?.next();
    let found = found.ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&found, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"srvr")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| {
        let first = text.lines().next().unwrap_or("nothing");
        io::Error::other(format!("answered srvr with: {first}"))
    })
}

fn parse(text: &str) -> Option<Answer> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let version = value("Zookeeper version: ")?;
    let version = version.split(", built").next()?;
    Some(Answer {
        version: version.to_owned(),
        mode: value("Mode: ").unwrap_or("not serving").to_owned(),
    })
}

/// Major, minor and patch of a version's text.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let digits = version
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()?;
    let mut parts = digits.split('.').map(str::parse);
    Some((
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    ))
}

/// What is known of a release's servers in an ensemble, Vivarium's or not.
fn known_of(version: &str) -> Option<&'static str> {
    if version.contains("vivarium") {
        return None;
    }
    match numbers(version)? {
        (0..=2, ..) | (3, 0..=3, _) | (3, 4, 0..=5) => Some(
            "this release does not understand the first message of newer servers on the election \
             port: upgrade it to 3.4.14 or later first",
        ),
        (3, 4, 10..) | (3, 5, 3..=8) | (3, 6, 0..=2) => Some(
            "a follower of this release promises what is not yet on its disk (ZOOKEEPER-3911): \
             writes can be lost when servers fail meanwhile. Upgrade it, or replace it soon",
        ),
        (3, 5 | 6, _) | (3, 7 | 8, 0..=1) => Some(
            "this release does not apply a multi with create2 in it, and goes on with another tree \
             than servers that do (ZOOKEEPER-4026): let no client send one, or upgrade it first",
        ),
        _ => None,
    }
}

impl Neighbour {
    /// What the operator should know before he goes on.
    pub(super) fn warning(&self) -> Option<&str> {
        match &self.answer {
            Err(_) if self.is_me => None,
            Err(_) => Some("its version is not known; a quorum must be up when this one stops"),
            Ok(answer) => known_of(&answer.version),
        }
    }

    pub(super) fn json(&self) -> Value {
        let (version, mode, problem) = match &self.answer {
            Ok(answer) => (json!(answer.version), json!(answer.mode), Value::Null),
            Err(why) => (Value::Null, Value::Null, json!(why)),
        };
        json!({
            "id": self.id, "me": self.is_me, "observer": self.observes,
            "address": self.address, "version": version, "mode": mode, "problem": problem,
            "warning": self.warning(),
        })
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let me = if self.is_me { " (this one)" } else { "" };
        let role = if self.observes { ", an observer" } else { "" };
        write!(f, "server {}{me}{role}, {}: ", self.id, self.address)?;
        match &self.answer {
            Ok(Answer { version, mode }) => write!(f, "{version}, {mode}"),
            Err(why) => write!(f, "not reached: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart() {
        for (version, warned) in [
            ("3.4.5-1392090", true),
            ("3.4.6-1569965", false),
            ("3.4.14-4c25d480", true),
            ("3.5.8-f439ca58", true),
            ("3.5.10-1", true),
            ("3.6.2--803c7f1a12", true),
            ("3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f", true),
            ("3.8.4-9316c2a7a97e1666d8f4593f34dd6fc36ecc436c", false),
            ("3.9.4-7246445ec281f3dbf53dc54e970c914f39713903", false),
            ("3.9.4-vivarium-0.1.0", false),
            ("nonsense", false),
        ] {
            assert_eq!(known_of(version).is_some(), warned, "{version}");
        }
    }

    #[test]
    fn the_answer_of_a_server_is_read() {
        let text = "Zookeeper version: 3.9.4-72, built on 2025-08-19 19:53 UTC\n\
                    Latency min/avg/max: 0/0.0/0\nMode: follower\nNode count: 5\n";
        let answer = parse(text).expect("all there");
        assert_eq!((&*answer.version, &*answer.mode), ("3.9.4-72", "follower"));
        assert!(parse("srvr is not executed because it is not in the whitelist.").is_none());
        let down = parse("Zookeeper version: 3.9.4\n").expect("a version");
        assert_eq!(down.mode, "not serving");
    }
}
