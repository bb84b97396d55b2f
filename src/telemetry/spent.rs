//! Where a request's time went: to a token, to its turn, to Nexudus.

use std::time::{Duration, Instant};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A valid token, and what is to be thought of a 401.
    Token,
    /// Its turn, while Nexudus throttles.
    Queue,
    /// Nexudus: from sending to the head of the answer.
    Upstream,
}

/// Every part, and what it is called in `Server-Timing` and metrics.
pub const PARTS: [(Part, &str); 3] =
    [(Part::Token, "token"), (Part::Queue, "queue"), (Part::Upstream, "upstream")];

/// A stopwatch that is read between the steps of the path: one look at the clock each.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    last: Instant,
    parts: [Duration; PARTS.len()],
    /// Whether any step was taken that is measured.
    any: bool,
}

impl Spent {
    /// Starts now.
    pub fn begin() -> Self {
        Self { last: Instant::now(), parts: [Duration::ZERO; PARTS.len()], any: false }
    }

    /// The time since the last step went to `part`.
    pub fn on(&mut self, part: Part) {
        let now = Instant::now();
        self.parts[part as usize] += now - self.last;
        self.last = now;
        self.any = true;
    }

    /// The time since the last step went to something else.
    pub fn elsewhere(&mut self) {
        self.last = Instant::now();
    }

    /// Returns what each part took, unless the request was refused before all of them.
    pub fn read(&self) -> Option<[Duration; PARTS.len()]> {
        self.any.then_some(self.parts)
    }

    /// Returns the value of a `Server-Timing` header (W3C Server Timing: milliseconds).
    pub fn server_timing(&self) -> String {
        let entry = |((_, name), took): (&(Part, &str), &Duration)| {
            format!("{name};dur={:.1}", took.as_secs_f64() * 1_000.0)
        };
        PARTS.iter().zip(&self.parts).map(entry).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_time() {
        let mut spent = Spent::begin();
        assert_eq!(spent.read(), None);

        spent.last -= Duration::from_millis(20);
        spent.on(Part::Queue);
        spent.last -= Duration::from_millis(300);
        spent.elsewhere();
        spent.last -= Duration::from_millis(40);
        spent.on(Part::Upstream);
        spent.on(Part::Token);

        let millis = spent.read().unwrap().map(|part| part.as_millis());
        assert_eq!(millis, [0, 20, 40]);
        let header = spent.server_timing();
        assert!(header.starts_with("token;dur=0.0, queue;dur=20."), "{header}");
        assert!(header.contains(", upstream;dur=40."), "{header}");
    }
}
