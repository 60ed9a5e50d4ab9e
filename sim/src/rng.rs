//! Entropy: named ChaCha8 streams of one seed, and the distributions over them, all in integers.
//!
//! Every draw takes exactly one 64-bit word, so that a draw is addressed by (stream, counter) and
//! leaving one out does not shift any other stream. The distributions are written here and have
//! golden values, because libraries change theirs between versions and a seed must keep its
//! meaning. Knows nothing of what is drawn.
//!
//! A stream can note what comes out, or be told it instead of drawing; see [`crate::decisions`].
//! Each distribution has a quiet outcome for what is not told: the first, the least, no, the
//! average.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::decisions::{Cursor, Lane, Ledger, Outcome, Owner};

/// What a stream is for. The number is part of every seed's meaning: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum Purpose {
    /// The configuration of the run.
    Swarm = 1,
    /// The fault schedule.
    Nemesis = 2,
    /// One directed pair of machines on the network.
    Net = 3,
    /// One server's disk: latencies and what a crash leaves.
    Disk = 4,
    /// One server's turns: their size and delay, and where a crash strikes.
    Turn = 5,
    /// One server's clocks.
    Clock = 6,
    /// One client's plan.
    ClientPlan = 7,
    /// One client's behaviour.
    Client = 8,
    /// Seeds given to nodes.
    NodeSeed = 9,
    /// Anything that a scenario file leaves open.
    Scenario = 10,
}

/// All streams of one seed.
#[derive(Clone, Debug)]
pub struct Streams {
    key: [u8; 32],
    ledger: Option<Rc<Ledger>>,
}

/// One stream, read word by word.
#[derive(Clone, Debug)]
pub struct Stream {
    rng: ChaCha8Rng,
    drawn: u64,
    cursor: Option<Box<Cursor>>,
}

impl Streams {
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        let mut state = seed;
        for chunk in key.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&mix(state).to_le_bytes());
        }
        Self { key, ledger: None }
    }

    /// Streams that are noted in a ledger, or told by it.
    #[must_use]
    pub fn with(mut self, ledger: Rc<Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    pub fn ledger(&self) -> Option<&Rc<Ledger>> {
        self.ledger.as_ref()
    }

    /// The stream for `purpose` and whoever it belongs to (48 bits).
    pub fn stream(&self, purpose: Purpose, who: u64) -> Stream {
        assert!(who < 1 << 48, "48 bits tell whose stream it is");
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(((purpose as u64) << 48) | who);
        let cursor = |ledger: &Rc<Ledger>| Box::new(Cursor::new(ledger.clone(), purpose, who));
        Stream {
            rng,
            drawn: 0,
            cursor: self.ledger.as_ref().map(cursor),
        }
    }
}

