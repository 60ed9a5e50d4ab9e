//! Other people's programs that the tests run: Apache ZooKeeper's server and command line client,
//! and kazoo. Each is installed on first use; where no registry can be reached, the test that
//! needs it says so on stderr and passes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::program::target_dir;

/// The kazoo release under test, and where pip finds it.
pub(crate) const KAZOO: &str = "kazoo==2.11.0";

/// The ZooKeeper release that Maven fetches.
const JARS_VERSION: &str = "3.9.4";

/// Releases whose data directories must start here; the others above write them today.
pub const OLD_ZOOKEEPERS: [&str; 2] = ["3.4.14", "3.5.10"];

/// What the tests need besides the language toolchain, as Debian packages.
const JAVA_PACKAGES: &[&str] = &["zookeeper", "libslf4j-java"];
const PYTHON_PACKAGES: &[&str] = &["python3", "python3-venv"];

/// One installed Apache ZooKeeper.
#[derive(Debug)]
pub struct Java {
    /// `3.8.0` for example.
    pub version: String,
    classpath: String,
    /// The distribution's own `zkCli.sh`, where there is one.
    script: Option<PathBuf>,
}

impl Java {
    pub fn classpath(&self) -> &str {
        &self.classpath
    }

    /// A command that runs one of ZooKeeper's classes and logs to stderr from this level on.
    fn run(&self, class: &str, level: &str) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dorg.slf4j.simpleLogger.showDateTime=true");
        command.arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS");
        command.arg(format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"));
        command.args(["-cp", &self.classpath, class]);
        command
    }

    /// ZooKeeper's server on this configuration file.
    pub fn server(&self, zoo_cfg: &Path) -> Command {
        let mut command = self.run("org.apache.zookeeper.server.quorum.QuorumPeerMain", "info");
        command.arg(zoo_cfg);
        command
    }

    /// ZooKeeper's command line client, by `zkCli.sh` where the distribution has it.
    pub fn command_line(&self, server: &str) -> Command {
        let mut command = match &self.script {
            Some(script) => Command::new(script),
            None => self.run("org.apache.zookeeper.ZooKeeperMain", "error"),
        };
        command.args(["-server", server]);
        command
    }
}

/// Says that a test can not run here. Goes around the test harness, which hides what a passing
/// test prints.
pub fn skip(test: &str, why: &str) {
    let line = format!("\n*** SKIPPED {test}: {why} ***\n\n");
    // A closed stderr is no reason to fail.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// All of ZooKeeper that can be had: Debian's, and the 3.9 jars. Empty where nothing is reachable.
pub fn zookeepers() -> &'static [Java] {
    static FOUND: OnceLock<Vec<Java>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let _lock = lock("zookeeper");
        [debian_zookeeper(), maven_zookeeper(JARS_VERSION, &pom())]
            .into_iter()
            .flatten()
            .collect()
    })
}

/// Some ZooKeeper, or `None` after saying that `test` is skipped.
pub fn zookeeper(test: &str) -> Option<&'static Java> {
    let found = zookeepers().first();
    if found.is_none() {
        skip(
            test,
            "Apache ZooKeeper comes neither from Debian nor from Maven here",
        );
    }
    found
}

/// ZooKeeper 3.9, whose command line client knows every request, or `None` after saying that `test`
/// is skipped.
pub fn newest_zookeeper(test: &str) -> Option<&'static Java> {
    let found = zookeepers()
        .iter()
        .find(|java| java.version == JARS_VERSION);
    if found.is_none() {
        skip(test, "Apache ZooKeeper 3.9 does not come from Maven here");
    }
    found
}

/// One of [`OLD_ZOOKEEPERS`], or `None` after saying that `test` is skipped.
pub fn old_zookeeper(test: &str, version: &'static str) -> Option<&'static Java> {
    static FOUND: OnceLock<Vec<Java>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let _lock = lock("zookeeper");
        let get = |version: &&'static str| maven_zookeeper(version, &old_pom(version));
        OLD_ZOOKEEPERS.iter().filter_map(get).collect()
    });
    let java = found.iter().find(|java| java.version == version);
    if java.is_none() {
        skip(
            test,
            &format!("ZooKeeper {version} does not come from Maven here"),
        );
    }
    java
}

