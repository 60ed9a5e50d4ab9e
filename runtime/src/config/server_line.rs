//! The value of a `server.N` line, in its old and its new form. Knows the syntax, not who the
//! others are.

use vivarium_core::config::{LearnerType, Member};

/// A host and a port to listen on, as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Means "every address of this machine".
pub fn is_wildcard(host: &str) -> bool {
    matches!(unbracket(host), "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}

/// An IPv6 address without its brackets; anything else as it is.
pub fn unbracket(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
}

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServerLine {
    pub member: Member,
    /// The client part, if any.
    pub client: Option<Endpoint>,
}

/// Parses `host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`.
///
/// # Errors
/// Says which part is wrong and what would be right.
pub(super) fn parse(value: &str) -> Result<ServerLine, String> {
    let mut parts = value.split(';').map(str::trim);
    let server = parts.next().unwrap_or_default();
    let client = match parts.next() {
        None => None,
        Some("") => return Err("nothing follows the `;`: expected `;clientPort`".into()),
        Some(text) => Some(parse_client(text)?),
    };
    if parts.next().is_some() {
        return Err("a second `;` names a TLS client port, and TLS is not supported".into());
    }
    if server.contains('|') {
        return Err("`|` names several addresses of one server; only one is supported".into());
    }
    let (host, rest) = split_host(server)?;
    let fields: Vec<&str> = rest.split(':').map(str::trim).collect();
    let (quorum, election, role) = match fields[..] {
        [quorum, election] => (quorum, election, None),
        [quorum, election, role] => (quorum, election, Some(role)),
        _ => {
            return Err(format!(
                "`{server}` is not host:quorumPort:electionPort[:participant|:observer]"
            ));
        }
    };
    let quorum_port = port(quorum, "quorum port")?;
    let election_port = port(election, "election port")?;
    if quorum_port == election_port {
        return Err(format!(
            "quorum port and election port are both {quorum_port}"
        ));
    }
    let member = Member {
        kind: role.map_or(Ok(LearnerType::Participant), parse_role)?,
        host,
        quorum_port,
        election_port,
        client_address: client.as_ref().map(Endpoint::to_string),
    };
    Ok(ServerLine { member, client })
}

/// `participant` or `observer`, in any case.
pub(super) fn parse_role(text: &str) -> Result<LearnerType, String> {
    match text.to_ascii_lowercase().as_str() {
        "participant" => Ok(LearnerType::Participant),
        "observer" => Ok(LearnerType::Observer),
        _ => Err(format!("`{text}` is neither participant nor observer")),
    }
}

/// A port in 1..=65535; `what` names it in the error.
pub(super) fn port(text: &str, what: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{what} `{text}` is not a number from 1 to 65535")),
    }
}

/// Splits `host:rest`; the host of an IPv6 address keeps its brackets.
fn split_host(text: &str) -> Result<(String, &str), String> {
    let end = if text.starts_with('[') {
        let close = text
            .find(']')
            .ok_or_else(|| format!("`{text}` has no closing bracket"))?;
        let inner = &text[1..close];
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{inner}` is not an IPv6 address"));
        }
        close + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let host = &text[..end];
    if host.is_empty() {
        return Err("the host is missing: expected host:quorumPort:electionPort".into());
    }
    match text[end..].strip_prefix(':') {
        Some(rest) => Ok((host.to_owned(), rest)),
        None => Err(format!(
            "`{text}` has no ports: expected host:quorumPort:electionPort"
        )),
    }
}

fn parse_client(text: &str) -> Result<Endpoint, String> {
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) => (unbracket(host.trim()).to_owned(), number),
        None => ("0.0.0.0".to_owned(), text),
    };
    if host.is_empty() {
        return Err(format!("the client part `{text}` has an empty host"));
    }
    Ok(Endpoint {
        host,
        port: port(number.trim(), "client port")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(value: &str) -> (String, u16, u16, LearnerType, Option<String>) {
        let line = parse(value).expect(value);
        let m = line.member;
        (
            m.host,
            m.quorum_port,
            m.election_port,
            m.kind,
            m.client_address,
        )
    }

    #[test]
    fn forms() {
        use LearnerType::{Observer, Participant};
        for (value, host, kind, client) in [
            ("zk1:2888:3888", "zk1", Participant, None),
            ("zk1:2888:3888:observer", "zk1", Observer, None),
            ("zk1:2888:3888:PARTICIPANT", "zk1", Participant, None),
            (
                "zk1:2888:3888;2181",
                "zk1",
                Participant,
                Some("0.0.0.0:2181"),
            ),
            (
                "zk1:2888:3888:observer;10.0.0.1:2181",
                "zk1",
                Observer,
                Some("10.0.0.1:2181"),
            ),
            (
                "[fd00::1]:2888:3888;[::1]:2181",
                "[fd00::1]",
                Participant,
                Some("[::1]:2181"),
            ),
        ] {
            let client = client.map(str::to_owned);
            assert_eq!(
                ok(value),
                (host.to_owned(), 2888, 3888, kind, client),
                "{value}"
            );
        }
    }

    #[test]
    fn errors_name_the_part() {
        for (value, says) in [
            ("", "host is missing"),
            ("zk1", "has no ports"),
            (":2888:3888", "host is missing"),
            ("zk1:2888", "is not host:quorumPort:electionPort"),
            (
                "zk1:2888:3888:observer:9",
                "is not host:quorumPort:electionPort",
            ),
            ("zk1:0:3888", "quorum port `0`"),
            ("zk1:2888:99999", "election port `99999`"),
            ("zk1:2888:2888", "both 2888"),
            ("zk1:2888:3888:voter", "`voter` is neither"),
            ("zk1:2888:3888;", "nothing follows"),
            ("zk1:2888:3888;x", "client port `x`"),
            ("zk1:2888:3888;2181;2281", "TLS"),
            ("a:1:2|b:1:2", "several addresses"),
            ("[fd00::1:2888:3888", "closing bracket"),
            ("[zk1]:2888:3888", "not an IPv6 address"),
        ] {
            let error = parse(value).expect_err(value);
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
