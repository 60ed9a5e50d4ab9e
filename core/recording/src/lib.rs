//! Recordings: everything that a node was told since its start, so that the same core comes to the
//! same state again, elsewhere and as often as needed.
//!
//! A node is a function of its configuration, of what its disk held at the start, and of its
//! inputs with their times. A recording is these three, in one file for each start. It ends
//! wherever the process ended; a torn last entry is no damage. Its size is bounded: when it is
//! full it ends there, and the server goes on without. Of several starts the newest are kept.
//!
//! Session passwords, proofs of identities and all data are in there: the files are for their
//! owner only.
#![forbid(unsafe_code)]

mod entry;
mod recorder;
mod replay;
mod shapes;
#[cfg(test)]
mod tests;

pub use entry::{Broken, MAGIC, VERSION};
pub use recorder::{KEPT, Limits, Recorder};
pub use replay::{Replayed, newest, replay};