/// Finalizer of SplitMix64: spreads a small seed over a key.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The draws that follow are one decision of this kind.
    pub fn on(&mut self, lane: Lane) -> &mut Self {
        if let Some(cursor) = &mut self.cursor {
            cursor.open(lane, None);
        }
        self
    }

    /// The draws that follow are one decision of this kind, for this server (from 1).
    pub fn on_for(&mut self, lane: Lane, server: u16) -> &mut Self {
        if let Some(cursor) = &mut self.cursor {
            cursor.open(lane, Some(Owner::Server(server)));
        }
        self
    }

    fn next_word(&mut self) -> u64 {
        self.drawn += 1;
        self.rng.next_u64()
    }

    /// One outcome, drawn or told.
    fn decide(&mut self, quiet: u64, from_word: impl FnOnce(u64) -> u64) -> u64 {
        let Some(cursor) = &mut self.cursor else {
            return from_word(self.next_word());
        };
        match cursor.outcome() {
            Outcome::Told(outcome) => outcome,
            Outcome::Quiet => quiet,
            Outcome::Draw => {
                let outcome = from_word(self.next_word());
                if let Some(cursor) = &mut self.cursor {
                    cursor.note(outcome, quiet);
                }
                outcome
            }
        }
    }

    /// One word, uniform; 0 if quiet.
    pub fn word(&mut self) -> u64 {
        self.decide(0, |word| word)
    }

    /// How many draws were made: the counter half of a draw's address.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Always, and never if quiet. Nothing is drawn.
    pub fn happens(&mut self) -> bool {
        let Some(cursor) = &mut self.cursor else {
            return true;
        };
        match cursor.outcome() {
            Outcome::Told(outcome) => outcome != 0,
            Outcome::Quiet => false,
            Outcome::Draw => {
                cursor.note(1, 0);
                true
            }
        }
    }

    /// True in `numerator` of `denominator` cases; false if quiet.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        assert!(denominator > 0, "a chance out of nothing");
        let yes = |word| u64::from(scale(word, denominator) < numerator);
        self.decide(0, yes) != 0
    }

    /// As `chance`, but nothing is drawn where there is none. It can be told all the same.
    pub fn maybe(&mut self, numerator: u64, denominator: u64) -> bool {
        if numerator > 0 {
            return self.chance(numerator, denominator);
        }
        let Some(cursor) = &mut self.cursor else {
            return false;
        };
        match cursor.outcome() {
            Outcome::Told(outcome) => outcome != 0,
            Outcome::Quiet => false,
            Outcome::Draw => {
                cursor.note(0, 0);
                false
            }
        }
    }

    /// Uniform in `0..n`, 0 if quiet. One word however large `n` is: the bias of at most n / 2^64
    /// is not worth a second draw.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing lies below 0");
        self.decide(0, |word| scale(word, n)).min(n - 1)
    }

    /// Uniform in `low..=high`, the least if quiet.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.range_or(low, high, low)
    }

    /// Uniform in `low..=high`, `quiet` if quiet.
    pub fn range_or(&mut self, low: u64, high: u64, quiet: u64) -> u64 {
        assert!(low <= high, "range {low}..={high} is empty");
        let pick = |word| match (high - low).checked_add(1) {
            None => word,
            Some(n) => low + scale(word, n),
        };
        self.decide(quiet, pick).clamp(low, high)
    }

    /// Uniform in `low..=high`; if quiet 0, or what is next to it.
    pub fn range_signed(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "range {low}..={high} is empty");
        let pick = |word| match high.abs_diff(low).checked_add(1) {
            None => low.wrapping_add(word as i64) as u64,
            Some(n) => low.wrapping_add(scale(word, n) as i64) as u64,
        };
        let outcome = self.decide(0.clamp(low, high) as u64, pick) as i64;
        outcome.clamp(low, high)
    }

    /// One element, the first if quiet.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// An index, in proportion to the weights; the first if quiet.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        self.weighted_or(weights, 0)
    }

    /// An index, in proportion to the weights; `quiet` if quiet.
    pub fn weighted_or(&mut self, weights: &[u64], quiet: usize) -> usize {
        let total = weights.iter().sum();
        let pick = |word| {
            let mut at = scale(word, total);
            for (i, weight) in weights.iter().enumerate() {
                if at < *weight {
                    return i as u64;
                }
                at -= weight;
            }
            unreachable!("the draw lies below the sum of the weights")
        };
        let index = self.decide(quiet as u64, pick) as usize;
        index.min(weights.len() - 1)
    }

    /// Fisher and Yates; n - 1 draws. As it is if quiet.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.range_or(0, i as u64, i as u64) as usize);
        }
    }

    /// Exponential with this mean, from a table of 256 steps; at most 6.24 times the mean. About
    /// the mean if quiet.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let step = self.decide(EXPONENTIAL_MEAN, |word| scale(word, 256));
        let step = EXPONENTIAL[step.min(255) as usize];
        ((u128::from(mean) * u128::from(step)) >> 16) as u64
    }

    /// A fresh seed for somebody else's generator.
    pub fn seed(&mut self) -> u64 {
        self.word()
    }
}

