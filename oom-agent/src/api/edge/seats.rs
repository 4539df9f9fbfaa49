//! Who is connected, and who has to leave when there is no room.
//!
//! Reads who comes and who has asked something; emits a seat for each. Who has not asked anything yet leaves
//! first, the one that came first before the others: silence costs its sender nothing, so it must not cost
//! anybody else a place. Refuses a peer that has its share of the places already, all of them in use.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Whose connection it is, over TCP: an address, or the network of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    /// Who has one address of IPv6 has 2^64, and who has 127.0.0.1 has 2^24 (RFC 1122, 3.2.1.3).
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(network).into()
            }
            IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Where somebody connects from, as far as that is known.
pub(super) trait From {
    fn peer(&self) -> Option<Peer>;
}

impl From for SocketAddr {
    fn peer(&self) -> Option<Peer> {
        Some(Peer::of(self.ip()))
    }
}

impl From for tokio::net::unix::SocketAddr {
    fn peer(&self) -> Option<Peer> {
        None
    }
}

/// All connections of one listener. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// Who came first is first.
    seats: BTreeMap<u64, Sitting>,
}

#[derive(Debug)]
struct Sitting {
    peer: Option<Peer>,
    silent: bool,
    leave: Arc<Notify>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    all: Seats,
    leave: Arc<Notify>,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this peer has so many.
    pub(super) fn has_share(&self, peer: Option<Peer>, most: usize) -> bool {
        self.lock().has_share(peer, most)
    }

    /// A place for this peer, which has so many at most. A silent one of its own leaves for it; `None` if
    /// none is.
    pub(super) fn take(&self, peer: Option<Peer>, most: usize) -> Option<Seat> {
        let mut taken = self.lock();
        if taken.has_share(peer, most) && !taken.dismiss(|it| it.peer == peer) {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let leave = Arc::new(Notify::new());
        let sitting = Sitting {
            peer,
            silent: true,
            leave: leave.clone(),
        };
        taken.seats.insert(number, sitting);
        let all = self.clone();
        Some(Seat { number, all, leave })
    }

    /// Lets the first silent one leave, whosever it is, if there is one.
    pub(super) fn make_room(&self) {
        self.lock().dismiss(|_| true);
    }
}

impl Taken {
    fn has_share(&self, peer: Option<Peer>, most: usize) -> bool {
        let its = self.seats.values().filter(|it| it.peer == peer);
        peer.is_some() && its.count() >= most
    }

    fn dismiss(&mut self, may: impl Fn(&Sitting) -> bool) -> bool {
        let mut seats = self.seats.iter();
        let Some((&number, _)) = seats.find(|(_, it)| it.silent && may(it)) else {
            return false;
        };
        if let Some(sitting) = self.seats.remove(&number) {
            sitting.leave.notify_one();
        }
        true
    }
}

impl Seat {
    /// It has asked something.
    pub(super) fn asked(&self) {
        if let Some(sitting) = self.all.lock().seats.get_mut(&self.number) {
            sitting.silent = false;
        }
    }

    /// Waits until it has to leave.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.lock().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    fn peer(host: u8) -> Peer {
        Peer::of([192, 0, 2, host].into())
    }

    /// It has been told to leave.
    fn leaves(seat: &Seat) -> bool {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = seat.must_leave() => true,
                () = std::future::ready(()) => false,
            }
        })
    }

    #[test]
    fn who_is_silent_leaves_for_the_next_of_the_same_peer() {
        let seats = Seats::default();
        let [first, second] = [0, 1].map(|_| seats.take(Some(peer(1)), 2).unwrap());
        let other = seats.take(Some(peer(2)), 2).unwrap();
        first.asked();
        let third = seats.take(Some(peer(1)), 2).unwrap();
        assert!(!leaves(&first) && leaves(&second) && !leaves(&other));
        third.asked();
        assert!(seats.take(Some(peer(1)), 2).is_none());
        drop(third);
        assert!(seats.take(Some(peer(1)), 2).is_some());
        // Over the Unix socket nobody has a share.
        let own: Vec<_> = (0..9).map(|_| seats.take(None, 2).unwrap()).collect();
        assert!(!own.iter().any(leaves));
    }

    #[test]
    fn the_first_silent_one_makes_room() {
        let seats = Seats::default();
        let all = [1, 2, 3].map(|host| seats.take(Some(peer(host)), 2).unwrap());
        all[0].asked();
        seats.make_room();
        assert_eq!(all.each_ref().map(leaves), [false, true, false]);
        seats.make_room();
        assert_eq!(all.each_ref().map(leaves), [false, false, true]);
        seats.make_room();
        assert!(!leaves(&all[0]));
        drop(all);
        assert!(seats.lock().seats.is_empty());
    }

    #[test]
    fn the_addresses_of_one_owner_are_one_peer() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("127.0.0.1", "127.9.9.9", true),
            ("2001:db8::1", "2001:db8::2:3:4:5", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [one, other] = [one, other].map(|it| Peer::of(it.parse().unwrap()));
            assert_eq!(one == other, same, "{one:?} {other:?}");
        }
    }
}
