//! Counts are exact, survive a kill at the client's expense, and come back with their span.

use super::*;

#[test]
fn a_count_outlives_the_process_and_is_never_exceeded() {
    let directory = tempfile::tempdir().unwrap();
    let counts = || UsageCounter::new(directory.path());
    let first = counts();
    for _ in 0..3 {
        assert!(consume(&first, "a", 5).unwrap());
    }
    // The first was killed: nothing was flushed.
    let second = counts();
    assert_eq!(used(&second, "a"), 3);
    assert!(consume(&second, "a", 5).unwrap());
    assert!(consume(&second, "a", 5).unwrap());
    assert!(!consume(&second, "a", 5).unwrap());
    assert!(consume(&second, "b", 1).unwrap());
}

#[test]
fn taking_touches_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let counts = UsageCounter::new(directory.path());
    assert_eq!(counts.take("a", &[requests(1_000)], 0), Taken::Unreserved);
    assert!(!directory.path().join(FILE_NAME).exists());
    counts.reserve("a", &[requests(1_000)], 0).unwrap();
    std::fs::remove_file(directory.path().join(FILE_NAME)).unwrap();

    for _ in 0..62 {
        assert_eq!(counts.take("a", &[requests(1_000)], 0), Taken::One);
    }

    assert_eq!(counts.take("a", &[requests(1_000)], 0), Taken::Unreserved);
    assert!(!directory.path().join(FILE_NAME).exists());
}

#[test]
fn requests_of_many_threads_are_counted_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let counts = UsageCounter::new(directory.path());
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..100).filter(|_| consume(&counts, "a", 333).unwrap()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });

    assert_eq!((taken, used(&counts, "a")), (333, 333));
}

#[test]
fn unused_reservations_are_given_back_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let counts = UsageCounter::new(directory.path());
    assert!(consume(&counts, "a", 1_000).unwrap());
    assert!(consume(&counts, "gone", 1_000).unwrap());
    assert_eq!(used(&UsageCounter::new(directory.path()), "a"), 62);

    counts.flush(|id| id == "a").unwrap();

    assert_eq!(used(&UsageCounter::new(directory.path()), "a"), 1);
    assert_eq!(used(&UsageCounter::new(directory.path()), "gone"), 0);
}

#[test]
fn a_damaged_file_admits_no_request_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, "garbage").unwrap();

    assert!(consume(&UsageCounter::new(directory.path()), "a", 5).is_err());
    assert_eq!(std::fs::read_to_string(path).unwrap(), "garbage");
}

#[test]
fn a_budget_is_used_up_across_restarts_and_comes_back_with_its_span() {
    let directory = tempfile::tempdir().unwrap();
    let (day, start) = (86_400, 1_800_000_000);
    let deletes = Demand { metered: Metered::Deletes, most: 2, per: Some(day) };
    let demands = [Demand { metered: Metered::Writes, most: 50, per: Some(day) }, deletes];
    let first = UsageCounter::new(directory.path());
    assert_eq!(take(&first, &demands, start), Taken::One);
    assert_eq!(take(&first, &demands, start + 10), Taken::One);
    let exhausted = Taken::None(Metered::Deletes, Some(start + day));
    assert_eq!(take(&first, &demands, start + 20), exhausted);
    assert_eq!(take(&first, &demands[..1], start + 20), Taken::One, "another write");

    first.flush(|_| true).unwrap();
    let second = UsageCounter::new(directory.path());
    assert_eq!(take(&second, &demands, start + 30), exhausted);
    // A clock that is set back brings nothing back.
    assert_eq!(take(&second, &demands, start - 5 * day), exhausted);
    assert_eq!(second.used("a").unwrap()[Metered::Writes as usize].used, 3);

    assert_eq!(take(&second, &demands, start + day), Taken::One);
    assert_eq!(second.used("a").unwrap()[Metered::Writes as usize].used, 1);
    assert_eq!(second.peek("a", &demands, start + day), Taken::Unreserved);
    assert_eq!(second.used("a").unwrap()[Metered::Writes as usize].used, 1);
}

#[test]
fn bytes_that_have_passed_are_counted_beyond_a_reservation() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = Demand { metered: Metered::Bytes, most: 200 << 10, per: Some(60) };
    let counts = UsageCounter::new(directory.path());
    assert_eq!(take(&counts, &[bytes], 100), Taken::One);
    assert_eq!(counts.add("a", bytes, 10, 100), (true, Taken::One));

    assert_eq!(counts.add("a", bytes, 100 << 10, 100).1, Taken::Unreserved);
    counts.reserve("a", &[bytes], 100).unwrap();
    let in_file = UsageCounter::new(directory.path()).used("a").unwrap();
    assert!(in_file[Metered::Bytes as usize].used >= 100 << 10, "{in_file:?}");

    assert_eq!(counts.add("a", bytes, 1 << 20, 100), (false, Taken::One));
    assert_eq!(take(&counts, &[bytes], 159), Taken::None(Metered::Bytes, Some(160)));
    assert_eq!(take(&counts, &[bytes], 160), Taken::One);
}

fn requests(most: u64) -> Demand {
    Demand { metered: Metered::Requests, most, per: None }
}

fn used(counts: &UsageCounter, id: &str) -> u64 {
    counts.used(id).unwrap()[Metered::Requests as usize].used
}

fn take(counts: &UsageCounter, demands: &[Demand], now: u64) -> Taken {
    loop {
        match counts.take("a", demands, now) {
            Taken::Unreserved => counts.reserve("a", demands, now).unwrap(),
            taken @ (Taken::One | Taken::None(..)) => return taken,
        }
    }
}

fn consume(counts: &UsageCounter, id: &str, most: u64) -> io::Result<bool> {
    loop {
        match counts.take(id, &[requests(most)], 0) {
            Taken::One => return Ok(true),
            Taken::None(..) => return Ok(false),
            Taken::Unreserved => counts.reserve(id, &[requests(most)], 0)?,
        }
    }
}
