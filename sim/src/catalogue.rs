//! Names of the known bugs that can be put back, as the command line and schedules use them.

use vivarium_core::mutants::{Mutant, Mutants};

/// The bug's name: `AckBeforeSync` is `ack-before-sync`.
pub fn name(mutant: Mutant) -> String {
    let mut name = String::new();
    for c in format!("{mutant:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The bug of this name.
///
/// # Errors
/// The names that there are.
pub fn find(wanted: &str) -> Result<Mutant, String> {
    let all = Mutant::ALL;
    let found = all.iter().copied().find(|m| name(*m) == wanted);
    found.ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|m| name(*m)).collect();
        let names = names.join(", ");
        format!("no known bug is called {wanted}; there are {names}")
    })
}

/// Whether known bugs are built in.
pub const BUILT_IN: bool = cfg!(feature = "mutants");

/// The switch for one bug; none if known bugs are not built in.
pub fn switch(mutant: Mutant) -> Option<Mutants> {
    #[cfg(feature = "mutants")]
    return Some(Mutants::with(mutant));
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        None
    }
}
