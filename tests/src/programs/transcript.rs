//! What programs showed on Apache ZooKeeper, kept as text: for machines on which there is none.
//!
//! For each program its number and a sum over its text, then what its steps showed, one line each,
//! an empty line behind each step. A program that is drawn differently by now has another sum, and
//! must be recorded again.

use std::fmt::Write as _;

use super::Program;
use super::run::Shown;

/// One recorded program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub seed: u64,
    pub sum: u64,
    pub shown: Vec<Shown>,
}

/// FNV-1a over the program's text.
pub fn sum(program: &Program) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in program.to_string().bytes() {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    sum
}

pub fn write(all: &[Recorded]) -> String {
    let mut text = String::new();
    for one in all {
        let _ = writeln!(text, "program {} {:016x}", one.seed, one.sum);
        for shown in &one.shown {
            for line in shown {
                let _ = writeln!(text, "{}", line.replace('\n', "\\n"));
            }
            text.push('\n');
        }
    }
    text
}

/// Reads what [`write()`] wrote. Fails on anything else.
pub fn read(text: &str) -> Vec<Recorded> {
    let mut all: Vec<Recorded> = Vec::new();
    let mut shown = Shown::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("program ") {
            let (seed, sum) = head.split_once(' ').expect("number and sum");
            all.push(Recorded {
                seed: seed.parse().expect("a number"),
                sum: u64::from_str_radix(sum, 16).expect("a sum"),
                shown: Vec::new(),
            });
        } else if line.is_empty() {
            let last = all.last_mut().expect("a program comes first");
            last.shown.push(std::mem::take(&mut shown));
        } else {
            shown.push(line.into());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = vec![
            Recorded {
                seed: 3,
                sum: u64::MAX,
                shown: vec![vec![], vec!["a".into(), "b c".into()]],
            },
            Recorded {
                seed: 4,
                sum: 0,
                shown: vec![vec!["d".into()]],
            },
        ];
        assert_eq!(read(&write(&all)), all);
    }
}
