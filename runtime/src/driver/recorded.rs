//! A node whose inputs are written down, if that was asked for. What goes wrong with that is told
//! in the log and changes nothing for the node.

use std::path::PathBuf;

use vivarium_core::boundary::{Appetite, Input, Outbox};
use vivarium_core::node::{Node, Status};
use vivarium_core::time::{Instant, Now};
use vivarium_recording::Recorder;

use super::turn::Machine;

/// What `--record` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where recordings are kept.
    pub dir: PathBuf,
    /// Most bytes of one of them.
    pub bytes_max: u64,
}

/// The node and its recording.
pub(super) struct Recorded {
    pub(super) node: Node,
    pub(super) recorder: Option<Recorder>,
}

impl Machine for Recorded {
    fn handle(&mut self, now: Now, mut input: Input<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &mut input);
        }
        self.node.handle(now, input);
    }

    fn flush(&mut self, now: Now, out: &mut Outbox) {
        let Some(recorder) = &mut self.recorder else {
            return self.node.flush(now, out);
        };
        recorder.flush(now);
        self.node.flush(now, out);
        let database = self.node.database();
        if let Some(why) = recorder.end_turn(|| (database.applied(), database.digest())) {
            let path = recorder.path().display();
            tracing::warn!("the recording {path} has ended: {why}");
            self.recorder = None;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.node.deadline()
    }

    fn appetite(&self) -> Appetite {
        self.node.appetite()
    }

    fn status(&self) -> Status {
        self.node.status()
    }
}