/// A Python interpreter that has kazoo, or `None` after saying that `test` is skipped.
pub fn kazoo(test: &str) -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let _lock = lock("kazoo");
        kazoo_venv()
    });
    if found.is_none() {
        skip(test, "kazoo can not be installed by pip here");
    }
    found.as_deref()
}

pub(crate) fn peers_dir() -> PathBuf {
    target_dir().join("peers")
}

/// Keeps two test processes from installing the same thing at once, for as long as it lives.
pub(crate) fn lock(name: &str) -> File {
    fs::create_dir_all(peers_dir()).expect("target is writable");
    let file = File::create(peers_dir().join(format!("{name}.lock"))).expect("target is writable");
    file.lock().expect("files can be locked");
    file
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs Debian packages if this system has them and lets us.
fn apt_install(packages: &[&str]) -> bool {
    let as_root: &[&str] = match Command::new("id").arg("-u").output() {
        Ok(output) if output.stdout.trim_ascii() == b"0" => &["env"],
        _ => &["sudo", "-n", "env"],
    };
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(as_root[0]);
        command
            .args(&as_root[1..])
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        succeeds(
            command
                .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"])
                .args(arguments),
        )
    };
    let install = [&["install", "--no-install-recommends"], packages].concat();
    // A machine with old package lists knows versions that the mirrors have dropped.
    apt(&install) || (apt(&["update"]) && apt(&install))
}

fn debian_zookeeper() -> Option<Java> {
    let jar = Path::new("/usr/share/java/zookeeper.jar");
    let logger = "/usr/share/java/slf4j-simple.jar";
    let runs = || jar.exists() && succeeds(Command::new("java").arg("-version"));
    let ready = runs() || (apt_install(JAVA_PACKAGES) && runs());
    if !ready {
        return None;
    }
    // The version is in the name of a second jar beside this one.
    let version = fs::read_dir(jar.parent()?)
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
            version
                .starts_with(|c: char| c.is_ascii_digit())
                .then(|| version.to_owned())
        })?;
    let script = PathBuf::from("/usr/share/zookeeper/bin/zkCli.sh");
    let script = script.exists().then_some(script);
    Some(Java {
        version,
        classpath: format!("{logger}:{}", jar.display()),
        script,
    })
}

fn maven_zookeeper(version: &str, pom: &str) -> Option<Java> {
    let dir = peers_dir().join(format!("zookeeper-{version}"));
    let complete = dir.join("complete");
    if !complete.exists() {
        fs::create_dir_all(&dir).ok()?;
        fs::write(dir.join("pom.xml"), pom).ok()?;
        let mut maven = Command::new("mvn");
        maven
            .current_dir(&dir)
            .args(["-q", "-B", "dependency:copy-dependencies"]);
        if !succeeds(maven.arg("-DoutputDirectory=jars")) {
            return None;
        }
        fs::write(complete, "").ok()?;
    }
    let classpath = format!("{}/jars/*", dir.display());
    Some(Java {
        version: version.into(),
        classpath,
        script: None,
    })
}

/// Older releases bring all that they need, with a logger that is silent without a file.
fn old_pom(version: &str) -> String {
    pom_of(&[("org.apache.zookeeper", "zookeeper", version)])
}

/// ZooKeeper's own pom leaves out what its server only needs at run time.
fn pom() -> String {
    let dependencies = [
        ("org.apache.zookeeper", "zookeeper", JARS_VERSION),
        ("org.slf4j", "slf4j-simple", "2.0.13"),
        ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
        ("org.xerial.snappy", "snappy-java", "1.1.10.5"),
        ("commons-cli", "commons-cli", "1.5.0"),
    ];
    pom_of(&dependencies)
}

fn pom_of(dependencies: &[(&str, &str, &str)]) -> String {
    let mut list = String::new();
    for (group, artifact, version) in dependencies {
        list.push_str(&format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        ));
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>peers</groupId><artifactId>peers</artifactId><version>1</version>\
         <dependencies>\n{list}</dependencies></project>\n"
    )
}

