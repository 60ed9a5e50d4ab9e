//! The only vocabulary between the machine and its driver.
//!
//! A *turn* is any number of `Node::handle(now, Input)` and then one `Node::flush(now, &mut
//! Outbox)`. The outbox is one list: the order of its actions is the order of their effects, and a
//! driver may die after any prefix of it. Both drivers match every action without a wildcard.

mod action;
mod input;
mod outbox;

pub use action::{Action, CloseReason, Event, Fault, FourLetterWord, SnapshotStep, Whom, WriteOp};
pub use input::{Appetite, Channel, Input};
pub use outbox::{Outbox, Span};
