//! Versions of the file beside each other: files of an earlier program, and how that program reads
//! ours.

use super::*;

/// Written by the last program of version 1, which had logged in as `ada@example.test` at a
/// simulated Nexudus.
const VERSION_1: &[u8] = include_bytes!("../version-1.sealed");

/// The material of the key that sealed it.
const KEY: &[u8] = b"sixteen bytes ok";

/// The reader of version 1, as it was.
mod previous {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
    use aws_lc_rs::hkdf;

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum Error {
        Unknown,
        Closed,
    }

    pub(crate) fn key(material: &[u8]) -> RandomizedNonceKey {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"nexudus-proxy").extract(material);
        let mut bytes = [0; 32];
        secret
            .expand(&[b"session file 1"], hkdf::HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut bytes))
            .unwrap();
        RandomizedNonceKey::new(&AES_256_GCM, &bytes).unwrap()
    }

    pub(crate) fn open(material: &[u8], envelope: &[u8]) -> Result<Vec<u8>, Error> {
        let rest = envelope.strip_prefix(MAGIC).ok_or(Error::Unknown)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(Error::Closed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Closed)?;
        let mut plain = sealed.to_vec();
        let opened = key(material).open_in_place(nonce, Aad::from(MAGIC), &mut plain);
        let length = opened.map_err(|_| Error::Closed)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    pub(crate) fn seal(material: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = key(material).seal_in_place_append_tag(Aad::from(MAGIC), &mut sealed).unwrap();
        [MAGIC, nonce.as_ref().as_slice(), &sealed].concat()
    }

    const MAGIC: &[u8] = b"nexudus-proxy session 1\n";
}

#[test]
fn a_file_of_version_1_opens_at_nexudus_in_the_profile_it_lies_in() {
    for profile in ["default", "work"] {
        let (_directory, saved) = holding(VERSION_1, NEXUDUS, profile);

        let record = saved.read().unwrap().unwrap();

        assert_eq!((record.epoch, record.generation), (0, 1));
        assert_eq!(record.account.as_deref(), Some("ada@example.test"));
        assert!(record.pair.is_some_and(|pair| pair.refresh.is_some()));
    }
}

#[test]
fn a_file_of_version_1_is_set_aside_under_any_other_origin() {
    let (_directory, saved) = holding(VERSION_1, "https://b.example", "default");
    assert!(saved.read().unwrap().is_none());
    let nexudus = [NEXUDUS.to_owned()].into();
    assert_eq!(other_origins(&saved.directory, &saved.binding), nexudus, "but known of");

    saved.write(&record()).unwrap();

    assert_eq!(saved.read().unwrap(), Some(record()));
    let aside = saved.directory.join(parked_name(NEXUDUS));
    assert_eq!(std::fs::read(aside).unwrap(), VERSION_1);
    // Nor under the name of this origin.
    std::fs::remove_file(saved.path()).unwrap();
    std::fs::write(saved.parked_path(), VERSION_1).unwrap();
    assert!(saved.read().is_err());
}

#[test]
fn the_next_write_makes_a_file_of_version_1_one_of_version_2() {
    let (_directory, saved) = holding(VERSION_1, NEXUDUS, "default");

    saved.write(&record()).unwrap();

    assert_eq!(saved.read().unwrap(), Some(record()));
    let written = std::fs::read(saved.path()).unwrap();
    assert!(written.starts_with(b"nexudus-proxy session 2\n"));
    assert_eq!(std::fs::read_dir(&saved.directory).unwrap().count(), 1, "nothing is left behind");
}

/// The previous program leaves a file that it does not know, uses nothing of it, and moves it aside
/// when it must write: it did so with every file that it could not decrypt.
#[test]
fn a_previous_program_opens_nothing_of_version_2() {
    assert!(previous::open(KEY, VERSION_1).is_ok(), "the reader is the previous one");
    let (_directory, saved) = holding(VERSION_1, NEXUDUS, "default");
    saved.write(&record()).unwrap();

    let written = std::fs::read(saved.path()).unwrap();

    assert_eq!(previous::open(KEY, &written), Err(previous::Error::Unknown));
    // Nor with another magic in front of it.
    let rest = written.strip_prefix(b"nexudus-proxy session 2\n").unwrap();
    let sealed = Envelope::parse(&written, Purpose::Session).unwrap().sealed;
    for rest in [rest, sealed] {
        let disguised = [b"nexudus-proxy session 1\n", rest].concat();
        assert_eq!(previous::open(KEY, &disguised), Err(previous::Error::Closed));
    }
}

#[test]
fn a_record_of_version_1_gets_no_header_put_before_it() {
    let plain = previous::open(KEY, VERSION_1).unwrap();
    let (_directory, saved) = holding(&previous::seal(KEY, &plain), "https://b.example", "default");
    let sealed = std::fs::read(saved.directory.join(FILE_NAME)).unwrap();
    let sealed = Envelope::parse(&sealed, Purpose::Session).unwrap().sealed.to_vec();

    let header = saved.binding.header(1, 1).to_bytes(Purpose::Session);
    secure_fs::atomic_write(&saved.path(), &[header.as_slice(), &sealed].concat()).unwrap();

    assert!(matches!(saved.read(), Err(Error::Sealed { why: crypto::Error::CannotDecrypt, .. })));
}

fn holding(bytes: &[u8], origin: &str, profile: &str) -> (tempfile::TempDir, SealedFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    secure_fs::create_new(&path, bytes).unwrap();
    let binding = Binding::new(origin, profile);
    let saved = SealedFile::new(
        directory.path().to_owned(),
        SealingKey::derive(KEY, Purpose::Session).unwrap(),
        binding,
    );
    (directory, saved)
}

fn record() -> StoredSession {
    StoredSession { epoch: 3, generation: 2, client_id: "c".into(), account: None, pair: None }
}

const NEXUDUS: &str = "https://spaces.nexudus.com";
