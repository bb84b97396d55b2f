//! A session on disk is replaced whole, kept private, and used where it belongs.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn what_is_written_is_read_back_and_private() {
    let (directory, saved) = saved();
    assert!(saved.read().unwrap().is_none());

    saved.write(&record(1)).unwrap();
    saved.write(&record(2)).unwrap();

    assert_eq!(saved.read().unwrap(), Some(record(2)));
    let mode = |name: &str| {
        let path = directory.path().join("state").join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode(FILE_NAME)), (0o700, 0o600));
    assert_eq!(names(&directory), [FILE_NAME]);
}

#[test]
fn a_file_that_does_not_open_is_kept_and_then_moved_aside() {
    let (directory, saved) = saved();
    for (number, damage) in
        [b"".as_slice(), b"garbage", b"nexudus-proxy session 3\nxxxx"].into_iter().enumerate()
    {
        saved.write(&record(1)).unwrap();
        std::fs::write(saved.path(), damage).unwrap();
        assert!(matches!(saved.read(), Err(Error::Sealed { .. })));
        assert_eq!(std::fs::read(saved.path()).unwrap(), damage);

        saved.write(&record(2)).unwrap();

        assert_eq!(saved.read().unwrap(), Some(record(2)));
        let aside = format!("state/{FILE_NAME}.unreadable-{}", number + 1);
        assert_eq!(std::fs::read(directory.path().join(aside)).unwrap(), damage);
    }
}

#[test]
fn another_key_opens_nothing_and_says_so() {
    let (_directory, saved) = saved();
    saved.write(&record(1)).unwrap();
    let key = SealingKey::derive(&[8; 16], Purpose::Session).unwrap();
    let other = SealedFile::new(saved.directory.clone(), key, saved.binding.clone());

    let error = other.read().unwrap_err();

    assert!(
        error
            .to_string()
            .ends_with("cannot be decrypted: the file is damaged, or the key is wrong")
    );
    assert_eq!(saved.read().unwrap(), Some(record(1)));
}

/// With one key for both profiles, as a machine with one `nexudus-key` has.
#[test]
fn a_session_is_used_by_its_profile_only_and_set_aside_in_another() {
    let directory = tempfile::tempdir().unwrap();
    let own = of(&directory, "https://a.example", "default");
    let work = of(&directory, "https://a.example", "work");
    own.write(&record(1)).unwrap();
    let sealed = std::fs::read(own.path()).unwrap();

    let error = work.read().unwrap_err();
    assert!(
        error.to_string().ends_with("was made in the profile \"default\" and is used in no other"),
        "{error}"
    );

    work.write(&record(2)).unwrap();
    assert_eq!(work.read().unwrap(), Some(record(2)));
    let aside = format!("{}{QUARANTINE_INFIX}1", own.path().display());
    assert_eq!(std::fs::read(aside).unwrap(), sealed, "and given back it opens again");
    std::fs::write(own.path(), sealed).unwrap();
    assert_eq!(own.read().unwrap(), Some(record(1)));
}

#[test]
fn each_origin_finds_its_session_again_however_often_the_origin_changes() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] =
        ["https://a.example", "https://b.example"].map(|origin| of(&directory, origin, "default"));
    a.write(&record(1)).unwrap();
    assert!(b.read().unwrap().is_none());
    for generation in 2..5 {
        b.write(&record(generation)).unwrap();
        assert_eq!(a.read().unwrap(), Some(record(generation - 1)));
        a.write(&record(generation)).unwrap();
        assert_eq!(b.read().unwrap(), Some(record(generation)));
        assert_eq!(names(&directory).len(), 2);
    }
    // The process was killed after it had made room for the other session.
    std::fs::rename(a.path(), a.parked_path()).unwrap();
    assert_eq!(a.read().unwrap(), Some(record(4)));
    assert_eq!(b.read().unwrap(), Some(record(4)));

    // Under a name that is not its own, a session is not used.
    std::fs::copy(a.parked_path(), b.parked_path()).unwrap();
    let error = b.read().unwrap_err();
    assert!(
        error.to_string().ends_with("was issued by https://a.example and is used nowhere else"),
        "{error}"
    );
}

