//! Room for reviews: how many bytes are held, and how many reviews are judged, at once.
//!
//! Nobody proves at this port that it is the API server. Invariants: pods, among which it is not looked for, have a small
//! room of their own and take none of the others'; what has no room there is refused at once, before its body is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::http::Refusal;

/// What one review may have. The API server's objects are at most 3 MB, and a review of an update holds two.
pub(super) const MAX_REVIEW: usize = 8 << 20;
/// Of pods' reviews, and of all others: KiB that are held, and how many are judged at once.
const PODS: (usize, usize) = (8 << 10, 1);
const OTHERS: (usize, usize) = (24 << 10, 2);
/// How long a review waits for room. The API server waits ten seconds for all of it.
const PATIENCE: Duration = Duration::from_secs(8);

/// The rooms.
#[derive(Debug)]
pub(crate) struct Lanes([Lane; 2]);

#[derive(Debug)]
struct Lane {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Room for the bytes of one review, until it is judged, whoever still waits for the answer.
#[derive(Debug)]
pub(super) struct Place {
    turns: Arc<Semaphore>,
    _room: OwnedSemaphorePermit,
}

impl Default for Lanes {
    fn default() -> Self {
        let lane = |(room, turns)| Lane {
            room: Arc::new(Semaphore::new(room)),
            turns: Arc::new(Semaphore::new(turns)),
        };
        Self([lane(PODS), lane(OTHERS)])
    }
}

impl Lanes {
    /// Room for a body of so many bytes; of one that does not say, for the largest.
    pub(super) async fn enter(&self, pod: bool, length: Option<u64>) -> Result<Place, Refusal> {
        let length = length.map_or(MAX_REVIEW, |length| {
            usize::try_from(length).unwrap_or(usize::MAX)
        });
        if length > MAX_REVIEW {
            return Err(Refusal::bad("the review is too long"));
        }
        let kibs = u32::try_from(length.div_ceil(1 << 10))
            .unwrap_or(u32::MAX)
            .max(1);
        let [pods, others] = &self.0;
        let full = || Refusal::too_many("too many reviews at once");
        let lane = if pod { pods } else { others };
        let room = Arc::clone(&lane.room);
        let room = if pod {
            room.try_acquire_many_owned(kibs).ok()
        } else {
            let room = tokio::time::timeout(PATIENCE, room.acquire_many_owned(kibs)).await;
            room.ok().and_then(Result::ok)
        };
        Ok(Place {
            turns: Arc::clone(&lane.turns),
            _room: room.ok_or_else(full)?,
        })
    }
}

impl Place {
    /// Its turn to be judged, once it is read.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or_else(|| Refusal::too_many("too many reviews at once"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pods_that_fill_their_room_leave_that_of_others() {
        let lanes = Lanes::default();
        let large = Some(MAX_REVIEW as u64);
        let held = lanes.enter(true, None).await.unwrap();
        assert!(lanes.enter(true, Some(1)).await.is_err());
        let turn = held.turn().await.unwrap();
        assert!(held.turn().await.is_err(), "one at a time");
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(lanes.enter(false, large).await.unwrap());
        }
        assert!(
            lanes.enter(false, large).await.is_err(),
            "it waits, and not for ever"
        );
        let _first = others[0].turn().await.unwrap();
        let _second = others[1].turn().await.unwrap();
        drop((turn, held));
        assert!(lanes.enter(true, large).await.is_ok());
        others.pop();
        assert!(lanes.enter(false, large).await.is_ok());
        assert!(
            lanes
                .enter(false, Some(MAX_REVIEW as u64 + 1))
                .await
                .is_err()
        );
    }
}
