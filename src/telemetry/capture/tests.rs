//! The content that is captured, for how long, and within which bounds.

use super::*;

const ALL: CaptureScope = CaptureScope { queries: true, bodies: true };

fn begin(captures: &Captures) -> Option<Box<Capture>> {
    let mut headers = HeaderMap::new();
    for name in ["accept", "authorization", "cookie", "nexudus-proxy-key", "x-other"] {
        headers.insert(name, "text/marker".parse().unwrap());
    }
    captures.begin(&headers, &"/api/x?q=1".parse().unwrap(), |text| text)
}

#[test]
fn nothing_is_kept_without_a_reader_or_after_the_last_one() {
    let captures = Captures::default();
    assert!(begin(&captures).is_none());

    let (first, second) = (captures.subscribe(ALL), captures.subscribe(CaptureScope::default()));
    captures.keep(7, begin(&captures).unwrap());
    drop(first);
    assert!(captures.get(7).is_some() && !captures.wants_bodies());
    assert!(begin(&captures).unwrap().query.is_none(), "no reader wants it");
    let late = begin(&captures).unwrap();
    drop(second);

    captures.keep(8, late);
    assert!(captures.get(7).is_none() && captures.get(8).is_none());
    assert_eq!(captures.0.used.load(Ordering::Relaxed), 0);
}

#[test]
fn headers_are_chosen_by_their_names() {
    let captures = Captures::default();
    let _reader = captures.subscribe(ALL);

    let capture = begin(&captures).unwrap();

    assert!(!format!("{capture:?}{captures:?}").contains("marker"));
    assert_eq!(capture.request_headers, [("accept", "text/marker".to_owned())]);
    for name in REQUEST_HEADERS.iter().chain(RESPONSE_HEADERS) {
        for part in ["auth", "cookie", "key", "token", "etag", "location", "disposition"] {
            assert!(!name.contains(part), "{name}");
        }
    }
}

#[test]
fn a_lock_wipes_what_is_kept_and_what_is_under_way() {
    let captures = Captures::default();
    let _reader = captures.subscribe(ALL);
    let mut under_way = begin(&captures).unwrap();
    under_way.begin_bodies(Some(b"{}"));
    under_way.append_response(b"before");
    captures.keep(1, begin(&captures).unwrap());

    captures.wipe();

    assert!(captures.get(1).is_none());
    under_way.append_response(b"after");
    assert!(under_way.request.is_none() && under_way.response.is_none());
    captures.keep(2, under_way);
    assert!(captures.get(2).is_none());
    assert_eq!(captures.0.used.load(Ordering::Relaxed), 0);
    captures.keep(3, begin(&captures).unwrap());
    assert!(captures.get(3).is_some(), "the reader reads on");
}

#[test]
fn the_memory_is_bounded_and_the_oldest_go_first() {
    let captures = Captures::default();
    let _reader = captures.subscribe(ALL);
    let piece = vec![7; 100 << 10];
    for id in 0..200 {
        let mut capture = begin(&captures).unwrap();
        capture.begin_bodies(None);
        (0..6).for_each(|_| capture.append_response(&piece));
        let body = capture.response.as_ref().unwrap();
        assert_eq!((body.bytes().len(), body.is_cut()), (MAX_BODY, true));
        captures.keep(id, capture);
        assert!(captures.0.used.load(Ordering::Relaxed) <= CAPACITY);
    }
    assert!(captures.get(0).is_none() && captures.get(199).is_some());

    // Where everything is in flight, bodies are cut, and nothing more is captured in the end.
    let all: Vec<_> = std::iter::from_fn(|| {
        let mut capture = begin(&captures)?;
        capture.begin_bodies(None);
        capture.append_response(&piece);
        Some(capture)
    })
    .collect();
    assert!(all.len() > 150 && captures.0.used.load(Ordering::Relaxed) <= CAPACITY);
    assert!(all.last().unwrap().response.as_ref().unwrap().is_cut());
}