#[test]
fn what_stands_in_the_clear_cannot_be_changed() {
    let directory = tempfile::tempdir().unwrap();
    let own = of(&directory, "https://a.example", "default");
    own.write(&record(1)).unwrap();
    let sealed = std::fs::read(own.path()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(!text(&sealed).contains("ada@example.test") && !text(&sealed).contains("secret id"));

    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        std::fs::write(own.path(), flipped).unwrap();
        // If the changed byte is part of the origin, the file belongs to another origin and is left
        // alone.
        assert!(!matches!(own.read(), Ok(Some(_))), "byte {at}");
        std::fs::write(own.path(), &sealed[..at]).unwrap();
        assert!(own.read().is_err(), "length {at}");
    }
    let header = Envelope::parse(&sealed, Purpose::Session).unwrap().header.unwrap();
    for (saved, forged) in [
        (
            of(&directory, "https://b.example", "default"),
            Binding::new("https://b.example", "default"),
        ),
        (of(&directory, "https://a.example", "work"), Binding::new("https://a.example", "work")),
    ] {
        let forged = forged.header(header.generation, header.epoch).to_bytes(Purpose::Session);
        let rest = Envelope::parse(&sealed, Purpose::Session).unwrap().sealed;
        secure_fs::atomic_write(&saved.path(), &[forged.as_slice(), rest].concat()).unwrap();
        assert!(matches!(
            saved.read(),
            Err(Error::Sealed { why: crypto::Error::CannotDecrypt, .. })
        ));
    }
    for (generation, epoch) in [(header.generation + 1, header.epoch), (header.generation, 99)] {
        let forged = own.binding.header(generation, epoch).to_bytes(Purpose::Session);
        let rest = Envelope::parse(&sealed, Purpose::Session).unwrap().sealed;
        std::fs::write(own.path(), [forged.as_slice(), rest].concat()).unwrap();
        assert!(matches!(own.read(), Err(Error::Sealed { why: crypto::Error::CannotDecrypt, .. })));
    }
}

#[test]
fn other_origins_are_known_by_their_files_and_go_with_a_logout() {
    let directory = tempfile::tempdir().unwrap();
    let [nexudus, a, b] = ["https://spaces.nexudus.com", "https://a.example", "https://b.example"]
        .map(|origin| of(&directory, origin, "default"));
    a.write(&record(1)).unwrap();
    nexudus.write(&record(1)).unwrap();
    std::fs::write(b.parked_path(), "damaged").unwrap();
    let elsewhere = |own: &SealedFile| other_origins(&own.directory, &own.binding);

    assert_eq!(Vec::from_iter(elsewhere(&a)), ["https://spaces.nexudus.com"]);
    assert_eq!(Vec::from_iter(elsewhere(&b)), ["https://a.example", "https://spaces.nexudus.com"]);
    for own in [&a, &nexudus] {
        assert!(exists(&own.directory, &own.binding));
    }
    erase(&a.directory, &a.binding).unwrap();
    assert!(!exists(&a.directory, &a.binding) && nexudus.read().unwrap().is_some());
    erase(&nexudus.directory, &nexudus.binding).unwrap();
    assert_eq!(names(&directory).len(), 1, "the damaged one");
    remove_all(&a.directory).unwrap();
    assert!(names(&directory).is_empty());
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_directory, saved) = saved();
    saved.write(&record(1)).unwrap();
    std::fs::set_permissions(saved.path(), PermissionsExt::from_mode(0o640)).unwrap();

    let error = saved.read().unwrap_err();

    assert!(error.to_string().contains("can be read by others (mode 640)"), "{error}");
}

#[test]
fn a_crash_between_the_steps_of_a_write_leaves_the_old_or_the_new() {
    let (directory, saved) = saved();
    saved.write(&record(1)).unwrap();
    // Killed while the temporary file was being written, with any length.
    for length in [0, 10, 4_000] {
        let temporary = directory.path().join("state/session.sealed.new");
        std::fs::write(&temporary, vec![0; length]).unwrap();
        std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o444)).unwrap();
        assert_eq!(saved.read().unwrap(), Some(record(1)));
    }

    saved.write(&record(2)).unwrap();

    assert_eq!(saved.read().unwrap(), Some(record(2)));
    assert_eq!(names(&directory), [FILE_NAME]);
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let (directory, saved) = saved();
    saved.write(&record(1)).unwrap();
    std::fs::create_dir(directory.path().join("state/session.sealed.new")).unwrap();

    assert!(matches!(saved.write(&record(2)), Err(Error::Io { .. })));

    assert_eq!(saved.read().unwrap(), Some(record(1)));
}

#[test]
fn erasing_removes_the_session_and_may_be_repeated() {
    let (_directory, saved) = saved();
    saved.write(&record(1)).unwrap();

    erase(&saved.directory, &saved.binding).unwrap();
    erase(&saved.directory, &saved.binding).unwrap();

    assert!(saved.read().unwrap().is_none());
}

fn saved() -> (tempfile::TempDir, SealedFile) {
    let directory = tempfile::tempdir().unwrap();
    let saved = of(&directory, "https://spaces.nexudus.com", "default");
    (directory, saved)
}

fn record(generation: u64) -> StoredSession {
    let account = Some("ada@example.test".into());
    StoredSession { epoch: 1, generation, client_id: "secret id".into(), account, pair: None }
}

fn of(directory: &tempfile::TempDir, origin: &str, profile: &str) -> SealedFile {
    let (directory, key) =
        (directory.path().join("state"), SealingKey::derive(&[7; 16], Purpose::Session).unwrap());
    SealedFile::new(directory, key, Binding::new(origin, profile))
}

fn names(directory: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path().join("state")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