fn kazoo_venv() -> Option<PathBuf> {
    venv("kazoo", &[KAZOO], "import kazoo.recipe.lock")
}

/// The interpreter of a virtual environment with these packages, in which `check` runs.
pub(crate) fn venv(name: &str, packages: &[&str], check: &str) -> Option<PathBuf> {
    let venv = peers_dir().join(name);
    let python = venv.join("bin/python");
    let works = || succeeds(Command::new(&python).args(["-c", check]));
    if works() {
        return Some(python);
    }
    let create = || {
        succeeds(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&venv),
        )
    };
    let ready = create() || (apt_install(PYTHON_PACKAGES) && create());
    if !ready {
        return None;
    }
    let mut pip = Command::new(&python);
    let installed = succeeds(pip.args(["-m", "pip", "install", "--quiet"]).args(packages));
    (installed && works()).then_some(python)
}

/// Python packages that kazoo's own tests import. The last release of OpenSSL's bindings that they
/// can use is not the newest.
const KAZOO_SUITE: &[&str] = &[
    "pytest==8.3.4",
    "pytest-timeout==2.3.1",
    "pyjks==20.0.0",
    "pyopenssl==24.0.0",
    "pure_sasl==0.6.2",
    "objgraph==3.6.2",
];

/// A Python interpreter that can run kazoo's own tests, and the directory with kazoo's source; or
/// `None` after saying that `test` is skipped.
pub fn kazoo_suite(test: &str) -> Option<(PathBuf, PathBuf)> {
    let _lock = lock("kazoo-suite");
    let found = kazoo_source();
    if found.is_none() {
        skip(
            test,
            "pip gets neither kazoo's source nor what its tests need",
        );
    }
    found
}

fn kazoo_source() -> Option<(PathBuf, PathBuf)> {
    let python = venv(
        "kazoo-suite",
        KAZOO_SUITE,
        "import pytest, jks, OpenSSL, puresasl",
    )?;
    let source = peers_dir().join(KAZOO.replace("==", "-"));
    if source.join("kazoo/tests/conftest.py").is_file() {
        return Some((python, source));
    }
    let mut pip = Command::new(&python);
    let from_source = ["--no-deps", "--no-binary", ":all:", KAZOO, "--dest"];
    pip.args(["-m", "pip", "download", "--quiet"])
        .args(from_source);
    let unpack = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    let archive = peers_dir().join(format!("{}.tar.gz", KAZOO.replace("==", "-")));
    let mut tar = Command::new(&python);
    tar.args(["-c", unpack]).arg(archive).arg(peers_dir());
    (succeeds(pip.arg(peers_dir())) && succeeds(&mut tar)).then_some((python, source))
}

/// The release of the crate `zookeeper-client` under test.
const ZOOKEEPER_CLIENT: &str = "0.11.2";

/// The directory with the published source of the crate `zookeeper-client`, or `None` after saying
/// that `test` is skipped.
pub fn zookeeper_client(test: &str) -> Option<PathBuf> {
    let _lock = lock("zookeeper-client");
    let found = fetch_crate("zookeeper-client", ZOOKEEPER_CLIENT);
    if found.is_none() {
        skip(test, "cargo can not fetch the crate zookeeper-client here");
    }
    found
}

/// Lets cargo fetch a crate as a dependency, and asks where it lies.
fn fetch_crate(name: &str, version: &str) -> Option<PathBuf> {
    let dir = peers_dir().join(format!("fetch-{name}"));
    fs::create_dir_all(dir.join("src")).ok()?;
    fs::write(dir.join("src/lib.rs"), "").ok()?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\n\n[dependencies]\n{name} = \
         \"={version}\"\n\n[workspace]\n"
    );
    fs::write(dir.join("Cargo.toml"), manifest).ok()?;
    let mut cargo = Command::new("cargo");
    let output = cargo
        .current_dir(&dir)
        .args(["metadata", "--format-version=1"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let end = format!("{name}-{version}/Cargo.toml");
    let path = text.split('"').find(|word| word.ends_with(&end))?;
    Path::new(path).parent().map(Path::to_owned)
}
