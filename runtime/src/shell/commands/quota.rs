//! Quotas: nodes under `/zookeeper/quota` with limits, beside which the server keeps counts.

use vivarium_core::wire::client::{CreateOp, Reply, Request};
use vivarium_core::wire::records::{Acl, ErrorCode, perms};

use super::{Command, Context, surprise};
use crate::shell::Trouble;
use crate::shell::line::{Flag, Given, switch, valued};

const ROOT: &str = "/zookeeper/quota";

/// Options and what they limit, as the limits are spelt.
const LIMITS: [(&str, &str); 4] = [
    ("n", "count"),
    ("b", "bytes"),
    ("N", "countHardLimit"),
    ("B", "byteHardLimit"),
];

const SET_FLAGS: &[Flag] = &[valued("n"), valued("b"), valued("N"), valued("B")];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "setquota",
        usage: "-n|-b|-N|-B val path",
        flags: SET_FLAGS,
        run: set,
    },
    Command {
        name: "listquota",
        usage: "path",
        flags: &[],
        run: list,
    },
    Command {
        name: "delquota",
        usage: "[-n|-b|-N|-B] path",
        flags: &[switch("n"), switch("b"), switch("N"), switch("B")],
        run: delete,
    },
];

/// The four limits; -1 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits([i64; 4]);

impl Limits {
    const NONE: Self = Self([-1; 4]);

    /// Reads what ZooKeeper and we write: `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`.
    fn parse(text: &str) -> Self {
        let mut limits = Self::NONE;
        for part in text.split([',', ';']) {
            let mut sides = part.splitn(2, '=');
            let name = sides.next().unwrap_or_default();
            let number = sides.next().map(|n| n.trim_end_matches('='));
            let at = LIMITS.iter().position(|(_, known)| *known == name);
            if let (Some(at), Some(Ok(number))) = (at, number.map(str::parse)) {
                limits.0[at] = number;
            }
        }
        limits
    }

    fn text(&self) -> String {
        let [count, bytes, count_hard, bytes_hard] = self.0;
        format!(
            "count={count},bytes={bytes}=;byteHardLimit={bytes_hard};countHardLimit={count_hard}"
        )
    }
}

fn place(path: &str) -> String {
    format!("{ROOT}{}", path.trim_end_matches('/'))
}

fn read(context: &Context<'_>, path: &str) -> Result<String, Trouble> {
    let request = Request::GetData {
        path: path.into(),
        watch: false,
    };
    let answer = context.ask(path, request)?;
    match answer.reply()? {
        Reply::Data { data, .. } => Ok(String::from_utf8_lossy(data.unwrap_or_default()).into()),
        _ => Err(surprise()),
    }
}

/// Creates a node that may be there already.
fn ensure(context: &Context<'_>, path: &str, data: &str) -> Result<(), Trouble> {
    let request = Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: Some(data.as_bytes()),
        acl: Some(vec![Acl::world(perms::ALL)]),
        flags: 0,
    };
    match context.ask(path, request) {
        Err(trouble) if trouble.is(ErrorCode::NodeExists) => Ok(()),
        other => other.map(drop),
    }
}

fn write(context: &Context<'_>, path: &str, data: &str) -> Result<(), Trouble> {
    let request = Request::SetData {
        path: path.into(),
        data: Some(data.as_bytes()),
        version: -1,
    };
    context.ask(path, request).map(drop)
}

fn set(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    if path.starts_with(ROOT) {
        let text = format!("cannot set a quota under the path: {ROOT}");
        return Err(Trouble::Text(text));
    }
    let mut changes = Vec::new();
    for (at, (flag, _)) in LIMITS.iter().enumerate() {
        if let Some(number) = given.number::<i64>(flag).map_err(Trouble::Text)? {
            let is_count = at % 2 == 0;
            if number < i64::from(is_count) {
                let text = if is_count {
                    "the num quota must be greater than zero"
                } else {
                    "the bytes quota must be greater than or equal to zero"
                };
                return Err(Trouble::Text(text.into()));
            }
            changes.push((at, number));
        }
    }
    if changes.is_empty() {
        return Err(context.misused());
    }
    let exists = Request::Exists {
        path: path.into(),
        watch: false,
    };
    context.ask(path, exists)?;
    // Every node from the quota's root down, then the counts, then the limits, which begin it.
    let place = place(path);
    let ends = place.match_indices('/').map(|(at, _)| at).skip(2);
    let parents: Vec<&str> = ends.map(|at| &place[..at]).chain([&*place]).collect();
    for parent in parents {
        ensure(context, parent, "")?;
    }
    ensure(
        context,
        &format!("{place}/zookeeper_stats"),
        &Limits([0, 0, -1, -1]).text(),
    )?;
    let node = format!("{place}/zookeeper_limits");
    let mut limits = match read(context, &node) {
        Ok(text) => Limits::parse(&text),
        Err(trouble) if trouble.is(ErrorCode::NoNode) => Limits::NONE,
        Err(trouble) => return Err(trouble),
    };
    for (at, number) in changes {
        limits.0[at] = number;
    }
    ensure(context, &node, &limits.text())?;
    write(context, &node, &limits.text())
}

fn list(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let place = place(path);
    writeln!(context.err, "absolute path is {place}/zookeeper_limits")?;
    let limits = match read(context, &format!("{place}/zookeeper_limits")) {
        Ok(text) => text,
        Err(trouble) if trouble.is(ErrorCode::NoNode) => {
            writeln!(context.err, "quota for {path} does not exist.")?;
            return Ok(());
        }
        Err(trouble) => return Err(trouble),
    };
    let stats = read(context, &format!("{place}/zookeeper_stats"))?;
    writeln!(context.out, "Output quota for {path} {limits}")?;
    writeln!(context.out, "Output stat for {path} {stats}")?;
    Ok(())
}

fn delete(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let place = place(path);
    let node = format!("{place}/zookeeper_limits");
    let text = match read(context, &node) {
        Ok(text) => text,
        Err(trouble) if trouble.is(ErrorCode::NoNode) => {
            writeln!(context.err, "quota does not exist for {path}")?;
            return Ok(());
        }
        Err(trouble) => return Err(trouble),
    };
    let mut limits = Limits::parse(&text);
    let chosen = |flag: &str| given.has(flag);
    if LIMITS.iter().any(|(flag, _)| chosen(flag)) {
        for (at, (flag, _)) in LIMITS.iter().enumerate() {
            if chosen(flag) {
                limits.0[at] = -1;
            }
        }
        return write(context, &node, &limits.text());
    }
    for node in [node, format!("{place}/zookeeper_stats"), place] {
        let request = Request::Delete {
            path: node.as_str().into(),
            version: -1,
        };
        match context.ask(&node, request) {
            // Another quota stands below this one.
            Err(trouble) if trouble.is(ErrorCode::NotEmpty) => {}
            Err(trouble) if !trouble.is(ErrorCode::NoNode) => return Err(trouble),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        let text = "count=5,bytes=-1=;byteHardLimit=7;countHardLimit=-1";
        assert_eq!(Limits::parse(text), Limits([5, -1, -1, 7]));
        assert_eq!(Limits::parse(text).text(), text);
        assert_eq!(Limits::parse("count=2,bytes=3"), Limits([2, 3, -1, -1]));
        assert_eq!(Limits::parse("nonsense"), Limits::NONE);
    }
}
