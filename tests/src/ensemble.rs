//! Real servers as child processes on loopback: started, killed, paused and looked at. A failing
//! test prints the end of each server's log and keeps the directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::client::{Client, four_letters};
use crate::peers::{self, Java};
use crate::ports::PortBlock;
use crate::{program, wait};

/// How long servers may take until they serve. ZooKeeper's own needs seconds on a busy machine.
pub const SERVING: Duration = Duration::from_secs(60);

/// Lines of each log that a failing test prints.
const LOG_TAIL_LINES: usize = 60;

/// Which server program.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Vivarium,
    ZooKeeper(&'static Java),
}

impl Kind {
    /// Vivarium, unless `VIVARIUM_TESTS_AGAINST` asks to validate the tests themselves: by
    /// `zookeeper`, or by a version like `3.9`.
    pub fn under_test() -> Self {
        let wanted = std::env::var("VIVARIUM_TESTS_AGAINST").unwrap_or_default();
        if matches!(&*wanted, "" | "vivarium") {
            return Self::Vivarium;
        }
        let fits = |java: &&Java| wanted == "zookeeper" || java.version.starts_with(&wanted);
        let java = peers::zookeepers().iter().find(fits);
        Self::ZooKeeper(java.unwrap_or_else(|| panic!("no VIVARIUM_TESTS_AGAINST={wanted} here")))
    }

    pub fn is_vivarium(self) -> bool {
        matches!(self, Self::Vivarium)
    }

    /// `vivarium`, or the version of ZooKeeper.
    pub fn label(self) -> &'static str {
        match self {
            Self::Vivarium => "vivarium",
            Self::ZooKeeper(java) => &java.version,
        }
    }

    fn command(self, zoo_cfg: &Path) -> Command {
        match self {
            Self::ZooKeeper(java) => java.server(zoo_cfg),
            Self::Vivarium => {
                let mut command = Command::new(program::vivarium());
                command.arg("serve").arg(zoo_cfg);
                command
            }
        }
    }
}

/// How an ensemble is to be.
#[derive(Clone)]
pub struct Plan {
    /// For the directory and the messages.
    pub name: String,
    pub kind: Kind,
    /// What servers 1, 2, ... run where it is not `kind`.
    pub mix: Vec<Kind>,
    /// Voting servers 1 to this number. One alone is a standalone server.
    pub voters: i64,
    /// Observers, numbered on from the voters.
    pub observers: i64,
    /// More lines for each `zoo.cfg`.
    pub lines: Vec<String>,
    /// Settings that ZooKeeper reads as system properties, by their full names.
    pub properties: Vec<(String, String)>,
    /// More words on Vivarium's command line.
    pub arguments: Vec<String>,
}

impl Plan {
    pub fn new(name: &str, voters: i64) -> Self {
        let kind = Kind::under_test();
        Self {
            name: name.into(),
            kind,
            mix: Vec::new(),
            voters,
            observers: 0,
            lines: Vec::new(),
            properties: Vec::new(),
            arguments: Vec::new(),
        }
    }

    pub fn observers(mut self, observers: i64) -> Self {
        self.observers = observers;
        self
    }

    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.into());
        self
    }

    /// A setting that ZooKeeper takes from the command line and Vivarium from `zoo.cfg`, where it
    /// goes without `zookeeper.` in front.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// A word for Vivarium's command line; paths are relative to the server's own directory.
    pub fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.into());
        self
    }

    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Servers 1, 2, ... run these programs.
    pub fn mix(mut self, kinds: &[Kind]) -> Self {
        self.mix = kinds.to_vec();
        self
    }

    /// Reserves ports and writes every `zoo.cfg`; starts nothing.
    pub fn prepare(self) -> Ensemble {
        Ensemble::prepare(self)
    }

    /// Starts all servers and waits until they serve.
    pub fn start(self) -> Ensemble {
        let mut ensemble = self.prepare();
        ensemble.start_all();
        ensemble
    }
}

/// One member's ports, files and, while it runs, process.
struct Member {
    kind: Kind,
    client: u16,
    quorum: u16,
    election: u16,
    dir: PathBuf,
    child: Option<Child>,
}

/// The servers of one test. All are killed when this is dropped.
pub struct Ensemble {
    plan: Plan,
    dir: PathBuf,
    members: BTreeMap<i64, Member>,
    is_kept: bool,
    _ports: PortBlock,
}

impl Ensemble {
    fn prepare(plan: Plan) -> Self {
        let dir = program::scratch(&plan.name);
        let mut ports = PortBlock::reserve();
        let mut members = BTreeMap::new();
        for id in 1..=plan.voters + plan.observers {
            let member = Member {
                kind: plan.mix.get(id as usize - 1).copied().unwrap_or(plan.kind),
                client: ports.take(),
                quorum: ports.take(),
                election: ports.take(),
                dir: dir.join(format!("server-{id}")),
                child: None,
            };
            fs::create_dir_all(member.dir.join("data")).expect("target is writable");
            members.insert(id, member);
        }
        let ensemble = Self {
            plan,
            dir,
            members,
            is_kept: false,
            _ports: ports,
        };
        for id in ensemble.ids() {
            ensemble.write_config(id);
        }
        ensemble
    }

