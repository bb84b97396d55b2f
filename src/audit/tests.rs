//! The chain as a file has it: what holds, what breaks it, and what a crash leaves.

use std::fs;

use serde_json::Value as Json;

use super::*;

#[test]
fn every_line_has_the_hash_of_the_one_before_across_files_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    for _ in 0..2 {
        let audit = start(&path, 1 << 10);
        (0..20).for_each(|_| audit.event(event()));
        audit.stop();
    }

    let all = files(&path).unwrap();
    assert!(all.len() > 3, "{all:?}");
    let verified = verify(&path).unwrap();
    assert_eq!((verified.lines, verified.first, verified.last), (40, 1, 40));
    let mut before = "0".repeat(64);
    for file in &all {
        assert!(fs::metadata(file).unwrap().len() <= 1 << 10);
        for line in fs::read_to_string(file).unwrap().split_inclusive('\n') {
            let json: Json = serde_json::from_str(line).unwrap();
            assert_eq!(json["prev"], before.as_str());
            before = writer::line_hash(line.as_bytes());
        }
    }
    assert_eq!(verified.head, before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let modes: Vec<_> =
            all.iter().map(|it| fs::metadata(it).unwrap().permissions().mode() & 0o777).collect();
        assert!(modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }
}

#[test]
fn a_changed_a_removed_and_an_added_line_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 20);
    (0..5).for_each(|_| audit.event(event()));
    audit.stop();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();

    let changed = text.replacen("\"add\"", "\"set\"", 1);
    let removed = [lines[0], lines[2], lines[3], lines[4]].concat();
    let added = [lines[0], lines[1], lines[1], lines[2]].concat();
    let swapped = [lines[0], lines[2], lines[1], lines[3]].concat();
    for (text, at) in [(changed, 2), (removed, 2), (added, 3), (swapped, 2)] {
        fs::write(&path, text).unwrap();
        let Err(VerifyError::Broken { line, .. }) = verify(&path) else { panic!("line {at}") };
        assert_eq!(line, at);
    }
    fs::write(&path, [lines[0], "nothing\n", lines[1]].concat()).unwrap();
    assert!(verify(&path).is_err());
}

#[test]
fn a_line_that_a_crash_has_cut_off_is_told_and_the_chain_goes_on() {
    for (cut, damaged) in [(1, 0), (30, 1), (100, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = start(&path, 1 << 20);
        (0..3).for_each(|_| audit.event(event()));
        audit.stop();
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - cut]).unwrap();

        let audit = start(&path, 1 << 20);
        audit.event(event());
        audit.stop();

        let verified = verify(&path).unwrap();
        assert_eq!((verified.damaged, verified.lines), (damaged, 4 + damaged), "{cut}");
    }
}

#[test]
fn lines_that_are_cut_off_are_missed_also_after_a_restart() {
    for kept in 0..=4 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = start(&path, 1 << 20);
        (0..5).for_each(|_| audit.event(event()));
        audit.stop();
        let text = fs::read_to_string(&path).unwrap();
        assert!(verify(&path).unwrap().is_end_known);

        let lines: Vec<&str> = text.split_inclusive('\n').take(kept).collect();
        fs::write(&path, lines.concat()).unwrap();

        let expected = if kept == 4 {
            "line 5 of the audit is missing".to_owned()
        } else {
            format!("lines {} to 5 of the audit are missing", kept + 1)
        };
        assert_eq!(verify(&path).unwrap_err().to_string(), expected);
        let audit = start(&path, 1 << 20);
        audit.event(event());
        audit.stop();
        assert_eq!(verify(&path).unwrap_err().to_string(), expected, "a new daemon hides nothing");
    }
}

#[test]
fn a_file_that_is_cut_off_below_a_running_daemon_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let mut writer = AuditWriter::open(&path, 1 << 20, false).unwrap();
    (0..3).for_each(|_| assert!(writer.write(&event(), 0)));

    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();

    assert!(matches!(verify(&path), Err(VerifyError::Gone { .. })));
    assert!(writer.write(&event(), 0));
    assert!(matches!(verify(&path), Err(VerifyError::Gone { .. })));
}

#[test]
fn a_full_file_that_was_removed_is_missed_where_the_head_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 10);
    (0..20).for_each(|_| audit.event(event()));
    audit.stop();
    let all = files(&path).unwrap();

    fs::remove_file(&all[0]).unwrap();
    let pruned = verify(&path).unwrap();
    assert!(pruned.first > 1 && pruned.is_end_known, "the owner has removed the oldest");

    fs::rename(&all[1], directory.path().join("audit-000000000099.jsonl")).unwrap();
    assert!(verify(&path).is_err(), "a file of another name");
    for file in &all[1..] {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file(directory.path().join("audit-000000000099.jsonl"));
    let error = verify(&path).unwrap_err();
    assert_eq!(error.to_string(), "lines 1 to 20 of the audit are missing");
}

