//! Who sits where in central mode: one dyno network per owner, one number per dyno in it. Known to
//! this node alone, and found again in the notes of the dynos that live. Pure but for one lock.

use model::account;
use model::network::{CENTRAL_HOST_MAX, CENTRAL_HOST_MIN, CENTRAL_NETS_MAX, Seat};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Why there is no seat; for people, without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FullError {
    /// Every network has an owner whose dynos live.
    #[error("this node runs dynos of {CENTRAL_NETS_MAX} owners already")]
    Nets,
    /// The owner's network is full.
    #[error("this node runs {} dynos of the same owner already", SEATS_PER_NET)]
    Hosts,
}

const SEATS_PER_NET: u8 = CENTRAL_HOST_MAX - CENTRAL_HOST_MIN + 1;

/// All seats of the node; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats(Arc<Mutex<Table>>);

/// A seat that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    seat: Seat,
    seats: Seats,
}

impl Taken {
    /// Which one.
    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.with(|table| table.leave(self.seat));
    }
}

impl Seats {
    /// Finds a seat beside the other dynos of an owner.
    pub(crate) fn take(&self, owner: account::Id) -> Result<Taken, FullError> {
        let seat = self.with(|table| table.take(owner))?;
        let seats = self.clone();
        Ok(Taken { seat, seats })
    }

    /// Notes that a dyno of an owner lives on a seat.
    pub(crate) fn claim(&self, owner: account::Id, seat: Seat) -> Taken {
        self.with(|table| table.claim(owner, seat));
        let seats = self.clone();
        Taken { seat, seats }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut self.0.lock().expect("nobody panics while holding it"))
    }
}

#[derive(Debug, Default)]
struct Table {
    /// By number. A network stays its owner's when it is empty, until another owner needs it: the
    /// dyno that comes back finds it ready.
    nets: BTreeMap<u8, Net>,
}

#[derive(Debug)]
struct Net {
    owner: account::Id,
    taken: BTreeSet<u8>,
    /// The one given out last. The next is sought from there on: connections that a dyno closed
    /// keep its address and PORT busy for a minute (`TIME_WAIT`, tcp(7)).
    last: u8,
}

impl Net {
    fn of(owner: account::Id) -> Self {
        Self {
            owner,
            taken: BTreeSet::new(),
            last: CENTRAL_HOST_MAX,
        }
    }
}

impl Table {
    fn take(&mut self, owner: account::Id) -> Result<Seat, FullError> {
        let number = self.net_of(owner)?;
        let net = self.nets.entry(number).or_insert_with(|| Net::of(owner));
        let after = net.last.saturating_add(1)..=CENTRAL_HOST_MAX;
        let mut hosts = after.chain(CENTRAL_HOST_MIN..=CENTRAL_HOST_MAX);
        let host = hosts.find(|host| !net.taken.contains(host));
        let host = host.ok_or(FullError::Hosts)?;
        net.taken.insert(host);
        net.last = host;
        Ok(Seat::new(number, host).expect("both are within their bounds"))
    }

    /// The owner's network, else one that was nobody's, else one that has no dynos.
    fn net_of(&mut self, owner: account::Id) -> Result<u8, FullError> {
        let mut known = self.nets.iter();
        if let Some((number, _)) = known.find(|(_, net)| net.owner == owner) {
            return Ok(*number);
        }
        let mut all = 0..CENTRAL_NETS_MAX;
        let number = all
            .find(|number| !self.nets.contains_key(number))
            .or_else(|| {
                let mut nets = self.nets.iter();
                nets.find_map(|(number, net)| net.taken.is_empty().then_some(*number))
            })
            .ok_or(FullError::Nets)?;
        self.nets.insert(number, Net::of(owner));
        Ok(number)
    }

    fn claim(&mut self, owner: account::Id, seat: Seat) {
        let net = self
            .nets
            .entry(seat.net())
            .or_insert_with(|| Net::of(owner));
        if net.owner != owner {
            tracing::error!(net = seat.net(), %owner, other = %net.owner, "two owners share a dyno network");
        }
        net.taken.insert(seat.host());
        net.last = seat.host();
    }

    fn leave(&mut self, seat: Seat) {
        if let Some(net) = self.nets.get_mut(&seat.net()) {
            net.taken.remove(&seat.host());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: u128) -> account::Id {
        account::Id::new(uuid::Uuid::from_u128(number))
    }

    fn at(taken: &Taken) -> (u8, u8) {
        (taken.seat().net(), taken.seat().host())
    }

    #[test]
    fn owners_have_networks_and_dynos_have_numbers() {
        let seats = Seats::default();
        let one = seats.take(owner(1)).unwrap();
        let two = seats.take(owner(1)).unwrap();
        let other = seats.take(owner(2)).unwrap();
        assert_eq!((at(&one), at(&two), at(&other)), ((0, 3), (0, 4), (1, 3)));
        drop(one);
        let third = seats.take(owner(1)).unwrap();
        assert_eq!(at(&third), (0, 5), "an address rests before it comes back");
        drop((two, third));
        assert_eq!(at(&seats.take(owner(3)).unwrap()), (2, 3));
        assert_eq!(at(&seats.take(owner(1)).unwrap()), (0, 6));
    }

    #[test]
    fn what_an_earlier_dynod_gave_out_stays_taken() {
        let seats = Seats::default();
        let found = seats.claim(owner(7), Seat::new(5, 254).unwrap());
        let next = seats.take(owner(7)).unwrap();
        assert_eq!(at(&next), (5, 3), "from the beginning after the last");
        assert_eq!(at(&seats.take(owner(8)).unwrap()), (0, 3));
        drop(found);
    }

    #[test]
    fn both_bounds() {
        let seats = Seats::default();
        let full: Vec<_> = (0..SEATS_PER_NET)
            .map(|_| seats.take(owner(1)).unwrap())
            .collect();
        assert_eq!(full.len(), 252);
        assert_eq!(seats.take(owner(1)).unwrap_err(), FullError::Hosts);
        let mut others: Vec<_> = (2..=u128::from(CENTRAL_NETS_MAX))
            .map(|n| seats.take(owner(n)).unwrap())
            .collect();
        assert_eq!(seats.take(owner(1000)).unwrap_err(), FullError::Nets);
        drop(others.remove(4));
        assert_eq!(at(&seats.take(owner(1000)).unwrap()), (5, 3));
        assert_eq!(
            FullError::Hosts.to_string(),
            "this node runs 252 dynos of the same owner already"
        );
    }
}
