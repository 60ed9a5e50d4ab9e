//! Takes the place of the crate `testcontainers` for other people's tests: what they start as a
//! container of ZooKeeper's image becomes a process on this machine. Only what those tests use is
//! here. The environment says which server:
//!
//! - `SHIM_JAVA`: the program to call as `java` would be, with properties, class and `zoo.cfg`
//! - `SHIM_PORTS`: `FIRST COUNT`, ports that nobody else uses
//! - `SHIM_DIR`: where the servers keep their files

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Longest wait for a server, in seconds, to serve or to log something.
const PATIENCE: u64 = 120;

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// The port inside the containers.
const CLIENT_PORT: u16 = 2181;

pub mod clients {
    use super::core::{Container, RunnableImage};
    use super::images::generic::GenericImage;

    #[derive(Default)]
    pub struct Cli;

    impl Cli {
        /// Starts a server and waits until it serves.
        pub fn run<T>(&self, image: T) -> Container<'_, GenericImage>
        where
            T: Into<RunnableImage<GenericImage>>,
        {
            Container::run(image.into().0)
        }
    }
}

pub mod images {
    pub mod generic {
        use crate::core::{Healthcheck, WaitFor};

        pub struct GenericImage {
            pub(crate) properties: Vec<String>,
            pub(crate) volumes: Vec<(String, String)>,
        }

        impl GenericImage {
            pub fn new(_image: &str, _tag: &str) -> Self {
                let (properties, volumes) = (Vec::new(), Vec::new());
                Self {
                    properties,
                    volumes,
                }
            }

            pub fn with_env_var(mut self, name: &str, value: String) -> Self {
                if name == "SERVER_JVMFLAGS" {
                    self.properties = value.split_whitespace().map(str::to_owned).collect();
                }
                self
            }

            pub fn with_healthcheck(self, _check: Healthcheck) -> Self {
                self
            }

            pub fn with_wait_for(self, _wait: WaitFor) -> Self {
                self
            }
        }
    }
}

pub mod core {
    use std::marker::PhantomData;
    use std::time::Duration;

    use super::images::generic::GenericImage;
    use super::{Server, read_log, until};

    pub enum WaitFor {
        Healthcheck,
    }

    #[derive(Default)]
    pub struct Healthcheck;

    impl Healthcheck {
        pub fn with_cmd<T>(self, _words: T) -> Self {
            self
        }

        pub fn with_interval(self, _interval: Duration) -> Self {
            self
        }

        pub fn with_retries(self, _retries: u32) -> Self {
            self
        }
    }

    pub struct RunnableImage<T>(pub(crate) T);

    impl From<GenericImage> for RunnableImage<GenericImage> {
        fn from(image: GenericImage) -> Self {
            Self(image)
        }
    }

    impl RunnableImage<GenericImage> {
        /// A path here, and where the container sees it.
        pub fn with_volume(mut self, (here, there): (&str, &str)) -> Self {
            self.0.volumes.push((there.into(), here.into()));
            self
        }

        pub fn with_network(self, _network: &str) -> Self {
            self
        }
    }

    pub struct Container<'a, T> {
        server: Server,
        of: PhantomData<&'a T>,
    }

    impl Container<'_, GenericImage> {
        pub(crate) fn run(image: GenericImage) -> Self {
            let server = Server::new(image);
            server.start();
            until("it serves", || server.serves().then_some(()));
            Self {
                server,
                of: PhantomData,
            }
        }

        pub fn stop(&self) {
            self.server.stop();
        }

        pub fn start(&self) {
            self.server.start();
        }

        pub fn get_host_port(&self, _inside: u16) -> u16 {
            self.server.port
        }

        pub fn stdout(&self) -> LogStream {
            LogStream {
                log: self.server.log.clone(),
                port: self.server.port,
            }
        }
    }

    pub struct LogStream {
        log: std::path::PathBuf,
        port: u16,
    }

    impl LogStream {
        /// Waits for a line of the log, or for the server itself to say what the line tells.
        pub fn wait_for_message(&self, message: &str) -> Result<(), String> {
            let read_only = message == "Read-only server started";
            until(message, || {
                let said = read_log(&self.log).contains(message);
                let shows = read_only && super::ask(self.port, "isro") == "ro";
                (said || shows).then_some(())
            });
            Ok(())
        }
    }
}

use images::generic::GenericImage;

/// Looks until there is a value; panics in the end.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE} s");
        thread::sleep(Duration::from_millis(100));
    }
}

fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A four-letter word's answer; empty when there is none.
fn ask(port: u16, word: &str) -> String {
    use std::io::{Read, Write};
    let mut answer = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(("localhost", port)) {
        drop(stream.set_read_timeout(Some(Duration::from_secs(2))));
        drop(stream.write_all(word.as_bytes()));
        drop(stream.read_to_string(&mut answer));
    }
    answer
}

/// One server's process and files.
struct Server {
    properties: Vec<String>,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
}

/// A port of ours on which nobody listens.
fn port() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let all = setting("SHIM_PORTS");
    let (first, count) = all.split_once(' ').expect("two numbers");
    let (first, count): (u16, u16) = (first.parse().unwrap(), count.parse().unwrap());
    until("a free port", || {
        let port = first + TURN.fetch_add(1, Ordering::Relaxed) % count;
        std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

impl Server {
    fn new(image: GenericImage) -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(&setting("SHIM_DIR")).join(number.to_string());
        fs::create_dir_all(&dir).expect("a writable directory");
        let volume = |inside: &str| {
            let found = image.volumes.iter().find(|(there, _)| there == inside);
            found.map(|(_, here)| PathBuf::from(here))
        };
        let data = volume("/data").unwrap_or_else(|| dir.join("data"));
        fs::create_dir_all(&data).expect("a writable directory");
        let given = volume("/conf/zoo.cfg").map(|path| fs::read_to_string(path).expect("zoo.cfg"));
        let image_s_own = || format!("tickTime=2000\nclientPort={CLIENT_PORT}\ndataDir=/data\n");
        let mut text = given.unwrap_or_else(image_s_own);
        let port = listed_port(&text, &data).unwrap_or_else(port);
        text = text.replace("dataDir=/data", &format!("dataDir={}", data.display()));
        let inside = format!("lientPort={CLIENT_PORT}");
        text = text.replace(&inside, &format!("lientPort={port}"));
        text.push_str("4lw.commands.whitelist=*\nadmin.enableServer=false\n");
        let config = dir.join("zoo.cfg");
        fs::write(&config, text).expect("a writable directory");
        Self {
            properties: image.properties,
            config,
            log: dir.join("log.txt"),
            port,
            child: Mutex::new(None),
        }
    }

    fn start(&self) {
        let log = fs::File::options().create(true).append(true).open(&self.log);
        let log = log.expect("a writable directory");
        let mut command = Command::new(setting("SHIM_JAVA"));
        command.args(&self.properties);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        command.arg(&self.config).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().expect("the server starts"));
    }

    fn serves(&self) -> bool {
        let ended = self.child.lock().unwrap().as_mut().unwrap().try_wait();
        let ended = ended.expect("an own child can be asked");
        assert!(ended.is_none(), "{ended:?}: {}", read_log(&self.log));
        ask(self.port, "srvr").contains("Mode:")
    }

    fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The client's port in the line of the server that `myid` names.
fn listed_port(config: &str, data: &Path) -> Option<u16> {
    let id = fs::read_to_string(data.join("myid")).ok()?;
    let own = format!("server.{}=", id.trim());
    let line = config.lines().find(|line| line.starts_with(&own))?;
    line.rsplit_once(":")?.1.parse().ok()
}
