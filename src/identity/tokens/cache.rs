//! Tokens that were found good, so that a signature is verified once and not at each request.
//!
//! Known by the SHA-256 of the whole token: whoever finds an entry has sent every byte of what was verified. An entry is
//! good until its token expires. A change of keys has a new, empty cache: what was verified with a key that is gone must
//! not outlive it.
//!
//! Only good tokens get in, so nobody can fill it who has none.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Verified;
use super::error::TokenError;
use crate::capacity::is_excessive;
use crate::secret::{Digest, DigestState};

/// Tokens that are remembered at once.
pub(super) const TOKENS_MAX: usize = 16_384;

/// Parts of the cache. Each has a lock of its own, held for one look.
const SHARDS: usize = 64;

/// Tokens of one part.
const SHARD_TOKENS_MAX: usize = TOKENS_MAX / SHARDS;

type Shard = HashMap<Digest, Known, DigestState>;

struct Known {
    verified: Arc<Verified>,
    /// The first second at which it is not good any more: its expiry and the leeway.
    over_s: u64,
}

/// Remembers tokens.
pub(super) struct Cache(Box<[Mutex<Shard>]>);

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(Shard::default())).collect())
    }

    /// What is known of a token; nothing if it was never seen. One that has expired since is forgotten.
    pub(super) fn get(&self, token: &Digest, now_s: u64) -> Option<Result<Arc<Verified>, TokenError>> {
        let mut shard = self.shard(token);
        let known = shard.get(token)?;
        if now_s < known.over_s {
            return Some(Ok(Arc::clone(&known.verified)));
        }
        shard.remove(token);
        Some(Err(TokenError::Expired))
    }

    /// Remembers a token until `over_s`. Where there is no room, every other one of its part is forgotten.
    pub(super) fn put(&self, token: Digest, verified: Arc<Verified>, over_s: u64, now_s: u64) {
        let mut shard = self.shard(&token);
        if shard.len() >= SHARD_TOKENS_MAX {
            shard.retain(|_, known| now_s < known.over_s);
        }
        if shard.len() >= SHARD_TOKENS_MAX {
            let mut kept = false;
            shard.retain(|_, _| {
                kept = !kept;
                kept
            });
        }
        shard.insert(token, Known { verified, over_s });
    }

    /// Forgets tokens that have expired; says how many.
    pub(super) fn sweep(&self, now_s: u64) -> usize {
        let mut swept = 0;
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, known| now_s < known.over_s);
            swept += before - shard.len();
            if is_excessive(shard.capacity(), before) {
                shard.shrink_to_fit();
            }
        }
        swept
    }

    /// The part of a token: by its last byte, for the map within goes by the first ones.
    fn shard(&self, token: &Digest) -> MutexGuard<'_, Shard> {
        let index = usize::from(token.bytes()[Digest::BYTES - 1]) % SHARDS;
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Issuer;
    use super::*;
    use crate::identity::user::{User, Written};

    fn verified() -> Arc<Verified> {
        let user = User::new(Written { id: "user_1".to_owned(), ..Written::default() }).unwrap();
        let issuer = Issuer::Own { login: "login_1".into() };
        Arc::new(Verified { issuer, user: Arc::new(user), expires_s: 100 })
    }

    #[test]
    fn an_expired_token_is_forgotten_and_says_so() {
        let (cache, token) = (Cache::new(), Digest::of(b"token"));
        assert!(cache.get(&token, 50).is_none());
        cache.put(token, verified(), 105, 50);
        assert_eq!(cache.get(&token, 104), Some(Ok(verified())));
        assert_eq!(cache.get(&token, 105), Some(Err(TokenError::Expired)));
        assert!(cache.get(&token, 105).is_none() && cache.len() == 0);
    }

    #[test]
    fn a_sweep_forgets_what_has_expired() {
        let cache = Cache::new();
        for number in 0..1_000_u32 {
            cache.put(Digest::of(&number.to_be_bytes()), verified(), 100 + u64::from(number % 2), 50);
        }
        assert_eq!((cache.sweep(99), cache.sweep(100), cache.len()), (0, 500, 500));
        assert_eq!((cache.sweep(101), cache.len()), (500, 0));
        assert_eq!(cache.sweep(101), 0);
        assert!(cache.0.iter().all(|shard| shard.lock().unwrap().capacity() == 0), "their room is given back");
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_expired_tokens_first() {
        let cache = Cache::new();
        let (verified, name) = (verified(), |number: u32| Digest::of(&number.to_be_bytes()));
        for number in 0..20_000 {
            cache.put(name(number), Arc::clone(&verified), 100, 50);
        }
        assert!((TOKENS_MAX / 2..=TOKENS_MAX).contains(&cache.len()), "{}", cache.len());
        for number in 20_000..23_000 {
            cache.put(name(number), Arc::clone(&verified), 200, 100);
        }
        assert!((20_000..23_000).all(|number| cache.get(&name(number), 100).is_some()), "there was room for them all");
        assert!(cache.len() <= TOKENS_MAX);
    }
}
