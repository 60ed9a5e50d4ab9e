//! A listener between two servers that passes on what each says and writes it down.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Bytes of one read.
const CHUNK: usize = 64 << 10;

/// Who said something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The server that dialled.
    Dialler,
    Acceptor,
}

/// What was said on one connection, in the order in which it passed.
pub type Said = Vec<(Side, Vec<u8>)>;

/// Records all connections to one port.
pub struct Recorder {
    port: u16,
    connections: Arc<Mutex<Vec<Arc<Mutex<Said>>>>>,
}

impl Recorder {
    /// Listens on a port of its own choice, for whoever means `to`.
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&connections);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for dialler in listener.incoming().map_while(Result::ok) {
                let Ok(acceptor) = TcpStream::connect(to) else {
                    continue;
                };
                let said = Arc::new(Mutex::new(Said::new()));
                all.lock().expect("nobody panics").push(Arc::clone(&said));
                pass_on(dialler, acceptor, &said);
            }
        });
        Self { port, connections }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything so far, a list for each connection in the order in which they came.
    pub fn said(&self) -> Vec<Said> {
        let connections = self.connections.lock().expect("nobody panics");
        let all = connections.iter();
        all.map(|one| one.lock().expect("nobody panics").clone())
            .collect()
    }
}

fn pass_on(dialler: TcpStream, acceptor: TcpStream, said: &Arc<Mutex<Said>>) {
    for stream in [&dialler, &acceptor] {
        stream.set_nodelay(true).expect("a live socket");
    }
    let ways = [
        (Side::Dialler, &dialler, &acceptor),
        (Side::Acceptor, &acceptor, &dialler),
    ];
    for (side, from, to) in ways {
        let mut from = from.try_clone().expect("a second handle");
        let mut to = to.try_clone().expect("a second handle");
        let said = Arc::clone(said);
        std::thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                let bytes = chunk[..read].to_vec();
                said.lock().expect("nobody panics").push((side, bytes));
                if to.write_all(&chunk[..read]).is_err() {
                    break;
                }
            }
            // The other side hears of the end, too.
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
        });
    }
}

/// As text: `>` what the dialler said, `<` what it heard, in hexadecimal.
pub fn text(head: &str, said: &Said) -> String {
    let mut text: String = head.lines().map(|line| format!("# {line}\n")).collect();
    for (side, bytes) in said {
        text.push(if *side == Side::Dialler { '>' } else { '<' });
        for (number, byte) in bytes.iter().enumerate() {
            if number > 0 && number % 48 == 0 {
                text.push_str("\n ");
            } else if number == 0 {
                text.push(' ');
            }
            write!(text, "{byte:02x}").expect("a String grows");
        }
        text.push('\n');
    }
    text
}
