//! Makes a program that fails smaller, as long as it fails: delta debugging over the steps
//! (Zeller, Hildebrandt 2002), then over the requests of a step and the parts of a multi.

use super::{Body, Program, Request, Step};

/// Trials, at most: each is a run on both sides.
const TRIALS_MAX: usize = 400;

/// The smallest program found that still `fails`.
pub fn minimise(program: &Program, mut fails: impl FnMut(&Program) -> bool) -> Program {
    let mut trials = 0;
    let seed = program.seed;
    let mut steps = program.steps.clone();
    loop {
        let before = size(&steps);
        steps = smaller(&steps, &mut |steps: &[Step]| {
            trials += 1;
            let steps = steps.to_vec();
            trials <= TRIALS_MAX && fails(&Program { seed, steps })
        });
        for at in 0..steps.len() {
            let Step::Ask { slot, requests } = steps[at].clone() else {
                continue;
            };
            let mut with = |requests: &[Request]| {
                trials += 1;
                let requests = requests.to_vec();
                let mut steps = steps.clone();
                steps[at] = Step::Ask { slot, requests };
                trials <= TRIALS_MAX && fails(&Program { seed, steps })
            };
            let mut requests = smaller(&requests, &mut with);
            for n in 0..requests.len() {
                requests[n] = plainer(&requests, n, &mut with);
            }
            steps[at] = Step::Ask { slot, requests };
        }
        if size(&steps) == before || trials > TRIALS_MAX {
            return Program { seed, steps };
        }
    }
}

fn size(steps: &[Step]) -> usize {
    let parts = |request: &Request| match &request.body {
        Body::Fields(_) => 1,
        Body::Parts(parts) => 1 + parts.len(),
    };
    let one = |step: &Step| match step {
        Step::Ask { requests, .. } => 1 + requests.iter().map(parts).sum::<usize>(),
        _ => 1,
    };
    steps.iter().map(one).sum()
}

/// Request `n` with fewer parts, and without a twist, if that fails too.
fn plainer(requests: &[Request], n: usize, fails: &mut impl FnMut(&[Request]) -> bool) -> Request {
    let mut best = requests.to_vec();
    if best[n].twist.is_some() {
        let mut plain = best.clone();
        plain[n].twist = None;
        if fails(&plain) {
            best = plain;
        }
    }
    if let Body::Parts(parts) = best[n].body.clone() {
        let mut trial = best.clone();
        let parts = smaller(&parts, &mut |parts| {
            trial[n].body = Body::Parts(parts.to_vec());
            fails(&trial)
        });
        best[n].body = Body::Parts(parts);
    }
    best.swap_remove(n)
}

/// Takes out runs of items, halves first and single ones last.
fn smaller<T: Clone>(all: &[T], fails: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut items = all.to_vec();
    let mut length = items.len().div_ceil(2);
    while length > 0 {
        let mut at = 0;
        while at < items.len() {
            let mut fewer = items.clone();
            fewer.drain(at..items.len().min(at + length));
            if fails(&fewer) {
                items = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::draw;

    #[test]
    fn what_does_not_matter_goes() {
        let (program, has_multi) = (0..)
            .map(|seed| draw::program(seed, 1))
            .map(|program| (program.clone(), multis(&program)))
            .find(|(program, multis)| *multis == 1 && program.steps.len() > 20)
            .expect("some program has one");
        let small = minimise(&program, |program| multis(program) == has_multi);
        assert_eq!(small.steps.len(), 1, "{small}");
        assert_eq!(small.requests(), 1, "{small}");
        assert!(matches!(&small.steps[0], Step::Ask { requests, .. }
            if matches!(&requests[0].body, Body::Parts(parts) if parts.is_empty())));
    }

    fn multis(program: &Program) -> usize {
        let asks = program.steps.iter().filter_map(|step| match step {
            Step::Ask { requests, .. } => Some(requests),
            _ => None,
        });
        asks.flatten()
            .filter(|request| matches!(request.body, Body::Parts(_)))
            .count()
    }
}