/// The part of `0..n` that a word stands for.
fn scale(word: u64, n: u64) -> u64 {
    ((u128::from(word) * u128::from(n)) >> 64) as u64
}

/// The step of the table that is nearest to the mean.
const EXPONENTIAL_MEAN: u64 = 94;

/// `-ln((i + 1/2) / 256)` in 16.16 fixed point.
#[rustfmt::skip]
const EXPONENTIAL: [u32; 256] = [
    408835, 336836, 303359, 281308, 264838, 251686, 240738, 231360, 223157, 215868,
    209309, 203347, 197883, 192839, 188156, 183785, 179688, 175832, 172190, 168740,
    165462, 162341, 159361, 156512, 153781, 151159, 148638, 146210, 143869, 141609,
    139425, 137310, 135262, 133276, 131348, 129476, 127655, 125884, 124159, 122479,
    120840, 119242, 117681, 116157, 114668, 113211, 111786, 110392, 109027, 107689,
    106378, 105093, 103833, 102596, 101383, 100191, 99021, 97871, 96741, 95630,
    94538, 93464, 92406, 91366, 90342, 89334, 88341, 87363, 86399, 85449,
    84513, 83590, 82680, 81782, 80896, 80022, 79160, 78309, 77469, 76639,
    75820, 75011, 74212, 73422, 72642, 71871, 71109, 70355, 69611, 68874,
    68146, 67426, 66714, 66009, 65312, 64622, 63939, 63264, 62595, 61933,
    61277, 60629, 59986, 59350, 58720, 58095, 57477, 56865, 56258, 55657,
    55061, 54470, 53885, 53305, 52730, 52161, 51596, 51035, 50480, 49929,
    49383, 48842, 48304, 47772, 47243, 46719, 46199, 45683, 45171, 44663,
    44158, 43658, 43162, 42669, 42180, 41694, 41212, 40734, 40259, 39788,
    39320, 38855, 38393, 37935, 37480, 37028, 36579, 36133, 35690, 35251,
    34814, 34380, 33948, 33520, 33095, 32672, 32252, 31834, 31419, 31007,
    30598, 30191, 29786, 29384, 28984, 28587, 28192, 27800, 27410, 27022,
    26637, 26253, 25872, 25493, 25117, 24742, 24370, 24000, 23632, 23265,
    22901, 22539, 22179, 21821, 21465, 21111, 20758, 20408, 20059, 19712,
    19368, 19024, 18683, 18344, 18006, 17670, 17335, 17003, 16672, 16342,
    16015, 15689, 15364, 15041, 14720, 14400, 14082, 13766, 13451, 13137,
    12825, 12514, 12205, 11897, 11591, 11286, 10983, 10681, 10380, 10081,
    9783, 9487, 9191, 8898, 8605, 8314, 8024, 7735, 7448, 7161,
    6876, 6593, 6310, 6029, 5749, 5470, 5192, 4916, 4640, 4366,
    4093, 3821, 3550, 3281, 3012, 2745, 2478, 2213, 1949, 1685,
    1423, 1162, 902, 643, 385, 128,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_words() {
        let mut s = Streams::new(7).stream(Purpose::Net, 3);
        let words = [s.word(), s.word(), s.word()];
        assert_eq!(words, GOLDEN_WORDS);
        assert_eq!(s.drawn(), 3);
    }

    #[test]
    fn golden_distributions() {
        let mut s = Streams::new(1).stream(Purpose::Swarm, 0);
        let got: Vec<u64> = (0..8).map(|_| s.range(10, 99)).collect();
        assert_eq!(got, GOLDEN_RANGE);
        let got: Vec<u64> = (0..8).map(|_| s.exponential(1_000)).collect();
        assert_eq!(got, GOLDEN_EXPONENTIAL);
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        s.shuffle(&mut items);
        assert_eq!(items, GOLDEN_SHUFFLE);
        assert_eq!(s.drawn(), 8 + 8 + 7);
    }

    #[test]
    fn streams_do_not_shift_each_other() {
        let streams = Streams::new(42);
        let mut a = streams.stream(Purpose::Net, 1);
        let mut b = streams.stream(Purpose::Net, 2);
        let first = b.clone().word();
        a.word();
        assert_eq!(b.word(), first);
        assert_ne!(a.word(), first);
    }

    #[test]
    fn bounds_hold() {
        let mut s = Streams::new(3).stream(Purpose::Turn, 0);
        for _ in 0..1_000 {
            assert!((5..=9).contains(&s.range(5, 9)));
            assert!((-4..=4).contains(&s.range_signed(-4, 4)));
            assert!(s.exponential(1_000) < 6_245);
            assert!(s.weighted(&[0, 1, 0]) == 1);
            assert!(!s.chance(0, 10) && s.chance(10, 10));
        }
        assert_eq!(s.range(0, 0), 0);
        s.range(0, u64::MAX);
        s.range_signed(i64::MIN, i64::MAX);
    }

    #[test]
    fn exponential_has_its_mean() {
        let mut s = Streams::new(9).stream(Purpose::Turn, 1);
        let sum: u64 = (0..10_000).map(|_| s.exponential(1_000)).sum();
        assert!(
            (970..1_030).contains(&(sum / 10_000)),
            "mean {}",
            sum / 10_000
        );
    }

    /// What a stream notes is what it does when it is told so; what is not told is quiet.
    #[test]
    fn what_is_noted_can_be_told() {
        let all = |s: &mut Stream| {
            let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
            s.on(Lane::Other).shuffle(&mut items);
            let act = s.on(Lane::Act).happens();
            let parts = (
                s.on(Lane::Clock).range_signed(-9, 9),
                s.on(Lane::Inputs).range_or(1, 7, 7),
                s.on(Lane::Dial).weighted_or(&[1, 2, 3], 2),
                s.on(Lane::Stall).chance(1, 2),
                s.on(Lane::Stall).maybe(0, 2),
                s.on_for(Lane::Ambush, 3).range(0, u64::MAX),
                s.on(Lane::Delay).exponential(1_000),
            );
            (items, act, parts)
        };
        let told = |decisions| {
            let ledger = Ledger::telling(3, decisions, u64::MAX);
            let streams = Streams::new(8).with(ledger);
            all(&mut streams.stream(Purpose::Client, 1))
        };
        let mut plain = Streams::new(7).stream(Purpose::Client, 1);
        let ledger = Ledger::noting(3);
        let mut noted = Streams::new(7)
            .with(ledger.clone())
            .stream(Purpose::Client, 1);
        let outcome = all(&mut plain);
        assert_eq!(all(&mut noted), outcome);
        assert_eq!(told(ledger.decisions()), outcome);
        let quiet = (0, 7, 2, false, false, 0, 996);
        assert_eq!(
            told(Default::default()),
            ([0, 1, 2, 3, 4, 5, 6, 7], false, quiet)
        );
        let mut without = ledger.decisions();
        without.retain(|address, _| address.lane != Lane::Act);
        let (items, act, parts) = told(without);
        assert_eq!((items, parts), (outcome.0, outcome.2));
        assert!(
            outcome.1 && !act,
            "what is left out does not happen, and shifts nothing"
        );
    }

    const GOLDEN_WORDS: [u64; 3] = [
        8_719_801_732_812_476_471,
        3_807_888_487_548_719_481,
        1_682_693_411_033_488_604,
    ];
    const GOLDEN_RANGE: [u64; 8] = [68, 27, 12, 80, 72, 95, 60, 81];
    const GOLDEN_EXPONENTIAL: [u64; 8] = [1705, 140, 753, 975, 1028, 126, 753, 720];
    const GOLDEN_SHUFFLE: [u32; 8] = [7, 4, 0, 6, 5, 2, 3, 1];
}