#[test]
fn a_chain_that_begins_in_the_middle_or_was_made_anew_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 20);
    (0..3).for_each(|_| audit.event(event()));
    audit.stop();
    let text = fs::read_to_string(&path).unwrap();
    let zeros = "0".repeat(64);

    let (_, later) = text.split_once('\n').unwrap();
    fs::write(&path, later).unwrap();
    assert_eq!(verify(&path).unwrap_err().to_string(), "line 1 of the audit is missing");
    let anew = format!("{{\"seq\":7,\"time\":\"\",\"prev\":\"{zeros}\",\"event\":\"call\"}}\n");
    fs::write(&path, anew).unwrap();
    assert!(matches!(verify(&path), Err(VerifyError::Broken { line: 1, .. })));
    let other = text.replace("\"add\"", "\"set\"");
    let mut prev = zeros;
    let rewritten: String = other.lines().fold(String::new(), |done, line| {
        let mut json: Json = serde_json::from_str(line).unwrap();
        json["prev"] = prev.as_str().into();
        let line = format!("{json}\n");
        prev = writer::line_hash(line.as_bytes());
        done + &line
    });
    fs::write(&path, rewritten).unwrap();
    let error = verify(&path).unwrap_err().to_string();
    assert!(error.ends_with("it was written with another hash, as the head tells"), "{error}");
}

#[tokio::test]
async fn a_write_is_in_the_file_before_it_leaves_and_its_outcome_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 20);
    let record = AuditRecord { method: Some("DELETE".to_owned()), ..AuditRecord::default() };
    let mut call = audit.call(record, Arc::default());
    call.set_client("bot");

    call.begin(vec![7], Some(b"{}")).await.unwrap();

    let before = lines(&path);
    assert_eq!(before.len(), 1);
    assert_eq!((&before[0]["event"], &before[0]["ids"][0]), (&"write".into(), &7.into()));
    assert_eq!(before[0]["body_hash"].as_str().unwrap().len(), 32);
    call.end(CallOutcome { status: Some(200), bytes: 5, ..CallOutcome::default() });
    drop(call);
    audit.stop();
    let after = lines(&path);
    assert_eq!((&after[1]["event"], &after[1]["status"]), (&"outcome".into(), &200.into()));
    assert_eq!(after[1]["was_successful"], true);
    assert_eq!(verify(&path).unwrap().lines, 2);
}

#[tokio::test]
async fn only_reads_without_a_key_are_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 20);
    let read = || AuditRecord { method: Some("GET".to_owned()), ..AuditRecord::default() };
    let answered = CallOutcome { status: Some(200), ..CallOutcome::default() };

    audit.call(read(), Arc::default()).end(answered);
    let mut keyed = audit.call(read(), Arc::default());
    keyed.set_client("bot");
    keyed.begin(vec![], None).await.unwrap();
    keyed.end(answered);
    drop(keyed);
    audit.call(read(), Arc::default()).end(CallOutcome {
        status: Some(403),
        code: Some("policy.denied"),
        ..answered
    });
    // A write whose client has left.
    let put = AuditRecord { method: Some("PUT".to_owned()), ..AuditRecord::default() };
    drop(audit.call(put, Arc::default()));

    audit.stop();
    let events: Vec<_> = lines(&path).iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events, ["call", "refused", "outcome"]);
}

#[tokio::test]
async fn a_record_that_is_required_and_cannot_be_written_stops_a_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let required = config::Audit { required: true, ..config(1 << 20) };
    let audit = Audit::start_with_head_interval(&required, &path, HEAD_INTERVAL).unwrap();
    audit.stop();
    let call = |client: Option<&str>| {
        let record = AuditRecord { method: Some("POST".to_owned()), ..AuditRecord::default() };
        let mut call = audit.call(record, Arc::default());
        client.into_iter().for_each(|client| call.set_client(client));
        call
    };

    assert_eq!(call(Some("bot")).begin(vec![], None).await, Err(Unrecorded));
    assert_eq!(call(None).begin(vec![], None).await, Ok(()), "the owner's own");
}

#[tokio::test]
async fn a_read_that_finds_no_place_goes_on_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = start(&path, 1 << 20);
    let places = audit.0.places.clone().acquire_many_owned(QUEUE_CAPACITY as u32).await.unwrap();
    let record = AuditRecord { method: Some("GET".to_owned()), ..AuditRecord::default() };
    let mut call = audit.call(record, Arc::default());
    call.set_client("bot");

    let began = std::time::Instant::now();
    call.begin(vec![], None).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(call);
    drop(places);

    audit.event(event());
    audit.stop();
    assert_eq!(lines(&path)[0]["lost"], 1);
    assert_eq!(verify(&path).unwrap().lost, 1);
}

fn event() -> AuditRecord {
    AuditRecord { event: AuditEvent::Keys, action: Some("add"), ..AuditRecord::default() }
}

fn config(size: u64) -> config::Audit {
    let wait = Duration::from_millis(50);
    config::Audit { file: AuditFile::Auto, wait, size, required: false }
}

fn start(path: &Path, size: u64) -> Audit {
    Audit::start_with_head_interval(&config(size), path, HEAD_INTERVAL).unwrap()
}

fn lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
