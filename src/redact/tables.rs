//! The tables of personal fields, as text.

/// The official table.
pub(super) const OFFICIAL: &str = include_str!("official.txt");

/// The fields that the official table leaves out.
pub(super) const UNLISTED: &str = include_str!("unlisted.txt");

/// Returns the words of each line of both tables; the official one comes last.
pub(super) fn lines() -> impl Iterator<Item = std::str::Split<'static, char>> {
    let lines = UNLISTED.lines().chain(OFFICIAL.lines());
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split(' '))
}
