use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::verify::tests::{es256, provider};

#[derive(Default)]
struct Fake {
    asked: AtomicUsize,
    down: AtomicBool,
}

impl Ask for Arc<Fake> {
    async fn ask(&self) -> Result<(Provider, Vec<Jwk>), String> {
        let times = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err("nobody there".to_owned());
        }
        let key = es256(&format!("k{times}"));
        Ok((provider(), vec![key.jwk()]))
    }
}

impl Fake {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn keys() -> (Arc<Fake>, Keys<Arc<Fake>>) {
    let fake = Arc::new(Fake::default());
    (Arc::clone(&fake), Keys::new(fake))
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_make_one_question_in_ten_seconds() {
    let (fake, keys) = keys();
    let first = keys.current().await.unwrap();
    for _ in 0..1000 {
        assert!(keys.newer(&first).await.is_none());
    }
    assert_eq!(fake.asked(), 1);
    tokio::time::advance(RETRY).await;
    let second = keys.newer(&first).await.unwrap();
    assert_eq!(second.keys[0].common.key_id.as_deref(), Some("k1"));
    // Somebody who still looks at the first answer gets the second without a question.
    assert!(Arc::ptr_eq(&keys.newer(&first).await.unwrap(), &second));
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_believed_for_an_hour_and_no_longer() {
    let (fake, keys) = keys();
    let first = keys.current().await.unwrap();
    fake.down.store(true, Ordering::SeqCst);
    tokio::time::advance(FRESH).await;
    assert!(Arc::ptr_eq(&keys.current().await.unwrap(), &first));
    assert_eq!(fake.asked(), 2, "it was asked again");
    tokio::time::advance(BELIEVED - FRESH).await;
    assert_eq!(keys.current().await.unwrap_err(), "nobody there");
    fake.down.store(false, Ordering::SeqCst);
    tokio::time::advance(RETRY).await;
    keys.current().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answered_is_not_asked_by_every_token() {
    let (fake, keys) = keys();
    fake.down.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(keys.current().await.unwrap_err(), "nobody there");
    }
    assert_eq!(fake.asked(), 1);
}
