//! `view`: a run as one page for a browser.

use std::path::PathBuf;

use clap::Args;
use vivarium_sim::view::page;

use super::source::Source;
use super::usage;

#[derive(Args)]
pub(crate) struct ViewArgs {
    #[command(flatten)]
    source: Source,
    /// The page; it needs no other file and no network.
    #[arg(short, long, value_name = "FILE", default_value = "run.html")]
    out: PathBuf,
}

pub(crate) fn view(args: &ViewArgs) -> u8 {
    let (schedule, mutants) = match args.source.load() {
        Ok(loaded) => loaded,
        Err(refusal) => return usage(&refusal),
    };
    let page = page(&schedule, args.source.name(), mutants);
    let out = args.out.display();
    match std::fs::write(&args.out, &page) {
        Ok(()) => {
            println!("{out}: {} bytes; open it in a browser", page.len());
            0
        }
        Err(e) => usage(&format!("can not write {out}: {e}")),
    }
}
