//! Session tokens that the server accepts: one at a time, and another after so many requests, as where temporary credentials are revoked.

use std::sync::Mutex;

use super::lock;

/// Which session token the server wants now.
#[derive(Debug, Default)]
pub struct Token(Mutex<Demand>);

#[derive(Debug, Default)]
struct Demand {
    now: Option<String>,
    next: Option<(u64, String)>,
}

impl Token {
    /// Wants this token from the next request on; `None`: does not look at tokens.
    pub fn demand(&self, token: Option<&str>) {
        *lock(&self.0) = Demand { now: token.map(str::to_owned), next: None };
    }

    /// Wants this token and no other once so many more requests were answered.
    pub fn demand_after(&self, requests: u64, token: &str) {
        lock(&self.0).next = Some((requests, token.to_owned()));
    }

    /// True when the token of a request has expired; counts the request.
    pub(super) fn has_expired(&self, token: Option<&str>) -> bool {
        let mut demand = lock(&self.0);
        match demand.next.take() {
            Some((0, next)) => demand.now = Some(next),
            Some((left, next)) => demand.next = Some((left - 1, next)),
            None => {}
        }
        demand.now.as_deref().is_some_and(|now| token != Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_token_is_wanted_after_so_many_requests() {
        let token = Token::default();
        assert!(!token.has_expired(None), "it does not look");
        token.demand(Some("a"));
        token.demand_after(2, "b");
        assert_eq!([Some("a"), None, Some("a"), Some("b")].map(|sent| token.has_expired(sent)), [false, true, true, false]);
        token.demand(None);
        assert!(!token.has_expired(None));
    }
}