    fn write_config(&self, id: i64) {
        let member = &self.members[&id];
        let mut text = String::from("tickTime=500\ninitLimit=20\nsyncLimit=10\n");
        let data = self.data_dir(id);
        let _ = writeln!(
            text,
            "dataDir={}\nclientPort={}",
            data.display(),
            member.client
        );
        let _ = writeln!(text, "clientPortAddress=127.0.0.1\nmaxClientCnxns=0");
        // ZooKeeper answers most words only when told to, and its HTTP server has one fixed port.
        let _ = writeln!(text, "4lw.commands.whitelist=*\nadmin.enableServer=false");
        if self.members.len() > 1 {
            for (other, at) in &self.members {
                let kind = if *other > self.plan.voters {
                    ":observer"
                } else {
                    ""
                };
                let (quorum, election) = (at.quorum, at.election);
                let _ = writeln!(text, "server.{other}=127.0.0.1:{quorum}:{election}{kind}");
            }
            fs::write(data.join("myid"), format!("{id}\n")).expect("target is writable");
        }
        if id > self.plan.voters {
            text.push_str("peerType=observer\n");
        }
        for line in &self.plan.lines {
            // Of two lines with one key ZooKeeper takes the later; here there is only that one.
            let key = line.split_inclusive('=').next().unwrap_or_default();
            text = text
                .split_inclusive('\n')
                .filter(|old| !old.starts_with(key))
                .collect();
            let _ = writeln!(text, "{line}");
        }
        if member.kind.is_vivarium() {
            for (name, value) in &self.plan.properties {
                let key = name.strip_prefix("zookeeper.").unwrap_or(name);
                let _ = writeln!(text, "{key}={value}");
            }
        }
        fs::write(self.config_path(id), text).expect("target is writable");
    }

    pub fn ids(&self) -> Vec<i64> {
        self.members.keys().copied().collect()
    }

    pub fn running(&self) -> Vec<i64> {
        self.ids()
            .into_iter()
            .filter(|id| self.members[id].child.is_some())
            .collect()
    }

