//! Files of results: lines of JSON that are only ever appended to.

use super::record::Record;
use anyhow::Context;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A file that is open to be appended to.
#[derive(Debug)]
pub struct Keeper {
    file: File,
    path: PathBuf,
}

impl Keeper {
    /// Opens the file, or makes it. Before a long search, so that a wrong path is seen at once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path);
        let file = file.with_context(|| format!("cannot keep results in {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends lines, in one write: several searches may keep their results in one file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, records: &[Record]) -> anyhow::Result<()> {
        let text = text(records)?;
        let written = self.put(text.as_bytes());
        written.with_context(|| format!("cannot keep results in {}", self.path.display()))
    }

    // The lock is for another search that appends to the file, whose line is not torn but not yet whole. Not every file
    // system has locks, and results are worth more than the order of two writers.
    fn put(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let locked = self.file.lock().is_ok();
        let mut bytes = self.mend()?;
        bytes.extend_from_slice(lines);
        self.file.write_all(&bytes)?;
        self.file.sync_all()?;
        if locked { self.file.unlock() } else { Ok(()) }
    }

    /// Cuts off a last line whose writer was killed: nothing could read the file. What has to come before new lines.
    fn mend(&mut self) -> std::io::Result<Vec<u8>> {
        let mut last = [b'\n'];
        if self.file.metadata()?.len() > 0 {
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
        }
        if last == *b"\n" {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut all)?;
        let end = all.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if Record::read(&all[end..]).is_ok() {
            // Only its end is missing.
            return Ok(b"\n".to_vec());
        }
        self.file.set_len(end as u64)?;
        Ok(Vec::new())
    }
}

fn text(records: &[Record]) -> anyhow::Result<String> {
    let mut text = String::new();
    for record in records {
        text += &serde_json::to_string(record)?;
        text.push('\n');
    }
    Ok(text)
}

/// Writes a whole file, beside the old one first, so that there is always one or the other.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, records: &[Record]) -> anyhow::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let written = std::fs::write(&aside, text(records)?).and_then(|()| std::fs::rename(&aside, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a file. Empty lines are nothing.
///
/// # Errors
/// The file cannot be read, or a line of it is none of results: its number and what is wrong.
pub fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut records = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = Record::read(line)
            .map_err(|why| anyhow::anyhow!("{}, line {}: {why}", path.display(), number + 1))?;
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::record::tests::{failing, search};

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("quorate-results-{name}-{}.jsonl", std::process::id()))
    }

    #[test]
    fn lines_are_appended_also_after_one_that_was_cut_off() {
        let path = path("append");
        let _ = std::fs::remove_file(&path);
        let one = Record::Search(search(5, "abc", &[]));
        let other = Record::Failure(failing(6, "abc", "g1", 7, 90));
        Keeper::open(&path).unwrap().append(std::slice::from_ref(&one)).unwrap();
        Keeper::open(&path).unwrap().append(std::slice::from_ref(&other)).unwrap();
        assert_eq!(read(&path).unwrap(), [one.clone(), other.clone()]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        Keeper::open(&path).unwrap().append(std::slice::from_ref(&one)).unwrap();
        assert_eq!(read(&path).unwrap(), [one.clone(), one.clone()]);
        // A line without its end is whole; a first one may be torn as well.
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        Keeper::open(&path).unwrap().append(std::slice::from_ref(&one)).unwrap();
        assert_eq!(read(&path).unwrap(), [one.clone(), other.clone(), one.clone()]);
        std::fs::write(&path, &bytes[..9]).unwrap();
        Keeper::open(&path).unwrap().append(std::slice::from_ref(&one)).unwrap();
        assert_eq!(read(&path).unwrap(), [one]);
        write(&path, std::slice::from_ref(&other)).unwrap();
        assert_eq!(read(&path).unwrap(), [other]);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Keeper::open(Path::new("/nowhere/at/all.jsonl")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.jsonl"), "{error}");
    }
}
