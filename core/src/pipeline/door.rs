//! Who may come in: how many connections from one address and in all, and how many handshakes at a
//! time. Knows counts and tokens, not connections.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::boundary::CloseReason;
use crate::config::Rules;
use crate::time::Instant;

/// What a handshake asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// A session of the whole ensemble.
    Global,
    /// A session of this server.
    Local,
    /// The session that the client had.
    Renewal,
}

#[derive(Debug)]
pub(super) struct Door {
    rules: Rules,
    per_address: BTreeMap<IpAddr, usize>,
    inside: usize,
    tokens: u64,
    /// When tokens came back last.
    filled: Instant,
    rejected: u64,
}

impl Door {
    pub(super) fn new(rules: &Rules, now: Instant) -> Self {
        let mut door = Self {
            rules: rules.clone(),
            per_address: BTreeMap::new(),
            inside: 0,
            tokens: 0,
            filled: now,
            rejected: 0,
        };
        door.tokens = door.tokens_max();
        door
    }

    /// One more connection; an IPv4 address counts the same when it comes over IPv6.
    ///
    /// # Errors
    /// The limit that is reached: then it is not counted.
    pub(super) fn enter(&mut self, address: IpAddr) -> Result<(), CloseReason> {
        let (all, one) = (
            self.rules.connections_max,
            self.rules.address_connections_max,
        );
        let count = self.per_address.entry(address.to_canonical()).or_default();
        let refusal = if all > 0 && self.inside >= all {
            Some(CloseReason::ServerFull { max: all })
        } else if one > 0 && *count >= one {
            Some(CloseReason::AddressFull { max: one })
        } else {
            None
        };
        if let Some(why) = refusal {
            self.rejected += 1;
            if *count == 0 {
                self.per_address.remove(&address.to_canonical());
            }
            return Err(why);
        }
        *count += 1;
        self.inside += 1;
        Ok(())
    }

    /// A connection that has entered is gone.
    pub(super) fn leave(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        let count = self.per_address.get_mut(&address).expect("it has entered");
        *count -= 1;
        if *count == 0 {
            self.per_address.remove(&address);
        }
        self.inside -= 1;
    }

    /// Takes the tokens for a handshake. `Err`: not enough of them are left.
    pub(super) fn shake_hands(&mut self, wish: Wish, now: Instant) -> Result<(), CloseReason> {
        if self.rules.throttle.tokens == 0 {
            return Ok(());
        }
        self.refill(now);
        let price = self.rules.throttle.weights.map_or(1, |w| match wish {
            Wish::Global => w.global,
            Wish::Local => w.local,
            Wish::Renewal => w.renew,
        });
        match self.tokens.checked_sub(u64::from(price)) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => {
                self.rejected += 1;
                Err(CloseReason::HandshakeThrottled)
            }
        }
    }

    /// Tokens are given in sessions of the ensemble, where those have a weight.
    fn per_session(&self) -> u64 {
        self.rules
            .throttle
            .weights
            .map_or(1, |w| u64::from(w.global))
    }

    fn tokens_max(&self) -> u64 {
        u64::from(self.rules.throttle.tokens) * self.per_session()
    }

    /// Whole milliseconds longer than the fill time bring tokens back, as in ZooKeeper.
    fn refill(&mut self, now: Instant) {
        let passed = (now - self.filled).as_millis();
        let time = self.rules.throttle.fill_time.as_millis();
        if passed > time {
            let count = u128::from(self.rules.throttle.fill_count) * u128::from(self.per_session());
            let back = u64::try_from(passed * count / time).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(back).min(self.tokens_max());
            self.filled = now;
        }
    }

    /// Connections turned away since the start, at either door.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::SessionWeights;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn door(change: impl FnOnce(&mut Rules)) -> Door {
        let mut rules = Rules::default();
        change(&mut rules);
        Door::new(&rules, Instant::default())
    }

    #[test]
    fn sixty_from_one_address_by_default() {
        let mut door = door(|_| {});
        for _ in 0..60 {
            door.enter(ip("10.0.0.1")).expect("room");
        }
        let mapped = ip("::ffff:10.0.0.1");
        assert_eq!(
            door.enter(mapped),
            Err(CloseReason::AddressFull { max: 60 }),
            "the same address, over IPv6"
        );
        door.enter(ip("10.0.0.2")).expect("others may");
        door.leave(mapped);
        door.enter(ip("10.0.0.1")).expect("one has left");
        assert_eq!(door.rejected(), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut door = door(|r| r.address_connections_max = 0);
        for _ in 0..1_000 {
            door.enter(ip("::1")).expect("room");
        }
        assert_eq!(door.rejected(), 0);
    }

    #[test]
    fn a_limit_for_all() {
        let mut door = door(|r| r.connections_max = 2);
        door.enter(ip("10.0.0.1")).expect("room");
        door.enter(ip("10.0.0.2")).expect("room");
        let third = ip("10.0.0.3");
        assert_eq!(door.enter(third), Err(CloseReason::ServerFull { max: 2 }));
        door.leave(ip("10.0.0.1"));
        door.enter(third).expect("one has left");
        door.leave(third);
        door.leave(ip("10.0.0.2"));
        assert!(door.per_address.is_empty(), "who was refused is not kept");
    }

    #[test]
    fn tokens_come_back_in_time() {
        let mut door = door(|r| {
            r.throttle.tokens = 2;
            r.throttle.fill_time = Duration::from_millis(100);
            r.throttle.fill_count = 1;
        });
        let at = |ms| Instant::default() + Duration::from_millis(ms);
        let mut take = |ms| door.shake_hands(Wish::Global, at(ms)).is_ok();
        assert!(take(0) && take(0) && !take(0));
        assert!(!take(100), "longer than the fill time, as in ZooKeeper");
        assert!(take(101) && !take(101));
        assert!(
            take(10_000) && take(10_000) && !take(10_000),
            "no more than all"
        );
        assert_eq!(door.rejected(), 4);
    }

    #[test]
    fn sessions_have_their_weights() {
        let mut door = door(|r| {
            r.throttle.tokens = 2;
            r.throttle.weights = Some(SessionWeights {
                global: 3,
                renew: 2,
                local: 1,
            });
        });
        let now = Instant::default();
        let mut take = |wish| door.shake_hands(wish, now).is_ok();
        assert!(take(Wish::Global) && take(Wish::Renewal), "5 of 6");
        assert!(!take(Wish::Renewal) && take(Wish::Local) && !take(Wish::Local));
    }

    #[test]
    fn without_tokens_there_is_no_throttle() {
        let mut door = door(|_| {});
        assert!((0..1_000).all(|_| door.shake_hands(Wish::Global, Instant::default()).is_ok()));
    }
}