    /// Scratch directory of the whole ensemble.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config_path(&self, id: i64) -> PathBuf {
        self.members[&id].dir.join("zoo.cfg")
    }

    /// The directory in which a server runs.
    pub fn home(&self, id: i64) -> &Path {
        &self.members[&id].dir
    }

    /// `dataDir` of a server.
    pub fn data_dir(&self, id: i64) -> PathBuf {
        self.members[&id].dir.join("data")
    }

    /// The directory with logs, snapshots and epochs.
    pub fn version_dir(&self, id: i64) -> PathBuf {
        self.data_dir(id).join("version-2")
    }

    pub fn client_address(&self, id: i64) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.members[&id].client).into()
    }

    pub fn quorum_address(&self, id: i64) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.members[&id].quorum).into()
    }

    pub fn election_address(&self, id: i64) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.members[&id].election).into()
    }

    /// All client ports, as clients take them.
    pub fn connect_string(&self) -> String {
        let all: Vec<_> = self
            .ids()
            .iter()
            .map(|id| self.client_address(*id).to_string())
            .collect();
        all.join(",")
    }

    /// Which program this server runs from its next start on.
    pub fn set_kind(&mut self, id: i64, kind: Kind) {
        self.member(id).kind = kind;
        self.write_config(id);
    }

    pub fn kind(&self, id: i64) -> Kind {
        self.members[&id].kind
    }

    fn member(&mut self, id: i64) -> &mut Member {
        self.members
            .get_mut(&id)
            .expect("a server of this ensemble")
    }

    fn log_path(&self, id: i64) -> PathBuf {
        self.members[&id].dir.join("log.txt")
    }

    /// Everything that this server printed, over all its starts.
    pub fn log(&self, id: i64) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path(id)).unwrap_or_default()).into_owned()
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self, id: i64) {
        assert!(
            self.members[&id].child.is_none(),
            "server {id} runs already"
        );
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(id));
        let log = log.expect("target is writable");
        let kind = self.members[&id].kind;
        let mut command = kind.command(&self.config_path(id));
        if !kind.is_vivarium() && !self.plan.properties.is_empty() {
            let all = self.plan.properties.iter();
            let options: Vec<_> = all
                .map(|(name, value)| format!("-D{name}={value}"))
                .collect();
            command.env("JAVA_TOOL_OPTIONS", options.join(" "));
        }
        if kind.is_vivarium() {
            command.args(&self.plan.arguments);
        }
        command
            .current_dir(&self.members[&id].dir)
            .stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let child = command.spawn().expect("the server program starts");
        self.member(id).child = Some(child);
    }

    pub fn spawn_all(&mut self) {
        for id in self.ids() {
            if self.members[&id].child.is_none() {
                self.spawn(id);
            }
        }
    }

    /// Starts what does not run, and waits until all serve.
    pub fn start_all(&mut self) {
        self.spawn_all();
        self.wait_serving(&self.ids());
    }

    /// Starts one server and waits until it serves.
    pub fn start(&mut self, id: i64) {
        self.spawn(id);
        self.wait_serving(&[id]);
    }

    /// Fails the test, with the log, if one of them ends or does not serve in time.
    pub fn wait_serving(&mut self, ids: &[i64]) {
        for &id in ids {
            wait::until(&format!("server {id} serves"), SERVING, || {
                let child = self.member(id).child.as_mut().expect("a started server");
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("server {id} ended with {status}");
                }
                self.mode(id)
            });
        }
    }

    /// `leader`, `follower`, `observer` or `standalone`; `None` while the server does not serve.
    pub fn mode(&self, id: i64) -> Option<String> {
        self.srvr(id, "Mode: ")
    }

    /// The zxid that the server prints in `srvr`.
    pub fn zxid(&self, id: i64) -> Option<i64> {
        let text = self.srvr(id, "Zxid: 0x")?;
        i64::from_str_radix(&text, 16).ok()
    }

    fn srvr(&self, id: i64, key: &str) -> Option<String> {
        let text = four_letters(self.client_address(id), "srvr").ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::to_owned)
    }

    pub fn leader(&self) -> Option<i64> {
        self.running()
            .into_iter()
            .find(|id| self.mode(*id).as_deref() == Some("leader"))
    }

    /// The leader, waited for.
    pub fn wait_leader(&self) -> i64 {
        wait::until("there is a leader", SERVING, || self.leader())
    }

    /// A client with a new session on this server, tried until the server takes it.
    pub fn client(&self, id: i64) -> Client {
        wait::until(&format!("server {id} takes a client"), SERVING, || {
            Client::connect(self.client_address(id), 10_000).ok()
        })
    }

    pub fn pid(&self, id: i64) -> u32 {
        self.members[&id]
            .child
            .as_ref()
            .expect("a running server")
            .id()
    }

    fn signal(&self, id: i64, name: &str) {
        let pid = self.pid(id).to_string();
        // The shell's own `kill`: no package has to be there for it.
        let script = format!("kill -{name} {pid}");
        let status = Command::new("sh")
            .args(["-c", &script])
            .status()
            .expect("there is a shell");
        assert!(status.success(), "can not send SIG{name} to server {id}");
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: i64) {
        if let Some(mut child) = self.member(id).child.take() {
            child.kill().expect("an own child can be killed");
            child.wait().expect("an own child can be waited for");
        }
    }

    /// `kill -9` for all, as close together as it goes.
    pub fn kill_all(&mut self) {
        self.kill_these(&self.ids());
    }

    /// The same for some of them.
    pub fn kill_these(&mut self, ids: &[i64]) {
        for id in ids {
            if let Some(child) = &mut self.member(*id).child {
                child.kill().expect("an own child can be killed");
            }
        }
        for id in ids {
            self.kill(*id);
        }
    }

    /// SIGSTOP: the process stands still with all its connections open.
    pub fn pause(&self, id: i64) {
        self.signal(id, "STOP");
    }

    /// SIGCONT.
    pub fn resume(&self, id: i64) {
        self.signal(id, "CONT");
    }

    /// SIGTERM, and what the process ended with.
    pub fn terminate(&mut self, id: i64) -> ExitStatus {
        self.signal(id, "TERM");
        self.wait_exit(id, Duration::from_secs(15))
    }

    /// Waits for a server to end by itself.
    pub fn wait_exit(&mut self, id: i64, limit: Duration) -> ExitStatus {
        let member = self.member(id);
        let child = member.child.as_mut().expect("a started server");
        let status = wait::until(&format!("server {id} ends"), limit, || {
            child.try_wait().expect("an own child can be asked")
        });
        member.child = None;
        status
    }

    /// Fails unless every one of these processes still runs.
    #[track_caller]
    pub fn assert_alive(&mut self, ids: &[i64]) {
        for &id in ids {
            let child = self.member(id).child.as_mut().expect("a started server");
            let ended = child.try_wait().expect("an own child can be asked");
            assert!(ended.is_none(), "server {id} ended: {ended:?}");
        }
    }

    /// Waits until the log of a server holds `text` beyond the first `from` bytes.
    pub fn wait_logged(&self, id: i64, from: usize, text: &str) {
        wait::until(
            &format!("server {id} logs {text:?}"),
            Duration::from_secs(10),
            || self.log(id).get(from..)?.contains(text).then_some(()),
        );
    }

    /// For a test that fails later: the logs are printed and the directory stays.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    fn print_logs(&self) {
        for id in self.ids() {
            let log = self.log(id);
            let lines: Vec<_> = log.lines().collect();
            let skipped = lines.len().saturating_sub(LOG_TAIL_LINES);
            println!(
                "--- server {id}, {:?}, log after line {skipped}:",
                self.members[&id].kind
            );
            for line in &lines[skipped..] {
                println!("{line}");
            }
        }
        println!("--- everything is in {}", self.dir.display());
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            if let Some(mut child) = member.child.take() {
                // It may have ended by itself; nothing can be done about other errors here.
                drop(child.kill());
                drop(child.wait());
            }
        }
        if std::thread::panicking() || self.is_kept {
            self.print_logs();
        } else {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}
