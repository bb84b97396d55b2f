//! The files of an audit in their order, and their lines.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// Returns the files of the audit at `path` that exist, the oldest first: those that were full have
/// the number of their first line in their name.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let mut full = vec![];
    let entries = match fs::read_dir(directory.unwrap_or(Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    for entry in entries {
        let file = entry?.path();
        if let Some(first) = first_of_full(path, &file) {
            full.push((first, file));
        }
    }
    full.sort();
    let current = path.exists().then(|| path.to_owned());
    Ok(full.into_iter().map(|(_, file)| file).chain(current).collect())
}

/// Calls `each` with every line of a file, its newline included, and its number from 1 on.
///
/// # Errors
///
/// When the file cannot be read, and those of `each`.
pub fn for_each_line<E: From<io::Error>>(
    file: &Path,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut lines = BufReader::new(File::open(file)?);
    let (mut line, mut number) = (vec![], 0);
    while lines.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        each(number, &line)?;
        line.clear();
    }
    Ok(())
}

/// Returns the name of a full file whose first line has this number.
pub(super) fn full_name(path: &Path, first: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map_or_else(String::new, |it| format!(".{}", it.to_string_lossy()));
    path.with_file_name(format!("{stem}-{first:012}{extension}"))
}

/// Returns the number of the first line of a full file of the audit at `path`, by its name.
pub(super) fn first_of_full(path: &Path, file: &Path) -> Option<u64> {
    let name = file.file_stem()?.to_str()?;
    let first = name.strip_prefix(path.file_stem()?.to_str()?)?.strip_prefix('-')?;
    let first = first.parse().ok().filter(|_| first.len() == 12)?;
    (full_name(path, first) == file).then_some(first)
}
